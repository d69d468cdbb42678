"""Batches without Python for each packet, beside `run` with a callback that reads a port and sets the TTL of some."""

from __future__ import annotations

import time

import numpy as np
import oxidivert as od
import pytest
from race import capture, race
from samples import tcp, udp

TTL = 63
PORT = 443
PACKETS = [
    maker(bytes(payload_len), src=f"10.0.{index % 7}.{index % 251}", dst_port=port, ttl=64 + index % 100)
    for index in range(4_000)
    for maker, payload_len, port in ((tcp, 0, PORT), (tcp, 1_400, PORT), (udp, 40, 53), (tcp, 512, 80))
]
CAPTURE = capture(PACKETS)
#: As many as the driver's queue takes.
LIMIT = 16_384


def callback(packet: od.Packet) -> None:
    if packet.dst_port == PORT:
        packet.ipv4.ttl = TTL


def run(handle: od.Handle[od.Packet]) -> int:
    return handle.run(callback, batch=255)


def by_columns(handle: od.Handle[od.Packet]) -> int:
    count = 0
    while True:
        try:
            batch = handle.recv_batch(limit=255)
        except od.HandleShutdownError:
            return count
        batch.set_column("ip.TTL", TTL, np.asarray(batch.column("dst_port")) == PORT)
        count += handle.send_batch(batch)


def by_filter(handle: od.Handle[od.Packet]) -> int:
    chosen = od.Filter(f"tcp.DstPort == {PORT}")
    count = 0
    while True:
        try:
            batch = handle.recv_batch(limit=255)
        except od.HandleShutdownError:
            return count
        batch.set_column("ip.TTL", TTL, batch.matches(chosen))
        count += handle.send_batch(batch)


def send_chosen(handle: od.Handle[od.Packet]) -> int:
    """Let some packets go on, and drop the others."""
    count = 0
    while True:
        try:
            batch = handle.recv_batch(limit=255)
        except od.HandleShutdownError:
            return count
        handle.send_batch(batch, np.asarray(batch.column("tcp.DstPort")) == PORT)
        count += len(batch)


def on_engine(work) -> float:
    """Nanoseconds a packet of what waits in an engine's queue.

    A handle below drops what is sent: what the engine records of deliveries would cost more than all else.
    """
    engine = od.Engine()
    with od.open(backend=engine) as handle, od.open(backend=engine, priority=-1, flags=od.Flag.DROP):
        handle.queue_length = LIMIT
        handle.queue_size = 33_554_432
        for packet in PACKETS:
            engine.inject(packet)
        handle.shutdown(od.Shutdown.RECV)
        return timed(work, handle)


def on_replay(work) -> float:
    """Nanoseconds a packet of a capture in memory, which are read within this time."""
    with od.open(backend=od.Replay(CAPTURE)) as handle:
        return timed(work, handle)


def timed(work, handle: od.Handle[od.Packet]) -> float:
    start_ns = time.perf_counter_ns()
    assert work(handle) == len(PACKETS)
    return (time.perf_counter_ns() - start_ns) / len(PACKETS)


def delivered(work) -> list[bytes]:
    engine = od.Engine()
    with od.open(backend=engine) as handle:
        for packet in PACKETS[:800]:
            engine.inject(packet)
        handle.shutdown(od.Shutdown.RECV)
        work(handle)
        return [bytes(packet) for packet in engine.delivered]


@pytest.mark.timeout(300)
def bench_batch(benchmark) -> None:
    assert delivered(by_columns) == delivered(by_filter) == delivered(run)
    assert len(delivered(send_chosen)) == 400
    race(
        benchmark,
        {
            "columns": lambda: on_engine(by_columns),
            "filter": lambda: on_engine(by_filter),
            "chosen": lambda: on_engine(send_chosen),
            "run": lambda: on_engine(run),
            "columns_replay": lambda: on_replay(by_columns),
            "run_replay": lambda: on_replay(run),
        },
    )
