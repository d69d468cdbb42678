"""Memoryviews of packets: read-only, alive, and in the way of a change of size."""

from __future__ import annotations

import gc
import sys
import weakref

import oxidivert as od
import pytest
from samples import tcp, udp


def test_data_and_payload_are_read_only() -> None:
    packet = od.Packet(udp(b"abcd"))
    assert bytes(packet.data) == udp(b"abcd")
    assert packet.data.readonly
    with pytest.raises(TypeError):
        packet.payload[0] = 1


def test_a_view_outlives_its_packet() -> None:
    view = od.Packet(udp(b"abcd")).payload
    gc.collect()
    assert bytes(view) == b"abcd"


def test_a_view_shows_edits_in_place() -> None:
    packet = od.Packet(udp(b"abcd"))
    view = packet.data
    packet.dst_port = 0x1234
    assert view[22:24] == b"\x12\x34"
    packet.payload = b"wxyz"
    assert view[28:] == b"wxyz"


def test_a_change_of_size_is_refused_while_a_view_exists() -> None:
    packet = od.Packet(udp(b"abcd"))
    view = packet.payload
    for change in ("payload", "data"):
        with pytest.raises(BufferError, match="release it first"):
            setattr(packet, change, udp(b"longer"))
    view.release()
    packet.payload = b"longer"
    assert bytes(packet.payload) == b"longer"


def test_slices_count_as_views() -> None:
    packet = od.Packet(udp(b"abcd"))
    with packet.data as whole:
        part = whole[3:9]
    with pytest.raises(BufferError):
        packet.payload = b""
    part.release()
    packet.payload = b""


def test_mutable_input_is_copied() -> None:
    source = bytearray(tcp())
    packet = od.Packet(source)
    source[0] = 0
    assert bytes(packet) == tcp()
    assert bytes(od.Packet(memoryview(tcp()))) == tcp()
    with pytest.raises(BufferError):
        od.Packet(memoryview(tcp()).cast("H"))
    with pytest.raises(TypeError):
        od.Packet("text")  # type: ignore[arg-type]


def test_views_and_packets_make_no_cycles() -> None:
    packet = od.Packet(tcp(b"x"))
    _ = (packet.ipv4, packet.tcp, packet.address, packet.data)
    gone = weakref.ref(packet)
    gc.disable()
    try:
        del packet, _
        assert gone() is None
    finally:
        gc.enable()


def test_nothing_leaks_over_many_packets() -> None:
    def use() -> None:
        for _ in range(1000):
            packet = od.Packet(tcp(b"x"))
            assert packet.tcp is not None
            packet.tcp.window = 7
            bytes(packet.data)

    use()
    before = sys.getallocatedblocks()
    use()
    assert sys.getallocatedblocks() - before < 100
