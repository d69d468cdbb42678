"""Live on Linux: the kernel asks the filter, and answers as this package does."""

from __future__ import annotations

import random
import socket
import struct
import time

import oxidivert as od
import pytest
from linux_support import in_namespace, peer, port_of, udp_socket

#: Fields with values that packets here have or just have not.
TESTS = [
    "udp.DstPort == 40000",
    "udp.SrcPort < 30500",
    "udp.DstPort in {40000-40010, 40020, 40030, 40040, 40050-40099}",
    "udp.PayloadLength > 20",
    "udp.Payload[0] > 127",
    "udp.Payload16[1b] < 20000",
    "udp.Payload32[-1] >= 0x80000000",
    "udp.Payload[-3b] == 7 or length > 60",
    "packet[1] == 0",
    "ip.TTL < 70",
    "ip.DstAddr in {127.0.0.0/30, 127.0.1.0/24}",
    "ip.SrcAddr == 127.0.0.1",
    "ipv6.HopLimit == 64",
    "ipv6.DstAddr == ::1",
    "localPort > 31000",
    "remoteAddr == 127.0.0.1",
    "ip",
    "ipv6",
    "loopback",
    "inbound",
    "fragment",
    "random8 < 100",
    "ifIdx == 1",
    "tcp",
]


def expression(rng: random.Random, depth: int = 3) -> str:
    """A random filter."""
    if depth == 0 or rng.random() < 0.25:
        return rng.choice(TESTS)
    one, other = expression(rng, depth - 1), expression(rng, depth - 1)
    return rng.choice([f"({one}) and ({other})", f"({one}) or ({other})", f"!({one})"])


def datagram(rng: random.Random, senders: dict[str, socket.socket]) -> None:
    """Send a random datagram."""
    address = rng.choice(["127.0.0.1", "127.0.0.2", "127.0.1.9", "::1"])
    payload = rng.randbytes(rng.choice([0, 1, 2, 3, 4, 9, 30]))
    senders["6" if ":" in address else "4"].sendto(payload, (address, rng.randrange(40000, 40110)))


@pytest.mark.parametrize("seed", range(6))
@in_namespace
def test_the_kernel_matches_what_the_filter_does(seed: int) -> None:
    rng = random.Random(seed)
    with od.open("udp", priority=1, flags=od.Flag.SNIFF, backend="nfqueue") as watcher:
        for _ in range(25):
            # Others answer by ICMP that nobody listens.
            text = f"udp and ({expression(rng)})"
            filter_ = od.Filter(text, dialect="extended")
            senders = {
                "4": udp_socket("127.0.0.1", rng.randrange(30000, 32000)),
                "6": udp_socket("::1", rng.randrange(30000, 32000)),
            }
            with od.open(text, backend="nfqueue") as handle:
                for _ in range(30):
                    datagram(rng, senders)
                time.sleep(0.03)
                seen: list[od.Packet] = []
                while len(seen) < 30 and (packet := watcher.recv(0.5)):
                    seen.append(packet)
                assert len(seen) == 30
                got = []
                while packet := handle.recv(0):
                    got.append(packet)
                stats = handle.stats
            is_exact = "random8" not in text
            if is_exact:
                expected = [bytes(packet.payload) for packet in seen if filter_.matches(packet)]
                assert [bytes(packet.payload) for packet in got] == expected, text
                assert (stats.unmatched, stats.seen) == (0, len(got)), text
            assert all(filter_.matches(packet) for packet in got), text
            for bound in senders.values():
                bound.close()


