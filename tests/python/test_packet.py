"""Packet: construction, attributes, edits, checksums, ownership."""

from __future__ import annotations

import copy
import ipaddress
import pickle

import oxidivert as od
import pytest
from samples import EACH_PROTOCOL, icmp, icmpv6, ip, tcp, udp


@pytest.mark.parametrize("data", EACH_PROTOCOL.values(), ids=EACH_PROTOCOL)
def test_an_untouched_packet_keeps_its_bytes_and_has_valid_checksums(data: bytes) -> None:
    packet = od.Packet(data)
    assert bytes(packet) == data
    assert len(packet) == len(data)
    assert packet.checksums_valid
    assert bytes(packet.payload) == b"hello"


def test_a_packet_without_an_address_is_outbound_and_computes_checksums_when_sent() -> None:
    address = od.Packet(tcp()).address
    assert address.layer is od.Layer.NETWORK
    assert address.outbound
    assert (address.ip_checksum, address.tcp_checksum, address.udp_checksum) == (False, False, False)


def test_bytes_that_are_no_packet_have_no_headers() -> None:
    packet = od.Packet(b"\x00\x01\x02")
    assert packet.ipv4 is None
    assert packet.ipv6 is None
    assert packet.tcp is None
    assert packet.src_addr is None
    assert packet.dst_port is None
    assert packet.protocol is None
    assert not packet.checksums_valid
    with pytest.raises(od.PacketError, match="an IP header needs 20 bytes, there are 3"):
        packet.dst_port = 80


def test_header_views_are_present_exactly_where_the_header_is() -> None:
    present = {
        name: [kind for kind in ("ipv4", "ipv6", "tcp", "udp", "icmp", "icmpv6") if getattr(od.Packet(data), kind)]
        for name, data in EACH_PROTOCOL.items()
    }
    assert present == {
        "tcp over ipv4": ["ipv4", "tcp"],
        "udp over ipv4": ["ipv4", "udp"],
        "icmp": ["ipv4", "icmp"],
        "tcp over ipv6": ["ipv6", "tcp"],
        "udp over ipv6": ["ipv6", "udp"],
        "icmpv6": ["ipv6", "icmpv6"],
    }


def test_addresses_and_ports_read_and_write() -> None:
    packet = od.Packet(tcp())
    assert packet.src_addr == ipaddress.ip_address("10.0.0.1")
    assert (packet.src_port, packet.dst_port) == (40001, 80)
    packet.dst_addr = "198.51.100.9"
    packet.src_addr = ipaddress.ip_address("10.9.9.9")
    packet.dst_port = 8080
    assert bytes(packet) == tcp(src="10.9.9.9", dst="198.51.100.9", dst_port=8080)
    with pytest.raises(od.PacketError):
        packet.dst_addr = "2001:db8::1"
    with pytest.raises(ValueError, match="is no IP address"):
        packet.dst_addr = "nowhere"
    with pytest.raises(OverflowError):
        packet.dst_port = 65536


def test_a_port_of_a_packet_without_ports_is_none_and_cannot_be_set() -> None:
    packet = od.Packet(icmp())
    assert packet.src_port is None
    with pytest.raises(od.PacketError):
        packet.src_port = 1


@pytest.mark.parametrize(
    ("data", "header", "field", "value"),
    [
        (tcp(b"x"), "ipv4", "ttl", 3),
        (tcp(b"x"), "ipv4", "tos", 0xB8),
        (tcp(b"x"), "ipv4", "id", 0xFFFF),
        (tcp(b"x"), "ipv4", "dont_fragment", True),
        (tcp(b"x"), "tcp", "seq", 0xFFFFFFFF),
        (tcp(b"x"), "tcp", "ack_number", 0x12345678),
        (tcp(b"x"), "tcp", "window", 1),
        (tcp(b"x"), "tcp", "urgent_pointer", 9),
        *[(tcp(b"x"), "tcp", flag, True) for flag in ("syn", "fin", "rst", "urg", "ece", "cwr")],
        *[(tcp(b"x"), "tcp", flag, False) for flag in ("ack", "psh")],
        (udp(b"x"), "udp", "src_port", 1),
        (udp(b"x"), "udp", "dst_port", 65535),
        (icmp(b"x"), "icmp", "type", 0),
        (icmp(b"x"), "icmp", "code", 1),
        (icmp(b"x"), "icmp", "body", 0x00070008),
        (icmpv6(b"x"), "icmpv6", "type", 129),
        (icmpv6(b"x"), "icmpv6", "body", 0x00070008),
        (EACH_PROTOCOL["udp over ipv6"], "ipv6", "hop_limit", 1),
        (EACH_PROTOCOL["udp over ipv6"], "ipv6", "traffic_class", 0xAB),
        (EACH_PROTOCOL["udp over ipv6"], "ipv6", "flow_label", 0xABCDE),
    ],
)
def test_a_field_reads_what_was_written_and_checksums_stay_right(
    data: bytes, header: str, field: str, value: int
) -> None:
    packet = od.Packet(data)
    view = getattr(packet, header)
    assert getattr(view, field) != value
    setattr(view, field, value)
    assert getattr(view, field) == value
    assert packet.checksums_valid
    assert bytes(packet) != data
    full = od.Packet(bytes(packet))
    assert full.recalculate_checksums()
    assert bytes(full) == bytes(packet)


