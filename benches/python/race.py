"""Contenders measured in turn, so that whatever slows the machine down slows all of them.

A benchmark hands its contenders to `race`; each round runs every one of them once, and the figure of a contender is
the least time of all rounds. The figures go into `extra_info["ns"]`, where `benches/report.py` finds them.
"""

from __future__ import annotations

import struct
import timeit
from collections.abc import Callable, Mapping

ROUNDS = 15

Contender = Callable[[], float]


def repeated(statement: str, names: Mapping[str, object], count: int) -> Contender:
    """Make a contender that runs a statement `count` times; its figure is the nanoseconds of one time.

    The statement stands in the loop itself (`timeit`): a call around it would be added to all contenders alike, and so
    flatter the slow ones.
    """
    timer = timeit.Timer(statement, globals=dict(names))

    def measured() -> float:
        return timer.timeit(count) / count * 1e9

    return measured


def race(benchmark, contenders: Mapping[str, Contender]) -> dict[str, float]:
    """Run all contenders in interleaved rounds; the answer, also kept for the report, is the best figure of each."""
    best = dict.fromkeys(contenders, float("inf"))

    def one_round() -> None:
        for name, contender in contenders.items():
            best[name] = min(best[name], contender())

    benchmark.pedantic(one_round, rounds=ROUNDS, warmup_rounds=1)
    benchmark.extra_info["ns"] = best
    return best


def capture(packets: list[bytes]) -> bytes:
    """Write the packets as a pcap file of raw IP, in memory."""
    records = (
        struct.pack("<IIII", 1_700_000_000 + index, 0, len(packet), len(packet)) + packet
        for index, packet in enumerate(packets)
    )
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101) + b"".join(records)
