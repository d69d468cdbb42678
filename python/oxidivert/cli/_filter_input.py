"""What the filter commands share on their way in: the filter, its layer, its dialect and its named sets."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

import oxidivert as od

from ._errors import CommandError

_SEPARATORS = re.compile(r"[,\n]")
_COMMENT = re.compile(r"#.*")


def filter_parser(prog: str, summary: str, *examples: str, notes: str = "") -> argparse.ArgumentParser:
    """A parser with the filter and how to read it; the examples and notes stand below the help."""
    epilog = "\n".join(["examples:", *(f"  {example}" for example in examples), *(["", notes] if notes else [])])
    parser = argparse.ArgumentParser(
        prog=prog,
        description=summary,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("filter", metavar="FILTER", help="the filter, or - to read it from stdin")
    return parser


def add_dialect(parser: argparse.ArgumentParser) -> None:
    """Adds what the filter's text may say."""
    parser.add_argument(
        "--dialect",
        choices=["extended", "windivert"],
        default="extended",
        help="windivert refuses all that WinDivert does; extended (the default) has sets and negated groups too",
    )
    parser.add_argument(
        "--set",
        metavar="NAME=MEMBERS",
        dest="sets",
        type=_set,
        action="append",
        default=[],
        help="a set that the filter names as $NAME: a file with a member a line, or members with commas between",
    )


def add_layer(parser: argparse.ArgumentParser) -> None:
    """Adds the layer."""
    names = ", ".join(layer.name.lower() for layer in od.Layer)
    parser.add_argument(
        "--layer", metavar="LAYER", type=_layer, default=od.Layer.NETWORK, help=f"one of {names} (default: network)"
    )


def compiled(options: argparse.Namespace) -> od.Filter:
    """The filter that the arguments describe; FilterError if it does not compile."""
    layer = getattr(options, "layer", od.Layer.NETWORK)
    sets = {name: _members(rest) for name, rest in options.sets}
    text = filter_text(options)
    try:
        return od.Filter(text, layer, dialect=options.dialect, sets=sets)
    except od.FilterError:
        raise
    except UnicodeEncodeError:
        raise CommandError("the filter is no valid text") from None
    except ValueError as error:
        hint = "a set is a file that exists, or members with commas between"
        raise CommandError(f"{error}\n{hint}") from None


def filter_text(options: argparse.Namespace) -> str:
    """The filter's text, from the argument or from stdin."""
    if options.filter != "-":
        return str(options.filter)
    try:
        return sys.stdin.read().rstrip() if sys.stdin is not None else ""
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read the filter from stdin: {error}") from None


def _layer(text: str) -> od.Layer:
    name = text.upper().replace("-", "_")
    if name not in od.Layer.__members__:
        raise argparse.ArgumentTypeError(f"{text!r} is no layer")
    return od.Layer[name]


def _set(text: str) -> tuple[str, str]:
    name, equals, rest = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} has no name; write NAME=FILE or NAME=MEMBER,MEMBER")
    return name, rest


def _members(text: str) -> list[str]:
    """The members of a set: those in the file of this name, if there is one, or those that the text lists."""
    try:
        # A list may be longer than the name of a file can be, which Path.is_file would not take.
        listed = Path(text).read_text(encoding="utf-8") if os.path.isfile(text) else text
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise CommandError(f"cannot read the set {text}: {reason}") from None
    members = _SEPARATORS.split(_COMMENT.sub("", listed))
    return [member.strip() for member in members if member.strip()]
