"""The expression builder: what it prints, what it refuses, and that it has every field."""

from __future__ import annotations

import copy
import doctest
import importlib
import inspect
import ipaddress
import operator
import pickle
from typing import Any

import oxidivert as od
import pytest
from oxidivert import Event, Expression, Layer, f
from oxidivert._field_kinds import (
    AddressField,
    ArrayField,
    EventField,
    FlagField,
    LayerField,
    NumberField,
    ProtocolField,
)
from oxidivert._fields import Fields
from oxidivert._native import filter_fields
from samples import pcap, tcp, udp

FULL_IPV6 = "1111:2222:3333:4444:5555:6666:7777:8888"
NETWORK = ipaddress.ip_network("10.0.0.0/8")

TEXTS: dict[str, tuple[Expression, str]] = {
    "flag": (f.outbound, "outbound"),
    "header": (f.tcp, "tcp"),
    "flag of a header": (f.tcp.syn, "tcp.Syn"),
    "flag is 1": (f.tcp.syn == 1, "tcp.Syn"),
    "flag is true": (f.tcp.syn == True, "tcp.Syn"),  # noqa: E712
    "flag is 0": (f.tcp.syn == 0, "not tcp.Syn"),
    "flag is not 1": (f.tcp.syn != True, "not tcp.Syn"),  # noqa: E712
    "flag is not 0": (f.tcp.syn != 0, "tcp.Syn"),
    "numbers": (f.tcp.dst_port == 80, "tcp.DstPort == 80"),
    "numbers differ": (f.tcp.dst_port != 80, "tcp.DstPort != 80"),
    "less": (f.ip.ttl < 5, "ip.TTL < 5"),
    "at most": (f.ip.ttl <= 5, "ip.TTL <= 5"),
    "more": (f.ip.ttl > 5, "ip.TTL > 5"),
    "at least": (f.ip.ttl >= 5, "ip.TTL >= 5"),
    "number on the left": (5 < f.ip.ttl, "ip.TTL > 5"),  # noqa: SIM300
    "negative": (f.priority == -5, "priority == -5"),
    "hexadecimal": (f.ip.checksum == 4660, "ip.Checksum == 0x1234"),
    "protocol by number": (f.protocol == 6, "protocol == 6"),
    "protocol by name": (f.ip.protocol == "TCP", "ip.Protocol == TCP"),
    "next header by name": (f.ipv6.next_hdr != "ICMPV6", "ipv6.NextHdr != ICMPV6"),
    "event": (f.event == Event.SOCKET_CONNECT, "event == CONNECT"),
    "event by name": (f.event != "CLOSE", "event != CLOSE"),
    "event of two layers": (f.event == Event.REFLECT_CLOSE, "event == 9"),
    "event by number": (f.event == 3, "event == 3"),
    "layer": (f.layer == Layer.FLOW, "layer == FLOW"),
    "layer by name": (f.layer == "NETWORK_FORWARD", "layer == NETWORK_FORWARD"),
    "address": (f.ip.dst_addr == "10.0.0.1", "ip.DstAddr == 10.0.0.1"),
    "address object": (f.ip.dst_addr > ipaddress.IPv4Address("10.0.0.1"), "ip.DstAddr > 10.0.0.1"),
    "address in short form": (f.ipv6.src_addr == "FE80:0::1", "ipv6.SrcAddr == fe80::1"),
    "mapped address": (f.local_addr == "::ffff:1.2.3.4", "localAddr == ::ffff:1.2.3.4"),
    "local address": (f.local_addr == "1.2.3.4", "localAddr == 1.2.3.4"),
    "network": (f.ip.dst_addr == "10.0.0.0/8", "ip.DstAddr in 10.0.0.0/8"),
    "network object": (f.ip.dst_addr == NETWORK, "ip.DstAddr in 10.0.0.0/8"),
    "not a network": (f.ip.dst_addr != NETWORK, "ip.DstAddr not in 10.0.0.0/8"),
    "set": (f.tcp.dst_port.isin({443, 80}), "tcp.DstPort in {80, 443}"),
    "set with a range": (f.tcp.dst_port.isin([(8000, 8080), 80]), "tcp.DstPort in {80, 8000-8080}"),
    "set of ranges": (f.tcp.dst_port.isin([range(8, 10), range(0, 6, 2)]), "tcp.DstPort in {0, 2, 4, 8-9}"),
    "set with repetition": (f.tcp.dst_port.isin([80, 80]), "tcp.DstPort in {80}"),
    "set of hexadecimal numbers": (f.packet[0].isin([0x45, 0x46]), "packet[0] in {0x45, 0x46}"),
    "set of protocols": (f.protocol.isin(["UDP", "TCP", 1]), "protocol in {1, TCP, UDP}"),
    "set of events": (f.event.isin(["BIND", Event.SOCKET_LISTEN]), "event in {BIND, LISTEN}"),
    "not in a set": (f.tcp.dst_port.notin([80, 443]), "tcp.DstPort not in {80, 443}"),
    "range": (f.tcp.dst_port.isin(range(8000, 8081)), "tcp.DstPort in 8000-8080"),
    "between": (f.tcp.dst_port.between(8000, 8080), "tcp.DstPort in 8000-8080"),
    "between addresses": (f.ip.src_addr.between("10.0.0.1", "10.0.0.9"), "ip.SrcAddr in 10.0.0.1-10.0.0.9"),
    "in a network": (f.ip.dst_addr.isin("10.0.0.0/8"), "ip.DstAddr in 10.0.0.0/8"),
    "in a network object": (f.ip.dst_addr.isin(NETWORK), "ip.DstAddr in 10.0.0.0/8"),
    "set of addresses": (
        f.ip.dst_addr.isin([("192.168.0.1", "192.168.0.9"), NETWORK, "9.9.9.9"]),
        "ip.DstAddr in {9.9.9.9, 10.0.0.0/8, 192.168.0.1-192.168.0.9}",
    ),
    "set of IPv6 addresses": (f.ipv6.dst_addr.isin(["::1", "fe80::/10", "::"]), "ipv6.DstAddr in {::, ::1, fe80::/10}"),
    "named set": (f.ip.src_addr.isin("$blocked"), "ip.SrcAddr in $blocked"),
    "not in a named set": (f.tcp.dst_port.notin("$ports"), "tcp.DstPort not in $ports"),
    "empty set": (f.tcp.dst_port.isin([]), "tcp.DstPort in {}"),
    "empty range": (f.tcp.dst_port.isin(range(0)), "tcp.DstPort in {}"),
    "not in an empty set": (f.tcp.dst_port.notin(()), "tcp.DstPort not in {}"),
    "element": (f.packet[3] == 1, "packet[3] == 0x1"),
    "element from the end": (f.tcp.payload16[-1] != 2, "tcp.Payload16[-1] != 0x2"),
    "element at a byte": (f.udp.payload32.at_byte(5) < 3, "udp.Payload32[5b] < 0x3"),
    "constants": (f.true | f.false, "true or false"),
    "and": (f.tcp & f.ip & f.outbound, "tcp and ip and outbound"),
    "and on the right": (f.tcp & (f.ip & f.outbound), "tcp and ip and outbound"),
    "or on the right": (f.tcp | (f.ip | f.outbound), "tcp or ip or outbound"),
    "or in and": (f.tcp & (f.ip | f.outbound), "tcp and (ip or outbound)"),
    "and in or": (f.tcp | f.ip & f.outbound, "tcp or ip and outbound"),
    "ternary": (f.where(f.ip | f.ipv6, f.tcp & f.ip, f.udp), "(ip or ipv6? tcp and ip: udp)"),
    "ternary in and": (f.where(f.ip, f.tcp, f.udp) & f.ip, "(ip? tcp: udp) and ip"),
    "a colon behind a colon": (
        f.where(f.ip, f.ipv6.src_addr == "fe80::", f.udp),
        "(ip? ipv6.SrcAddr == fe80:: : udp)",
    ),
    "a colon behind the longest word": (
        f.where(f.ip, f.ipv6.src_addr == FULL_IPV6, f.udp),
        f"(ip? ipv6.SrcAddr == {FULL_IPV6} : udp)",
    ),
}
COMPLEMENTS = {
    "flag": (~f.outbound, "not outbound"),
    "header": (~f.tcp, "not tcp"),
    "twice": (~~f.outbound, "outbound"),
    "flag is 0": (~(f.outbound == 0), "outbound"),
    "flag of a header": (~f.tcp.syn, "!(tcp.Syn)"),
    "no flag of a header": (~(f.tcp.syn == 0), "!(not tcp.Syn)"),
    "twice with a header": (~~f.tcp.syn, "tcp.Syn"),
    "comparison": (~(f.length > 100), "length <= 100"),
    "equality": (~(f.local_port == 80), "localPort != 80"),
    "comparison in a header": (~(f.ip.ttl > 100), "!(ip.TTL > 100)"),
    "element": (~(f.packet[9] == 1), "!(packet[9] == 0x1)"),
    "set": (~f.local_port.isin([1, 2]), "localPort not in {1, 2}"),
    "set in a header": (~f.tcp.dst_port.isin([1, 2]), "!(tcp.DstPort in {1, 2})"),
    "and": (~(f.tcp & f.ip), "!(tcp and ip)"),
    "and, twice": (~~(f.tcp & f.ip), "tcp and ip"),
    "within and": (f.outbound & ~(f.tcp | f.ip), "outbound and !(tcp or ip)"),
    "ternary": (~f.where(f.ip, f.tcp, f.udp), "!(ip? tcp: udp)"),
    "true": (~f.true, "false"),
    "false": (~f.false, "true"),
}
EVERY = TEXTS | {f"not {name}": case for name, case in COMPLEMENTS.items()}

