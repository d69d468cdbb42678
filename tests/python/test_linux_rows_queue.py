"""Live on Linux, by the rows of the table of behaviours: the queue, shutdown and close.

The queue's limits hold from when the process looks at packets, which it does every 100 ms while nobody receives.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable

import oxidivert as od
import pytest
from linux_support import Line, code_of, in_namespace, payloads, received

#: Until a handle has certainly looked at what came.
LOOKED = 0.3


def numbers(count: int, length: int = 0) -> list[bytes]:
    """So many payloads that differ, of this length at least."""
    return [b"%d" % number + bytes(max(0, length - 5)) for number in range(count)]


# Row 60.
@in_namespace
def test_live_a_queue_that_is_too_long_loses_the_oldest() -> None:
    line = Line()
    with line.open() as handle:
        handle.queue_length = 32
        line.feed(*numbers(40))
        time.sleep(LOOKED)
        assert payloads(handle) == numbers(40)[8:]
        assert handle.stats.overflowed == 8
    assert line.arrived() == []


# Row 61.
@in_namespace
def test_live_a_queue_of_too_many_bytes_loses_the_oldest_and_what_is_too_large_itself() -> None:
    line = Line()
    with line.open() as handle:
        handle.queue_size = 65535
        line.feed(*numbers(3, 30000))
        time.sleep(LOOKED)
        # Alone larger than all of the queue, so that nothing else goes for it.
        line.feed(bytes(65500))
        time.sleep(LOOKED)
        assert payloads(handle) == numbers(3, 30000)[1:]
        assert handle.stats.overflowed == 2


# Row 62.
@in_namespace
def test_live_a_packet_expires_after_its_time() -> None:
    line = Line()
    with line.open() as handle:
        handle.queue_time = 100
        line.feed(b"in time")
        assert payloads(handle, 0.05) == [b"in time"]
        line.feed(b"too late")
        time.sleep(LOOKED)
        assert handle.recv(0.05) is None
        assert handle.stats.expired == 1
        handle.queue_time = 16000
        line.feed(b"later")
        time.sleep(LOOKED)
        assert payloads(handle) == [b"later"]


# Row 63.
@in_namespace
def test_live_an_expired_packet_is_lost_also_when_the_handle_closes() -> None:
    line = Line()
    with line.open() as handle:
        handle.queue_time = 100
        line.feed(b"P")
        time.sleep(LOOKED)
    assert line.arrived() == []


# Row 64.
@pytest.mark.parametrize(
    ("name", "least", "most", "default"),
    [
        ("queue_length", 32, 16384, 4096),
        ("queue_time", 100, 16000, 2000),
        ("queue_size", 65535, 33554432, 4194304),
    ],
)
@in_namespace
def test_live_parameters_have_bounds_and_a_refused_one_keeps_its_value(
    name: str, least: int, most: int, default: int
) -> None:
    # On emulated machines tests open handles with another time.
    with inspect.unwrap(od.open)("false", backend="nfqueue") as handle:
        assert getattr(handle, name) == default
        for value in (least, most):
            setattr(handle, name, value)
            assert getattr(handle, name) == value
        for value in (least - 1, most + 1):
            assert code_of(lambda value=value: setattr(handle, name, value)) == 87  # type: ignore[misc]
            assert getattr(handle, name) == most


# Row 65.
@in_namespace
def test_live_the_version_is_read_only() -> None:
    with od.open("false", backend="nfqueue") as handle:
        assert handle.version == (2, 2)
        with pytest.raises(AttributeError):
            handle.version = (2, 3)  # type: ignore[misc]


# Row 66.
@in_namespace
def test_live_a_lower_limit_acts_with_the_next_packet() -> None:
    line = Line()
    with line.open() as handle:
        for extra in (0, 1):
            handle.queue_length = 200
            line.feed(*numbers(100))
            time.sleep(LOOKED)
            handle.queue_length = 32
            time.sleep(LOOKED)
            line.feed(*[b"more"] * extra)
            time.sleep(LOOKED)
            expected = [*numbers(100)[69:], b"more"] if extra else numbers(100)
            assert payloads(handle) == expected


# Row 67.
@in_namespace
def test_live_after_a_receive_shutdown_what_is_queued_can_be_received_and_then_no_more() -> None:
    line = Line()
    with line.open() as handle:
        line.feed(*numbers(3))
        handle.shutdown(od.Shutdown.RECV)
        packets = [handle.recv(1) for _ in range(3)]
        assert [bytes(packet.payload) for packet in packets if packet] == numbers(3)
        assert [code_of(lambda: handle.recv(1)) for _ in range(2)] == [232, 232]
        for packet in packets:
            assert packet
            handle.send(packet)
    assert line.arrived() == numbers(3)


# Row 68.
@pytest.mark.parametrize("flags", [0, 1, 2])
@in_namespace
def test_live_after_a_receive_shutdown_traffic_flows_on(flags: int) -> None:
    line = Line()
    with line.open(flags=od.Flag(flags)) as handle:
        handle.shutdown(od.Shutdown.RECV)
        line.feed(b"fed")
        assert code_of(lambda: handle.recv(0)) == 232
        handle.send(line.packet(b"new"))
        assert line.arrived() == [b"fed", b"new"]


def code_while_waiting(line: Line, act: Callable[[od.Handle[od.Packet]], None]) -> tuple[int, float]:
    """The code that another thread's wait ends with when `act` is done to the handle, and how long that takes."""
    with line.open() as handle:
        codes: list[int] = []
        waiter = threading.Thread(target=lambda: codes.append(code_of(lambda: handle.recv(30))))
        waiter.start()
        time.sleep(0.2)
        start = time.monotonic()
        act(handle)
        waiter.join(10)
        (code,) = codes
        return code, time.monotonic() - start


