"""Live on Linux: what the driver's table of behaviours says, row by row, and random arrangements beside the engine."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack, suppress

import oxidivert as od
import pytest
from linux_support import in_namespace, port_of, udp_socket
from oxidivert import build

WATCH = od.Flag.SNIFF | od.Flag.RECV_ONLY
#: The ways in which handles of random arrangements are opened, and what they do with a packet that they have.
MODES = [od.Flag(0), od.Flag(0), od.Flag.SNIFF, od.Flag.DROP, od.Flag.RECV_ONLY, WATCH]
DEEDS = ["send", "send", "edit", "drop", "twice", "new"]
FILTERS = [
    "udp",
    "udp.Payload[0] == 97",
    "udp.PayloadLength > 3",
    "outbound and loopback",
    "tcp or udp",
    "random8 < 128 or random8 >= 128",
]


class Host:
    """Handles on one system, and what arrives behind them."""

    def __init__(self, engine: od.Engine | None) -> None:
        self.engine = engine
        self.bound = udp_socket()
        self.out = udp_socket()
        self.port = port_of(self.bound)

    def open(self, text: str, priority: int, flags: od.Flag) -> od.Handle[od.Packet]:
        """A handle that sees nothing but this host's datagrams."""
        text = f"udp.DstPort == {self.port} and ({text})"
        return od.open(text, priority=priority, flags=flags, backend=self.engine or "nfqueue")

    def feed(self, payload: bytes) -> None:
        """A program sends a datagram."""
        if self.engine:
            packet = build.udp("127.0.0.1", "127.0.0.1", port_of(self.out), self.port, payload=payload)
            self.engine.inject(packet, outbound=True, loopback=True)
            return
        # A handle with DROP drops it as a firewall does, which the sender is told.
        with suppress(PermissionError):
            self.out.sendto(payload, ("127.0.0.1", self.port))

    def arrived(self) -> list[bytes]:
        """What reached the other program."""
        if self.engine:
            return [bytes(packet.payload) for packet in self.engine.delivered]
        self.bound.settimeout(0.02)
        arrived = []
        try:
            while True:
                arrived.append(self.bound.recv(100))
        except TimeoutError:
            return arrived


def act(handle: od.Handle[od.Packet], packet: od.Packet, deed: str) -> None:
    """Do with a packet what the plan says."""
    if deed == "edit":
        packet.payload = bytes(packet.payload) + b"!"
    if deed in ("send", "edit", "twice"):
        handle.send(packet)
    if deed == "twice":
        handle.send(packet)
    if deed == "new":
        copy = packet.copy()
        copy.payload = b"new"
        handle.send(copy)
        handle.send(packet)


def play(host: Host, seed: int) -> list[object]:
    """What every handle of a random arrangement sees, and what arrives."""
    rng = random.Random(seed)
    trace: list[object] = []
    with ExitStack() as stack:
        handles = []
        for _ in range(rng.randrange(1, 5)):
            priority, flags, text = rng.randrange(-2, 3), rng.choice(MODES), rng.choice(FILTERS)
            handles.append((priority, flags, stack.enter_context(host.open(text, priority, flags))))
        # High priorities first, of equal ones the later.
        order = sorted(range(len(handles)), key=lambda at: (-handles[at][0], -at))
        for _ in range(6):
            host.feed(rng.choice([b"a", b"bcd", b"abcdef", b""]))
            if host.engine is None:
                time.sleep(0.015)
            for at in order:
                _, flags, handle = handles[at]
                deeds = [rng.choice(DEEDS) for _ in range(8)]
                for deed in deeds:
                    packet = handle.recv(0 if host.engine else 0.03)
                    if packet is None:
                        break
                    trace.append((at, bytes(packet.payload), packet.address.sniffed, packet.address.outbound))
                    if not flags & (od.Flag.RECV_ONLY | od.Flag.SNIFF):
                        act(handle, packet, deed)
        trace.append(("left", [handle.recv(0) is None for _, _, handle in handles]))
    trace.append(sorted(host.arrived()))
    return trace


@pytest.mark.parametrize("seed", range(0, 40, 10))
@in_namespace
def test_arrangements_behave_as_on_the_engine(seed: int) -> None:
    for number in range(seed, seed + 10):
        assert play(Host(None), number) == play(Host(od.Engine()), number), number


