"""What happens when packets come faster than they are received."""

from __future__ import annotations

import warnings

import oxidivert as od
import pytest
from samples import pcap, udp


def inject(engine: od.Engine, count: int) -> None:
    for number in range(count):
        engine.inject(udp(number.to_bytes(2, "big")))


def numbers(packets: list[od.Packet]) -> list[int]:
    return [int.from_bytes(packet.payload, "big") for packet in packets]


def test_what_does_not_fit_is_dropped_oldest_first_and_counted() -> None:
    engine = od.Engine()
    with od.open("udp", backend=engine) as handle:
        handle.queue_length = 32
        inject(engine, 40)
        assert numbers(list(handle.recv_batch(limit=255))) == list(range(8, 40))
        assert (handle.stats.overflowed, handle.stats.passed_on_overload) == (8, 0)
    assert engine.delivered == []


def test_with_pass_it_goes_on_unseen_and_is_counted() -> None:
    engine = od.Engine()
    with od.open("udp", backend=engine, on_overload="pass") as handle:
        handle.queue_length = 32
        inject(engine, 40)
        assert numbers(engine.delivered) == list(range(8))
        assert len(handle.recv_batch(limit=255)) == 32
        assert (handle.stats.overflowed, handle.stats.passed_on_overload) == (0, 8)


def test_a_replay_loses_nothing_to_a_queue_and_refuses_to_pass() -> None:
    with pytest.raises(od.DivertError, match="leave out on_overload") as refused:
        od.open(backend=od.Replay(pcap([udp()])), on_overload="pass")
    assert refused.value.code == 50


def test_packets_that_grow_old_are_warned_of_once() -> None:
    engine = od.Engine()
    with od.open("udp", backend=engine) as handle:
        inject(engine, 2)
        engine.advance(1.5)
        with pytest.warns(od.OverloadWarning, match="1500 ms"):
            handle.recv()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            handle.recv()


def test_a_run_warns_while_it_runs() -> None:
    engine = od.Engine()
    with od.open("udp", backend=engine) as handle:
        inject(engine, 1)
        engine.advance(1.5)
        with pytest.warns(od.OverloadWarning):
            handle.run(lambda packet: handle.shutdown(od.Shutdown.RECV))


def test_a_warning_that_is_an_error_loses_no_packet() -> None:
    engine = od.Engine()
    with od.open("udp", backend=engine) as handle:
        inject(engine, 1)
        engine.advance(1.5)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(od.OverloadWarning):
                handle.recv()
        packet = handle.recv(timeout=0)
        assert packet is not None
        assert numbers([packet]) == [0]
