"""The loop over an engine with one handle and more: what a packet costs in all, and what each further handle adds.

The further handles lie below the one that runs the callback: each packet that it sends passes them, and none matches.
"""

from __future__ import annotations

import time

import oxidivert as od
import pytest
from race import race
from samples import tcp

COUNT = 16_384
"""As many as a queue can be made to hold."""
PACKET = tcp(bytes(60), dst_port=443)


def nothing(packet: od.Packet) -> None:
    pass


def run_with(handles: int) -> float:
    """Nanoseconds a packet from the queue through the callback and past all other handles to where it is delivered."""
    engine = od.Engine()
    further = [od.open("outbound and tcp.DstPort == 80", backend=engine, priority=-at) for at in range(1, handles)]
    with od.open("outbound and tcp.DstPort == 443", backend=engine) as handle:
        handle.queue_length, handle.queue_size = COUNT, 33_554_432
        for _ in range(COUNT):
            engine.inject(PACKET)
        handle.shutdown(od.Shutdown.RECV)
        start_ns = time.perf_counter_ns()
        assert handle.run(nothing) == COUNT
        figure = (time.perf_counter_ns() - start_ns) / COUNT
    for other in further:
        assert (other.stats.seen, other.stats.received) == (COUNT, 0)
        other.close()
    return figure


@pytest.mark.timeout(300)
def bench_engine_run(benchmark) -> None:
    best = race(
        benchmark,
        {"1_handle": lambda: run_with(1), "2_handles": lambda: run_with(2), "8_handles": lambda: run_with(8)},
    )
    benchmark.extra_info["ns"] = best | {"further_handle": (best["8_handles"] - best["1_handle"]) / 7}
