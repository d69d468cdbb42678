"""Exit codes, and the error that a user is told about in one message."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
NO_MATCH: Final = 1
ERROR: Final = 2
INTERRUPTED: Final = 130


class CommandError(Exception):
    """The command cannot do what was asked; the message says what to do, and is all that the user needs."""
