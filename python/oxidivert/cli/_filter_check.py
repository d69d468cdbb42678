"""`oxidivert filter check`: whether a filter is valid, and what is odd about it."""

from __future__ import annotations

import argparse
import json
import warnings

import oxidivert as od

from ._errors import DONE, NO_MATCH
from ._filter_input import add_dialect, add_layer, compiled, filter_parser
from ._output import write_line

SUMMARY = "Tell whether a filter is valid, and what is odd about it."


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    parser = filter_parser(
        prog,
        SUMMARY,
        f'{prog} "outbound and tcp.DstPort == 80"',
        f'{prog} "processId == 4" --layer socket',
        notes="Exits with 1 if the filter is not valid.",
    )
    add_layer(parser)
    add_dialect(parser)
    parser.add_argument("--json", action="store_true", help="print the result as a JSON object")
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    try:
        with warnings.catch_warnings():
            # They are part of what is asked for here.
            warnings.simplefilter("ignore", od.FilterWarning)
            filter = compiled(options)
    except od.FilterError as error:
        write_line(json.dumps(_invalid(error)) if options.json else str(error))
        return NO_MATCH
    if options.json:
        write_line(json.dumps(_valid(filter)))
        return DONE
    write_line("valid")
    for warning in filter.warnings:
        write_line(f"warning: {warning}")
    return DONE


def _valid(filter: od.Filter) -> dict[str, object]:
    odd = [
        {"message": warning.message, "start": warning.start, "end": warning.end, "account": str(warning)}
        for warning in filter.warnings
    ]
    return {"valid": True, "message": None, "position": None, "account": None, "warnings": odd}


def _invalid(error: od.FilterError) -> dict[str, object]:
    return {
        "valid": False,
        "message": error.message,
        "position": error.position,
        "account": str(error),
        "warnings": [],
    }
