"""`oxidivert ctl kill`: ending the programs that have handles open."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

from ._ctl_handles import Entry, Printer, add_filter, snapshot
from ._errors import DONE, NO_MATCH, CommandError
from ._session import Session, add_session, tool_parser

SUMMARY = "End the programs that have handles open, so that their packets go on."

_ACCOUNT = """\
Each program is ended once, this one never. Without --yes you are asked first. Exits with 1 if handles are left.
"""

_WAIT_SECONDS = 5.0
_POLL_SECONDS = 0.05


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    parser = tool_parser(prog, SUMMARY, _ACCOUNT, ('"processId == 1234"', "--yes --json"))
    add_filter(parser)
    add_session(parser, priority=None, limit="handles")
    add_confirmation(parser)
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    with Session(options) as session:
        left = kill(session, options.filter)
        if left is None:
            return session.code
    return session.code or (NO_MATCH if left else DONE)


def add_confirmation(parser: argparse.ArgumentParser) -> None:
    """Adds how to be asked and how long to wait."""
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--wait", metavar="S", type=float, default=_WAIT_SECONDS, help="wait so long for them to end (default: 5)"
    )


def kill(session: Session, filter: str) -> list[Entry] | None:
    """Ends the programs of the handles that match; the handles that are left, or None if no driver is running."""
    entries = snapshot(session, filter)
    if entries is None:
        return None
    entries = [entry for entry in entries if entry.process_id != os.getpid()][: session.options.limit]
    if not entries:
        session.summary = {"handles": 0, "left": 0}
        return []
    printer = Printer(session)
    if not session.options.yes and not _is_meant(session, printer, entries):
        session.note("nothing was done")
        return entries
    doomed = {entry.process_id for entry in entries}
    # Shown first: of a process that has ended nothing is to be learnt.
    for entry in entries:
        printer.show("KILL", entry)
    for pid in sorted(doomed):
        _end(session, pid)
    left = _wait(session, filter, doomed)
    session.summary = {"handles": len(entries), "processes": len(doomed), "left": len(left)}
    return left


def _is_meant(session: Session, printer: Printer, entries: list[Entry]) -> bool:
    if not sys.stdin.isatty():
        raise CommandError("there is no terminal to ask on; add --yes to end these programs without a question")
    for entry in entries:
        printer.show("OPEN", entry)
    return session.ask("end these programs?")


def _end(session: Session, pid: int) -> None:
    try:
        # On Windows either number ends it at once.
        os.kill(pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    except ProcessLookupError:
        pass
    except OSError as error:
        session.warn(f"process {pid} cannot be ended: {error.strerror}")


def _wait(session: Session, filter: str, doomed: set[int]) -> list[Entry]:
    """The handles that are still open when the time is out."""
    deadline = time.monotonic() + session.options.wait
    while True:
        left = [entry for entry in snapshot(session, filter) or [] if entry.process_id in doomed]
        if not left or time.monotonic() >= deadline or session.stopping.wait(_POLL_SECONDS):
            return left
