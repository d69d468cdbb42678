"""Live on Linux: packets that are longer than their IP headers can say, or than a queue's message, do not pass unseen.

The loopback device of each namespace has its MTU of 65,536, with which bulk transfers are of such packets.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import oxidivert as od
import pytest
from linux_support import in_namespace, running, tcp_listener

ADDRESSES = ["127.0.0.1", "::1"]
SIZE = 24 << 20
#: The longest packet that a queue's message takes.
MESSAGE = 65531
TURN = bytes(byte ^ 0x55 for byte in range(256))
#: A handle in a program of its own, which says `ready` and then does nothing.
IDLE = "import oxidivert as od, time; handle = od.open({filter!r}, backend='nfqueue'); print('ready'); time.sleep(100)"


class Bulk:
    """A TCP connection within this host, by which one side sends many bytes, and all that has arrived of them."""

    def __init__(self, address: str, size: int = SIZE) -> None:
        self.listener = tcp_listener(address)
        self.port = int(self.listener.getsockname()[1])
        self.data = random.Random(size).randbytes(size)
        self.arrived = bytearray()
        self.is_told_to_stop = threading.Event()
        self.threads: list[threading.Thread] = []
        self.address = address

    def connect(self, first: int = 0) -> None:
        """Join the two ends, and send so many bytes in small packets that the windows grow."""
        self.client = socket.create_connection((self.address, self.port))
        self.server, _ = self.listener.accept()
        self.client.settimeout(0.1)
        self.server.settimeout(0.1)
        self.sent = 0
        while self.sent < first:
            self.sent += self.client.send(self.data[self.sent : min(self.sent + 60000, first)])
            while len(self.arrived) < self.sent:
                self.arrived += self.server.recv(1 << 20)

    def start(self) -> None:
        """Begin to send the rest."""
        self.threads = [threading.Thread(target=run) for run in (self._send, self._receive)]
        for thread in self.threads:
            thread.start()

    def _send(self) -> None:
        view = memoryview(self.data)
        while self.sent < len(view) and not self.is_told_to_stop.is_set():
            with suppress(TimeoutError):
                self.sent += self.client.send(view[self.sent : self.sent + (1 << 20)])
        self.client.shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        while len(self.arrived) < len(self.data) and not self.is_told_to_stop.is_set():
            with suppress(TimeoutError):
                self.arrived += self.server.recv(1 << 20)

    def finish(self, timeout: float = 60) -> bytes:
        """Wait until everything has arrived, or the time is over; what has."""
        for thread in self.threads:
            thread.join(timeout)
        self.is_told_to_stop.set()
        for thread in self.threads:
            thread.join()
        return bytes(self.arrived)


class Seen:
    """What a handler has seen of a connection's bytes, in their places."""

    def __init__(self, size: int) -> None:
        self.bytes = bytearray(size)
        self.first: int | None = None
        self.largest = 0

    def note(self, packet: od.Packet) -> None:
        """One more packet."""
        tcp, payload = packet.tcp, bytes(packet.payload)
        assert tcp
        if self.first is None:
            self.first = tcp.seq
        at = (tcp.seq - self.first) & 0xFFFFFFFF
        self.bytes[at : at + len(payload)] = payload
        self.largest = max(self.largest, len(packet.data))


def queues() -> list[str]:
    """The queues that are bound in this namespace."""
    path = Path("/proc/self/net/netfilter/nfnetlink_queue")
    return path.read_text().splitlines() if path.exists() else []


def text_for(bulk: Bulk, more: str = "tcp.PayloadLength > 0") -> str:
    """The filter of the bytes on their way."""
    return f"outbound and tcp.DstPort == {bulk.port} and ({more})"


@pytest.mark.parametrize("address", ADDRESSES)
@in_namespace
def test_every_byte_of_a_bulk_transfer_is_seen(address: str) -> None:
    bulk, seen = Bulk(address), Seen(SIZE)
    with od.open(text_for(bulk), backend="nfqueue") as handle, running(handle, seen.note):
        bulk.connect()
        bulk.start()
        assert bulk.finish() == bulk.data
    assert hashlib.sha256(seen.bytes).digest() == hashlib.sha256(bulk.data).digest()
    # The path's MTU has become what a message takes.
    assert seen.largest == MESSAGE
    assert queues() == []


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("more", ["tcp.PayloadLength > 0", "tcp.PayloadLength != 1 and tcp.SeqNum >= 0 or tcp.Psh"])
@in_namespace
def test_every_byte_of_a_bulk_transfer_can_be_edited(address: str, more: str) -> None:
    bulk = Bulk(address)

    def edit(packet: od.Packet) -> None:
        packet.payload = bytes(packet.payload).translate(TURN)

    with od.open(text_for(bulk, more), backend="nfqueue") as handle, running(handle, edit):
        bulk.connect()
        bulk.start()
        arrived = bulk.finish()
    assert arrived == bulk.data.translate(TURN)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("more", ["true", "tcp.PayloadLength > 0", "tcp.PayloadLength > 100"])
@in_namespace
def test_a_handle_with_drop_lets_nothing_through(address: str, more: str) -> None:
    bulk = Bulk(address)
    bulk.connect(8 << 20)
    with od.open(text_for(bulk, more), backend="nfqueue", flags=od.Flag.DROP) as handle:
        bulk.start()
        time.sleep(1)
        assert len(bulk.arrived) == 8 << 20
        assert handle.stats.dropped > 0
    # TCP sends it again once nobody is in the way.
    assert bulk.finish() == bulk.data