def test_a_value_out_of_range_is_refused_and_nothing_changes() -> None:
    packet = od.Packet(tcp())
    assert packet.ipv4 is not None
    with pytest.raises(od.PacketError, match="ttl"):
        packet.ipv4.ttl = 256
    with pytest.raises(OverflowError):
        packet.ipv4.ttl = -1
    assert bytes(packet) == tcp()


def test_an_unfinished_or_wrong_checksum_is_not_verified_by_an_edit() -> None:
    data = bytearray(udp())
    data[26:28] = b"\0\0"
    packet = od.Packet(bytes(data))
    packet.dst_port = 54
    assert packet.udp is not None
    assert packet.udp.checksum == 0


@pytest.mark.parametrize("payload", [b"", b"x", b"a much longer payload than there was before" * 30])
@pytest.mark.parametrize("name", EACH_PROTOCOL)
def test_a_new_payload_of_any_length_fixes_lengths_and_checksums(name: str, payload: bytes) -> None:
    packet = od.Packet(EACH_PROTOCOL[name])
    packet.payload = payload
    assert bytes(packet.payload) == payload
    assert packet.checksums_valid
    assert len(packet) == len(EACH_PROTOCOL[name]) - 5 + len(payload)
    if packet.udp:
        assert packet.udp.length == 8 + len(payload)
    if packet.ipv4:
        assert packet.ipv4.length == len(packet)
        assert packet.address.ip_checksum


def test_a_payload_of_a_first_fragment_or_too_long_cannot_be_set() -> None:
    fragment = od.Packet(ip("10.0.0.1", "10.0.0.2", 17, udp()[20:], fragment=0x2000))
    with pytest.raises(od.PacketError):
        fragment.payload = b"x"
    whole = od.Packet(udp())
    with pytest.raises(od.PacketError):
        whole.payload = bytes(65536)
    assert bytes(whole) == udp()


def test_structural_fields_parse_anew() -> None:
    packet = od.Packet(udp(b"12345678"))
    assert packet.ipv4 is not None
    view = packet.udp
    assert view is not None
    packet.ipv4.protocol = 50
    assert packet.udp is None
    assert packet.protocol == 50
    with pytest.raises(od.PacketError, match="no longer has this header"):
        _ = view.src_port
    packet.ipv4.protocol = 17
    assert bytes(packet) == udp(b"12345678")


def test_data_is_replaced_by_whole_packets_only() -> None:
    packet = od.Packet(udp())
    packet.data = tcp(b"other")
    assert packet.tcp is not None
    with pytest.raises(od.PacketError):
        packet.data = b"nonsense"
    assert bytes(packet) == tcp(b"other")


def test_the_address_of_a_packet_is_live_and_copied_on_the_way_in() -> None:
    address = od.Address(outbound=False)
    packet = od.Packet(udp(), address)
    address.outbound = True
    assert packet.direction is od.Direction.INBOUND
    packet.direction = od.Direction.OUTBOUND
    assert packet.address.outbound
    packet.address.outbound = False
    assert packet.direction is od.Direction.INBOUND


@pytest.mark.parametrize(
    "duplicate", [od.Packet.copy, copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))]
)
def test_a_copy_shares_nothing(duplicate: object) -> None:
    packet = od.Packet(tcp(), od.Address(loopback=True))
    other = duplicate(packet)  # type: ignore[operator]
    other.dst_port = 1
    other.address.loopback = False
    assert bytes(packet) == tcp()
    assert packet.address.loopback


def test_hash_and_recalculation_follow_the_helpers() -> None:
    packet = od.Packet(udp())
    assert packet.packet_hash(5) == od.helpers.hash_packet(udp(), 5)
    assert not packet.address.udp_checksum
    assert packet.recalculate_checksums(od.ChecksumFlag.NO_IP)
    assert packet.address.udp_checksum
    assert not packet.address.ip_checksum


def test_repr_names_the_protocol_and_both_ends() -> None:
    text = repr(od.Packet(tcp()))
    assert "TCP" in text
    assert "10.0.0.1:40001" in text
    assert "192.0.2.7:80" in text
