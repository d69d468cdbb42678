"""Filters: the extended dialect and its named sets, warnings, explanations, traces, and masks of batches."""

from __future__ import annotations

import ipaddress
import json
import pickle
import warnings
from typing import Any

import oxidivert as od
import pytest
from samples import pcap, tcp, udp

UDP = udp(src="192.0.2.1", dst="198.51.100.2", src_port=12345, dst_port=53)


def extended(text: str, **sets: Any) -> od.Filter:
    return od.Filter(text, dialect="extended", sets=sets)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("udp.DstPort in {53, 853}", True),
        ("udp.DstPort in {1-52, 54-99}", False),
        ("udp.DstPort == 50-60", True),
        ("udp.DstPort not in 50-60", False),
        ("ip.SrcAddr in 192.0.2.0/24", True),
        ("!(ip.SrcAddr in 192.0.2.0/24)", False),
        ("!(tcp.DstPort == 53)", True),
        ("not tcp.DstPort == 53", False),
    ],
)
def test_the_extended_dialect_asks_about_sets_ranges_prefixes_and_groups(text: str, expected: bool) -> None:
    assert extended(text).matches(od.Packet(UDP)) is expected


@pytest.mark.parametrize(
    "member",
    [
        "192.0.2.1",
        "192.0.2.0/24",
        "192.0.2.0-192.0.2.9",
        ipaddress.ip_address("192.0.2.1"),
        ipaddress.ip_network("192.0.2.0/28"),
        ipaddress.ip_interface("192.0.2.77/24"),
        ("192.0.2.0", ipaddress.ip_address("192.0.2.1")),
    ],
)
def test_members_of_sets_are_text_or_of_ipaddress(member: object) -> None:
    filter = extended("ip.SrcAddr in $hosts", hosts=["10.9.9.9", member])
    assert filter.matches(od.Packet(UDP))
    assert not filter.matches(od.Packet(tcp(src="203.0.113.5")))


def test_members_of_sets_are_numbers_and_ranges() -> None:
    ports = {"ports": [5, range(50, 54), range(9, 9), (70, 80)]}
    for port, expected in [(5, True), (50, True), (53, True), (54, False), (75, True), (9, False)]:
        packet = od.Packet(udp(dst_port=port))
        assert od.Filter("udp.DstPort in $ports", dialect="extended", sets=ports).matches(packet) is expected


