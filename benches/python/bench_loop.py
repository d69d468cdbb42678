"""The loop over a capture in memory: a callback that edits, beside dpkt; and the cost of one that does nothing."""

from __future__ import annotations

import gc
import io
import pathlib
import time
from collections import deque

import dpkt
import oxidivert as od
import pytest
from oxidivert._native import _run_passthrough
from race import capture, race
from samples import tcp, udp

TTL = 63
PACKETS = [
    maker(bytes(payload_len), src=f"10.0.{index % 7}.{index % 251}", ttl=64 + index % 100)
    for index in range(5_000)
    for maker, payload_len in ((tcp, 0), (tcp, 1_400), (udp, 40), (tcp, 512))
]
CAPTURE = capture(PACKETS)


def set_ttl(packet: od.Packet) -> None:
    packet.ipv4.ttl = TTL


def nothing(packet: od.Packet) -> None:
    pass


def edit_with_dpkt(data: bytes) -> bytes:
    packet = dpkt.ip.IP(data)
    packet.ttl = TTL
    packet.sum = 0
    return bytes(packet)


def nanoseconds_a_packet(start_ns: int) -> float:
    return (time.perf_counter_ns() - start_ns) / len(PACKETS)


def replay(callback, out: pathlib.Path | None = None) -> float:
    with od.open(backend=od.Replay(CAPTURE, out=out)) as handle:
        start_ns = time.perf_counter_ns()
        assert handle.run(callback) == len(PACKETS)
        return nanoseconds_a_packet(start_ns)


def replay_with_callback() -> float:
    return replay(set_ttl)


def replay_with_nothing() -> float:
    return replay(nothing)


def replay_in_rust() -> float:
    with od.open(backend=od.Replay(CAPTURE)) as handle:
        start_ns = time.perf_counter_ns()
        assert _run_passthrough(handle) == len(PACKETS)
        return nanoseconds_a_packet(start_ns)


#: Every packet of a run, until the next run's take its place: what is measured is the loop, not a heap that grows.
KEPT: deque[od.Packet] = deque(maxlen=len(PACKETS))


def replay_keeping_all() -> float:
    # So many objects make the collector run; that is no cost of the loop.
    gc.disable()
    try:
        figure = replay(KEPT.append)
    finally:
        gc.enable()
    assert len(KEPT) == len(PACKETS)
    assert len(set(map(id, KEPT))) == len(PACKETS)
    return figure


def loop_with_dpkt() -> float:
    start_ns = time.perf_counter_ns()
    for _, data in dpkt.pcap.Reader(io.BytesIO(CAPTURE)):
        edit_with_dpkt(data)
    return nanoseconds_a_packet(start_ns)


def call_of_empty_function() -> float:
    """One call with one argument, and the turn of the loop that it takes."""
    calls = range(100_000)
    function, argument = nothing, None
    start_ns = time.perf_counter_ns()
    for _ in calls:
        function(argument)
    return (time.perf_counter_ns() - start_ns) / len(calls)


def turn_of_empty_loop() -> float:
    turns = range(100_000)
    start_ns = time.perf_counter_ns()
    for _ in turns:
        pass
    return (time.perf_counter_ns() - start_ns) / len(turns)


@pytest.mark.timeout(300)
def bench_run_callback(benchmark, tmp_path: pathlib.Path) -> None:
    expected = [edit_with_dpkt(data) for data in PACKETS]
    out = tmp_path / "out.pcap"
    replay(set_ttl, out)
    with out.open("rb") as file:
        assert [data for _, data in dpkt.pcap.Reader(file)] == expected
    race(benchmark, {"oxidivert": replay_with_callback, "dpkt": loop_with_dpkt})


@pytest.mark.timeout(300)
def bench_empty_callback(benchmark) -> None:
    best = race(
        benchmark,
        {
            "nothing": replay_with_nothing,
            "kept": replay_keeping_all,
            "rust": replay_in_rust,
            "call_in_loop": call_of_empty_function,
            "loop": turn_of_empty_loop,
        },
    )
    benchmark.extra_info["ns"] = best | {
        "callback": best["nothing"] - best["rust"],
        "callback_kept": best["kept"] - best["rust"],
        "empty_call": best["call_in_loop"] - best["loop"],
    }
