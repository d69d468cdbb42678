"""`oxidivert driver uninstall`: stops the driver and removes what installing it has left."""

from __future__ import annotations

import argparse
import shutil

import oxidivert as od

from .. import _native
from ._driver_stop import stop
from ._errors import DONE, ERROR, CommandError
from ._output import write_line

SUMMARY = "Stop the driver, remove its service and the copy of its file."


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    return argparse.ArgumentParser(prog=prog, description=SUMMARY, allow_abbrev=False)


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    stop()
    remove_service()
    is_loaded, _, folder, _ = _native._driver_inventory()
    if is_loaded:
        write_line(
            "the driver is still loaded: close the programs that 'oxidivert driver status' lists, then try again"
        )
        return ERROR
    # The package's own folder stands in where no other is known, and is not ours to remove.
    if folder.name.startswith("WinDivert-") and folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise CommandError(f"{folder} cannot be removed: {error.strerror}") from None
    write_line("the driver is uninstalled")
    return DONE


def remove_service() -> None:
    """Removes the service, if there is one."""
    try:
        _native._driver_remove()
    except od.DivertError as error:
        if error.symbol not in {"ERROR_SERVICE_DOES_NOT_EXIST", "ERROR_SERVICE_MARKED_FOR_DELETE"}:
            raise
