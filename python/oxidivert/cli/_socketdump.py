"""`oxidivert socketdump`: what programs do with sockets, and refusing it."""

from __future__ import annotations

import argparse
from ipaddress import IPv6Address

import oxidivert as od

from ._errors import CommandError
from ._names import PROTOCOL_COLOURS, protocol_name
from ._programs import Programs
from ._session import Session, add_session, tool_parser

SUMMARY = "Print which programs bind, listen, connect, accept and close sockets; or refuse it."

_ACCOUNT = """\
Filters are those of layer SOCKET, such as "processId == 1234" or "event == CONNECT and remotePort == 443". With
--block what matches is refused, but for closing: name a filter, or say --yes to cut the whole machine off.
"""

_COLOURS = {od.Event.SOCKET_CLOSE: "red"}
_UNSPECIFIED = IPv6Address(0)


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    examples = '"event == LISTEN"', '--block "event == CONNECT and remotePort == 25"'
    parser = tool_parser(prog, SUMMARY, _ACCOUNT, examples)
    parser.add_argument("filter", metavar="FILTER", nargs="?", default="true", help="what matches (default: all)")
    add_session(parser, priority=1121, limit="events")
    parser.add_argument("--block", action="store_true", help="refuse what matches")
    parser.add_argument("--yes", action="store_true", help="with --block: really refuse everything")
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    if options.block and options.filter.strip() == "true" and not options.yes:
        raise CommandError(
            "--block without a filter stops all new networking of this machine; name a filter, or add --yes"
        )
    flags = od.Flag.RECV_ONLY if options.block else od.Flag.RECV_ONLY | od.Flag.SNIFF
    programs, count = Programs(), 0
    with Session(options) as session:
        handle = session.open(options.filter, layer=od.Layer.SOCKET, flags=flags)
        for event in session.items(handle):
            count += 1
            _print(session, event, programs)
            session.count()
        session.summary = {"events": count}
    return session.code


def _print(session: Session, event: od.SocketEvent, programs: Programs) -> None:
    name = event.event.name.removeprefix("SOCKET_")
    is_blocked = session.options.block and event.event != od.Event.SOCKET_CLOSE
    programs.note(event.process)
    local, remote = _end(event.local_addr, event.local_port), _end(event.remote_addr, event.remote_port)

    def record() -> dict[str, object]:
        return {
            "type": "socket",
            "event": name.lower(),
            "process_id": event.process_id,
            "program": programs.path(event.process_id),
            # As text, for readers whose numbers have no 64 bits.
            "endpoint_id": str(event.endpoint_id),
            "parent_endpoint_id": str(event.parent_endpoint_id),
            "protocol": event.protocol,
            "local_addr": str(event.local_addr),
            "local_port": event.local_port,
            "remote_addr": str(event.remote_addr),
            "remote_port": event.remote_port,
            "loopback": event.address.loopback,
            "blocked": is_blocked,
        }

    def text() -> str:
        style = session.style
        head = style.paint(_COLOURS.get(event.event, "green"), name)
        protocol = style.paint(PROTOCOL_COLOURS.get(event.protocol, "yellow"), protocol_name(event.protocol))
        pairs = style.pairs(
            pid=event.process_id,
            program=programs.name(event.process_id),
            endpoint=event.endpoint_id,
            parent=event.parent_endpoint_id,
        )
        ends = style.pairs(local=local, remote=remote)
        return " ".join(part for part in (head, pairs, f"protocol={protocol}", ends) if part)

    session.emit(record, text)


def _end(address: object, port: int) -> str | None:
    """An end as text; None if there is none."""
    return f"[{address}]:{port}" if port or address != _UNSPECIFIED else None
