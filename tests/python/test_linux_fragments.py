"""Live on Linux, by the rows of the table of behaviours: fragments on their way in and out."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import ExitStack

import oxidivert as od
import pytest
from linux_support import Peer, in_namespace, nothing_comes, peer, received, udp_socket

FRAGMENTS = od.Flag.FRAGMENTS
#: More than one packet on the way holds.
LONG = bytes(range(256)) * 10


def ends(version: int) -> tuple[str, str]:
    """This host's address and the other's."""
    return (Peer.local, Peer.remote) if version == 4 else (Peer.local6, Peer.remote6)


def send_long(other: Peer, version: int, data: str = "bytes(range(256)) * 10") -> None:
    """The other host sends a datagram that goes in fragments, from port 7000 to 7000."""
    local, remote = ends(version)
    code = (
        f"import socket\ns = socket.socket(socket.AF_INET{'6' if version == 6 else ''}, socket.SOCK_DGRAM)\n"
        f"s.bind(({remote!r}, 7000))\ns.sendto({data}, ({local!r}, 7000))\n"
    )
    other.run(sys.executable, "-c", code)


def offsets(packets: Sequence[od.Packet]) -> list[int]:
    """Where each packet's part of the whole begins, in bytes; -1 for what is no fragment."""
    found = []
    for packet in packets:
        assert not packet.address.outbound
        data = bytes(packet)
        if not packet.is_fragment:
            found.append(-1)
        elif packet.ipv4:
            found.append((struct.unpack_from(">H", data, 6)[0] & 0x1FFF) * 8)
        else:
            found.append(struct.unpack_from(">H", data, 42)[0] & 0xFFF8)
    return found


# Row 30.
@pytest.mark.parametrize("version", [4, 6])
@in_namespace
def test_live_without_fragments_only_the_reassembled_packet_is_seen(version: int) -> None:
    with peer() as other:
        bound = udp_socket(ends(version)[0], 7000)
        with (
            od.open("udp or fragment", backend="nfqueue") as handle,
            od.open("udp or fragment", priority=300, flags=od.Flag.SNIFF, backend="nfqueue") as sniffer,
        ):
            send_long(other, version)
            (packet,) = received(handle)
            assert not packet.is_fragment
            assert bytes(packet.payload) == LONG
            assert [bytes(copy) for copy in received(sniffer)] == [bytes(packet)]
            handle.send(packet)
            assert bound.recv(9000) == LONG


# Row 31.
@pytest.mark.parametrize("version", [4, 6])
@in_namespace
def test_live_with_fragments_each_is_seen_and_not_the_reassembled_packet(version: int) -> None:
    expected = [0, 1480] if version == 4 else [0, 1448]
    with peer() as other, ExitStack() as stack:
        bound = udp_socket(ends(version)[0], 7000)

        def handle(priority: int, flags: od.Flag, text: str = "inbound and (udp or fragment)") -> od.Handle[od.Packet]:
            return stack.enter_context(od.open(text, priority=priority, flags=flags, backend="nfqueue"))

        high, low = handle(5, FRAGMENTS), handle(-5, FRAGMENTS)
        copies = handle(-6, FRAGMENTS | od.Flag.SNIFF)
        others = handle(9, od.Flag.SNIFF)
        send_long(other, version)
        packets = received(high)
        assert offsets(packets) == expected
        index = socket.if_nametoindex("inner")
        assert {packet.address.network.interface_index for packet in packets if packet.address.network} == {index}
        assert received(low) == []
        for packet in packets:
            high.send(packet)
        below = received(low)
        assert [bytes(packet) for packet in below] == [bytes(packet) for packet in packets]
        assert received(copies) == received(others) == []
        for packet in below:
            low.send(packet)
        # Put together again, it is nothing to those that saw its parts.
        assert bound.recv(9000) == LONG
        assert offsets(received(copies)) == expected
        assert received(high) == received(low) == []
        assert offsets(received(others)) == [-1]
        # What comes whole is seen by all.
        send_long(other, version, "b'short'")
        (whole,) = received(high)
        assert offsets([whole]) == [-1]
        high.send(whole)
        (whole,) = received(low)
        low.send(whole)
        assert bound.recv(100) == b"short"
        assert offsets(received(copies)) == [-1]


# Row 33.
@pytest.mark.parametrize("version", [4, 6])
@in_namespace
def test_live_transport_fields_do_not_match_later_fragments(version: int) -> None:
    later = 1480 if version == 4 else 1448
    with peer() as other, ExitStack() as stack:
        bound = udp_socket(ends(version)[0], 7000)
        handles = [
            stack.enter_context(od.open(text, priority=-number, flags=FRAGMENTS | od.Flag.SNIFF, backend="nfqueue"))
            for number, text in enumerate(
                ["udp", "udp.DstPort == 7000", "fragment", "fragment and not udp", "not fragment"]
            )
        ]
        send_long(other, version)
        assert bound.recv(9000) == LONG
        seen = [offsets([packet for packet in received(handle) if not packet.icmpv6]) for handle in handles]
        assert seen == [[0], [0], [0, later], [later], []]