# Random values and tests of every field say much that can never hold.
pytestmark = pytest.mark.filterwarnings("ignore::oxidivert.FilterWarning")


@pytest.mark.parametrize(("expression", "text"), TEXTS.values(), ids=TEXTS)
def test_an_expression_prints_as_filter_text(expression: Expression, text: str) -> None:
    assert str(expression) == text


@pytest.mark.parametrize(("expression", "text"), COMPLEMENTS.values(), ids=COMPLEMENTS)
def test_a_complement_is_an_inverse_only_where_that_is_the_same(expression: Expression, text: str) -> None:
    assert str(expression) == text


@pytest.mark.parametrize(("expression", "text"), EVERY.values(), ids=EVERY)
def test_an_expression_shows_the_python_that_makes_it(expression: Expression, text: str) -> None:
    assert str(eval(repr(expression), {"f": f})) == text


def test_expressions_are_equal_by_text() -> None:
    one, other = f.tcp & (f.ip & f.udp), (f.tcp & f.ip) & f.udp
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, other, f.tcp, f.tcp & f.ip}) == 3
    assert f.tcp != f.ip
    assert f.tcp != "tcp"
    assert f.tcp == (f.tcp == 1)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_expressions_survive_copying(duplicate: Any) -> None:
    for expression in (f.tcp, f.tcp.dst_port.isin({80, 443}) & ~f.outbound, ~(f.length > 5)):
        other = duplicate(expression)
        assert (other, str(~other), repr(other)) == (expression, str(~expression), repr(expression))


