"""Eight threads on one handle, again and again: nothing is lost, nothing stays open, memory is flat."""

from __future__ import annotations

import collections
import ctypes
import os
import random
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from ctypes import wintypes

import oxidivert as od
import pytest
from samples import udp
from standin import Network
from support import address

#: Has Wine fill freed blocks and look behind the ends of others, and tell of both when the heap is validated.
WATCHED = {"WINEDEBUG": "-all,warn+heap"}
SECONDS = float(os.environ.get("OXIDIVERT_STRESS_SECONDS", "30"))
#: How a round ends while its threads are at work.
ENDS = ("shutdown", "close", "none")

kernel32 = ctypes.WinDLL("kernel32")


def open_handles() -> int:
    """How many kernel handles this process has."""
    count = wintypes.DWORD()
    kernel32.GetProcessHandleCount.argtypes = [wintypes.HANDLE, ctypes.POINTER(wintypes.DWORD)]
    assert kernel32.GetProcessHandleCount(wintypes.HANDLE(-1), ctypes.byref(count))
    return count.value


class Counters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS."""

    _fields_ = (
        ("cb", wintypes.DWORD),
        ("faults", wintypes.DWORD),
        *(
            (name, ctypes.c_size_t)
            for name in ("peak", "working_set", "a", "b", "c", "d", "committed", "peak_committed")
        ),
    )


def memory() -> int:
    """This process's own memory in bytes."""
    counters = Counters(cb=ctypes.sizeof(Counters))
    kernel32.K32GetProcessMemoryInfo.argtypes = [wintypes.HANDLE, ctypes.POINTER(Counters), wintypes.DWORD]
    assert kernel32.K32GetProcessMemoryInfo(wintypes.HANDLE(-1), ctypes.byref(counters), counters.cb)
    return counters.committed or counters.working_set


def heap_is_sound() -> bool:
    """Whether no block of this process's heap is damaged; with `WATCHED`, nor was a freed one written to."""
    kernel32.GetProcessHeap.restype = ctypes.c_void_p
    kernel32.HeapValidate.argtypes = [ctypes.c_void_p, wintypes.DWORD, ctypes.c_void_p]
    return bool(kernel32.HeapValidate(kernel32.GetProcessHeap(), 0, None))


def number_of(data: bytes) -> int:
    """The number that a packet carries."""
    return struct.unpack_from("<Q", data, 28)[0]


