"""The command `oxidivert`, also as `python -m oxidivert`."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from oxidivert.cli import cli


def main() -> None:
    """Runs the command on the program's arguments and exits with its code."""
    # A program that was started with a stream closed has None there.
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    sys.exit(cli(*sys.argv[1:]))


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


if __name__ == "__main__":
    main()
