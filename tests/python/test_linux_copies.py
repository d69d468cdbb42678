"""Live on Linux: copies (SNIFF), as the kernel's program makes them and as the packet log does."""

from __future__ import annotations

import asyncio
import hashlib
import os
import select
import socket
import struct
import threading
import time
from contextlib import suppress

import oxidivert as od
import pytest
from linux_support import in_namespace, ip, peer, port_of, udp_socket

#: How copies are made: by the filter's program, or by the packet log.
WAYS = ["", "log"]
#: The socket option that has a receiver told of marks.
SO_RCVMARK = 75
#: The upper half of the marks of new packets on their way to their place.
CARRIER_MARK = 0x0D16_0000
#: How far the readings of two clocks may lie apart, in nanoseconds.
SLACK = 200_000
#: Lengths of payloads on both sides of where the kernel's records change their length.
LENGTHS = [0, 1, 75, 76, 77, 204, 205, 460, 980, 1484, 1485, 1996, 2045, 4044, 8140, 16332, 32716, 49100, 65507]


def sniffer(way: str, text: str, priority: int = 0) -> od.Handle[od.Packet]:
    """A handle that looks on, whose copies are made this way."""
    os.environ["OXIDIVERT_SNIFF"] = way
    return od.open(text, priority=priority, flags=od.Flag.SNIFF, backend="nfqueue")


def taken(handle: od.Handle[od.Packet], count: int) -> list[od.Packet]:
    """So many packets of a handle."""
    packets = []
    while len(packets) < count:
        packet = handle.recv(2)
        assert packet is not None, f"{len(packets)} of {count}"
        packets.append(packet)
    return packets


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@in_namespace
def test_both_ways_copy_the_same(address: str) -> None:
    bound, out = udp_socket(address), udp_socket(address)
    text = f"udp.DstPort == {port_of(bound)}"
    # The packet log takes no packets of more than 65,531 bytes.
    lengths = [min(length, 65450) for length in LENGTHS]
    with sniffer("", text) as ring, sniffer("log", text) as log:
        for number, length in enumerate(lengths):
            out.sendto(bytes([number]) * length, bound.getsockname())
            assert bound.recv(65535) == bytes([number]) * length
        ours, theirs = taken(ring, len(lengths)), taken(log, len(lengths))
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert bytes(one.payload) == bytes([number]) * lengths[number]
            assert bytes(one) == bytes(other)
            for name in ("outbound", "loopback", "sniffed", "ipv6", "ip_checksum", "tcp_checksum", "udp_checksum"):
                assert getattr(one.address, name) == getattr(other.address, name), name
            assert one.address.network.interface_index == other.address.network.interface_index == 1
        assert ring.stats.seen == log.stats.seen == len(lengths)


@pytest.mark.parametrize("way", WAYS)
@in_namespace
def test_copies_tell_where_packets_come_and_leave(way: str) -> None:
    with peer() as other:
        bound = udp_socket("0.0.0.0")
        port = port_of(bound)
        index = socket.if_nametoindex("inner")
        answers = other.python(
            "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('0.0.0.0', 7))\n"
            "print('ready')\nwhile True:\n    data, sender = s.recvfrom(2000)\n    s.sendto(data[::-1], sender)\n"
        )
        try:
            with sniffer(way, "udp and (udp.SrcPort == 7 or udp.DstPort == 7)") as handle:
                for number in range(50):
                    bound.sendto(struct.pack("!I", number), (other.remote, 7))
                    assert bound.recv(10) == struct.pack("!I", number)[::-1]
                packets = taken(handle, 100)
                assert [packet.address.outbound for packet in packets] == [True, False] * 50
                for number, (sent, back) in enumerate(zip(packets[::2], packets[1::2], strict=True)):
                    assert bytes(sent.payload) == struct.pack("!I", number) == bytes(back.payload)[::-1]
                    assert (sent.src_port, back.dst_port) == (port, port)
                    for packet in (sent, back):
                        assert packet.address.network.interface_index == index
                        assert not packet.address.loopback
        finally:
            answers.kill()
            answers.communicate()


@pytest.mark.parametrize("way", WAYS)
@in_namespace
def test_packets_that_pass_through_tell_their_interface_outbound(way: str) -> None:
    with peer() as other:
        for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            with open(f"/proc/sys/net/{name}", "w") as file:
                file.write("1")
        other.run("ip", "route", "add", "default", "via", other.local)
        index = socket.if_nametoindex("inner")
        os.environ["OXIDIVERT_SNIFF"] = way
        with od.open(
            "udp.DstPort == 9", layer=od.Layer.NETWORK_FORWARD, flags=od.Flag.SNIFF, backend="nfqueue"
        ) as handle:
            # What goes to an address behind the same interface is sent back there.
            code = (
                "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                "s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 77)\n"
                "s.sendto(b'through', ('10.9.1.7', 9))\nprint('ready')\n"
            )
            with open("/proc/sys/net/ipv4/conf/all/send_redirects", "w") as file:
                file.write("0")
            ip("route add 10.9.1.0/24 dev inner")
            ip("neigh add 10.9.1.7 lladdr 02:00:00:00:00:07 dev inner")
            other.python(code).communicate()
            (packet,) = taken(handle, 1)
            assert bytes(packet.payload) == b"through"
            assert packet.address.network.interface_index == index
            assert packet.address.outbound


