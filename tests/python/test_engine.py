"""The engine from Python: the chain, events, queues, and that everything is the same in every run."""

from __future__ import annotations

import threading

import oxidivert as od
import pytest
from samples import tcp, udp

QUERY = udp(src="10.0.0.1", dst="192.0.2.53", src_port=5000, dst_port=53)


def test_what_no_handle_wants_is_delivered_at_once(engine: od.Engine) -> None:
    with od.open("tcp", backend=engine):
        engine.inject(QUERY)
        engine.inject(od.Packet(QUERY), outbound=False)
    assert [bytes(packet) for packet in engine.delivered] == [QUERY, QUERY]
    assert [packet.direction for packet in engine.delivered] == [od.Direction.OUTBOUND, od.Direction.INBOUND]
    engine.delivered.clear()
    assert engine.delivered == []


def test_a_diverted_packet_goes_on_as_it_was_edited(engine: od.Engine) -> None:
    with od.open("udp.DstPort == 53", backend=engine) as handle:
        assert handle.backend == "engine"
        engine.inject(QUERY)
        assert engine.delivered == []
        packet = handle.recv(timeout=1)
        assert packet is not None
        packet.dst_addr = "192.0.2.99"
        handle.send(packet)
        (delivered,) = engine.delivered
        assert (str(delivered.dst_addr), delivered.checksums_valid) == ("192.0.2.99", True)
        assert handle.recv(timeout=0) is None


def test_higher_priorities_see_packets_first_and_copies_go_to_watchers(engine: od.Engine) -> None:
    with (
        od.open("udp", backend=engine, priority=10) as first,
        od.open("udp", backend=engine, priority=5, flags=od.Flag.SNIFF) as watcher,
        od.open("udp", backend=engine, priority=-1, flags=od.Flag.DROP),
    ):
        engine.inject(QUERY)
        assert watcher.recv(timeout=0) is None
        packet = first.recv(timeout=1)
        assert packet is not None
        packet.ipv4.ttl = 7
        first.send(packet)
        seen = watcher.recv(timeout=1)
        assert seen is not None
        assert (seen.ipv4.ttl, seen.address.sniffed) == (7, True)
    assert engine.delivered == []


def test_run_ends_when_another_thread_closes_the_handle(engine: od.Engine) -> None:
    handle = od.open("udp", backend=engine)
    seen = threading.Event()

    def on_packet(packet: od.Packet) -> bool:
        seen.set()
        return packet.dst_port == 53

    counted: list[int] = []
    thread = threading.Thread(target=lambda: counted.append(handle.run(on_packet)))
    thread.start()
    engine.inject(QUERY)
    engine.inject(udp(dst_port=99))
    assert seen.wait(5)
    while len(engine.delivered) < 1 or handle.stats.dropped < 1:
        pass
    handle.close()
    thread.join(5)
    assert counted == [2]
    assert [packet.dst_port for packet in engine.delivered] == [53]


def test_packets_that_wait_longer_than_the_queue_time_are_dropped_and_counted(engine: od.Engine) -> None:
    with od.open("udp", backend=engine) as handle:
        handle.queue_time = 500
        engine.inject(QUERY)
        engine.advance(0.499)
        with pytest.warns(od.OverloadWarning):
            assert handle.recv(timeout=0) is not None
        engine.inject(QUERY)
        engine.advance(0.6)
        assert handle.recv(timeout=0) is None
        assert handle.stats.expired == 1


def test_a_flow_is_told_when_it_begins_and_ends(engine: od.Engine) -> None:
    flags = od.Flag.SNIFF | od.Flag.RECV_ONLY
    with od.open("remotePort == 443", layer=od.Layer.FLOW, flags=flags, backend=engine) as handle:
        flow = engine.flow(
            local_addr="10.0.0.1",
            remote_addr="192.0.2.7",
            local_port=4000,
            remote_port=443,
            process_id=77,
            endpoint_id=5,
        )
        assert flow.end()
        assert not flow.end()
        began, ended = handle.recv(timeout=1), handle.recv(timeout=1)
        assert isinstance(began, od.FlowEvent)
        assert (began.event, began.process_id, began.endpoint_id) == (od.Event.FLOW_ESTABLISHED, 77, 5)
        assert began.process == od.Process(77)
        assert (str(began.local_addr), began.local_port, str(began.remote_addr)) == ("10.0.0.1", 4000, "192.0.2.7")
        assert ended is not None
        assert ended.event is od.Event.FLOW_DELETED
        assert began.address.flow.remote_port == 443


