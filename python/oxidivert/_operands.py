"""What fields are held against: Python values to filter text, and checked as they come.

A function here raises `Unfit` for a value that the field does not take; the field, which knows its name, makes the
error that the user sees. Values that fit but can never match pass: the compiler warns about them.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from ipaddress import ip_address as parse_address
from ipaddress import ip_network as parse_network
from typing import Final, NamedTuple, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

ADDRESSES: Final = (IPv4Address, IPv6Address)
NETWORKS: Final = (IPv4Network, IPv6Network)
_INTERFACES: Final = (IPv4Interface, IPv6Interface)
_SET_NAME: Final = re.compile(r"\$\w+", re.ASCII)
# The language's numbers have a sign and 128 bits.
_NUMBER_BITS: Final = 128


class Unfit(Exception):
    """A value that a field does not take: of a wrong type, or, with a reason, of the right one but wrong."""

    def __init__(self, value: object, reason: str = "", *, wrong_type: bool = False) -> None:
        super().__init__(reason)
        self.value = value
        self.reason = reason
        self.wrong_type = wrong_type


class Operand(NamedTuple):
    """A value, a stretch of values or a set of them, as filter text and as Python."""

    text: str
    code: str
    low: int = 0
    high: int = 0
    is_stretch: bool = False


def number(value: object, *, hexadecimal: bool = False) -> Operand:
    """An integer; a truth value is none."""
    if isinstance(value, bool):
        raise Unfit(value, wrong_type=True)
    try:
        exact = int(operator.index(value))  # type: ignore[arg-type]
    except TypeError:
        raise Unfit(value, wrong_type=True) from None
    if abs(exact) >> _NUMBER_BITS:
        raise Unfit(value, f"a number in a filter has at most {_NUMBER_BITS} bits")
    text = hex(exact) if hexadecimal else str(exact)
    return Operand(text, text, exact, exact)


def named(name: str, names: Mapping[str, int]) -> Operand:
    """One of the names for numbers."""
    if name not in names:
        raise Unfit(name)
    return Operand(name, repr(name), names[name], names[name])


def address(value: object, versions: frozenset[int]) -> Operand:
    """An address of one of these IP versions, as an object or as text."""
    if isinstance(value, _INTERFACES):
        raise Unfit(value, "an interface is an address and a network, so say .ip or .network")
    if not isinstance(value, (str, *ADDRESSES)):
        raise Unfit(value, wrong_type=True)
    try:
        exact = parse_address(value)
    except ValueError:
        raise Unfit(value) from None
    _verify(exact, versions, value)
    text = _spelled(exact)
    return Operand(text, repr(text), _mapped(exact), _mapped(exact))


def network(value: str | Network, versions: frozenset[int]) -> Operand:
    """A network of one of these IP versions, as an object or as text with a slash."""
    try:
        exact = parse_network(value)
    except ValueError as error:
        raise Unfit(value, str(error)) from None
    _verify(exact.network_address, versions, value)
    text = f"{_spelled(exact.network_address)}/{exact.prefixlen}"
    return Operand(text, repr(text), _mapped(exact.network_address), _mapped(exact.broadcast_address), True)


def stretch(low: Operand, high: Operand, value: object) -> Operand:
    """All values from one to another, both included."""
    if low.low > high.high:
        raise Unfit(value, "the low end comes first")
    return Operand(f"{low.text}-{high.text}", f"({low.code}, {high.code})", low.low, high.high, True)


def named_set(name: str) -> Operand:
    """A set that is given by name when the filter is compiled."""
    if not _SET_NAME.fullmatch(name):
        raise Unfit(name, "the name of a set is $ and letters, digits or _")
    return Operand(name, repr(name))


def collection(members: Iterable[Operand]) -> Operand:
    """The members as one set, sorted and without repetition, so that equal sets have equal texts."""
    ordered = sorted(set(members), key=lambda member: (member.low, member.high, member.text))
    texts = ", ".join(member.text for member in ordered)
    codes = ", ".join(member.code for member in ordered)
    alone = len(ordered) == 1 and ordered[0].is_stretch
    return Operand(texts if alone else f"{{{texts}}}", f"[{codes}]")


def _verify(exact: Address, versions: frozenset[int], value: object) -> None:
    if exact.version not in versions:
        raise Unfit(value)
    if isinstance(exact, IPv6Address) and exact.scope_id is not None:
        raise Unfit(value, "addresses in filters have no zone")


def _spelled(value: Address) -> str:
    """The same text on every Python, which write mapped addresses in different ways."""
    if isinstance(value, IPv6Address) and value.ipv4_mapped is not None:
        return f"::ffff:{value.ipv4_mapped}"
    return str(value)


def _mapped(value: Address) -> int:
    """The number that the language takes an address for: an IPv4 address is a mapped one."""
    return int(value) if isinstance(value, IPv6Address) else 0xFFFF << 32 | int(value)