class Round:
    """One handle with its threads, from open to close."""

    def __init__(self, network: Network, first: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.network, self.next = network, first
        self.fed: list[int] = []
        self.sent: list[int] = []
        self.received: list[int] = []
        self.failures: list[BaseException] = []
        self.is_over = threading.Event()
        self.feeding = threading.Lock()
        self.handle = od.open("udp", processes=self.random.random() < 0.25)
        self.handle.queue_time = 16000
        self.number = network.latest().number

    def run(self) -> None:
        """Let eight threads work, end it in one of three ways, and account for every packet."""
        workers: list[Callable[[], None]] = [self.receive] * 5 + [self.feed, self.tune, self.poll]
        threads = [threading.Thread(target=self.guarded, args=(worker,)) for worker in workers]
        for thread in threads:
            thread.start()
        time.sleep(self.random.uniform(0.05, 0.4))
        # What is fed after a shutdown is not taken; and Wine 8 crashes when a driver ends a read that is being
        # cancelled, which test_driver_rows.py has in slow motion.
        with self.feeding:
            self.end(self.random.choice(ENDS))
            self.is_over.set()
        for thread in threads:
            thread.join(timeout=30)
            assert not thread.is_alive()
        self.drain()
        sent = [number_of(data) for data, _ in self.network.sent(self.number)] if not self.handle.closed else None
        self.handle.close()
        assert self.failures == []
        returned = [number_of(data) for data, _ in self.network.returned()]
        stats = self.handle.stats
        assert sorted(set(self.received)) == sorted(self.received)
        assert len(self.received) + stats.given_back + len(returned) == len(self.fed)
        assert set(self.received).isdisjoint(returned)
        assert set(self.received) | set(returned) <= set(self.fed)
        assert (stats.received, stats.expired, stats.overflowed) == (len(self.received), 0, 0)
        if sent is not None:
            assert collections.Counter(sent) == collections.Counter(self.sent)

    def end(self, how: str) -> None:
        """End it under the threads' feet."""
        if how == "shutdown":
            self.handle.shutdown(od.Shutdown.RECV)
        elif how == "close":
            self.handle.close()

    def guarded(self, worker: Callable[[], None]) -> None:
        """Work until it is over; an end of the handle is none of a failure."""
        try:
            while not self.is_over.is_set():
                worker()
        except (od.HandleClosedError, od.HandleShutdownError):
            pass
        except od.DivertError as error:
            if error.code not in (22, 995):
                self.failures.append(error)
        except BaseException as error:
            self.failures.append(error)

    def receive(self) -> None:
        """Receive with some time-out or none, and send a part of it back."""
        batch = self.handle.recv_batch(self.random.randint(1, 255), timeout=self.random.choice([0, 0.001, 0.02, 0.1]))
        numbers = [number_of(bytes(packet)) for packet in batch]
        self.received += numbers
        mask = [number % 3 != 0 for number in numbers]
        if numbers:
            self.handle.send_batch(batch, mask)
            self.sent += [number for number, goes in zip(numbers, mask, strict=True) if goes]

    def feed(self) -> None:
        """Feed some packets, each with a number of its own."""
        numbers = list(range(self.next, self.next + self.random.randint(1, 60)))
        self.next += len(numbers)
        items = [(udp(struct.pack("<Q", number)), bytes(address())) for number in numbers]
        with self.feeding:
            if not self.handle.closed and not self.is_over.is_set():
                self.network.feed(self.number, items)
                self.fed += numbers

    def tune(self) -> None:
        """Set parameters and read them."""
        self.handle.queue_length = self.random.randint(8000, 16384)
        assert 8000 <= self.handle.queue_length <= 16384
        time.sleep(0.001)

    def poll(self) -> None:
        """Poll for single packets, and drop them."""
        packet = self.handle.recv(timeout=0)
        if packet is not None:
            self.received.append(number_of(bytes(packet)))
        assert self.handle.stats.errors == 0

    def drain(self) -> None:
        """What is left."""
        try:
            self.handle.shutdown(od.Shutdown.RECV)
            self.received += [number_of(bytes(packet)) for packet in self.handle]
        except od.HandleClosedError:
            pass


@pytest.mark.timeout(240)
def test_eight_threads_lose_nothing_and_leave_nothing(network: Network) -> None:
    seed = int(os.environ.get("OXIDIVERT_STRESS_SEED", time.time_ns() % 1_000_000))
    print(f"OXIDIVERT_STRESS_SEED={seed}")
    first, rounds, handles, used = 0, 0, 0, 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        current = Round(network, first, seed + rounds)
        current.run()
        first, rounds = current.next, rounds + 1
        assert heap_is_sound()
        if rounds == 15:
            # Threads, modules and pools are there by now.
            handles, used = open_handles(), memory()
    print(f"{rounds} rounds, {first} packets")
    assert rounds > 20
    assert [seen.number for seen in network.mine()] == [network.latest().number]
    assert open_handles() <= handles + 4
    assert memory() - used < 30_000_000


#: Writes to freed memory: an event's record, the addresses of a read, and the buffer of a read.
FREED = """
import ctypes
kernel32 = ctypes.WinDLL("kernel32")
kernel32.GetProcessHeap.restype = kernel32.HeapAlloc.restype = ctypes.c_void_p
kernel32.HeapAlloc.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_size_t]
kernel32.HeapFree.argtypes = kernel32.HeapValidate.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p]
heap = kernel32.GetProcessHeap()
for size in (80, 255 * 80, 128 * 1024):
    blocks = [kernel32.HeapAlloc(heap, 0, size) for _ in range(8)]
    for block in blocks[:4]:
        kernel32.HeapFree(heap, 0, block)
    place, answers = blocks[1] + size // 2, []
    before = ctypes.string_at(place, 8)
    for written in (before, b"8 bytes.", before):
        ctypes.memmove(place, written, 8)
        answers.append(kernel32.HeapValidate(heap, 0, None))
    print(answers)
"""


def test_writing_to_freed_memory_is_noticed_when_the_heap_is_watched() -> None:
    child = [sys.executable, "-c", FREED]
    done = subprocess.run(child, env={**os.environ, **WATCHED}, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[1, 0, 1]\n" * 3, "")


@pytest.mark.timeout(120)
def test_nothing_is_written_to_freed_memory_under_stress() -> None:
    child = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", __file__, "-k", "eight_threads"]
    environment = {**os.environ, **WATCHED, "OXIDIVERT_STRESS_SECONDS": "12"}
    done = subprocess.run(child, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
