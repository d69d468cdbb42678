"""The kinds of fields: what each may be held against, and how that is written."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Final, Literal, Never, NoReturn, TypeGuard, overload

from . import _operands
from ._comparable import Comparable, Ordered, Row, Value
from ._enums import Event, Layer
from ._expression import Expression, Phrase, Rank
from ._operands import Address, Network, Operand, Unfit

_PROTOCOLS: Final[dict[str, int]] = {"ICMP": 1, "TCP": 6, "UDP": 17, "ICMPV6": 58}
# The language has no prefixes, so two layers share the name CLOSE; members keep the first.
_EVENTS: Final[dict[str, int]] = {event.name.partition("_")[2]: event for event in reversed(Event)}
# No index is beyond the largest packet.
_LAST_BYTE: Final = 65535


class FlagField(Expression):
    """A field that is 0 or 1, and a test by itself. `== 0` is true where the field is there and 0."""

    def __init__(self, row: Row, code: str) -> None:
        super().__init__(Phrase(row.name), Phrase(code))
        self._row = row
        self.__doc__ = row.account()

    def __invert__(self) -> Expression:
        return self._zero() if self._row.is_everywhere else super().__invert__()

    @overload
    def __eq__(self, value: int) -> Expression: ...  # type: ignore[overload-overlap]
    @overload
    def __eq__(self, value: object) -> bool: ...
    def __eq__(self, value: object) -> Expression | bool:
        if not isinstance(value, int):
            return super().__eq__(value)
        return self if self._bit(value) else self._zero()

    @overload
    def __ne__(self, value: int) -> Expression: ...  # type: ignore[overload-overlap]
    @overload
    def __ne__(self, value: object) -> bool: ...
    def __ne__(self, value: object) -> Expression | bool:
        if not isinstance(value, int):
            return super().__ne__(value)
        return self._zero() if self._bit(value) else self

    __hash__ = Expression.__hash__

    def _zero(self) -> Expression:
        text = Phrase(f"not {self._row.name}")
        if self._row.is_everywhere:
            return Expression(text, Phrase(f"~{self!r}"), self)
        return Expression(text, Phrase(f"{self!r} == 0", Rank.COMPARISON))

    def _bit(self, value: int) -> bool:
        if value not in (0, 1):
            raise ValueError(f"{self._row.name} takes 0, 1, False or True, not {value!r}")
        return bool(value)


class NumberField(Ordered[int, int | range | tuple[int, int]]):
    """A field with a number."""

    def _takes(self) -> str:
        return "a whole number"

    def _operand(self, value: object) -> Operand:
        return _operands.number(value, hexadecimal=self._row.style == "hexadecimal")


class ProtocolField(
    Ordered[
        int | Literal["ICMP", "TCP", "UDP", "ICMPV6"],
        int | Literal["ICMP", "TCP", "UDP", "ICMPV6"] | range | tuple[int, int],
    ]
):
    """A field with a protocol's number, for some of which there are names."""

    def _takes(self) -> str:
        return f"a whole number or one of {', '.join(_PROTOCOLS)}"

    def _operand(self, value: object) -> Operand:
        return _operands.named(value, _PROTOCOLS) if isinstance(value, str) else _operands.number(value)


class _NamedField(Comparable[Value, Value]):
    """A field with the number of a member of an enumeration."""

    def _operand(self, value: object) -> Operand:
        # A member of another enumeration would be a mistake.
        if type(value) is not int:
            raise Unfit(value, wrong_type=True)
        return _operands.number(value)


class EventField(
    _NamedField[
        Event
        | int
        | Literal["PACKET", "ESTABLISHED", "DELETED", "BIND", "CONNECT", "LISTEN", "ACCEPT", "CLOSE", "OPEN"]
    ]
):
    """The field with the event, whose names in filters are those of `Event` without the layer."""

    def _takes(self) -> str:
        return f"an Event, its number, or one of {', '.join(reversed(_EVENTS))}"

    def _operand(self, value: object) -> Operand:
        if isinstance(value, Event):
            name = value.name.partition("_")[2]
            # CLOSE means another event on another layer, and the layer is not known here.
            return _operands.number(value) if name == "CLOSE" else _operands.named(name, _EVENTS)
        return _operands.named(value, _EVENTS) if isinstance(value, str) else super()._operand(value)


