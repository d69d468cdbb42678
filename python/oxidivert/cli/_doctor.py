"""`oxidivert doctor`: what on this system keeps handles from being opened, and what to do about it.

Each system has a module with `findings()`, which looks, and `repair()`, which mends what can be mended without harm.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
from types import ModuleType

from ._errors import DONE, NO_MATCH, CommandError
from ._findings import Finding
from ._output import write_line

SUMMARY = "Tell what keeps handles from being opened on this system, and what to do."

_SYSTEMS = {"win32": "_doctor_windows", "linux": "_doctor_linux"}


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    parser = argparse.ArgumentParser(prog=prog, description=SUMMARY, allow_abbrev=False)
    parser.add_argument("--repair", action="store_true", help="mend what can be mended without harm, then look again")
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    system = _system()
    if options.repair:
        for done in system.repair():
            print(f"repaired: {done}", file=sys.stderr)
    found: list[Finding] = list(system.findings())
    if options.json:
        write_line(json.dumps([dataclasses.asdict(finding) for finding in found]))
    else:
        for finding in found:
            write_line(str(finding))
    return NO_MATCH if any(finding.state == "problem" for finding in found) else DONE


def _system() -> ModuleType:
    name = _SYSTEMS.get(sys.platform)
    try:
        return importlib.import_module(f".{name}", __package__)
    except ModuleNotFoundError:
        raise CommandError("nothing is known about handles on this system; captures and Engine work anywhere") from None