# Rows 1 to 5, 7.
@in_namespace
def test_arguments_are_refused_as_on_every_backend() -> None:
    wrong: list[dict[str, int]] = [
        {"layer": 5},
        {"flags": 0x40},
        {"flags": 3},
        {"flags": 0xC},
        {"priority": 30001},
        {"priority": -30001},
        {"layer": 2, "flags": 1},
        {"layer": 3, "flags": 0},
        {"layer": 4, "flags": 4},
    ]
    for arguments in wrong:
        with pytest.raises(od.DivertError) as caught:
            od.open("true", backend="nfqueue", **arguments)  # type: ignore[call-overload]
        assert caught.value.code == 87, arguments
    for priority in (30000, -30000):
        od.open("false", backend="nfqueue", priority=priority).close()


# Rows 46 to 48, 57 to 59.
@in_namespace
def test_what_cannot_be_sent_is_refused_with_the_drivers_codes() -> None:
    with od.open("false", backend="nfqueue") as handle:
        packet = bytes(build.udp("127.0.0.1", "127.0.0.1", 1, 1, payload=b"x"))
        for data, code in ((packet[:-1], 122),):
            with pytest.raises(od.DivertError) as caught:
                handle.send(data, od.Address())
            assert caught.value.code == code
    for flags, code in ((od.Flag.RECV_ONLY, 87),):
        with od.open("false", backend="nfqueue", flags=flags) as handle:
            with pytest.raises(od.DivertError) as caught:
                handle.send(packet, od.Address())
            assert caught.value.code == code
            handle.shutdown(od.Shutdown.SEND)
            with pytest.raises(od.DivertError) as caught:
                handle.send(packet, od.Address())
            assert caught.value.code == 232
    with od.open("udp", backend="nfqueue", flags=od.Flag.SEND_ONLY) as handle:
        with pytest.raises(od.DivertError) as caught:
            handle.recv(0)
        assert caught.value.code == 87


# Rows 54 to 56.
@in_namespace
def test_checksums_that_are_left_open_are_computed() -> None:
    bound = udp_socket()
    text = f"udp.DstPort == {port_of(bound)}"
    with od.open("false", priority=1, backend="nfqueue") as above, od.open(text, backend="nfqueue") as below:
        packet = build.udp("127.0.0.1", "127.0.0.1", 1, port_of(bound), payload=b"sum")
        assert packet.udp is not None
        right = packet.udp.checksum
        packet.udp.checksum = 0x1234
        packet.address.udp_checksum = False
        above.send(packet)
        seen = below.recv(2)
        assert seen is not None
        assert seen.udp is not None
        assert seen.udp.checksum == right
        assert packet.udp.checksum == 0x1234
        packet.address.udp_checksum = True
        above.send(packet)
        seen = below.recv(2)
        assert seen is not None
        assert seen.udp is not None
        assert seen.udp.checksum == 0x1234


# Rows 64 to 66.
@in_namespace
def test_parameters_have_the_drivers_bounds() -> None:
    with od.open("false", backend="nfqueue") as handle:
        for name, least, most, default in (
            ("queue_length", 32, 16384, 4096),
            ("queue_time", 100, 16000, 2000),
            ("queue_size", 65535, 33554432, 4194304),
        ):
            assert getattr(handle, name) == default
            for value in (least, most):
                setattr(handle, name, value)
                assert getattr(handle, name) == value
            for value in (least - 1, most + 1):
                with pytest.raises(od.DivertError) as caught:
                    setattr(handle, name, value)
                assert caught.value.code == 87
                assert getattr(handle, name) == most
        assert handle.version == (2, 2)


# Rows 72 to 74.
@in_namespace
def test_closing_gives_back_at_the_handles_own_priority() -> None:
    bound, out = udp_socket(), udp_socket()
    text = f"udp.DstPort == {port_of(bound)}"
    with od.open(text, priority=-1, backend="nfqueue") as lower:
        with (
            od.open(text, priority=1, backend="nfqueue"),
            od.open(text, priority=9, flags=od.Flag.SNIFF, backend="nfqueue"),
        ):
            for number in range(3):
                out.sendto(b"%d" % number, bound.getsockname())
            time.sleep(0.05)
            assert lower.recv(0) is None
        given = [lower.recv(1) for _ in range(3)]
        assert [bytes(packet.payload) for packet in given if packet] == [b"0", b"1", b"2"]
        assert lower.recv(0.05) is None
