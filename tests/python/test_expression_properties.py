"""Properties of the expression builder: what it prints means what was built."""

from __future__ import annotations

import ipaddress
import operator
from collections.abc import Callable
from dataclasses import dataclass

import oxidivert as od
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oxidivert import Expression, Layer, f
from oxidivert._fields import _python_name
from oxidivert._native import filter_fields
from samples import EACH_PROTOCOL

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

# Random values and tests of every field say much that can never hold.
pytestmark = pytest.mark.filterwarnings("ignore::oxidivert.FilterWarning")


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


# The same with all that the extended dialect adds, held against each other on packets: `~` may print an inverse test.
HITS = st.sampled_from([0, 1, 6, 17, 40, 53, 64, 80, 128, 12345, 40001])
ADDRESS_HITS = st.sampled_from(["10.0.0.1", "192.0.2.7", "192.0.2.0", "9.255.255.255"]).map(ipaddress.IPv4Address)
MEMBERS = {"decimal": HITS | NUMBERS, "hexadecimal": HITS | NUMBERS, "ipv4": ADDRESS_HITS | IPV4}
PACKETS = [
    od.Packet(data, address)
    for data in EACH_PROTOCOL.values()
    for address in (od.Address(outbound=True), od.Address(outbound=False))
]


def written(member: object) -> str:
    return f"{member[0]}-{member[1]}" if isinstance(member, tuple) else str(member)


@st.composite
def memberships(draw: st.DrawFn) -> Pair:
    """A test whether a field is in a set."""
    name, _, _, _, style, element_len = draw(st.sampled_from([row for row in ROWS if row[4] in MEMBERS]))
    field = attribute(name)
    if element_len:
        index = draw(st.integers(0, 20))
        field, name = field[index], f"{name}[{index}]"
    values = MEMBERS[style]
    ranges = st.tuples(values, values).map(lambda pair: (min(pair), max(pair)))
    networks = values.map(lambda value: ipaddress.ip_network((value, 24), strict=False)) if style == "ipv4" else ranges
    members = draw(st.lists(values | ranges | networks, max_size=4))
    text = f"{{{', '.join(map(written, members))}}}"
    negated = draw(st.booleans())
    made = field.notin(members) if negated else field.isin(members)
    return Pair(made, f"{name} {'not ' if negated else ''}in {text}")


def negated(parts: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    return parts.map(lambda pair: Pair(~pair.expression, f"!({pair.text})"))


EXTENDED = st.recursive(tests() | memberships(), lambda parts: combined(parts) | negated(parts), max_leaves=10)


def answers(filter: od.Filter) -> list[bool]:
    return [filter.matches(packet) for packet in PACKETS]


@given(EXTENDED)
def test_an_expression_matches_what_it_was_built_as(pair: Pair) -> None:
    written = od.Filter(pair.text, dialect="extended")
    assert answers(od.Filter(pair.expression)) == answers(written)


@given(EXTENDED)
def test_a_complement_matches_every_other_packet(pair: Pair) -> None:
    matched = answers(od.Filter(pair.expression))
    assert answers(od.Filter(~pair.expression)) == [not answer for answer in matched]


@given(EXTENDED)
def test_the_python_of_an_expression_makes_it_again(pair: Pair) -> None:
    again = eval(repr(pair.expression), {"f": f})
    assert again == pair.expression
    assert repr(again) == repr(pair.expression)


@given(EXTENDED)
def test_the_complement_of_the_complement_is_the_expression(pair: Pair) -> None:
    assert ~~pair.expression == pair.expression
    assert ~pair.expression != pair.expression