def test_a_filter_is_made_of_an_expression() -> None:
    filter = od.Filter((f.tcp.dst_port == 80) & f.outbound)
    assert str(filter) == "tcp.DstPort = 80 and outbound"
    assert repr(filter) == "Filter('tcp.DstPort == 80 and outbound', dialect='extended')"
    assert filter.matches(od.Packet(tcp()))
    assert not filter.matches(od.Packet(udp()))
    assert str(od.Filter(f.event == "BIND", Layer.SOCKET)) == "event = BIND"


def test_a_handle_takes_an_expression() -> None:
    with od.open(f.tcp, backend=od.Replay(pcap([tcp(), udp()]))) as handle:
        assert str(handle.filter) == "tcp"
        handle.set_filter(f.udp)
        assert str(handle.filter) == "udp"


def test_an_error_of_the_compiler_points_to_the_place_in_the_text() -> None:
    with pytest.raises(od.FilterError) as caught:
        od.Filter(f.tcp & (f.process_id == 4))
    assert caught.value.text == "tcp and processId == 4"
    assert caught.value.position == len("tcp and ")


# What is refused


REFUSED: dict[str, tuple[type[Exception], str]] = {
    "f.tcp.dst_port == '80'": (TypeError, "tcp.DstPort takes a whole number, not '80'"),
    "f.tcp.dst_port == True": (TypeError, "tcp.DstPort takes a whole number, not True"),
    "f.tcp.dst_port < 8.5": (TypeError, "tcp.DstPort takes a whole number, not 8.5"),
    "f.length == 2**128": (
        ValueError,
        f"length takes a whole number, not {2**128}: a number in a filter has at most 128 bits",
    ),
    "f.outbound == 2": (ValueError, "outbound takes 0, 1, False or True, not 2"),
    "f.ip.src_addr == 5": (TypeError, "ip.SrcAddr takes an IPv4 address or network, not 5"),
    "f.ip.src_addr == '10.0.0'": (ValueError, "ip.SrcAddr takes an IPv4 address or network, not '10.0.0'"),
    "f.ip.src_addr == '::1'": (ValueError, "ip.SrcAddr takes an IPv4 address or network, not '::1'"),
    "f.ip.src_addr == '::/8'": (ValueError, "ip.SrcAddr takes an IPv4 address or network, not '::/8'"),
    "f.ipv6.src_addr == '1.2.3.4'": (ValueError, "ipv6.SrcAddr takes an IPv6 address or network, not '1.2.3.4'"),
    "f.local_addr == 'localhost'": (ValueError, "localAddr takes an IPv4 or IPv6 address or network, not 'localhost'"),
    "f.ip.src_addr == '10.0.0.1/8'": (
        ValueError,
        "ip.SrcAddr takes an IPv4 address or network, not '10.0.0.1/8': 10.0.0.1/8 has host bits set",
    ),
    "f.ipv6.src_addr == 'fe80::1%eth0'": (
        ValueError,
        "ipv6.SrcAddr takes an IPv6 address or network, not 'fe80::1%eth0': addresses in filters have no zone",
    ),
    "f.ip.src_addr == ipaddress.ip_interface('10.0.0.1/8')": (
        ValueError,
        "ip.SrcAddr takes an IPv4 address or network, not IPv4Interface('10.0.0.1/8'): "
        "an interface is an address and a network, so say .ip or .network",
    ),
    "f.ip.protocol == 'tcp'": (
        ValueError,
        "ip.Protocol takes a whole number or one of ICMP, TCP, UDP, ICMPV6, not 'tcp'",
    ),
    "f.event == 'OPENED'": (
        ValueError,
        "event takes an Event, its number, or one of PACKET, ESTABLISHED, DELETED, BIND, CONNECT, LISTEN, ACCEPT, "
        "OPEN, CLOSE, not 'OPENED'",
    ),
    "f.layer == Event.SOCKET_BIND": (
        TypeError,
        "layer takes a Layer, its number, or one of NETWORK, NETWORK_FORWARD, FLOW, SOCKET, REFLECT, "
        "not <Event.SOCKET_BIND: 3>",
    ),
    "f.tcp.dst_port.isin(80)": (TypeError, "tcp.DstPort is in a collection or not, so give one, such as [80]"),
    "f.tcp.dst_port.isin('80')": (TypeError, "tcp.DstPort takes a whole number, not '80'"),
    "f.tcp.dst_port.isin([80, None])": (TypeError, "tcp.DstPort takes a whole number, not None"),
    "f.tcp.dst_port.isin('$the ports')": (
        ValueError,
        "tcp.DstPort takes a whole number, not '$the ports': the name of a set is $ and letters, digits or _",
    ),
    "f.tcp.dst_port.between(9, 8)": (
        ValueError,
        "tcp.DstPort takes a whole number, not (9, 8): the low end comes first",
    ),
    "f.packet == 1": (TypeError, "packet is an array; compare an element of it, as in f.packet[0] == 1"),
    "f.packet[1:2]": (TypeError, "packet takes a whole number as index, not slice(1, 2, None)"),
    "f.packet16[40000]": (IndexError, "packet16 has no element 40000 in any packet"),
    "f.packet16.at_byte(-1)": (IndexError, "packet16 has no element -1 in any packet"),
    "list(f.packet)": (TypeError, "'ArrayField' object is not iterable"),
    "f.tcp and f.udp": (
        TypeError,
        "a filter expression is neither true nor false by itself: combine expressions with &, | and ~ instead of and, "
        "or and not, and write .between(low, high) instead of a chained comparison",
    ),
    "bool(f.length)": (TypeError, "f.length is a field and neither true nor false; compare it, as in f.length != 0"),
    "f.where(f.ip, True, f.udp)": (TypeError, "f.where takes filter expressions, not True; "),
    "f.tcp.dst_prot": (AttributeError, "f.tcp has no field 'dst_prot'; did you mean f.tcp.dst_port?"),
    "f.tcp.DstPort": (AttributeError, "f.tcp has no field 'DstPort'; did you mean f.tcp.dst_port?"),
    "f.src_addr": (AttributeError, "f has no field 'src_addr'; did you mean f.ip.src_addr or f.ipv6.src_addr?"),
    "f.outbuond": (AttributeError, "f has no field 'outbuond'; did you mean f.outbound?"),
    "f.tcp.xyz": (AttributeError, "f.tcp has no field 'xyz'"),
    "setattr(f.tcp, 'dst_port', 80)": (
        AttributeError,
        "fields cannot be set; for the test write f.tcp.dst_port == 80",
    ),
    "hash(f.length)": (TypeError, "unhashable type: 'NumberField'"),
    "od.Filter(f.length)": (
        TypeError,
        "a filter is text, a compiled object string, an expression of f or a Filter",
    ),
    "od.open(5)": (
        TypeError,
        "a filter is text, a compiled object string, an expression of f or a Filter",
    ),
}