# Row 69.
@in_namespace
def test_live_a_receive_shutdown_wakes_whoever_waits() -> None:
    code, took = code_while_waiting(Line(), lambda handle: handle.shutdown(od.Shutdown.RECV))
    assert code == 232
    assert took < 1


# Row 70.
@in_namespace
def test_live_a_send_shutdown_leaves_receiving_alone() -> None:
    line = Line()
    with line.open() as handle:
        handle.shutdown(od.Shutdown.SEND)
        line.feed(b"P")
        (packet,) = received(handle)
        assert bytes(packet.payload) == b"P"
        assert code_of(lambda: handle.send(packet)) == 232


# Row 72.
@in_namespace
def test_live_a_close_wakes_whoever_waits_and_later_calls_fail() -> None:
    line = Line()
    code, took = code_while_waiting(line, lambda handle: handle.close())
    assert code == 995
    assert took < 1
    handle = line.open()
    handle.close()
    for act in (
        lambda: handle.recv(0),
        lambda: handle.send(line.packet(b"P")),
        lambda: handle.shutdown(od.Shutdown.RECV),
        lambda: handle.set_filter("true"),
    ):
        assert code_of(act) == 6


# Row 73.
@in_namespace
def test_live_a_close_lets_what_is_queued_go_on_from_the_handles_place() -> None:
    line = Line()
    with line.open(priority=-1) as lower, line.open(priority=20, flags=od.Flag.SNIFF) as higher:
        with line.open(priority=10) as handle:
            line.feed(b"received", *numbers(3))
            assert handle.recv(1)
            assert lower.recv(0.05) is None
        assert payloads(lower) == numbers(3)
        # It is no new packet to those above, and what was received is lost.
        assert payloads(higher) == [b"received", *numbers(3)]


# Row 74.
@in_namespace
def test_live_a_close_discards_copies() -> None:
    line = Line()
    with line.open(flags=od.Flag.SNIFF):
        line.feed(*numbers(3))
    assert line.arrived() == numbers(3)


# Row 87.
@in_namespace
def test_live_each_handle_stamps_anew() -> None:
    line = Line()
    with line.open(priority=1) as higher, line.open() as lower:
        stamps = []
        for _ in range(3):
            line.feed(b"P")
            packet = higher.recv(2)
            assert packet
            time.sleep(0.02)
            higher.send(packet)
            below = lower.recv(2)
            assert below
            # In ticks of 100 ns.
            assert 0.02 <= (below.address.timestamp - packet.address.timestamp) / 1e7 < 2
            stamps.append((packet.address.timestamp, below.address.timestamp))
        assert stamps == sorted(stamps)
        assert [second for _, second in stamps] == sorted(second for _, second in stamps)


# Row 89.
@in_namespace
def test_live_a_wait_under_way_completes_with_a_packet_and_a_cancelled_one_takes_none() -> None:
    line = Line()

    async def play(handle: od.Handle[od.Packet]) -> None:
        pending = asyncio.ensure_future(handle.recv_async())
        await asyncio.sleep(0.1)
        assert not pending.done()
        line.feed(b"first")
        packet = await asyncio.wait_for(pending, 2)
        assert packet
        assert bytes(packet.payload) == b"first"
        cancelled = asyncio.ensure_future(handle.recv_async())
        await asyncio.sleep(0.1)
        cancelled.cancel()
        line.feed(b"second")
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        packet = await asyncio.wait_for(handle.recv_async(), 2)
        assert packet
        assert bytes(packet.payload) == b"second"

    with line.open() as handle:
        asyncio.run(play(handle))
