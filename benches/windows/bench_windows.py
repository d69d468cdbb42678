"""Loops over the same library and driver, in alternating rounds: plain C, ours in Rust, ours with a callback, pydivert.

Ours reads up to 255 packets a call, as the driver allows, and hands on 64: there is a loop in C for either number.
pydivert reads one. Under Wine the driver is the stand-in of the tests, which gives back at once what is sent, so that
packets go round and round. Speed there jumps several times within a run: only the ratios of neighbouring rounds are
compared.

    .ci/windows bench [ROUNDS]
"""

from __future__ import annotations

import ctypes
import pathlib
import statistics
import sys
import threading
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "windows"), str(ROOT / "tests" / "python")]

import oxidivert as od
from oxidivert import _native
from samples import udp
from standin import ECHO, NO_LOG, Network

ROUND_MS = 400
#: Packets on their way.
PACKETS = 2048
#: So small that a batch of 255 is less than 64 KiB: Wine 8 may lose its server over a larger request.
PACKET = udp(bytes(200))
LIBRARY = pathlib.Path(od.__file__).parent / "_windivert" / "WinDivert.dll"


def fill(network: Network) -> int:
    """Set the latest handle going."""
    handle = network.latest().number
    network.options(handle, ECHO | NO_LOG)
    network.feed(handle, [(PACKET, bytes(od.Address()))], repeat=PACKETS)
    return handle


def rate_of(count: int, started: float) -> float:
    """Packets a second."""
    return count / (time.perf_counter() - started)


def plain_c(network: Network, batch: int) -> float:
    """The loop in C, with so many packets a call."""
    loop = ctypes.CDLL(str(ROOT / "build" / "windows" / "bench" / "loop.dll"))
    loop.loop_open.restype, loop.loop_run.restype = ctypes.c_void_p, ctypes.c_uint64
    handle = ctypes.c_void_p(loop.loop_open(ctypes.c_wchar_p(str(LIBRARY)), b"udp"))
    fill(network)
    started = time.perf_counter()
    rate = rate_of(loop.loop_run(handle, ROUND_MS, batch), started)
    ctypes.CDLL(str(LIBRARY)).WinDivertClose(handle)
    return rate


def timed(network: Network, run: Callable[[od.Handle[od.Packet]], int]) -> float:
    """A loop of ours, until its receiving is shut down."""
    with od.open("udp") as handle:
        handle.queue_time, handle.queue_length = 16000, 16384
        number = fill(network)
        started = time.perf_counter()
        timer = threading.Timer(ROUND_MS / 1000, lambda: (network.options(number, NO_LOG), handle.shutdown(1)))
        timer.start()
        rate = rate_of(run(handle), started)
        timer.join()
        return rate


def in_rust(network: Network, batch: int) -> float:
    """Ours, without Python."""
    return timed(network, lambda handle: _native._run_passthrough(handle, batch))


def with_callback(network: Network, batch: int) -> float:
    """Ours, with a callback that looks at each packet."""
    return timed(network, lambda handle: handle.run(lambda packet: packet.dst_port == 53, batch=batch))


def with_pydivert(network: Network) -> float:
    """pydivert's loop, a packet at a time."""
    import pydivert

    with pydivert.WinDivert("udp") as handle:
        fill(network)
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < ROUND_MS / 1000:
            packet = handle.recv()
            if packet.dst_port == 53:
                handle.send(packet, recalculate_checksum=False)
            count += 1
        return rate_of(count, started)


LOOPS: dict[str, Callable[[Network], float]] = {
    "C 64": lambda network: plain_c(network, 64),
    "C 255": lambda network: plain_c(network, 255),
    "Rust 64": lambda network: in_rust(network, 64),
    "Rust 255": lambda network: in_rust(network, 255),
    "callback": lambda network: with_callback(network, 64),
    "callback 255": lambda network: with_callback(network, 255),
    "pydivert": with_pydivert,
}
#: What is compared, and how much of the other one is wanted. The first pair is the one that is promised; the second one
#: has as many packets in each call on both sides.
PAIRS = [
    ("Rust 64", "C 64", 0.9),
    ("Rust 255", "C 255", 0.9),
    ("callback", "C 64", 0.6),
    ("callback 255", "C 255", 0.6),
    ("callback", "pydivert", 5.0),
]


def main() -> None:
    """Run the rounds and print rates and ratios."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    rates: dict[str, list[float]] = {name: [] for name in LOOPS}
    with od.open("false"):
        network = Network()
        for _ in range(rounds):
            for name, loop in LOOPS.items():
                rates[name].append(loop(network))
        network.close()
    for name, found in rates.items():
        print(f"{name:12} {statistics.median(found):12,.0f} packets/s")
    for name, other, wanted in PAIRS:
        ratio = statistics.median(one / two for one, two in zip(rates[name], rates[other], strict=True))
        print(f"{name} / {other}: {ratio:.2f}, >= {wanted} {'ok' if ratio >= wanted else 'missed'}")


if __name__ == "__main__":
    main()
