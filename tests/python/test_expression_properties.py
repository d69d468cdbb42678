"""Properties of the expression builder: what it prints means what was built."""

from __future__ import annotations

import ipaddress
import operator
from collections.abc import Callable
from dataclasses import dataclass

import oxidivert as od
from hypothesis import given
from hypothesis import strategies as st
from oxidivert import Expression, Layer, f
from oxidivert._fields import _python_name
from oxidivert._native import filter_fields

COMPARISONS: dict[str, Callable[[object, object], Expression]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NUMBERS = st.integers(0, 300) | st.integers(-(2**70), 2**70) | st.sampled_from([2**128 - 1, -(2**128) + 1])
IPV4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
IPV6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address) | IPV4.map(lambda four: ipaddress.IPv6Address(f"::{four}"))
VALUES = {"decimal": NUMBERS, "hexadecimal": NUMBERS, "ipv4": IPV4, "ipv6": IPV6, "event": st.integers(0, 12)}
ROWS = [row for row in filter_fields() if Layer.NETWORK in row[3]]


@dataclass(frozen=True)
class Pair:
    """An expression, and filter text with all parentheses that was made beside it."""

    expression: Expression
    text: str


def attribute(name: str) -> object:
    return operator.attrgetter(_python_name(name))(f)


@st.composite
def tests(draw: st.DrawFn) -> Pair:
    """A test of any field of the layer NETWORK."""
    name, _, _, _, style, element_len = draw(st.sampled_from(ROWS))
    field = attribute(name)
    if style == "flag":
        return draw(st.sampled_from([Pair(field, name), Pair(field == 0, f"{name} = 0"), Pair(field == 1, name)]))
    if element_len:
        index = draw(st.integers(-100, -1) | st.integers(0, 100))
        at_byte = draw(st.booleans()) and index >= 0
        field = field.at_byte(index) if at_byte else field[index]
        name = f"{name}[{index}{'b' if at_byte else ''}]"
    value = draw(VALUES[style])
    sign = draw(st.sampled_from(["==", "!="] if style == "event" else sorted(COMPARISONS)))
    return Pair(COMPARISONS[sign](field, value), f"{name} {sign} {value}")


def combined(parts: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    return st.one_of(
        st.builds(lambda a, b: Pair(a.expression & b.expression, f"({a.text}) and ({b.text})"), parts, parts),
        st.builds(lambda a, b: Pair(a.expression | b.expression, f"({a.text}) or ({b.text})"), parts, parts),
        st.builds(
            lambda a, b, c: Pair(
                f.where(a.expression, b.expression, c.expression), f"(({a.text})? ({b.text}): ({c.text}))"
            ),
            parts,
            parts,
            parts,
        ),
    )


CONSTANTS = st.sampled_from([Pair(f.true, "true"), Pair(f.false, "false")])
PLAIN = st.recursive(tests() | CONSTANTS, combined, max_leaves=12)


@given(PLAIN)
def test_an_expression_compiles_to_what_it_was_built_as(pair: Pair) -> None:
    built, written = od.Filter(pair.expression), od.Filter(pair.text)
    assert built.object == written.object
    assert str(built) == str(written)


@st.composite
def inverses(draw: st.DrawFn) -> tuple[Expression, str]:
    """The complement of a test of a field that every packet has, and the inverse test as text."""
    rows = [row for row in ROWS if row[2] is None and row[5] is None and row[4] in ("decimal", "ipv6")]
    name, _, _, _, style, _ = draw(st.sampled_from(rows))
    signs = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
    sign, value = draw(st.sampled_from(sorted(signs))), draw(VALUES[style])
    return ~COMPARISONS[sign](attribute(name), value), f"{name} {signs[sign]} {value}"


@given(inverses())
def test_the_complement_of_a_test_of_what_is_always_there_is_its_inverse(case: tuple[Expression, str]) -> None:
    complement, text = case
    assert od.Filter(complement).object == od.Filter(text).object


@st.composite
def memberships(draw: st.DrawFn) -> Expression:
    """A test whether a field is in a set."""
    name, _, _, _, style, element_len = draw(st.sampled_from([row for row in ROWS if row[4] in ("decimal", "ipv4")]))
    assert element_len is None
    field = attribute(name)
    values = VALUES[style]
    ranges = st.tuples(values, values).map(lambda pair: (min(pair), max(pair)))
    members = draw(st.lists(values | ranges, min_size=1, max_size=4))
    return draw(st.sampled_from([field.isin, field.notin]))(members)


def extended(parts: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    return st.one_of(
        st.builds(operator.and_, parts, parts),
        st.builds(operator.or_, parts, parts),
        st.builds(operator.invert, parts),
        st.builds(f.where, parts, parts, parts),
    )


EXTENDED = st.recursive(tests().map(lambda pair: pair.expression) | memberships(), extended, max_leaves=8)


@given(EXTENDED)
def test_the_python_of_an_expression_makes_it_again(expression: Expression) -> None:
    again = eval(repr(expression), {"f": f})
    assert again == expression
    assert repr(again) == repr(expression)


@given(EXTENDED)
def test_the_complement_of_the_complement_is_the_expression(expression: Expression) -> None:
    assert str(~~expression) == str(expression)
    assert str(~expression) != str(expression)
