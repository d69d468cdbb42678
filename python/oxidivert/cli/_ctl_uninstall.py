"""`oxidivert ctl uninstall`: taking what diverts out of the system."""

from __future__ import annotations

import argparse
import os
import sys
import time

from .. import _native
from ._ctl_handles import snapshot
from ._ctl_kill import add_confirmation, kill
from ._errors import DONE, NO_MATCH, CommandError
from ._session import Session, add_session, tool_parser

SUMMARY = "End the programs that have handles open, then stop and delete the driver's service."

_ACCOUNT = """\
The right way to be rid of a driver is to uninstall the program that brought it: it may install it again. On Linux
nothing is installed, and what a crashed program left is taken away. Exits with 1 if something is left.
"""

#: The services of WinDivert 1.x, which programs that old leave behind, and that of 2.x.
SERVICES = ("WinDivert1.0", "WinDivert1.1", "WinDivert1.2", "WinDivert1.3", "WinDivert1.4", "WinDivert")
_STOP_SECONDS = 5.0


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    parser = tool_parser(prog, SUMMARY, _ACCOUNT, ("", "--yes --wait 10"))
    add_session(parser, priority=None, limit="handles")
    add_confirmation(parser)
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    with Session(options) as session:
        is_left = bool(kill(session, "true")) or _are_left(session)
        if sys.platform == "win32" and session.is_system and not is_left and not session.stopping.is_set():
            from ._services import installing_is_locked

            with installing_is_locked():
                _remove_all(session)
    return session.code or (NO_MATCH if is_left else DONE)


def _are_left(session: Session) -> bool:
    """Whether another process has a handle open, such as one beyond `--limit`."""
    left = [entry for entry in snapshot(session, "true") or [] if entry.process_id != os.getpid()]
    if left:
        session.summary["left"] = len(left)
    return bool(left)


def _remove_all(session: Session) -> None:
    """Stops and removes the services that there are, and tells of each."""
    if sys.platform == "win32":
        from ._services import remove

        for name in SERVICES:
            if remove(name):
                record: dict[str, object] = {"type": "uninstall", "service": name}
                _print(session, name, record)
        deadline = time.monotonic() + _STOP_SECONDS
        while _native._driver_inventory()[0]:
            # It stops once the last process has gone, which may take its time.
            if time.monotonic() >= deadline:
                raise CommandError("the driver does not stop; see 'oxidivert driver status' for what holds it")
            time.sleep(0.1)


def _print(session: Session, name: str, record: dict[str, object]) -> None:
    session.emit(lambda: record, lambda: f"{session.style.paint('green', 'UNINSTALL')} {name}")