@pytest.mark.parametrize(
    ("sets", "error", "words"),
    [
        ({"hosts": ["nonsense"]}, ValueError, "member 0 of the set `hosts`"),
        ({"hosts": [1, object()]}, TypeError, "member 1 of the set `hosts` is a object"),
        ({"hosts": "10.0.0.1"}, TypeError, "not one text"),
        ({"no-name": []}, ValueError, "letters, digits"),
        ({"hosts": [range(1, 9, 2)]}, ValueError, "steps"),
        ([], TypeError, "mapping"),
        ({"other": []}, od.FilterError, r"there is `\$other`"),
    ],
)
def test_wrong_sets_are_refused(sets: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        od.Filter("ip.SrcAddr in $hosts", dialect="extended", sets=sets)


def test_sets_bring_the_extended_dialect_with_them() -> None:
    filter = od.Filter("ip.SrcAddr in $blocked", sets={"blocked": ["192.0.2.0/24"]})
    assert filter == extended("ip.SrcAddr in $blocked", blocked=["192.0.2.0/24"])
    assert od.Filter("!(tcp)", sets={}).matches(od.Packet(UDP))
    with pytest.raises(ValueError, match="only the extended dialect"):
        od.Filter("tcp", dialect="windivert", sets={"blocked": []})


def test_a_filter_with_sets_can_be_pickled_and_compared() -> None:
    filter = extended("ip.SrcAddr in $hosts", hosts=["192.0.2.0/24", "2001:db8::/32"])
    again = pickle.loads(pickle.dumps(filter))
    assert again == filter
    assert hash(again) == hash(filter)
    assert again.matches(od.Packet(UDP))
    assert again != extended("ip.SrcAddr in $hosts", hosts=["192.0.2.0/25"])
    assert repr(filter) == "Filter('ip.SrcAddr in $hosts', dialect='extended', sets=<hosts>)"


def test_what_a_driver_runs_is_a_superset() -> None:
    filter = extended("udp.DstPort in {53, 80-90}")
    assert filter.superset_is_exact
    assert str(filter.superset) == "udp.DstPort = 53 or (udp.DstPort >= 80 and udp.DstPort <= 90)"
    assert filter.object == filter.superset.object == od.helpers.compile_filter(str(filter.superset))
    many = extended("udp.DstPort in $odd", odd=[*range(1, 2000, 2)])
    assert not many.superset_is_exact
    for port in range(1, 2000, 97):
        packet = od.Packet(udp(dst_port=port))
        assert many.superset.matches(packet) >= many.matches(packet) == bool(port % 2)


def test_a_warning_tells_of_what_never_holds_and_where() -> None:
    with pytest.warns(od.FilterWarning, match="the largest value is 65535") as caught:
        filter = od.Filter("udp or tcp.DstPort == 70000")
    assert caught[0].filename == __file__
    (warning,) = filter.warnings
    assert (warning.start, warning.end, warning.text) == (7, 27, "udp or tcp.DstPort == 70000")
    assert str(warning).endswith("\n         ^^^^^^^^^^^^^^^^^^^^")
    again = pickle.loads(pickle.dumps(warning))
    assert (str(again), again.message) == (str(warning), warning.message)


@pytest.mark.parametrize(
    "text", ["true", "false", "tcp or true", "tcp and false", "udp.DstPort = 53", "@WinDiv_WX_eXWWAX"]
)
def test_nothing_is_said_of_literals_and_of_what_makes_sense(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert od.Filter(text).warnings == ()


def test_open_warns_too_and_takes_sets() -> None:
    with od.open("udp.DstPort in $ports", backend=od.Replay(pcap([UDP, tcp()])), sets={"ports": [53]}) as handle:
        assert [packet.dst_port for packet in handle] == [53]
    with (
        pytest.warns(od.FilterWarning, match="passes both"),
        od.open("tcp and udp", backend=od.Replay(pcap([UDP]))) as handle,
    ):
        assert list(handle) == []


def test_an_explanation_is_for_people_and_as_json_for_tools() -> None:
    filter = extended("udp.DstPort in {53, 853} and !(ip.SrcAddr in 10.0.0.0/8)")
    text = filter.explain()
    assert "driver runs" in text
    assert "udp.DstPort in {53, 853}" in text
    told = json.loads(filter.explain(json=True))
    assert told["driver"]["object"] == filter.object
    assert told["tests"][0] == {"test": "udp.DstPort in {53, 853}", "yes": 1, "no": "reject"}
    assert {program["classes"] for program in told["programs"]} >= {"IPv4, UDP"}


def test_a_trace_ends_with_the_test_that_decided() -> None:
    steps = od.Filter("udp.DstPort == 53 and ip.TTL < 5 or tcp.Syn").trace(od.Packet(UDP))
    assert [(step.text, step.value, step.shown, step.passed) for step in steps] == [
        ("udp.DstPort = 53", 53, "53", True),
        ("ip.TTL < 5", 64, "64", False),
        ("tcp.Syn", None, None, False),
    ]
    address = od.Address()
    address.layer = od.Layer.REFLECT
    (step,) = od.Filter("priority == -3", od.Layer.REFLECT).trace(None, address)
    assert (step.value, step.passed) == (0, False)


def test_a_batch_gives_a_mask_of_its_packets_as_they_now_are() -> None:
    packets = [UDP, tcp(), udp(dst_port=99)]
    with od.open(backend=od.Replay(pcap(packets))) as handle:
        batch = handle.recv_batch()
        mask = batch.matches("udp.DstPort in {53}")
        assert list(mask) == [True, False, False]
        batch[2].dst_port = 53
        assert list(batch.matches(od.f.udp.dst_port == 53)) == [True, False, True]
        assert handle.send_batch(batch, batch.matches("tcp")) == 1


def test_a_mask_is_a_sequence_with_set_operations_and_a_buffer() -> None:
    left, right = od.Mask([True, True, False]), od.Mask([True, False, False])
    assert list(left & right) == [True, False, False]
    assert list(left | right) == [True, True, False]
    assert list(left ^ right) == [False, True, False]
    assert list(~left) == [False, False, True]
    assert (left.count(), len(left), left[-1], left[0]) == (2, 3, False, True)
    assert left == od.Mask([True, True, False]) != right
    view = memoryview(left)
    assert (view.format, view.tolist(), view.readonly, view.shape) == ("?", [True, True, False], True, (3,))
    with pytest.raises(ValueError, match="3 and 1 packets"):
        left & od.Mask([True])
    with pytest.raises(IndexError):
        left[3]
