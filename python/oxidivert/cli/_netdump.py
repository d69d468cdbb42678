"""`oxidivert netdump`: the packets that match, without disturbing them."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from typing import Literal

import oxidivert as od

from ._errors import DONE, NO_MATCH
from ._headers import header_lines
from ._input import add_filter
from ._lines import as_dict, hex_lines, line
from ._pcap import PcapWriter
from ._session import Session, add_session, tool_parser

SUMMARY = "Print the packets that match, live or of a capture, without disturbing them."

_ACCOUNT = """\
Packets within this machine are seen too, and fragments one by one. Times are UTC, lengths bytes. Exits with 1 if
no packet matches.
"""

_LAYERS = ("network", "forward")


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    examples = '"tcp.DstPort == 443" --limit 10', "udp --read in.pcapng --headers"
    parser = tool_parser(prog, SUMMARY, _ACCOUNT, examples)
    add_filter(parser)
    add_session(parser, capture="read")
    parser.add_argument(
        "--write", metavar="OUT", dest="save", help="write the packets to a pcap file too, which appears at the end"
    )
    parser.add_argument("--layer", choices=_LAYERS, default="network", help="which packets (default: network)")
    parser.add_argument("--hex", action="store_true", help="print the packets' bytes too")
    parser.add_argument("--headers", action="store_true", help="print every field of every header, and the bytes")
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    number = 0
    with Session(options) as session, PcapWriter(options.save) if options.save else nullcontext() as capture:
        flags = od.Flag.SNIFF | od.Flag.FRAGMENTS
        handle = session.open(options.filter, layer=_layer(options.layer), flags=flags)
        start_ns = None
        for number, packet in enumerate(session.items(handle), start=1):
            start_ns = packet.time_ns if start_ns is None else start_ns
            _print(session, number, packet, start_ns)
            if capture:
                capture.write(packet)
            session.count()
        session.summary = {"packets": number}
    return session.code or (DONE if number else NO_MATCH)


def _layer(name: str) -> Literal[od.Layer.NETWORK, od.Layer.NETWORK_FORWARD]:
    return od.Layer.NETWORK_FORWARD if name == "forward" else od.Layer.NETWORK


def _print(session: Session, number: int, packet: od.Packet, start_ns: int) -> None:
    options = session.options

    def record() -> dict[str, object]:
        return {"type": "packet"} | as_dict(number, packet) | ({"data": bytes(packet).hex()} if options.hex else {})

    def text() -> str:
        if options.headers:
            return "\n".join(["", *header_lines(packet, start_ns, session.style)])
        return "\n".join([line(number, packet), *(hex_lines(bytes(packet)) if options.hex else ())])

    session.emit(record, text)
