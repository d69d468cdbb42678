"""A user's script: loading it, and telling of its failures without the frames that are not its own."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType, TracebackType

import oxidivert as od

from ._errors import CommandError

# Not "__main__", so that a script can also be a program of its own.
_MODULE_NAME = "__oxidivert_script__"


@dataclass(frozen=True)
class Script:
    """A loaded script and its callback."""

    path: str
    handle: Callable[[od.Packet], bool | None]

    def raised(self, error: BaseException) -> bool:
        """Whether the exception passed through code of the script."""
        return _raised(self.path, error)

    def account(self, error: BaseException) -> str:
        """The exception's traceback, from the script's first frame on."""
        return _account(self.path, error)

    def failure(self, error: BaseException) -> CommandError:
        """What to tell of an exception that the callback ended with."""
        return _failure(self.path, error)


@contextmanager
def loaded(path: str) -> Iterator[Script]:
    """Runs the script's module and gives its callback; its folder is importable as long as the block lasts."""
    folder = os.path.dirname(os.path.abspath(path))
    code = _compiled(path)
    module = ModuleType(_MODULE_NAME)
    module.__file__ = path
    sys.path.insert(0, folder)
    sys.modules[_MODULE_NAME] = module
    try:
        _execute(code, module, path)
        yield Script(path, _callback(module, path))
    finally:
        sys.modules.pop(_MODULE_NAME, None)
        if folder in sys.path:
            sys.path.remove(folder)


def _raised(path: str, error: BaseException) -> bool:
    return _from_script_on(path, error.__traceback__) is not None


def _account(path: str, error: BaseException) -> str:
    shown = traceback.TracebackException(type(error), error, _from_script_on(path, error.__traceback__), compact=True)
    return "".join(shown.format()).rstrip("\n")


def _compiled(path: str) -> object:
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        raise CommandError(f"cannot read the script {path}: {error.strerror}") from None
    try:
        return compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        account = "".join(traceback.format_exception_only(error)).rstrip("\n")
        raise CommandError(f"the script {path} is no valid Python\n{account}") from None


def _execute(code: object, module: ModuleType, path: str) -> None:
    try:
        exec(code, module.__dict__)  # type: ignore[arg-type]
    except (Exception, SystemExit) as error:
        raise _failure(path, error) from None


def _callback(module: ModuleType, path: str) -> Callable[[od.Packet], bool | None]:
    callback = getattr(module, "handle", None)
    if callback is None:
        raise CommandError(f"the script {path} has no function handle; it needs: def handle(packet): ...")
    if not callable(callback):
        raise CommandError(f"in the script {path}, handle is {type(callback).__name__}, no function")
    return callback  # type: ignore[no-any-return]


def _failure(path: str, error: BaseException) -> CommandError:
    # The loop notes which packet an exception is about; a traceback shows notes by itself.
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    if isinstance(error, SystemExit):
        ending = f" with {error.code!r}" if error.code is not None else ""
        return CommandError(f"the script {path} exited{ending}{notes}")
    if not _raised(path, error):
        # Raised about the callback rather than in it: its arguments or its answer do not fit.
        return CommandError(f"the script {path} failed: {error}{notes}")
    return CommandError(f"the script {path} failed\n{_account(path, error)}")


def _from_script_on(path: str, frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and frames.tb_frame.f_code.co_filename != path:
        frames = frames.tb_next
    return frames
