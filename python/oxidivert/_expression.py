"""`Expression`: a filter as a Python value, made from fields and combined with `&`, `|` and `~`.

An expression is its text, put together as it is built: the filter text with the parentheses that it needs and no
others, and the Python that builds it again. Immutable; nothing here sees a packet.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final, NamedTuple, Never, NoReturn

_PARENTHESES: Final = (
    "& and | bind more closely than comparisons, so put those in parentheses: (f.tcp.dst_port == 80) & f.outbound"
)
# What a colon must not touch: another colon, and a word that is as long as a word may be.
_NO_COLON_BEHIND: Final = re.compile(r"(:|[\w.:]{39})$")


class Rank(IntEnum):
    """How closely the outermost operator of a phrase binds; a comparison is a unit in filters, but not in Python."""

    COMPARISON = 0
    OR = 1
    AND = 2
    UNIT = 3


class Phrase(NamedTuple):
    """A piece of a filter or of Python."""

    text: str
    rank: Rank = Rank.UNIT

    def within(self, rank: Rank) -> str:
        """The text as an operand of an operator of this rank."""
        return self.text if self.rank >= rank else f"({self.text})"


class Expression:
    """A filter, put together from the fields of `f`: for `Filter`, `open` and `Handle.set_filter`.

    `a & b`, `a | b` and `~a` combine expressions. `~a` matches exactly the packets that `a` does not, whatever headers
    they have: `~f.tcp.syn` matches a UDP packet, `f.tcp.syn == 0` does not. `str()` is the filter text, `repr()` the
    Python. Expressions are equal if their texts are.

    >>> from oxidivert import f
    >>> web = f.tcp.dst_port.isin({80, 443}) & f.outbound
    >>> print(web)
    tcp.DstPort in {80, 443} and outbound
    >>> print(~(web | f.udp))
    !(tcp.DstPort in {80, 443} and outbound or udp)
    """

    def __init__(self, text: Phrase, code: Phrase, complement: Expression | None = None) -> None:
        self._text = text
        self._code = code
        self._complement = complement

    def __and__(self, other: Expression) -> Expression:
        return _joined(self, Rank.AND, _expression(other, "&"))

    def __or__(self, other: Expression) -> Expression:
        return _joined(self, Rank.OR, _expression(other, "|"))

    def __rand__(self, other: Never) -> NoReturn:
        raise refuse_operand(other, "&")

    def __ror__(self, other: Never) -> NoReturn:
        raise refuse_operand(other, "|")

    def __invert__(self) -> Expression:
        if self._complement is not None:
            return self._complement
        return Expression(Phrase(f"!{self._group()}"), Phrase(f"~{self._code.within(Rank.UNIT)}"), self)

    def _group(self) -> str:
        """The text in parentheses."""
        return f"({self._text.text})"

    def __bool__(self) -> bool:
        raise TypeError(
            "a filter expression is neither true nor false by itself: combine expressions with &, | and ~ instead of "
            "and, or and not, and write .between(low, high) instead of a chained comparison"
        )

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Expression):
            return self._text.text == other._text.text
        if isinstance(other, int):
            # `f.outbound & f.tcp == 1` comes here, and would otherwise quietly be False.
            raise TypeError(f"{self!r} is a test already and is compared with no number; {_PARENTHESES}")
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._text.text)

    def __str__(self) -> str:
        return self._text.text

    def __repr__(self) -> str:
        return self._code.text


class _Conditional(Expression):
    """A ternary, which has parentheses of its own."""

    def _group(self) -> str:
        return self._text.text


TRUE: Final = Expression(Phrase("true"), Phrase("f.true"))
FALSE: Final = Expression(Phrase("false"), Phrase("f.false"), TRUE)
TRUE._complement = FALSE


def conditional(condition: Expression, then: Expression, otherwise: Expression) -> Expression:
    """The ternary `(condition? then: otherwise)`."""
    parts = [_expression(part, "f.where") for part in (condition, then, otherwise)]
    asked, yes, no = (part._text.text for part in parts)
    space = " " if _NO_COLON_BEHIND.search(yes) else ""
    code = ", ".join(part._code.text for part in parts)
    return _Conditional(Phrase(f"({asked}? {yes}{space}: {no})"), Phrase(f"f.where({code})"))


def refuse_operand(value: object, operator: str) -> TypeError:
    """The error about an operand that is no expression."""
    return TypeError(f"{operator} takes filter expressions, not {value!r}; {_PARENTHESES}")


def _expression(value: object, operator: str) -> Expression:
    if isinstance(value, Expression):
        return value
    raise refuse_operand(value, operator)


def _joined(left: Expression, rank: Rank, right: Expression) -> Expression:
    """Both are associative in both languages, so operands of the same rank need no parentheses."""
    word, sign = (" and ", " & ") if rank == Rank.AND else (" or ", " | ")
    text = left._text.within(rank) + word + right._text.within(rank)
    code = left._code.within(rank) + sign + right._code.within(rank)
    return Expression(Phrase(text, rank), Phrase(code, rank))
