"""`oxidivert driver status`: what is there of the driver, and who uses it."""

from __future__ import annotations

import argparse
import json

import oxidivert as od

from .. import _native
from ._driver_users import User, users
from ._errors import DONE
from ._output import write_line

SUMMARY = "Tell whether the driver runs, from where, and which handles are open."


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    parser = argparse.ArgumentParser(prog=prog, description=SUMMARY, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    is_loaded, service, folder, files = _native._driver_inventory()
    try:
        found = users() if is_loaded else []
        refusal = None
    except od.DivertError as error:
        found, refusal = [], str(error.strerror)
    if options.json:
        write_line(
            json.dumps(
                {
                    "loaded": is_loaded,
                    "service": service and {"running": service[0], "path": str(service[1])},
                    "folder": str(folder),
                    "files": [{"path": str(path), "problem": problem or None} for path, problem in files],
                    "handles": None if refusal else [user.as_dict() for user in found],
                }
            )
        )
        return DONE
    write_line(f"driver   {'loaded' if is_loaded else 'not loaded; the first open starts it'}")
    write_line(f"service  {_service_text(service)}")
    write_line(f"folder   {folder}")
    for path, problem in files:
        write_line(f"file     {problem or f'{path}: as it was shipped'}")
    _tell_users(found, refusal)
    return DONE


def _service_text(service: tuple[bool, object] | None) -> str:
    if service is None:
        return "none"
    is_running, path = service
    return f"{'running' if is_running else 'stopped'}: {path}"


def _tell_users(found: list[User], refusal: str | None) -> None:
    if refusal:
        write_line(f"handles  unknown: {refusal}")
    for user in found:
        write_line(f"handle   {user}")
