"""`run` with several workers: order within a flow, parallel waits, errors, and that no packet is lost or doubled."""

from __future__ import annotations

import pathlib
import threading
import time
from collections import defaultdict

import oxidivert as od
import pytest
from samples import pcap, read_pcap, udp

FLOWS = 8


def packet(number: int) -> bytes:
    return udp(number.to_bytes(2, "big"), src_port=5000 + number % FLOWS)


def number_of(packet: od.Packet) -> int:
    return int.from_bytes(packet.payload, "big")


def delivered(engine: od.Engine) -> list[int]:
    return [number_of(packet) for packet in engine.delivered]


def fill(engine: od.Engine, handle: od.Handle[od.Packet], count: int) -> None:
    for number in range(count):
        engine.inject(packet(number))
    handle.shutdown(od.Shutdown.RECV)


def test_each_flow_keeps_its_order_and_each_packet_is_handled_once(engine: od.Engine) -> None:
    seen: dict[int, list[int]] = defaultdict(list)
    threads = set()

    def note(packet: od.Packet) -> bool:
        assert packet.src_port is not None
        seen[packet.src_port].append(number_of(packet))
        threads.add(threading.get_ident())
        return number_of(packet) % 3 != 0

    with od.open("udp", backend=engine) as handle:
        fill(engine, handle, 2000)
        assert handle.run(note, workers=4, batch=16) == 2000
        assert handle.stats.dropped == 667
    assert all(numbers == list(range(port - 5000, 2000, FLOWS)) for port, numbers in seen.items())
    assert len(seen) == FLOWS
    assert threading.get_ident() not in threads
    kept = delivered(engine)
    assert sorted(kept) == [number for number in range(2000) if number % 3]
    for flow in range(FLOWS):
        assert [number for number in kept if number % FLOWS == flow] == [
            number for number in range(flow, 2000, FLOWS) if number % 3
        ]


def test_workers_wait_side_by_side(engine: od.Engine) -> None:
    """Two flows, of which each waits for the other: one worker alone would never end."""
    both = threading.Barrier(2, timeout=20)
    with od.open("udp", backend=engine) as handle:
        for flow in range(64):
            engine.inject(udp(b"", src_port=5000 + flow))
        handle.shutdown(od.Shutdown.RECV)
        threads: set[int] = set()

        def meet(packet: od.Packet) -> None:
            if threading.get_ident() not in threads and len(threads) < 2:
                threads.add(threading.get_ident())
                both.wait()

        assert handle.run(meet, workers=4, batch=4) == 64


def test_an_exception_raises_and_leaves_the_rest_in_the_queue(engine: od.Engine) -> None:
    handed_out = []

    def fail_at_hundred(packet: od.Packet) -> None:
        handed_out.append(number_of(packet))
        if number_of(packet) == 100:
            raise RuntimeError("no more")

    with od.open("udp", backend=engine) as handle:
        fill(engine, handle, 500)
        with pytest.raises(RuntimeError, match="no more") as raised:
            handle.run(fail_at_hundred, workers=3, batch=8)
        assert raised.value.__notes__ == ["on packet 101 of this run"]
        left: list[int] = []
        for packet in handle:
            left.append(number_of(packet))
            handle.send(packet)
    assert sorted(handed_out + left) == list(range(500))
    assert sorted(delivered(engine)) == [number for number in range(500) if number != 100]
    for flow in range(FLOWS):
        assert [number for number in left if number % FLOWS == flow] == sorted(
            number for number in left if number % FLOWS == flow
        )


def test_a_replay_is_written_in_its_order(tmp_path: pathlib.Path) -> None:
    packets = [packet(number) for number in range(600)]

    def decide(packet: od.Packet) -> bool:
        if number_of(packet) % FLOWS == 0:
            time.sleep(0.0001)
        return number_of(packet) % 5 != 0

    with od.open("udp", backend=od.Replay(pcap(packets), out=tmp_path / "out.pcap")) as handle:
        assert handle.run(decide, workers=4) == 600
    expected = [data for number, data in enumerate(packets) if number % 5]
    assert read_pcap((tmp_path / "out.pcap").read_bytes()) == expected


def test_a_shutdown_of_sending_ends_all_workers_without_an_error(engine: od.Engine) -> None:
    def decide(packet: od.Packet) -> None:
        if number_of(packet) == 40:
            handle.shutdown(od.Shutdown.SEND)

    with od.open("udp", backend=engine) as handle:
        # More than all lanes hold, so that the rest waits for a worker that has left.
        for number in range(3000):
            engine.inject(packet(number))
        assert handle.run(decide, workers=3, batch=8) < 3000
        assert handle.stats.errors > 0
    assert len(delivered(engine)) < 3000


def test_closing_ends_all_workers(engine: od.Engine) -> None:
    with od.open("udp", backend=engine) as handle:
        threading.Timer(0.1, handle.close).start()
        started = time.monotonic()
        assert handle.run(lambda packet: None, workers=8) == 0
        assert time.monotonic() - started < 5


def test_what_a_worker_sends_itself_is_not_sent_again(engine: od.Engine) -> None:
    with od.open("udp", backend=engine) as handle:
        fill(engine, handle, 100)
        assert handle.run(handle.send, workers=2) == 100
    assert sorted(delivered(engine)) == list(range(100))


def test_events_of_an_endpoint_keep_their_order(engine: od.Engine) -> None:
    seen: dict[int, list[od.Event]] = defaultdict(list)
    flags = od.Flag.SNIFF | od.Flag.RECV_ONLY
    with od.open(layer=od.Layer.FLOW, flags=flags, backend=engine) as handle:
        for number in range(1, 50):
            engine.flow(local_port=number, endpoint_id=number, process_id=1).end()
        handle.shutdown(od.Shutdown.RECV)
        assert handle.run(lambda event: seen[event.endpoint_id].append(event.event), workers=3) == 98
    assert len(seen) == 49
    assert all(events == [od.Event.FLOW_ESTABLISHED, od.Event.FLOW_DELETED] for events in seen.values())


@pytest.mark.parametrize("workers", [0, -1, 65])
def test_the_number_of_workers_is_checked(engine: od.Engine, workers: int) -> None:
    with (
        od.open("udp", backend=engine) as handle,
        pytest.raises((ValueError, OverflowError)),
    ):
        handle.run(lambda packet: None, workers=workers)
