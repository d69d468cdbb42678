"""`oxidivert netdump`: the matching packets of a capture as readable lines."""

from __future__ import annotations

import argparse
import json

import oxidivert as od

from ._errors import DONE, NO_MATCH
from ._input import add_capture, add_filter, add_limit, compile_filter, open_replay
from ._lines import as_dict, hex_lines, line
from ._output import write_line

SUMMARY = "Print a line for each matching packet of a capture."

_EPILOG = "Times are UTC, lengths bytes. Exits with 1 if no packet matches."


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    parser = argparse.ArgumentParser(prog=prog, description=SUMMARY, epilog=_EPILOG, allow_abbrev=False)
    add_filter(parser)
    add_capture(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object a line")
    add_limit(parser)
    parser.add_argument("--hex", action="store_true", help="print the packets' bytes too")
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    filter = compile_filter(options.filter)
    replay = open_replay(options.read, local=options.local)
    number = 0
    with od.open(filter, flags=od.Flag.SNIFF, backend=replay) as handle:
        for number, packet in enumerate(handle, start=1):
            _print(number, packet, options)
            if number == options.limit:
                break
    return DONE if number else NO_MATCH


def _print(number: int, packet: od.Packet, options: argparse.Namespace) -> None:
    if options.json:
        fields = as_dict(number, packet)
        if options.hex:
            fields["data"] = bytes(packet).hex()
        write_line(json.dumps(fields))
        return
    write_line(line(number, packet))
    if options.hex:
        for text in hex_lines(bytes(packet)):
            write_line(text)
