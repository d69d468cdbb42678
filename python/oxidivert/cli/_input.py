"""What the commands share on their way in: the filter and the capture."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import oxidivert as od

from ._errors import CommandError


def add_filter(parser: argparse.ArgumentParser, what: str = 'what matches, such as "tcp.DstPort == 80"') -> None:
    """Adds the filter, and says what it is about."""
    parser.add_argument(
        "filter",
        metavar="FILTER",
        nargs="?",
        default="true",
        help=f"{what} (default: all)",
    )


def add_capture(parser: argparse.ArgumentParser) -> None:
    """Adds the capture and how to read it."""
    parser.add_argument("--read", metavar="IN", required=True, help="the capture: pcap or pcapng, plain or gzip'd")
    add_local(parser)


def add_local(parser: argparse.ArgumentParser) -> None:
    """Adds how directions are told."""
    parser.add_argument(
        "--local",
        metavar="NET",
        nargs="+",
        action="extend",
        help="this side's networks, such as 10.0.0.0/8, if the capture tells no directions (default: private ranges)",
    )


def add_limit(parser: argparse.ArgumentParser, unit: str = "packets") -> None:
    """Adds where to end."""
    parser.add_argument("--limit", metavar="N", type=_count, help=f"end after N {unit}")


def compile_filter(text: str, layer: od.Layer = od.Layer.NETWORK) -> od.Filter:
    """The filter, before anything is opened or written."""
    try:
        return od.Filter(text, layer, dialect="extended")
    except UnicodeEncodeError:
        raise CommandError("the filter is no valid text") from None


def open_replay(source: str, *, out: str | None = None, local: list[str] | None) -> od.Replay:
    """The capture as a backend."""
    try:
        return od.Replay(source, out=out, local=local)
    except ValueError as error:
        raise CommandError(str(error)) from None


def _count(text: str) -> int:
    count = int(text) if text.isdecimal() else 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count of packets; give 1 or more")
    return count


def bounded(lowest: int, highest: int) -> Callable[[str], int]:
    """What reads a number of a range."""

    def number(text: str) -> int:
        value = int(text) if text.isdecimal() else -1
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {lowest} to {highest}")
        return value

    return number
