"""The command line: one module for each subcommand, which parses arguments, calls the public API and renders.

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 "no match" where that is the question, 2 usage,
input or system error, 130 after Ctrl-C. A broken pipe is quiet.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Callable

import oxidivert as od

from . import _netdump, _run
from ._errors import DONE, ERROR, INTERRUPTED, CommandError
from ._output import BrokenStdout, flush_stdout, silence_stdout

__all__ = ["cli"]

_COMMANDS = {"run": _run, "netdump": _netdump}


def cli(*arguments: str) -> int:
    """Runs one command line (without the program's name) and returns its exit code."""
    command = arguments[0] if arguments and arguments[0] in _COMMANDS else None
    prog = f"oxidivert {command}" if command else "oxidivert"
    with warnings.catch_warnings():
        warnings.showwarning = _warning_line(prog)
        try:
            return _dispatch(prog, command, arguments)
        except CommandError as error:
            _complain(prog, str(error))
        except od.FilterError as error:
            _complain(prog, f"the filter does not compile\n{error}")
        except BrokenStdout:
            silence_stdout()
            return DONE
        except KeyboardInterrupt:
            _complain(prog, "interrupted", kind="")
            return INTERRUPTED
        except OSError as error:
            _complain(prog, _account(error))
        return ERROR


def _dispatch(prog: str, command: str | None, arguments: tuple[str, ...]) -> int:
    try:
        if command is None:
            _parser(prog).parse_args(arguments)
            raise AssertionError("the parser of the bare program ends by itself")
        module = _COMMANDS[command]
        options = module.parser(prog).parse_intermixed_args(arguments[1:])
    except SystemExit as end:
        # How argparse ends after its help or after a usage error, of which it has told.
        code = end.code if isinstance(end.code, int) else DONE
    else:
        code = module.execute(options)
    flush_stdout()
    return code


def _parser(prog: str) -> argparse.ArgumentParser:
    width = max(map(len, _COMMANDS))
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Divert, inspect, edit, drop and re-inject network packets.",
        epilog="\n".join(
            ["commands:"]
            + [f"  {name:{width}}  {module.SUMMARY}" for name, module in _COMMANDS.items()]
            + ["", "'oxidivert COMMAND --help' tells more about a command."]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", metavar="COMMAND", choices=list(_COMMANDS), help="what to do, see below")
    parser.add_argument("--version", action="version", version=f"oxidivert {od.__version__}")
    return parser


def _complain(prog: str, message: str, *, kind: str = "error: ") -> None:
    print(f"{prog}: {kind}{message}", file=sys.stderr)


def _account(error: OSError) -> str:
    """What the error says, without the numbers that only programs need."""
    if isinstance(error, od.DivertError):
        return re.sub(r" \(os error \d+\)", "", str(error.strerror))
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)


def _warning_line(prog: str) -> Callable[..., None]:
    def show(message: Warning | str, *_where: object, **_more: object) -> None:
        """Shows a warning as one line, without the place in this package that it comes from."""
        _complain(prog, str(message), kind="warning: ")

    return show
