"""`oxidivert filter compile`: the object string of a filter."""

from __future__ import annotations

import argparse
import sys

from ._errors import DONE
from ._filter_input import add_dialect, add_layer, compiled, filter_parser
from ._output import write_line

SUMMARY = "Print the object string that WinDivert's driver takes."


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    parser = filter_parser(
        prog,
        SUMMARY,
        f'{prog} "outbound and tcp.DstPort == 80"',
        f'{prog} "event == CONNECT" --layer socket',
        notes="An object cannot say all that the extended dialect can. It then matches at least\n"
        "the same packets, and a note on stderr tells whether there are more.",
    )
    add_layer(parser)
    add_dialect(parser)
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    filter = compiled(options)
    write_line(filter.object)
    if not filter.superset_is_exact:
        print("note: the object matches more packets than the filter, which no object can say", file=sys.stderr)
    return DONE
