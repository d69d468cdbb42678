"""`oxidivert ctl uninstall`: taking what diverts out of the system."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from .. import _native
from ._ctl_kill import add_confirmation, kill
from ._driver_stop import stop
from ._driver_uninstall import remove_service
from ._errors import DONE, NO_MATCH, CommandError
from ._session import Session, add_session, tool_parser

SUMMARY = "End the programs that have handles open, then stop and delete the driver's service."

_ACCOUNT = """\
The right way to be rid of a driver is to uninstall the program that brought it: it may install it again. On Linux
nothing is installed, and what a crashed program left is taken away. Exits with 1 if something is left.
"""

#: The services of WinDivert 1.x, which programs that old leave behind.
_OLD_SERVICES = ("WinDivert1.4", "WinDivert1.3", "WinDivert1.2", "WinDivert1.1", "WinDivert1.0")
#: What the service manager answers and what counts as done: it is not active, is to be deleted already, is not there.
_NOT_ACTIVE, _MARKED_FOR_DELETE, _ABSENT = 1062, 1072, 1060
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
        left = kill(session, "true")
        if left is None:
            # No driver is running, so that nothing needs to be stopped.
            return DONE
        if left:
            return NO_MATCH
        if sys.platform == "win32" and session.is_system:
            for name in _remove_all():
                record: dict[str, object] = {"type": "uninstall", "service": name}
                _print(session, name, record)
    return session.code


def _print(session: Session, name: str, record: dict[str, object]) -> None:
    session.emit(lambda: record, lambda: f"{session.style.paint('green', 'UNINSTALL')} {name}")


def _remove_all() -> list[str]:
    """Stops and removes the services that there are; their names."""
    removed = ["WinDivert"] if stop() else []
    deadline = time.monotonic() + _STOP_SECONDS
    while _native._driver_inventory()[0]:
        # It stops once the last process has gone, which may take its time.
        if time.monotonic() >= deadline:
            raise CommandError("the driver does not stop; see 'oxidivert driver status' for what holds it")
        time.sleep(0.1)
    remove_service()
    return removed + [name for name in _OLD_SERVICES if _remove(name)]


def _remove(name: str) -> bool:
    """Stops and deletes a service; whether there was one."""
    if _service("query", name) == _ABSENT:
        return False
    code = _service("stop", name)
    if code not in (0, _NOT_ACTIVE, _ABSENT):
        raise CommandError(f"the service {name} cannot be stopped: error {code}")
    deadline = time.monotonic() + _STOP_SECONDS
    while not _is_stopped(name) and time.monotonic() < deadline:
        time.sleep(0.1)
    # It goes away by itself where the library has marked it for that.
    code = _service("delete", name)
    if code not in (0, _MARKED_FOR_DELETE, _ABSENT):
        raise CommandError(f"the service {name} cannot be deleted: error {code}")
    return True


def _is_stopped(name: str) -> bool:
    told = subprocess.run(["sc.exe", "query", name], capture_output=True, text=True, check=False)
    return told.returncode == _ABSENT or "STOPPED" in told.stdout


def _service(verb: str, name: str) -> int:
    return subprocess.run(["sc.exe", verb, name], capture_output=True, check=False).returncode