def test_a_socket_operation_is_blocked_by_a_handle_that_does_not_only_watch(engine: od.Engine) -> None:
    connect = {"remote_addr": "192.0.2.7", "remote_port": 25, "process_id": 9}
    flags = od.Flag.RECV_ONLY
    with od.open("event == CONNECT and remotePort == 25", layer=od.Layer.SOCKET, flags=flags, backend=engine) as handle:
        assert not engine.socket_event(od.Event.SOCKET_CONNECT, **connect)  # type: ignore[arg-type]
        assert engine.socket_event(od.Event.SOCKET_CONNECT, remote_addr="192.0.2.7", remote_port=26)
        event = handle.recv(timeout=1)
        assert isinstance(event, od.SocketEvent)
        assert (event.remote_port, event.process_id, event.protocol) == (25, 9, 6)
        assert event.process == od.Process(9)
        assert not engine.socket_event(od.Event.SOCKET_CONNECT, **(connect | {"process_id": 0}))  # type: ignore[arg-type]
        unknown = handle.recv(timeout=1)
        assert isinstance(unknown, od.SocketEvent)
        assert unknown.process is None
    with pytest.raises(od.DivertError) as caught:
        engine.socket_event(od.Event.FLOW_DELETED)
    assert caught.value.code == 87


def test_reflect_tells_of_handles_with_their_filters(engine: od.Engine) -> None:
    flags = od.Flag.SNIFF | od.Flag.RECV_ONLY
    with (
        od.open("tcp.DstPort in {80, 443}", backend=engine, priority=3) as earlier,
        od.open(layer=od.Layer.REFLECT, flags=flags, backend=engine) as observer,
    ):
        event = observer.recv(timeout=1)
        assert isinstance(event, od.ReflectEvent)
        assert (event.event, event.layer, event.priority) == (od.Event.REFLECT_OPEN, od.Layer.NETWORK, 3)
        assert event.filter is not None
        assert str(event.filter) == "tcp.DstPort = 80 or tcp.DstPort = 443"
        earlier.close()
        closed = observer.recv(timeout=1)
        assert closed is not None
        assert closed.event is od.Event.REFLECT_CLOSE


def test_events_come_in_batches_and_to_callbacks(engine: od.Engine) -> None:
    flags = od.Flag.SNIFF | od.Flag.RECV_ONLY
    with od.open(layer=od.Layer.FLOW, flags=flags, backend=engine) as handle:
        for port in (1, 2, 3, 4):
            engine.flow(remote_port=port)
        assert [event.remote_port for event in handle.recv_batch(limit=2)] == [1, 2]
        ports: list[int] = []

        def on_event(event: od.FlowEvent) -> None:
            ports.append(event.remote_port)
            if len(ports) == 2:
                handle.shutdown(od.Shutdown.RECV)

        assert handle.run(on_event) == 2
        assert ports == [3, 4]


def test_a_packet_tells_the_process_that_it_was_given(engine: od.Engine) -> None:
    with od.open(backend=engine) as handle:
        engine.inject(QUERY, process=4711)
        engine.inject(QUERY)
        known, unknown = handle.recv(timeout=1), handle.recv(timeout=1)
        assert known is not None
        assert unknown is not None
        assert (known.process, unknown.process) == (od.Process(4711), None)


def test_two_runs_are_the_same_and_engines_do_not_know_each_other() -> None:
    def run() -> list[tuple[bytes, int]]:
        engine, other = od.Engine(), od.Engine()
        with od.open("random8 < 128", backend=engine) as handle:
            for number in range(50):
                engine.inject(tcp(seq=number))
                engine.advance(0.001)
            other.inject(QUERY)
            while (packet := handle.recv(timeout=0)) is not None:
                packet.ipv4.ttl = 1
                handle.send(packet)
        assert [bytes(packet) for packet in other.delivered] == [QUERY]
        return [(bytes(packet), packet.time_ns) for packet in engine.delivered]

    assert run() == run()


def test_wrong_arguments_are_refused(engine: od.Engine) -> None:
    with pytest.raises(ValueError, match="'stepped' or 'real'"):
        od.Engine("fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot move on"):
        engine.advance(-1)
    with pytest.raises(od.DivertError) as caught:
        od.Engine("real").advance(1)
    assert caught.value.code == 50
    with pytest.raises(TypeError):
        engine.inject("text")  # type: ignore[arg-type]
