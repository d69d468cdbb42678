"""`oxidivert ctl list`: the handles that are open."""

from __future__ import annotations

import argparse

from ._ctl_handles import Printer, add_filter, snapshot
from ._session import Session, add_session, tool_parser

SUMMARY = "List the handles that are open, and the programs that opened them."

_ACCOUNT = """\
Tells program, SHA-256 of its file, version of the driver, layer, flags, priority and filter of each. Handles
that only watch others are not listed. Nothing is installed; if no driver is running, nothing is printed.
"""


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    parser = tool_parser(prog, SUMMARY, _ACCOUNT, ("", '"layer == NETWORK" --json'))
    add_filter(parser)
    add_session(parser, priority=None, limit="handles")
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    with Session(options) as session:
        entries = snapshot(session, options.filter)
        if entries is None:
            return session.code
        printer = Printer(session)
        for entry in entries[: options.limit]:
            printer.show("OPEN", entry)
        session.summary = {"handles": len(entries)}
    return session.code
