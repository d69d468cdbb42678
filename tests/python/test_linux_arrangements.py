"""Live on Linux: random arrangements of handles behave as on the engine."""

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