@pytest.mark.parametrize(("code", "kind", "message"), [(code, *error) for code, error in REFUSED.items()], ids=REFUSED)
def test_what_does_not_fit_is_refused_at_once(code: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        eval(code, {"f": f, "od": od, "Event": Event, "ipaddress": ipaddress})
    assert type(caught.value) is kind
    told = str(caught.value)
    assert told.startswith(message) if message.endswith("; ") else told == message


@pytest.mark.parametrize(
    "code",
    [
        "f.tcp.dst_port == 80 & f.outbound",
        "f.outbound & f.tcp.dst_port == 80",
        "f.outbound & f.tcp == 1",
        "f.length > 5 | f.length < 3",
        "f.length | f.outbound",
        "f.outbound | 'tcp'",
    ],
)
def test_comparisons_without_parentheses_are_refused_with_advice(code: str) -> None:
    with pytest.raises(TypeError, match=r"put those in parentheses: \(f\.tcp\.dst_port == 80\) & f\.outbound"):
        eval(code, {"f": f})


# The table of fields


KINDS = {
    "flag": FlagField,
    "decimal": NumberField,
    "hexadecimal": NumberField,
    "ipv4": AddressField,
    "ipv6": AddressField,
    "layer": LayerField,
    "event": EventField,
}


def walk(owner: object, prefix: str) -> dict[str, object]:
    """Every attribute with a field, by its path."""
    found: dict[str, object] = {}
    for name, value in vars(owner).items():
        if not name.startswith("_") and name not in ("true", "false"):
            found[prefix + name] = value
            if isinstance(value, FlagField):
                found |= walk(value, f"{prefix}{name}.")
    return found


def spelling(field: Any) -> str:
    return str(field._row.name)


def test_every_field_of_the_language_has_an_attribute_of_its_kind_and_no_attribute_is_more() -> None:
    fields = walk(f, "")
    assert sorted(map(spelling, fields.values())) == sorted(row[0] for row in filter_fields())
    table = {row[0]: row for row in filter_fields()}
    for path, field in fields.items():
        _, _, _, _, style, element_len = table[spelling(field)]
        named = path in ("protocol", "ip.protocol", "ipv6.next_hdr")
        kind = ArrayField if element_len else ProtocolField if named else KINDS[style]
        assert isinstance(field, kind), path
        assert path.replace("_", "") == spelling(field).lower()
        assert eval(f"f.{path}", {"f": f}) is field
        assert repr(field) == f"f.{path}"


def test_every_annotation_is_an_attribute() -> None:
    for owner in (f, f.ip, f.ipv6, f.icmp, f.icmpv6, f.tcp, f.udp):
        annotated = set(inspect.get_annotations(type(owner)))
        assert annotated == {name for name in vars(owner) if not name.startswith("_")}


def test_fields_are_documented_from_the_table() -> None:
    for name, doc, needs, layers, _style, _element_len in filter_fields():
        field = next(field for field in walk(f, "").values() if spelling(field) == name)
        account = field.__doc__
        assert account is not None
        assert account.startswith(f"{doc}\n\n`{name}`, on {', '.join(layer.name for layer in layers)}.")
        assert (f"without {needs}." in account) == (needs is not None)
    assert Fields.__doc__ == f.__doc__


def test_the_table_tells_what_the_compiler_does() -> None:
    for name, _doc, _needs, layers, _style, element_len in filter_fields():
        text = f"{name}[0]" if element_len else name
        for layer in Layer:
            if layer in layers:
                od.Filter(text, layer)
            else:
                with pytest.raises(od.FilterError):
                    od.Filter(text, layer)


@pytest.mark.parametrize("event", Event)
def test_events_compile_on_their_layer_to_their_number(event: Event) -> None:
    layer = {"NETWORK": 0, "FLOW": 2, "SOCKET": 3, "REFLECT": 4}[event.name.partition("_")[0]]
    expected = od.Filter(f"event == {event:d}", layer).object
    assert od.Filter(f.event == event, layer).object == expected
    assert od.Filter(operator.eq(f.event, event.name.partition("_")[2]), layer).object == expected


@pytest.mark.parametrize("name", ["ICMP", "TCP", "UDP", "ICMPV6"])
def test_names_of_protocols_stand_where_their_numbers_do(name: Any) -> None:
    number = {"ICMP": 1, "TCP": 6, "UDP": 17, "ICMPV6": 58}[name]
    assert od.Filter(f.protocol == name).object == od.Filter(f.protocol == number).object
    assert str(f.protocol.isin([number + 1, name, number - 1])).index(name) == len(f"protocol in {{{number - 1}, ")


@pytest.mark.parametrize("layer", Layer)
def test_layers_compile_to_their_number(layer: Layer) -> None:
    expected = od.Filter(f"layer == {layer:d}", Layer.REFLECT).object
    assert od.Filter(f.layer == layer, Layer.REFLECT).object == expected


@pytest.mark.parametrize("name", ["_comparable", "_expression", "_field_kinds", "_fields"])
def test_the_examples_in_docstrings_hold(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"oxidivert.{name}"))
    assert results.attempted > 0
    assert results.failed == 0
