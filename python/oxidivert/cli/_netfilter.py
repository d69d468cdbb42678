"""`oxidivert netfilter`: a firewall that tells senders what it does not let through."""

from __future__ import annotations

import argparse

import oxidivert as od

from ._lines import as_dict
from ._session import Session, add_session, tool_parser
from ._style import Style

SUMMARY = "Block the packets that match, and tell their senders."

_ACCOUNT = """\
TCP is answered with a reset, UDP with "port unreachable"; everything else is dropped silently, and so is what must
not be answered: resets and segments that end a connection, fragments but the first, broadcasts. What does not
match goes on untouched.
"""

# The order in which WinDivert's program names them.
_FLAGS = ("fin", "rst", "urg", "syn", "psh", "ack")


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    examples = '"outbound and tcp.DstPort == 25"', '"udp.DstPort == 53" --read in.pcap --write out.pcap'
    parser = tool_parser(prog, SUMMARY, _ACCOUNT, examples)
    parser.add_argument("filter", metavar="FILTER", help='what to block, such as "tcp.DstPort == 25"')
    add_session(parser, capture="read and write")
    parser.add_argument("--silent", action="store_true", help="answer nothing, so that senders wait in vain")
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    blocked, answered = 0, {"reset": 0, "unreachable": 0}
    with Session(options) as session:
        handle = session.open(options.filter)
        for packet in session.items(handle):
            # A packet that is received and not sent is dropped.
            blocked += 1
            kind, answer = (None, None) if options.silent else answer_to(packet)
            if kind and answer and _send(session, handle, answer):
                answered[kind] += 1
            else:
                kind = None
            _print(session, blocked, packet, kind)
            session.count()
        session.summary = {"blocked": blocked, "resets": answered["reset"], "unreachables": answered["unreachable"]}
    return session.code


def answer_to(packet: od.Packet) -> tuple[str, od.Packet] | tuple[None, None]:
    """What tells the sender, and which kind it is."""
    if packet.tcp is not None and not packet.tcp.fin:
        kind, answer = "reset", od.build.reset(packet)
    elif packet.udp is not None:
        kind, answer = "unreachable", od.build.unreachable(packet)
    else:
        return None, None
    return (kind, answer) if answer is not None else (None, None)


def _send(session: Session, handle: od.Handle[od.Packet], answer: od.Packet) -> bool:
    try:
        handle.send(answer)
    except od.DivertError as error:
        session.warn(f"an answer was not sent: {error.strerror}")
        return False
    return True


def _print(session: Session, number: int, packet: od.Packet, kind: str | None) -> None:
    session.emit(
        lambda: as_dict(number, packet) | {"type": "block", "answer": kind},
        lambda: f"{session.style.paint('red', 'BLOCK')} {_fields(packet, Style(is_coloured=False))}",
    )


def _fields(packet: od.Packet, style: Style) -> str:
    fields: dict[str, object] = {"ip.SrcAddr": packet.src_addr, "ip.DstAddr": packet.dst_addr}
    for name, header in (("icmp", packet.icmp), ("icmpv6", packet.icmpv6)):
        if header is not None:
            fields |= {f"{name}.Type": header.type, f"{name}.Code": header.code}
    if packet.tcp is not None:
        tcp = packet.tcp
        flags = "".join(f"[{name.upper()}]" for name in _FLAGS if getattr(tcp, name))
        fields |= {"tcp.SrcPort": tcp.src_port, "tcp.DstPort": tcp.dst_port, "tcp.Flags": flags}
    if packet.udp is not None:
        fields |= {"udp.SrcPort": packet.udp.src_port, "udp.DstPort": packet.udp.dst_port}
    return style.pairs(**fields)
