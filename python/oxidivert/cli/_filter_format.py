"""`oxidivert filter format`: a filter in normal form."""

from __future__ import annotations

import argparse

from ._errors import DONE
from ._filter_input import add_dialect, add_layer, compiled, filter_parser
from ._output import write_line

SUMMARY = "Print a filter, or a compiled object string, in normal form."


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    parser = filter_parser(
        prog,
        SUMMARY,
        f'{prog} "tcp && tcp.DstPort==0x50"',
        f'{prog} "@WinDiv_WX_eXWWAX"',
    )
    add_layer(parser)
    add_dialect(parser)
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    write_line(str(compiled(options)))
    return DONE