@pytest.mark.parametrize("way", WAYS)
@in_namespace
def test_originals_keep_their_marks(way: str) -> None:
    bound, out = udp_socket(), udp_socket()
    bound.setsockopt(socket.SOL_SOCKET, SO_RCVMARK, 1)
    with sniffer(way, f"udp.DstPort == {port_of(bound)} and udp.PayloadLength == 4") as handle:
        for number in (0, 1, 77, 0xFFFF_FFFF):
            out.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", number))
            for payload in (b"copy", b"not copied"):
                out.sendto(payload, bound.getsockname())
                data, beside, _, _ = bound.recvmsg(100, 100)
                assert data == payload
                marks = [struct.unpack("=I", value)[0] for _, kind, value in beside if kind == socket.SO_MARK]
                assert marks == [number]
        assert len(taken(handle, 4)) == 4
        assert handle.stats.seen == 4


@pytest.mark.parametrize("way", WAYS)
@in_namespace
def test_a_burst_is_kept_in_order(way: str) -> None:
    bound, out = udp_socket(), udp_socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    with sniffer(way, f"udp.DstPort == {port_of(bound)}") as handle:
        handle.queue_length, handle.queue_size = 16384, 1 << 25
        for number in range(16000):
            out.sendto(struct.pack("!I", number), bound.getsockname())
        numbers = [struct.unpack("!I", bytes(packet.payload))[0] for packet in taken(handle, 16000)]
        assert numbers == list(range(16000))
        assert (handle.stats.received, handle.stats.overflowed) == (16000, 0)


@pytest.mark.parametrize("way", WAYS)
@in_namespace
def test_what_does_not_fit_is_counted(way: str) -> None:
    bound, out = udp_socket(), udp_socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    handle = sniffer(way, f"udp.DstPort == {port_of(bound)}")
    payload = bytes(60000)
    for _ in range(4000):
        out.sendto(payload, bound.getsockname())
    # The last copy tells, by the log, what was lost before it.
    time.sleep(0.3)
    out.sendto(b"last", bound.getsockname())
    received = 0
    with suppress(TimeoutError):
        while packet := handle.recv(0.5):
            received += 1
    assert packet is None
    stats = handle.stats
    handle.close()
    assert received + stats.overflowed + stats.expired == 4001
    assert stats.overflowed > 0
    after = handle.stats
    assert (after.received, after.overflowed) == (stats.received, stats.overflowed)


@pytest.mark.parametrize("way", WAYS)
@in_namespace
def test_a_stream_of_large_segments_is_copied_whole(way: str) -> None:
    data = os.urandom(1 << 20) * 8
    code = (
        "import hashlib, socket\nlistener = socket.create_server(('0.0.0.0', 7))\nprint('ready')\n"
        "stream, _ = listener.accept()\nsum = hashlib.sha256()\n"
        "while part := stream.recv(1 << 18): sum.update(part)\nprint(sum.hexdigest())\n"
    )
    with peer() as other, sniffer(way, "tcp.DstPort == 7 and tcp.PayloadLength > 0") as handle:
        handle.queue_length, handle.queue_size = 16384, 1 << 25
        receiver = other.python(code)

        def send() -> None:
            with socket.create_connection((other.remote, 7)) as stream:
                stream.sendall(data)

        sending = threading.Thread(target=send)
        sending.start()
        copied, first, largest = bytearray(len(data)), None, 0
        while packet := handle.recv(1):
            assert packet.tcp is not None
            first = packet.tcp.seq if first is None else first
            at = (packet.tcp.seq - first) % (1 << 32)
            copied[at : at + len(packet.payload)] = packet.payload
            largest = max(largest, len(packet))
        sending.join()
        out, _ = receiver.communicate(timeout=10)
        assert out.decode().split() == [hashlib.sha256(data).hexdigest()]
        assert handle.stats.overflowed == handle.stats.unmatched == 0
        assert copied == data
        assert largest > 30000


@pytest.mark.parametrize("way", WAYS)
@in_namespace
def test_the_descriptor_is_readable_while_there_are_copies(way: str) -> None:
    bound, out = udp_socket(), udp_socket()
    with sniffer(way, f"udp.DstPort == {port_of(bound)}") as handle:
        assert select.select([handle], [], [], 0)[0] == []
        for _ in range(3):
            out.sendto(b"one", bound.getsockname())
            out.sendto(b"two", bound.getsockname())
            assert select.select([handle], [], [], 2)[0] == [handle]
            assert [bytes(packet.payload) for packet in taken(handle, 2)] == [b"one", b"two"]
            assert select.select([handle], [], [], 0.02)[0] == []