@pytest.mark.parametrize("more", ["tcp.PayloadLength > 0", "tcp.Psh", "tcp.Payload[0] == 3 or length > 1000"])
@in_namespace
def test_nothing_is_queued_of_what_cannot_match(more: str) -> None:
    for address in ADDRESSES:
        bulk = Bulk(address)
        with od.open(f"tcp.DstPort == {bulk.port ^ 1} and ({more})", backend="nfqueue") as handle:
            bulk.connect()
            bulk.start()
            assert bulk.finish() == bulk.data
            assert (handle.stats.seen, handle.stats.errors) == (0, 0)


@pytest.mark.parametrize("address", ADDRESSES)
@in_namespace
def test_what_does_not_match_goes_on_while_the_program_is_idle(address: str) -> None:
    bulk = Bulk(address)
    # Only the process can tell of segments that they are not this long.
    with od.open(text_for(bulk, "tcp.PayloadLength == 1"), backend="nfqueue") as handle:
        bulk.connect()
        bulk.start()
        started = time.monotonic()
        assert bulk.finish() == bulk.data
        assert time.monotonic() - started < 20
        assert handle.stats.unmatched > 0
        assert handle.stats.received == 0


@pytest.mark.parametrize("address", ADDRESSES)
@in_namespace
def test_segments_that_wait_go_on_when_the_handle_closes(address: str) -> None:
    bulk = Bulk(address)
    bulk.connect(8 << 20)
    with od.open(text_for(bulk), backend="nfqueue") as handle:
        bulk.start()
        time.sleep(0.3)
        assert len(bulk.arrived) == 8 << 20
    assert handle.stats.given_back > 0
    assert bulk.finish() == bulk.data
    assert queues() == []


@pytest.mark.parametrize("address", ADDRESSES)
@in_namespace
def test_nothing_stays_of_a_program_that_is_killed(address: str) -> None:
    bulk = Bulk(address)
    bulk.connect(8 << 20)
    command = [sys.executable, "-u", "-c", IDLE.format(filter=text_for(bulk))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as started:
        assert started.stdout
        assert started.stdout.readline() == b"ready\n"
        assert len(queues()) == 2
        bulk.start()
        time.sleep(0.3)
        assert len(bulk.arrived) == 8 << 20
        started.send_signal(signal.SIGKILL)
    assert bulk.finish() == bulk.data
    assert queues() == []


@in_namespace
def test_packets_that_are_held_are_sent_in_any_order_or_let_go() -> None:
    bulk = Bulk("127.0.0.1")
    bulk.connect(8 << 20)
    with od.open(text_for(bulk), backend="nfqueue") as handle:
        bulk.start()
        held = [packet for _ in range(6) if (packet := handle.recv(2))]
        assert len(held) >= 2
        for packet in reversed(held[1:]):
            handle.send(packet)
        # TCP sends the first one again.
        del held, packet
        with running(handle, lambda _: None):
            assert bulk.finish() == bulk.data


@pytest.mark.parametrize("address", ADDRESSES)
@in_namespace
def test_a_chain_that_comes_meanwhile_loses_nothing(address: str) -> None:
    bulk, seen = Bulk(address), Seen(SIZE)
    with od.open(text_for(bulk), backend="nfqueue") as handle, running(handle, seen.note):
        bulk.connect()
        bulk.start()
        for _ in range(10):
            with od.open("false", backend="nfqueue"):
                time.sleep(0.01)
        assert bulk.finish() == bulk.data


@in_namespace
def test_without_programs_large_packets_are_seen_as_well() -> None:
    rights = ["setpriv", "--bounding-set", "-all,+net_admin,+net_raw", "--inh-caps", "-all"]
    run_here(rights, "without_programs()")


def run_here(command: list[str], call: str) -> None:
    """Run a function of this module in a process that a command starts."""
    if not shutil.which("setpriv"):
        pytest.skip("the program setpriv is missing (package util-linux)")
    code = f"import warnings; warnings.simplefilter('ignore'); import test_linux_large; test_linux_large.{call}"
    done = subprocess.run(
        [*command, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr


def without_programs() -> None:
    """The same as above, in a process with fewer rights."""
    for address in ADDRESSES:
        bulk, seen = Bulk(address), Seen(SIZE)
        with od.open(text_for(bulk), backend="nfqueue") as handle, running(handle, seen.note):
            bulk.connect()
            bulk.start()
            assert bulk.finish() == bulk.data
        assert seen.bytes == bulk.data
        assert handle.stats.unmatched > 0


@pytest.mark.parametrize("way", ["", "log"])
@in_namespace
def test_a_handle_that_looks_on_is_not_in_the_way(way: str) -> None:
    for rights in ("+all", "-all,+net_admin,+net_raw"):
        command = ["env", f"OXIDIVERT_SNIFF={way}", "setpriv", "--bounding-set", rights, "--inh-caps", "-all"]
        run_here(command, "looking_on()")


def looking_on() -> None:
    """The same as above, in a process that may have fewer rights."""
    for address in ADDRESSES:
        bulk = Bulk(address)
        with od.open(text_for(bulk), backend="nfqueue", flags=od.Flag.SNIFF) as handle:
            bulk.connect()
            bulk.start()
            assert bulk.finish() == bulk.data
            assert handle.recv(1) is not None
