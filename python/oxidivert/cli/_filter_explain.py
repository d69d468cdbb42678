"""`oxidivert filter explain`: what a filter compiles to."""

from __future__ import annotations

import argparse

from ._errors import DONE
from ._filter_input import add_dialect, add_layer, compiled, filter_parser
from ._output import write_line

SUMMARY = "Show what a filter compiles to, here and for a driver."


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    parser = filter_parser(
        prog,
        SUMMARY,
        f'{prog} "outbound and tcp.DstPort in {{80, 443}}"',
        f'{prog} "ip.SrcAddr in $blocked" --set blocked=addresses.txt --json',
    )
    add_layer(parser)
    add_dialect(parser)
    parser.add_argument("--ebpf", action="store_true", help="print the eBPF programs that a Linux kernel is asked")
    parser.add_argument("--json", action="store_true", help="print the explanation as a JSON object")
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    write_line(compiled(options).explain(json=options.json, ebpf=options.ebpf).rstrip("\n"))
    return DONE
