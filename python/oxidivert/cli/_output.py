"""Writing data to stdout, and knowing whether somebody still reads it."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ._errors import CommandError


class BrokenStdout(Exception):
    """Nobody reads stdout any more: no error, but the end of the work."""


@contextmanager
def to_stdout() -> Iterator[None]:
    """Turns a failure to write in the block into what the command ends with."""
    try:
        yield
    except BrokenPipeError:
        raise BrokenStdout from None
    except OSError as error:
        raise CommandError(f"cannot write to stdout: {error.strerror}") from None


def write_line(text: str) -> None:
    """Writes a line of data."""
    with to_stdout():
        sys.stdout.write(text + "\n")


def flush_stdout() -> None:
    """Hands over what is still buffered, so that a failure is noticed here and not at the interpreter's exit."""
    with to_stdout():
        sys.stdout.flush()


def stdout_is_broken() -> bool:
    """Whether a BrokenPipeError, which was just raised, came from stdout rather than from another pipe or socket."""
    if sys.platform == "win32":
        # There is no way to ask; stdout is by far the likeliest.
        return True
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def silence_stdout() -> None:
    """Sends what is still buffered nowhere, so that the interpreter's own flush at exit says nothing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    finally:
        os.close(nowhere)
