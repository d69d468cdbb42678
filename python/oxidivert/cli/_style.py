"""Colours, on terminals only."""

from __future__ import annotations

import os
import sys
from typing import TextIO

_CODES = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36", "reverse": "7"}


class Style:
    """Paints text, or leaves it as it is."""

    def __init__(self, *, is_coloured: bool) -> None:
        self.is_coloured = is_coloured

    def paint(self, colour: str, text: str) -> str:
        """The text in a colour."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.is_coloured else text

    def pairs(self, **values: object) -> str:
        """`label=value` pairs, the values coloured; those that are None are left out."""
        shown = [f"{name}={self.paint('yellow', str(value))}" for name, value in values.items() if value is not None]
        return " ".join(shown)


def style_of(stream: TextIO) -> Style:
    """The style that a stream can show. NO_COLOR and dumb terminals get none."""
    is_coloured = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    if is_coloured and sys.platform == "win32":
        # Makes the console understand escape sequences.
        os.system("")
    return Style(is_coloured=is_coloured)