@pytest.mark.parametrize("version", [4, 6])
@in_namespace
def test_fragments_are_edited_held_back_and_made(version: int) -> None:
    with peer() as other:
        bound = udp_socket(ends(version)[0], 7000)
        text = "inbound and (fragment or udp.DstPort == 7000)"
        with od.open(text, flags=FRAGMENTS, backend="nfqueue") as handle:
            send_long(other, version)
            first, second = received(handle)
            handle.send(first)
            handle.send(second)
            assert bound.recv(9000) == LONG
            # Once more, as new packets.
            handle.send(second)
            handle.send(first)
            assert bound.recv(9000) == LONG
            assert received(handle) == []
            send_long(other, version)
            first, second = received(handle)
            data = bytearray(bytes(second))
            data[-1] ^= 0xFF
            data[-3] ^= 0xFF
            # Two bytes a sum apart, so that the whole packet's checksum stays right.
            data[-1], data[-3] = bytes(second)[-3], bytes(second)[-1]
            second.data = bytes(data)
            handle.send(first)
            handle.send(second)
            assert bound.recv(9000) == LONG[:-3] + bytes([LONG[-1], LONG[-2], LONG[-3]])
            # Without one of its parts there is no packet.
            send_long(other, version)
            first, second = received(handle)
            handle.send(first)
            assert nothing_comes(bound, 0.2)
            # A packet that is none enters behind the place of the parts.
            whole = od.build.udp(*ends(version)[::-1], 7000, 7000, payload=b"new")
            whole.address.outbound = False
            assert whole.address.network
            whole.address.network.interface_index = socket.if_nametoindex("inner")
            handle.send(whole)
            assert bound.recv(100) == b"new"
            assert received(handle) == []


@in_namespace
def test_fragments_are_put_together_once_a_filter_may_match_them() -> None:
    with peer() as other:
        bound = udp_socket(Peer.local6, 7000)
        with od.open("ip and udp", backend="nfqueue") as handle:
            send_long(other, 6)
            assert bound.recv(9000) == LONG
            assert received(handle) == []
            handle.set_filter("ipv6 and (udp or fragment)")
            send_long(other, 6)
            (packet,) = received(handle)
            assert bytes(packet.payload) == LONG
            handle.send(packet)
            assert bound.recv(9000) == LONG


# Row 32.
@pytest.mark.parametrize("version", [4, 6])
@in_namespace
def test_live_outbound_fragments_are_seen_with_either_flag(version: int) -> None:
    # The stack makes fragments behind all hooks; those that programs make pass by them.
    local, remote = ends(version)
    whole = bytes(od.build.udp(local, remote, 7000, 7000, payload=LONG))
    with peer(), ExitStack() as stack:
        handles = [
            stack.enter_context(od.open("outbound and fragment", priority=priority, flags=flags, backend="nfqueue"))
            for priority, flags in ((9, FRAGMENTS | od.Flag.SNIFF), (5, od.Flag.SNIFF), (1, FRAGMENTS), (0, od.Flag(0)))
        ]
        injector = stack.enter_context(od.open("false", priority=10, backend="nfqueue"))
        for part in parts(whole):
            injector.send(part, od.Address())
        for handle in handles:
            seen = received(handle)
            assert [packet.is_fragment for packet in seen] == [True, True]
            assert (
                b"".join(bytes(packet)[len(whole) - len(LONG) - 8 + (0 if version == 4 else 8) :] for packet in seen)
                == (whole[-len(LONG) - 8 :])
            )
            if not handle.flags & od.Flag.SNIFF:
                for packet in seen:
                    handle.send(packet)


def parts(whole: bytes) -> list[bytes]:
    """A packet in two fragments."""
    header_len = 20 if whole[0] >> 4 == 4 else 40
    header, body = whole[:header_len], whole[header_len:]
    made = []
    for start, end in ((0, 1400), (1400, len(body))):
        more, part = int(end < len(body)), body[start:end]
        if header_len == 20:
            fields = struct.pack(">HHH", 20 + len(part), 7, more << 13 | start // 8)
            made.append(header[:2] + fields + header[8:] + part)
        else:
            extension = struct.pack(">BBHI", header[6], 0, start | more, 7)
            made.append(header[:4] + struct.pack(">HB", 8 + len(part), 44) + header[7:] + extension + part)
    return made