class LayerField(_NamedField[Layer | int | Literal["NETWORK", "NETWORK_FORWARD", "FLOW", "SOCKET", "REFLECT"]]):
    """The field with the layer of a handle."""

    def _takes(self) -> str:
        return f"a Layer, its number, or one of {', '.join(Layer.__members__)}"

    def _operand(self, value: object) -> Operand:
        value = value.name if isinstance(value, Layer) else value
        return _operands.named(value, Layer.__members__) if isinstance(value, str) else super()._operand(value)


class AddressField(
    Ordered[Address | Network | str, Address | Network | str | tuple[Address | str, Address | str]],
):
    """A field with an IP address, to be held against addresses and networks, as text or of `ipaddress`.

    >>> from oxidivert import f
    >>> print(f.ip.dst_addr == "10.0.0.0/8")
    ip.DstAddr in 10.0.0.0/8
    """

    def __eq__(self, value: Address | Network | str) -> Expression:  # type: ignore[override]
        return self._belong("in", [value]) if _is_network(value) else super().__eq__(value)

    def __ne__(self, value: Address | Network | str) -> Expression:  # type: ignore[override]
        return self._belong("not in", [value]) if _is_network(value) else super().__ne__(value)

    __hash__ = None  # type: ignore[assignment]

    def isin(
        self,
        members: Iterable[Address | Network | str | tuple[Address | str, Address | str]] | Network | str,
    ) -> Expression:
        """True where the field is there and in a network or a set of addresses, networks and `(low, high)`.

        `"$name"` is the set that this name is given when the filter is compiled.

        >>> from oxidivert import f
        >>> print(f.ip.src_addr.isin(["10.0.0.0/8", ("192.168.0.1", "192.168.0.9")]))
        ip.SrcAddr in {10.0.0.0/8, 192.168.0.1-192.168.0.9}
        """
        return super().isin(members)

    def notin(
        self,
        members: Iterable[Address | Network | str | tuple[Address | str, Address | str]] | Network | str,
    ) -> Expression:
        """True where the field is there and not in a network or set, which is given as to `isin`."""
        return super().notin(members)

    def _versions(self) -> frozenset[int]:
        if self._row.style == "ipv4":
            return frozenset({4})
        # Without a header of one version it is either's address.
        return frozenset({6}) if self._row.needs else frozenset({4, 6})

    def _takes(self) -> str:
        versions = " or ".join(f"IPv{version}" for version in sorted(self._versions()))
        return f"an {versions} address or network"

    def _operand(self, value: object) -> Operand:
        return _operands.address(value, self._versions())

    def _members(self, item: object) -> Iterator[Operand]:
        if _is_network(item):
            yield _operands.network(item, self._versions())
        else:
            yield from super()._members(item)


class ArrayField:
    """A field with elements: `field[index]` counts in elements, `field.at_byte(offset)` in bytes.

    Negative numbers count from the end.

    >>> from oxidivert import f
    >>> print(f.packet16[3] == 0x4000, "or", f.tcp.payload32.at_byte(-6) == 0)
    packet16[3] == 0x4000 or tcp.Payload32[-6b] == 0x0
    """

    def __init__(self, row: Row, code: str) -> None:
        self._row = row
        self._code = code
        self.__doc__ = row.account()

    def __getitem__(self, index: int) -> NumberField:
        number = self._verified(index, self._row.element_len or 1)
        return NumberField(self._row, f"{self!r}[{number}]", f"{self._row.name}[{number}]")

    def at_byte(self, offset: int) -> NumberField:
        """The element that begins at this byte, which need not be a multiple of the element's size."""
        number = self._verified(offset, 1)
        return NumberField(self._row, f"{self!r}.at_byte({number})", f"{self._row.name}[{number}b]")

    def __repr__(self) -> str:
        return self._code

    # With __getitem__ alone it would be iterable, and equal to nothing.
    __iter__ = None
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: Never) -> NoReturn:  # type: ignore[override]
        raise TypeError(f"{self._row.name} is an array; compare an element of it, as in {self!r}[0] == 1")

    def _verified(self, index: int, scale: int) -> int:
        try:
            number = operator.index(index)
        except TypeError:
            raise TypeError(f"{self._row.name} takes a whole number as index, not {index!r}") from None
        size = self._row.element_len or 1
        offset = number * scale
        first, last = (size, _LAST_BYTE) if number < 0 else (0, _LAST_BYTE - size)
        if not first <= abs(offset) <= last:
            raise IndexError(f"{self._row.name} has no element {number} in any packet")
        return number


def _is_network(value: object) -> TypeGuard[Network | str]:
    return isinstance(value, _operands.NETWORKS) or (isinstance(value, str) and "/" in value)
