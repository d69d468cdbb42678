"""`oxidivert ctl watch`: handles as they are opened and closed."""

from __future__ import annotations

import argparse

import oxidivert as od

from ._ctl_handles import Entry, Printer, add_filter, open_reflect
from ._session import Session, add_session, tool_parser

SUMMARY = "Print the handles that are open, and from then on those that are opened and closed."

_ACCOUNT = "On Windows this installs the driver if it is not there."


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    parser = tool_parser(prog, SUMMARY, _ACCOUNT, ("", '"priority > 1000" --duration 60'))
    add_filter(parser)
    add_session(parser, priority=None, limit="events")
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    count = 0
    with Session(options) as session:
        handle = open_reflect(session, options.filter, installs=True)
        assert handle is not None, "without NO_INSTALL a missing driver is an error"
        printer, version = Printer(session), handle.version
        for event in session.items(handle):
            count += 1
            printer.show("OPEN" if event.event == od.Event.REFLECT_OPEN else "CLOSE", Entry.of(event, version))
            session.count()
        session.summary = {"events": count}
    return session.code
