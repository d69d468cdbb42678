"""What a table of 10,000 flows costs by itself, and `flowtrack` with as many flows of an engine.

`python benches/tools.py [SECONDS]` prints the figures. The flows are live, but not the system's: they are those of an
engine in this process, so that it needs no rights and no network, with the tool's own screen on a pseudo-terminal. For
real connections see benches/linux/flows.py, for `passthru` benches/passthru.py.
"""

from __future__ import annotations

import contextlib
import io
import os
import pty
import resource
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "python"))

import fcntl
import termios
from typing import Self

import oxidivert as od
from oxidivert.cli import cli
from samples import pcap, tcp

FLOWS = 10_000
PACKETS_PER_SECOND = 40_000


class Screen:
    """A pseudo-terminal of 120 by 40 in stdout's place, which counts how often it is drawn on."""

    def __init__(self) -> None:
        self.frames = 0
        self._own, self._other = pty.openpty()
        fcntl.ioctl(self._other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))

    def __enter__(self) -> Self:
        threading.Thread(target=self._read, daemon=True).start()
        self._before = sys.stdout
        sys.stdout = os.fdopen(self._other, "w")
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.close()
        sys.stdout = self._before

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._own, 1 << 20):
                # Each frame begins at the top left.
                self.frames += data.count(b"\x1b[H")


def memory() -> int:
    """Bytes that this process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def ends_of(index: int) -> tuple[str, int]:
    """The local address and port of a flow."""
    return f"10.1.{index >> 8}.{index & 255}", 1024 + index


def packet_of(index: int) -> bytes:
    """A packet of a flow."""
    address, port = ends_of(index)
    return tcp(b"x" * 500, src=address, src_port=port)


def batches(packets: list[bytes]) -> Iterator[od.Batch]:
    """The packets in batches, as a handle gives them."""
    with od.open(flags=od.Flag.SNIFF, backend=od.Replay(pcap(packets))) as handle:
        try:
            while True:
                yield handle.recv_batch(255)
        except od.HandleShutdownError:
            return


def table_alone() -> dict[str, float]:
    """A table of 10,000 flows by itself: bytes a flow, and what each of its uses takes."""
    all_batches = list(batches([packet_of(index) for index in range(FLOWS)]))
    before = memory()
    # Several, so that what the process has in memory anyway counts for little.
    tables = [od.FlowTable() for _ in range(20)]
    for table in tables:
        for batch in all_batches:
            table.add_batch(batch)
    bytes_per_flow = (memory() - before) / len(tables) / FLOWS
    start = time.perf_counter_ns()
    for _ in range(10):
        for batch in all_batches:
            tables[0].add_batch(batch)
    nanoseconds = (time.perf_counter_ns() - start) / (10 * FLOWS)
    assert [len(table) for table in tables] == [FLOWS] * len(tables)
    return {
        "bytes of memory a flow": bytes_per_flow,
        "nanoseconds to count a packet": nanoseconds,
        "microseconds for the 40 fastest rows": microseconds(lambda: tables[0].rows(40)),
        "microseconds to look for silent flows": microseconds(lambda: tables[0].prune(time.time_ns(), 1e9)),
    }


def microseconds(call: Callable[[], object]) -> float:
    """What a call takes, the mean of twenty."""
    start = time.perf_counter_ns()
    for _ in range(20):
        call()
    return (time.perf_counter_ns() - start) / 20e3


def load(engine: od.Engine, stop: threading.Event) -> tuple[int, float]:
    """Packets of 10,000 flows in turn, at a steady rate; how many, and the seconds of processor time that took."""
    packets = [packet_of(index) for index in range(FLOWS)]
    for index in range(FLOWS):
        address, port = ends_of(index)
        far = {"remote_addr": "192.0.2.7", "remote_port": 80}
        engine.flow(local_addr=address, local_port=port, process_id=os.getpid(), endpoint_id=index + 1, **far)
    count, started, begun = 0, time.monotonic(), time.thread_time()
    while not stop.is_set():
        for _ in range(PACKETS_PER_SECOND // 100):
            engine.inject(packets[count % FLOWS])
            count += 1
        if not count % FLOWS:
            engine.delivered.clear()
        ahead = started + count / PACKETS_PER_SECOND - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
    return count, time.thread_time() - begun


def flowtrack(seconds: float) -> dict[str, float]:
    """The whole tool with its screen while 10,000 flows are under way."""
    engine, stop = od.Engine(clock="real"), threading.Event()
    loaded: list[tuple[int, float]] = []
    watcher = od.open(layer=od.Layer.REFLECT, flags=od.Flag.SNIFF | od.Flag.RECV_ONLY, backend=engine)

    def act() -> None:
        for _ in range(2):
            watcher.recv()
        loaded.append(load(engine, stop))

    thread = threading.Thread(target=act)
    thread.start()
    before = memory()
    told = io.StringIO()
    with Screen() as screen, contextlib.redirect_stderr(told):
        threading.Timer(seconds - 0.5, stop.set).start()
        started, used = time.monotonic(), time.process_time()
        assert cli("flowtrack", "--duration", str(seconds), backend=engine) == 0
        elapsed, used = time.monotonic() - started, time.process_time() - used
    thread.join()
    count, loading = loaded[0]
    summary = told.getvalue()
    counted = int(summary.partition(" flows, ")[2].partition(" packets")[0].replace(",", ""))
    return {
        "packets a second": count / (seconds - 0.5),
        "packets lost": count - counted,
        "screens a second": screen.frames / elapsed,
        "% of a processor, without what makes the packets": (used - loading) / elapsed * 100,
        "MB of memory, with the engine and its 10,000 flows": (memory() - before) / 1e6,
    }


def main(arguments: list[str]) -> None:
    """Measure and print."""
    seconds = float(arguments[0]) if arguments else 10.0
    for title, figures in (
        (f"FlowTable, {FLOWS:,} flows", table_alone().items()),
        (f"flowtrack, {FLOWS:,} flows", flowtrack(seconds).items()),
    ):
        print(title)
        for name, value in figures:
            print(f"  {name:52} {value:12,.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
