"""Batches without Python for each packet, beside `run` with a callback that reads a port and sets the TTL."""

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
#: The most packets of a batch, for all contenders.
BATCH = 255
#: What waits for a program that keeps up: a few batches.
SHALLOW = 4 * BATCH
#: As many as the driver's queue takes: more than the processor's caches hold.
DEEP = len(PACKETS)

CHOSEN = od.Filter(f"tcp.DstPort == {PORT}")


# The callbacks


def choose(packet: od.Packet) -> bool:
    """Let some packets go on, and drop the others."""
    return packet.dst_port == PORT


def mark_all(packet: od.Packet) -> None:
    """Read a port, and set the TTL."""
    if packet.dst_port:
        packet.ipv4.ttl = TTL


def mark_chosen(packet: od.Packet) -> None:
    """Read a port, and set the TTL of some."""
    if packet.dst_port == PORT:
        packet.ipv4.ttl = TTL


def run(callback):
    return lambda handle: handle.run(callback, batch=BATCH)


# The same without Python for each packet


def each_batch(handle: od.Handle[od.Packet], send) -> int:
    count = 0
    while True:
        try:
            batch = handle.recv_batch(limit=BATCH)
        except od.HandleShutdownError:
            return count
        count += len(batch)
        send(handle, batch)


def by_batch(send):
    return lambda handle: each_batch(handle, send)


def send_chosen(handle: od.Handle[od.Packet], batch: od.Batch) -> None:
    handle.send_batch(batch, batch.column("tcp.DstPort") == PORT)


def send_chosen_by_numpy(handle: od.Handle[od.Packet], batch: od.Batch) -> None:
    handle.send_batch(batch, np.asarray(batch.column("tcp.DstPort")) == PORT)


def set_all(handle: od.Handle[od.Packet], batch: od.Batch) -> None:
    batch.set_column("ip.TTL", TTL, batch.column("dst_port") > 0)
    handle.send_batch(batch)


def set_chosen(handle: od.Handle[od.Packet], batch: od.Batch) -> None:
    batch.set_column("ip.TTL", TTL, batch.column("tcp.DstPort") == PORT)
    handle.send_batch(batch)


def set_matching(handle: od.Handle[od.Packet], batch: od.Batch) -> None:
    batch.set_column("ip.TTL", TTL, batch.matches(CHOSEN))
    handle.send_batch(batch)


def on_engine(work, count: int) -> float:
    """Nanoseconds a packet of what waits in an engine's queue.

    A handle below drops what is sent: what the engine records of deliveries would cost more than all else.
    """
    engine = od.Engine()
    with od.open(backend=engine) as handle, od.open(backend=engine, priority=-1, flags=od.Flag.DROP):
        handle.queue_length = 16_384
        handle.queue_size = 33_554_432
        for packet in PACKETS[:count]:
            engine.inject(packet)
        handle.shutdown(od.Shutdown.RECV)
        return timed(work, handle, count)


def on_replay(work) -> float:
    """Nanoseconds a packet of a capture in memory, which are read within this time."""
    with od.open(backend=od.Replay(CAPTURE)) as handle:
        return timed(work, handle, len(PACKETS))


def timed(work, handle: od.Handle[od.Packet], count: int) -> float:
    start_ns = time.perf_counter_ns()
    assert work(handle) == count
    return (time.perf_counter_ns() - start_ns) / count


def shallow(work):
    """The best of several short rounds, so that all contenders' rounds take about as long."""
    return lambda: min(on_engine(work, SHALLOW) for _ in range(16))


def deep(work):
    return lambda: on_engine(work, DEEP)


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
    chosen = delivered(run(choose))
    assert delivered(by_batch(send_chosen)) == delivered(by_batch(send_chosen_by_numpy)) == chosen
    assert len(chosen) == 400
    assert delivered(by_batch(set_all)) == delivered(run(mark_all)) != delivered(run(mark_chosen))
    assert delivered(by_batch(set_chosen)) == delivered(by_batch(set_matching)) == delivered(run(mark_chosen))
    race(
        benchmark,
        {
            # Receive, column, mask, send; and the callback that the batch is held against.
            "chosen": shallow(by_batch(send_chosen)),
            "chosen_numpy": shallow(by_batch(send_chosen_by_numpy)),
            "run_set_all": shallow(run(mark_all)),
            # The same work on both sides.
            "run_chosen": shallow(run(choose)),
            "set_all": shallow(by_batch(set_all)),
            "set_chosen": shallow(by_batch(set_chosen)),
            "set_matching": shallow(by_batch(set_matching)),
            "run_set_chosen": shallow(run(mark_chosen)),
            # A full queue, which is cold.
            "deep_chosen": deep(by_batch(send_chosen)),
            "deep_set_all": deep(by_batch(set_all)),
            "deep_run_set_all": deep(run(mark_all)),
            "replay_set_chosen": lambda: on_replay(by_batch(set_chosen)),
            "replay_run_set_chosen": lambda: on_replay(run(mark_chosen)),
        },
    )
