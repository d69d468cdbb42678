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
from types import ModuleType

import oxidivert as od

from . import (
    _ctl,
    _doctor,
    _driver,
    _filter,
    _flowtrack,
    _netdump,
    _netfilter,
    _passthru,
    _run,
    _socketdump,
    _streamdump,
    _webfilter,
)
from ._errors import DONE, ERROR, INTERRUPTED, CommandError
from ._output import BrokenStdout, flush_stdout, silence_stdout

__all__ = ["cli"]

_COMMANDS: dict[str, ModuleType] = {
    "run": _run,
    "netdump": _netdump,
    "netfilter": _netfilter,
    "webfilter": _webfilter,
    "streamdump": _streamdump,
    "flowtrack": _flowtrack,
    "socketdump": _socketdump,
    "passthru": _passthru,
    "ctl": _ctl,
    "filter": _filter,
    "doctor": _doctor,
    "driver": _driver,
}


def cli(*arguments: str, backend: od.Engine | None = None) -> int:
    """Runs one command line (without the program's name) and returns its exit code.

    `backend`: where the tools open their handles, if no capture is named; without it, live on this system.
    """
    prog, commands, module = "oxidivert", _COMMANDS, None
    while arguments and arguments[0] in commands:
        prog, module = f"{prog} {arguments[0]}", commands[arguments[0]]
        # A command with commands of its own is only their name.
        commands, arguments = getattr(module, "COMMANDS", {}), arguments[1:]
    with warnings.catch_warnings():
        warnings.showwarning = _warning_line(prog)
        try:
            return _dispatch(prog, module, arguments, backend)
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


def _dispatch(prog: str, module: ModuleType | None, arguments: tuple[str, ...], backend: od.Engine | None) -> int:
    try:
        if module is None or hasattr(module, "COMMANDS"):
            _parser(prog, module).parse_args(arguments)
            raise AssertionError("the parser of commands ends by itself")
        options = module.parser(prog).parse_intermixed_args(arguments)
        options.backend = backend
    except SystemExit as end:
        # How argparse ends after its help or after a usage error, of which it has told.
        code = end.code if isinstance(end.code, int) else DONE
    else:
        code = module.execute(options)
    flush_stdout()
    return code


def _parser(prog: str, group: ModuleType | None) -> argparse.ArgumentParser:
    """The parser of a command line that names no command, or of one that names only the group of some."""
    commands = group.COMMANDS if group else _COMMANDS
    width = max(map(len, commands))
    parser = argparse.ArgumentParser(
        prog=prog,
        description=group.SUMMARY if group else "Divert, inspect, edit, drop and re-inject network packets.",
        epilog="\n".join(
            ["commands:"]
            + [f"  {name:{width}}  {module.SUMMARY}" for name, module in commands.items()]
            + ["", f"'{prog} COMMAND --help' tells more about a command."]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", metavar="COMMAND", choices=list(commands), help="what to do, see below")
    if group is None:
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
