"""`oxidivert run`: a script's callback over a capture."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import oxidivert as od

from . import _render
from ._errors import DONE, ERROR
from ._input import add_capture, add_filter, compile_filter, open_replay
from ._output import BrokenStdout, silence_stdout, stdout_is_broken, write_line
from ._progress import shown
from ._render import Summary
from ._script import Script, loaded

SUMMARY = "Call a script's handle(packet) for each matching packet of a capture."

_EPILOG = """\
The script defines handle(packet). It returns None or True to send the packet on as it now is, or False to drop
it. Packets that do not match the filter go on as they came. The summary goes to stdout.
"""

# Of how many failing callbacks the traceback is shown when the loop goes on after them.
_ACCOUNTS_MAX = 10


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    parser = argparse.ArgumentParser(prog=prog, description=SUMMARY, epilog=_EPILOG, allow_abbrev=False)
    parser.add_argument("script", metavar="SCRIPT.py", help="the script that defines handle(packet)")
    add_filter(parser)
    add_capture(parser)
    parser.add_argument(
        "--write", metavar="OUT", help="the capture to write; it appears when all is done, and only then"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as a JSON object")
    parser.add_argument(
        "--on-error",
        choices=["raise", "drop", "pass"],
        default="raise",
        help="after an exception in handle: end (raise, the default), drop the packet, or pass it on as it came",
    )
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    if not options.json:
        _render.require_rich()
    filter = compile_filter(options.filter)
    with loaded(options.script) as script, _logged(script) as failures:
        try:
            summary = _replay(script, filter, options, failures)
        except BrokenStdout:
            # The script printed to a pipe that nobody reads, so the work is not done; but that is no news to anybody.
            silence_stdout()
            return ERROR
    if options.json:
        write_line(json.dumps(summary.as_dict()))
    else:
        _render.print_summary(summary)
    return DONE


class _Failures(logging.Handler):
    """Tells of the callback's failures that the loop goes on after, and counts them."""

    def __init__(self, script: Script) -> None:
        super().__init__(logging.ERROR)
        self.script = script
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Shows one failure; the first ones in full, the others only by their number, at the end."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, BrokenPipeError) and stdout_is_broken():
            raise BrokenStdout
        self.count += 1
        if self.count <= _ACCOUNTS_MAX:
            account = f"\n{self.script.account(error)}" if error is not None else ""
            print(f"{record.getMessage()}{account}", file=sys.stderr)

    def tell_rest(self) -> None:
        """Says how many failures were not shown."""
        if self.count > _ACCOUNTS_MAX:
            print(f"the callback failed {self.count - _ACCOUNTS_MAX} more times", file=sys.stderr)


@contextmanager
def _logged(script: Script) -> Iterator[_Failures]:
    """Shows what the library logs by a handler of our own."""
    failures = _Failures(script)
    logger = logging.getLogger("oxidivert")
    propagate = logger.propagate
    logger.addHandler(failures)
    logger.propagate = False
    try:
        yield failures
    finally:
        logger.removeHandler(failures)
        logger.propagate = propagate
        failures.tell_rest()


def _replay(script: Script, filter: od.Filter, options: argparse.Namespace, failures: _Failures) -> Summary:
    replay = open_replay(options.read, out=options.write, local=options.local)
    with od.open(filter, backend=replay) as handle:
        started = time.perf_counter()
        with shown(replay, handle):
            _loop(script, handle, options.on_error)
        seconds = time.perf_counter() - started
    stats = handle.stats
    return Summary(
        output=options.write,
        seen=stats.seen,
        matched=stats.received,
        sent=stats.sent,
        modified=stats.modified,
        dropped=stats.dropped,
        failed=failures.count,
        errors=stats.errors,
        checksums_computed=stats.checksums_computed,
        seconds=seconds,
    )


def _loop(script: Script, handle: od.Handle[od.Packet], on_error: Literal["raise", "drop", "pass"]) -> None:
    try:
        handle.run(script.handle, on_error=on_error)
    except BrokenStdout:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, BrokenPipeError) and stdout_is_broken():
            raise BrokenStdout from None
        if isinstance(error, od.DivertError) and not script.raised(error):
            raise
        raise script.failure(error) from None
