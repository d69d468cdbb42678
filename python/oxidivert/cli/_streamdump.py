"""`oxidivert streamdump`: what TCP connections to a port carry."""

from __future__ import annotations

import argparse
import threading

import oxidivert as od

from ._errors import CommandError
from ._headers import printable
from ._input import bounded
from ._proxy import Chunk, Proxy
from ._session import Session, add_session, tool_parser

SUMMARY = "Show the data of outbound TCP connections to a port, by a transparent proxy on this machine."

_ACCOUNT = """\
Connections are bent to a proxy within this command, which connects onward; client and server notice nothing. Those
that were open before stay as they are. With --read the data is taken from the packets of a capture.
"""

_SHOWN_MAX = 65


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    examples = "80", "8080 --save streams --quiet"
    parser = tool_parser(prog, SUMMARY, _ACCOUNT, examples)
    parser.add_argument("port", metavar="PORT", type=bounded(1, 65535), help="the servers' port")
    add_session(parser, priority=123, limit="pieces of data", capture="read")
    parser.add_argument(
        "--proxy-port", metavar="N", type=bounded(1, 65535), help="where the proxy listens (default: 34010)"
    )
    parser.add_argument(
        "--alt-port", metavar="N", type=bounded(1, 65535), help="how its own connections are told (default: 43010)"
    )
    parser.add_argument("--save", metavar="DIR", help="write each connection's two streams to files there")
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    with Session(options) as session:
        shown = _Shown(session)
        if session.is_live:
            _live(session, shown)
        else:
            _captured(session, shown)
        session.summary = {"connections": shown.connections, **shown.bytes}
    return session.code


def reflection_of(options: argparse.Namespace) -> od.Reflection:
    """The reflection with the ports that were asked for; those that were not make way for the server's."""
    # As WinDivert's program does it.
    proxy_port = options.proxy_port or 34010 + (options.port == 34010)
    alt_port = options.alt_port or 43010 + (options.port == 43010)
    try:
        return od.Reflection(options.port, proxy_port=proxy_port, alt_port=alt_port)
    except ValueError as error:
        raise CommandError(str(error)) from None


def _live(session: Session, shown: _Shown) -> None:
    reflection = reflection_of(session.options)
    with Proxy(reflection, shown.show, save=session.options.save, fail=session.fail) as proxy:
        # While the proxy ends its connections their packets still have to be rewritten.
        handle = session.open(reflection.filter, outlives_stop=True)
        session.show_rates(handle)
        loop = threading.Thread(target=handle.run, args=(reflection.rewrite,), name="oxidivert-reflection")
        loop.start()
        try:
            session.wait()
            proxy.close()
        finally:
            handle.shutdown(od.Shutdown.RECV)
            loop.join()
        shown.connections = proxy.connections


def _captured(session: Session, shown: _Shown) -> None:
    port = session.options.port
    handle = session.open(
        f"tcp.PayloadLength > 0 and (tcp.SrcPort == {port} or tcp.DstPort == {port})", flags=od.Flag.SNIFF
    )
    numbers: dict[od.Flow, int] = {}
    ends: dict[tuple[od.Flow, bool], int] = {}
    for packet in session.items(handle):
        if packet.flow is None or packet.tcp is None:
            continue
        number = numbers.setdefault(packet.flow, len(numbers) + 1)
        from_client = packet.dst_port == port
        end = (packet.tcp.seq + len(packet.payload)) & 0xFFFF_FFFF
        known = ends.get((packet.flow, from_client))
        # What was sent again is shown once.
        if known is None or 0 < (end - known) & 0xFFFF_FFFF < 1 << 31:
            ends[packet.flow, from_client] = end
            shown.show(
                Chunk(
                    number, from_client, bytes(packet.payload), str(packet.dst_addr if from_client else packet.src_addr)
                )
            )
    shown.connections = len(numbers)


class _Shown:
    """Prints pieces of data, one at a time, and counts them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self.connections = 0
        self.bytes = {"bytes_to_server": 0, "bytes_to_client": 0}

    def show(self, chunk: Chunk) -> None:
        """Prints the beginning of a piece."""
        session = self._session
        with self._lock:
            self.bytes["bytes_to_server" if chunk.from_client else "bytes_to_client"] += len(chunk.data)
            text = printable(chunk.data[:_SHOWN_MAX])
            more = "..." if len(chunk.data) > _SHOWN_MAX else ""
            emit = session.emit_beside if session.is_live else session.emit
            emit(
                lambda: {
                    "type": "data",
                    "connection": chunk.connection,
                    "from": "client" if chunk.from_client else "server",
                    "server": chunk.server,
                    "port": session.options.port,
                    "length": len(chunk.data),
                    "text": text + more,
                },
                lambda: session.style.paint(
                    "green" if chunk.from_client else "red", f"[{len(chunk.data):04}] {text}{more}"
                ),
            )
            session.count()