@pytest.mark.parametrize("way", WAYS)
@in_namespace
def test_waiting_wakes_for_each_copy_soon(way: str) -> None:
    bound, out = udp_socket(), udp_socket()
    with sniffer(way, f"udp.DstPort == {port_of(bound)}") as handle:
        for pause in (0.0, 0.0005, 0.02) * 20:
            timer = threading.Timer(pause, out.sendto, (b"x", bound.getsockname()))
            timer.start()
            packet = handle.recv(5)
            assert packet is not None
            assert time.time_ns() - packet.time_ns < 500_000_000
            timer.join()
        assert handle.stats.received == 60


@pytest.mark.parametrize("way", WAYS)
@in_namespace
def test_time_stamps_are_those_of_the_packets(way: str) -> None:
    bound, out = udp_socket(), udp_socket()
    with sniffer(way, f"udp.DstPort == {port_of(bound)}") as handle:
        sent = []
        for _ in range(20):
            before = time.time_ns()
            out.sendto(b"x", bound.getsockname())
            packet = handle.recv(2)
            assert packet is not None
            sent.append((before, packet.time_ns, time.time_ns()))
        for before, stamp, after in sent:
            assert before - SLACK <= stamp <= after + SLACK
        if way == "":
            out.sendto(b"x", bound.getsockname())
            after = time.time_ns()
            time.sleep(0.05)
            (packet,) = taken(handle, 1)
            # Stamped when it was sent, not when it was looked at.
            assert packet.time_ns <= after + SLACK


@pytest.mark.parametrize("way", WAYS)
@in_namespace
def test_set_filter_changes_what_is_copied(way: str) -> None:
    one, other, out = udp_socket(), udp_socket(), udp_socket()
    with sniffer(way, f"udp.DstPort == {port_of(one)}") as handle:
        out.sendto(b"first", one.getsockname())
        out.sendto(b"no", other.getsockname())
        if way == "log":
            # The log hands copies over within 10 ms, and what comes then is met by the filter of then.
            time.sleep(0.05)
        handle.set_filter(f"udp.DstPort == {port_of(other)} and timestamp > 0")
        out.sendto(b"no", one.getsockname())
        out.sendto(b"second", other.getsockname())
        assert [bytes(packet.payload) for packet in taken(handle, 2)] == [b"first", b"second"]
        assert handle.recv(0.05) is None


@in_namespace
def test_the_largest_packets_are_copied_by_programs() -> None:
    for address, most in (("127.0.0.1", 65507), ("::1", 65487)):
        bound, out = udp_socket(address), udp_socket(address)
        out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
        with sniffer("", f"udp.DstPort == {port_of(bound)}") as handle:
            payload = os.urandom(most)
            out.sendto(payload, bound.getsockname())
            assert bound.recv(65535) == payload
            assert [bytes(packet.payload) for packet in taken(handle, 1)] == [payload]


@in_namespace
def test_packets_that_look_like_carriers_are_copied() -> None:
    bound, out = udp_socket(), udp_socket()
    with sniffer("", f"udp.DstPort == {port_of(bound)}") as handle:
        # The upper half of the mark is that of new packets on their way, whose protocol is another.
        for number in (CARRIER_MARK, CARRIER_MARK | 0x4001):
            out.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", number))
            out.sendto(number.to_bytes(4), bound.getsockname())
        assert [bytes(packet.payload) for packet in taken(handle, 2)] == [
            CARRIER_MARK.to_bytes(4),
            (CARRIER_MARK | 0x4001).to_bytes(4),
        ]
        assert handle.recv(0.02) is None
        packet = od.build.udp("127.0.0.1", "127.0.0.1", port_of(out), port_of(bound), payload=b"new")
        # A handle that looks on sees no packets of its own.
        handle.send(packet)
        assert [bound.recv(100) for _ in range(3)][-1] == b"new"
        assert handle.recv(0.05) is None


@pytest.mark.parametrize("way", WAYS)
@in_namespace
def test_loopback_in_a_filter_is_asked(way: str) -> None:
    bound, out = udp_socket(), udp_socket()
    port = port_of(bound)
    with (
        sniffer(way, f"udp.DstPort == {port} and loopback and ifIdx == 1") as inside,
        sniffer(way, f"udp.DstPort == {port} and !loopback") as outside,
    ):
        out.sendto(b"x", bound.getsockname())
        assert len(taken(inside, 1)) == 1
        assert outside.recv(0.05) is None


@pytest.mark.parametrize("way", WAYS)
@in_namespace
def test_tasks_receive_copies(way: str) -> None:
    bound, out = udp_socket(), udp_socket()
    os.environ["OXIDIVERT_SNIFF"] = way

    async def run() -> list[bytes]:
        text = f"udp.DstPort == {port_of(bound)}"
        async with od.open(text, flags=od.Flag.SNIFF, backend="nfqueue") as handle:
            got = []
            for number in range(200):
                out.sendto(struct.pack("!I", number), bound.getsockname())
                if number % 10 == 9:
                    for _ in range(10):
                        packet = await handle.recv_async(timeout=2)
                        assert packet is not None
                        got.append(bytes(packet.payload))
            return got

    assert asyncio.run(run()) == [struct.pack("!I", number) for number in range(200)]
