"""`oxidivert driver stop`: unloads the driver."""

from __future__ import annotations

import argparse

import oxidivert as od

from .. import _native
from ._errors import DONE, NO_MATCH
from ._output import write_line

SUMMARY = "Stop the driver. Windows waits with it until every handle of every program is closed."

#: The service manager's words for a driver that does not run.
NOT_RUNNING = {"ERROR_SERVICE_DOES_NOT_EXIST", "ERROR_SERVICE_NOT_ACTIVE"}


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    return argparse.ArgumentParser(prog=prog, description=SUMMARY, allow_abbrev=False)


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    if not stop():
        write_line("the driver does not run")
        return DONE
    if _native._driver_inventory()[0]:
        write_line("the driver stops as soon as the last handle is closed; see 'oxidivert driver status'")
        return NO_MATCH
    write_line("the driver is stopped")
    return DONE


def stop() -> bool:
    """Stops the driver; false if it does not run."""
    try:
        _native._driver_stop()
    except od.DivertError as error:
        if error.symbol not in NOT_RUNNING:
            raise
        return False
    return True
