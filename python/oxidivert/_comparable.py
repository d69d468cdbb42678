"""What every field with a value does: it is compared, and a test comes of it.

A value of a wrong kind is a TypeError or ValueError at once, which names the field and what it takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Generic, Literal, NamedTuple, Never, NoReturn, TypeVar

from . import _operands
from ._enums import Layer
from ._expression import Expression, Phrase, Rank, refuse_operand
from ._operands import Operand, Unfit

Value = TypeVar("Value", contravariant=True)
Member = TypeVar("Member", contravariant=True)

_INVERSES: Final = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">", "in": "not in", "not in": "in"}
_METHODS: Final = {"in": "isin", "not in": "notin"}


class Row(NamedTuple):
    """A row of the core's table of fields."""

    name: str
    doc: str
    needs: str | None
    layers: tuple[Layer, ...]
    style: Literal["flag", "decimal", "hexadecimal", "ipv4", "ipv6", "layer", "event"]
    element_len: int | None

    @property
    def is_everywhere(self) -> bool:
        """Whether every packet has the field, so that the inverse of a test is its complement."""
        return self.needs is None and self.element_len is None

    def account(self) -> str:
        """What the field is, for readers."""
        layers = ", ".join(layer.name for layer in self.layers)
        needs = f" Every test of it is false on packets without {self.needs}." if self.needs else ""
        return f"{self.doc}\n\n`{self.name}`, on {layers}.{needs}"


class Comparable(Generic[Value, Member]):
    """A field with a value, which makes a test when it is compared."""

    def __init__(self, row: Row, code: str, name: str | None = None) -> None:
        self._row = row
        self._code = code
        self._name = name or row.name
        self.__doc__ = row.account()

    def __eq__(self, value: Value) -> Expression:  # type: ignore[override]
        return self._compare("==", value)

    def __ne__(self, value: Value) -> Expression:  # type: ignore[override]
        return self._compare("!=", value)

    __hash__ = None  # type: ignore[assignment]

    def isin(self, members: Iterable[Member] | str) -> Expression:
        """True where the field is there and in a set: an iterable of values and of `(low, high)`, both included.

        `"$name"` is the set that this name is given when the filter is compiled.

        >>> from oxidivert import f
        >>> print(f.tcp.dst_port.isin([80, 443, (8000, 8080)]))
        tcp.DstPort in {80, 443, 8000-8080}
        """
        return self._belong("in", members)

    def notin(self, members: Iterable[Member] | str) -> Expression:
        """True where the field is there and not in a set, which is given as to `isin`."""
        return self._belong("not in", members)

    def __repr__(self) -> str:
        return self._code

    def __bool__(self) -> bool:
        raise TypeError(f"{self!r} is a field and neither true nor false; compare it, as in {self!r} != 0")

    # Python would only say that it lacks the operator, not why: `f.tcp.dst_port == 80 & f.length > 5` comes here.
    def __and__(self, other: Never) -> NoReturn:
        raise refuse_operand(self, "&")

    def __or__(self, other: Never) -> NoReturn:
        raise refuse_operand(self, "|")

    __rand__ = __and__
    __ror__ = __or__

    def _takes(self) -> str:
        """What the field is compared with, for errors."""
        raise NotImplementedError

    def _operand(self, value: object) -> Operand:
        raise NotImplementedError

    def _members(self, item: object) -> Iterator[Operand]:
        if isinstance(item, tuple) and len(item) == 2:
            yield _operands.stretch(self._operand(item[0]), self._operand(item[1]), item)
        elif not isinstance(item, range):
            yield self._operand(item)
        elif item.step != 1:
            yield from map(self._operand, item)
        elif item:
            yield _operands.stretch(self._operand(item[0]), self._operand(item[-1]), item)

    def _compare(self, sign: str, value: object) -> Expression:
        try:
            return Test(self, sign, self._operand(value))
        except Unfit as unfit:
            raise self._refuse(unfit) from None

    def _belong(self, sign: str, members: object) -> Expression:
        try:
            if isinstance(members, str) and members.startswith("$"):
                return Test(self, sign, _operands.named_set(members))
            return Test(self, sign, _operands.collection(self._collect(members)))
        except Unfit as unfit:
            raise self._refuse(unfit) from None

    def _collect(self, members: object) -> Iterator[Operand]:
        # These are iterable themselves but stand for what they hold.
        if isinstance(members, (str, range, *_operands.NETWORKS)):
            yield from self._members(members)
        elif isinstance(members, Iterable):
            for item in members:
                yield from self._members(item)
        else:
            raise TypeError(f"{self._name} is in a collection or not, so give one, such as [{members!r}]")

    def _refuse(self, unfit: Unfit) -> Exception:
        reason = f": {unfit.reason}" if unfit.reason else ""
        message = f"{self._name} takes {self._takes()}, not {unfit.value!r}{reason}"
        return TypeError(message) if unfit.wrong_type else ValueError(message)


class Test(Expression):
    """A comparison of a field."""

    def __init__(self, field: Comparable[Any, Any], sign: str, operand: Operand) -> None:
        method = _METHODS.get(sign)
        code = (
            Phrase(f"{field!r}.{method}({operand.code})")
            if method
            else Phrase(f"{field!r} {sign} {operand.code}", Rank.COMPARISON)
        )
        super().__init__(Phrase(f"{field._name} {sign} {operand.text}"), code)
        self._field = field
        self._sign = sign
        self._operand = operand

    def __invert__(self) -> Expression:
        if self._field._row.is_everywhere:
            return Test(self._field, _INVERSES[self._sign], self._operand)
        return super().__invert__()


class Ordered(Comparable[Value, Member]):
    """A field whose values have an order."""

    def __lt__(self, value: Value) -> Expression:
        return self._compare("<", value)

    def __le__(self, value: Value) -> Expression:
        return self._compare("<=", value)

    def __gt__(self, value: Value) -> Expression:
        return self._compare(">", value)

    def __ge__(self, value: Value) -> Expression:
        return self._compare(">=", value)

    def between(self, low: Value, high: Value) -> Expression:
        """True where the field is there and from `low` to `high`, both included.

        >>> from oxidivert import f
        >>> print(f.tcp.dst_port.between(8000, 8080))
        tcp.DstPort in 8000-8080
        """
        return self._belong("in", [(low, high)])
