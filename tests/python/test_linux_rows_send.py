"""Live on Linux, by the rows of the table of behaviours: what becomes of packets that are sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import oxidivert as od
import pytest
from linux_support import Line, code_of, in_namespace, payloads, port_of, received, udp_socket
from oxidivert import build

#: Where the checksum of a UDP packet over IPv4 lies.
UDP_CHECKSUM = slice(26, 28)


@contextmanager
def pair(text: str) -> Iterator[tuple[od.Handle[od.Packet], od.Handle[od.Packet]]]:
    """A handle that only sends, and one below it that receives what matches."""
    with od.open("false", priority=1, backend="nfqueue") as above, od.open(text, backend="nfqueue") as below:
        yield above, below


def udp(version: int, **fields: int) -> od.Packet:
    """A packet to this host, port 9, with this TTL or hop limit."""
    address = "127.0.0.1" if version == 4 else "::1"
    packet = build.udp(address, address, 9, 9, payload=b"P")
    if packet.ipv4:
        packet.ipv4.ttl = fields["hops"]
    elif packet.ipv6:
        packet.ipv6.hop_limit = fields["hops"]
    return packet


def hops_of(packet: od.Packet) -> int:
    """The TTL or hop limit."""
    if packet.ipv4:
        return packet.ipv4.ttl
    assert packet.ipv6
    return packet.ipv6.hop_limit


# Row 44.
@in_namespace
def test_live_a_sent_packet_is_as_long_as_its_header_says() -> None:
    line = Line()
    with line.open(priority=-1) as below, od.open("false", backend="nfqueue") as handle:
        data = bytes(line.packet(b"P"))
        handle.send(data + b"and more", od.Address())
        (packet,) = received(below)
        assert bytes(packet) == data
        below.send(packet)
        assert line.arrived() == [b"P"]


# Row 45.
@in_namespace
def test_live_a_buffer_shorter_than_its_header_says_is_refused() -> None:
    line = Line()
    with line.open(priority=-1) as below, od.open("false", backend="nfqueue") as handle:
        data = bytes(line.packet(b"Packet"))
        for length in (len(data) - 1, 28, 20):
            assert code_of(lambda cut=data[:length]: handle.send(cut, od.Address())) == 122  # type: ignore[misc]
        assert received(below) == []


# Row 49.
@in_namespace
def test_live_a_packet_without_hops_is_left_out_and_told_at_the_end() -> None:
    line = Line()
    with line.open() as handle:
        line.feed(b"1", b"2", b"3")
        batch = handle.recv_batch(3, 2)
        assert len(batch) == 3
        second = batch[1]
        assert isinstance(second, od.Packet)
        assert second.ipv4
        second.ipv4.ttl = 1
        second.address.impostor = True
        with pytest.raises(od.DivertError) as caught:
            handle.send_batch(batch)
        assert (caught.value.code, caught.value.sent) == (1232, 2)
        assert line.arrived() == [b"1", b"3"]


# Row 50.
@in_namespace
def test_live_a_packet_that_is_wrong_ends_the_batch() -> None:
    line = Line()
    with line.open() as handle:
        line.feed(b"1", b"second", b"3")
        batch = handle.recv_batch(3, 2)
        assert len(batch) == 3
        second = batch[1]
        assert isinstance(second, od.Packet)
        second.data = bytes(second)[:-2]
        with pytest.raises(od.DivertError) as caught:
            handle.send_batch(batch)
        assert (caught.value.code, caught.value.sent) == (122, 1)
        assert line.arrived() == [b"1"]


# Row 51.
@pytest.mark.parametrize("version", [4, 6])
@in_namespace
def test_live_an_impostor_goes_on_with_one_hop_less_and_a_right_checksum(version: int) -> None:
    with pair("udp.DstPort == 9") as (above, below):
        packet = udp(version, hops=64)
        packet.address.impostor = True
        above.send(packet)
        (seen,) = received(below)
        assert hops_of(seen) == 63
        assert seen.checksums_valid
        # The sender's own packet is as it was.
        assert hops_of(packet) == 64


# Row 52.
@pytest.mark.parametrize("version", [4, 6])
@in_namespace
def test_live_an_impostor_whose_hops_are_used_up_is_not_sent(version: int) -> None:
    with pair("udp.DstPort == 9") as (above, below):
        for hops in (0, 1):
            packet = udp(version, hops=hops)
            packet.address.impostor = True
            assert code_of(lambda packet=packet: above.send(packet)) == 1232  # type: ignore[misc]
        assert received(below) == []
        assert above.stats.errors == 2


# Row 53.
@pytest.mark.parametrize("version", [4, 6])
@in_namespace
def test_live_other_packets_keep_their_hops(version: int) -> None:
    with pair("udp.DstPort == 9") as (above, below):
        above.send(udp(version, hops=1))
        (seen,) = received(below)
        assert hops_of(seen) == 1


# Row 54.
@in_namespace
def test_live_checksums_are_computed_where_the_address_leaves_them_open_and_nowhere_else() -> None:
    with pair("udp.DstPort == 9") as (above, below):
        packet = udp(4, hops=64)
        assert packet.udp
        right = packet.udp.checksum
        packet.udp.checksum = 0x1234
        for is_final, expected in ((False, right), (True, 0x1234)):
            packet.address.udp_checksum = is_final
            above.send(packet)
            (seen,) = received(below)
            assert seen.udp
            assert seen.udp.checksum == expected
            assert packet.udp.checksum == 0x1234


# Row 55.
@in_namespace
def test_live_a_udp_checksum_of_zero_is_sent_as_ffff() -> None:
    def packet(payload: bytes) -> bytes:
        return bytes(build.udp("127.0.0.1", "127.0.0.1", 9, 9, payload=payload))

    # With its own checksum as payload, a packet's sum comes out as zero.
    wrong = bytearray(packet(packet(bytes(2))[UDP_CHECKSUM]))
    wrong[UDP_CHECKSUM] = b"\x12\x34"
    with pair("udp.DstPort == 9") as (above, below):
        above.send(bytes(wrong), od.Address())
        (seen,) = received(below)
        assert bytes(seen)[UDP_CHECKSUM] == b"\xff\xff"


# Row 56.
@in_namespace
def test_live_an_icmp_checksum_is_never_computed() -> None:
    packet = build.icmp_echo("127.0.0.1", "127.0.0.1")
    assert packet.icmp
    wrong = packet.icmp.checksum ^ 0xFF00
    packet.icmp.checksum = wrong
    with pair("icmp") as (above, below):
        above.send(packet)
        (seen,) = received(below)
        assert seen.icmp
        assert seen.icmp.checksum == wrong


# Row 57.
@in_namespace
def test_live_a_handle_that_only_receives_does_not_send() -> None:
    line = Line()
    with line.open(flags=od.Flag.RECV_ONLY) as handle:
        line.feed(b"P")
        (packet,) = received(handle)
        assert code_of(lambda: handle.send(packet)) == 87
        handle.shutdown(od.Shutdown.SEND)
        assert code_of(lambda: handle.send(packet)) == 232
        assert line.arrived() == []


# Row 58.
@in_namespace
def test_live_a_handle_that_only_sends_receives_nothing_and_captures_nothing() -> None:
    line = Line()
    with line.open(flags=od.Flag.SEND_ONLY) as handle:
        assert code_of(lambda: handle.recv(0)) == 87
        line.feed(b"fed")
        handle.send(line.packet(b"new"))
        assert line.arrived() == [b"fed", b"new"]


# Row 59.
@in_namespace
def test_live_event_layers_send_nothing() -> None:
    packet = bytes(build.udp("127.0.0.1", "127.0.0.1", 9, port_of(udp_socket()), payload=b"P"))
    for layer in (od.Layer.FLOW, od.Layer.SOCKET, od.Layer.REFLECT):
        with od.open("true", layer=layer, flags=od.Flag.SNIFF | od.Flag.RECV_ONLY, backend="nfqueue") as handle:
            assert code_of(lambda handle=handle: handle.send(packet, od.Address())) == 87  # type: ignore[misc]


# Row 88.
@in_namespace
def test_live_what_an_address_does_not_tell_is_zero() -> None:
    line = Line()
    with line.open() as handle:
        line.feed(b"P")
        (packet,) = received(handle)
        record = bytes(packet.address)
        assert len(record) == 80
        assert record[11:16] == bytes(5)
        # Interface 1, sub-interface 0, and nothing of the other layers.
        assert record[16:24] == bytes([1, 0, 0, 0, 0, 0, 0, 0])
        assert record[24:] == bytes(56)
        assert payloads(handle) == []