@in_namespace
def test_the_kernel_asks_for_interfaces() -> None:
    with peer() as other:
        index = socket.if_nametoindex("inner")
        local = udp_socket("127.0.0.1")
        bound = udp_socket(other.local, 7000)
        receiver = other.python(
            "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('10.9.0.2', 7000))\n"
            "print('ready', flush=True)\nwhile True:\n    s.sendto(*s.recvfrom(100))\n"
        )
        for text, expected in (
            ("ifIdx == 1", ["local out"]),
            (f"ifIdx == {index}", ["out", "in"]),
            (f"ifIdx != {index}", ["local out"]),
            (f"ifIdx == {index} and inbound", ["in"]),
            (f"ifIdx in {{1, {index}}} and outbound", ["out", "local out"]),
            (f"ifIdx == {index} or loopback", ["out", "in", "local out"]),
            ("ifIdx < 3 and not loopback", ["out", "in"] if index < 3 else []),
            ("ifIdx == 99", []),
        ):
            with od.open(f"udp and ({text})", flags=od.Flag.SNIFF, backend="nfqueue") as handle:
                bound.sendto(b"x", (other.remote, 7000))
                assert bound.recv(10) == b"x"
                local.sendto(b"x", local.getsockname())
                assert local.recv(10) == b"x"
                seen = []
                while packet := handle.recv(0.1):
                    way = "out" if packet.address.outbound else "in"
                    seen.append(f"local {way}" if packet.address.loopback else way)
                assert seen == expected, text
                assert (handle.stats.seen, handle.stats.unmatched) == (len(seen), 0), text
        with od.open(f"udp and ifIdx == {index} and outbound", flags=od.Flag.DROP, backend="nfqueue") as handle:
            with pytest.raises(PermissionError):
                bound.sendto(b"x", (other.remote, 7000))
            local.sendto(b"x", local.getsockname())
            assert local.recv(10) == b"x"
            # Dropped by the kernel itself.
            assert (handle.stats.seen, handle.stats.dropped) == (0, 1)
        receiver.kill()
        receiver.communicate()


@in_namespace
def test_a_filter_that_the_kernel_cannot_ask_holds_nothing_up() -> None:
    bound = udp_socket()
    with od.open("udp and random8 < 0x100 and udp.Payload[0] == 1 and timestamp > 0", backend="nfqueue") as handle:
        out = udp_socket()
        out.sendto(b"\2passes though nobody receives", bound.getsockname())
        assert bound.recv(100)[0] == 2
        out.sendto(b"\1", bound.getsockname())
        packet = handle.recv(2)
        assert packet is not None
        handle.send(packet)
        assert bound.recv(10) == b"\1"


@in_namespace
def test_set_filter_changes_what_the_kernel_asks() -> None:
    one, other = udp_socket(), udp_socket()
    out = udp_socket()
    with od.open(f"udp.DstPort == {port_of(one)}", backend="nfqueue") as handle:
        out.sendto(b"free", other.getsockname())
        assert other.recv(10) == b"free"
        out.sendto(b"taken", one.getsockname())
        handle.set_filter(f"udp.DstPort == {port_of(other)}")
        out.sendto(b"free", one.getsockname())
        assert one.recv(10) == b"free"
        out.sendto(b"also taken", other.getsockname())
        packets = [handle.recv(2), handle.recv(2)]
        assert [bytes(packet.payload) for packet in packets if packet] == [b"taken", b"also taken"]


@in_namespace
def test_sniff_copies_and_never_holds_the_original() -> None:
    bound, out = udp_socket(), udp_socket()
    with od.open(f"udp.DstPort == {port_of(bound)}", flags=od.Flag.SNIFF, backend="nfqueue") as handle:
        for number in range(100):
            out.sendto(struct.pack("!I", number), bound.getsockname())
            assert bound.recv(10) == struct.pack("!I", number)
        for number in range(100):
            packet = handle.recv(2)
            assert packet is not None
            assert bytes(packet.payload) == struct.pack("!I", number)
            assert packet.address.sniffed
            assert packet.address.loopback
            assert packet.address.network.interface_index == 1
        assert handle.recv(0) is None
        assert (handle.stats.received, handle.stats.overflowed) == (100, 0)


@in_namespace
def test_drop_drops_what_matches_and_counts_it() -> None:
    with peer() as other:
        receiver = other.python(
            "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('10.9.0.2', 7000))\n"
            "print('ready', flush=True)\nwhile True:\n    data, peer = s.recvfrom(100)\n    s.sendto(data, peer)\n"
        )
        out = udp_socket("10.9.0.1")
        with od.open("inbound and udp.Payload[0] == 120", flags=od.Flag.DROP, backend="nfqueue") as handle:
            for text in (b"x1", b"y1", b"x2", b"y2"):
                out.sendto(text, ("10.9.0.2", 7000))
            assert [out.recv(10), out.recv(10)] == [b"y1", b"y2"]
            assert handle.recv(0.1) is None
            assert handle.stats.dropped == 2
            handle.shutdown(od.Shutdown.RECV)
            out.sendto(b"x3", ("10.9.0.2", 7000))
            assert out.recv(10) == b"x3"
        receiver.kill()
        receiver.communicate()
