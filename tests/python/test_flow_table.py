"""FlowTable: counts, rates, ends, and flows that events tell of."""

from __future__ import annotations

import ipaddress
import math

import oxidivert as od
import pytest
from samples import TIME_NS, V6, icmp, ip, pcap, tcp, udp

SECOND = 1_000_000_000
FIN, SYN, RST, ACK = 1, 2, 4, 16


def feed(table: od.FlowTable, *packets: bytes) -> list[bool]:
    """Replays packets, a millisecond apart, into a table."""
    with od.open(flags=od.Flag.SNIFF, backend=od.Replay(pcap(list(packets)))) as handle:
        return [table.add(packet) for packet in handle]


def back(payload: bytes = b"", **more: int) -> bytes:
    """A packet from the server of `tcp` to its client."""
    return tcp(payload, src="192.0.2.7", dst="10.0.0.1", src_port=80, dst_port=40001, **more)


def test_a_flow_is_counted_both_ways_under_one_row() -> None:
    table = od.FlowTable()
    assert feed(table, tcp(b"hello"), back(b"x" * 100), tcp(b"")) == [True, False, False]
    assert len(table) == 1
    (row,) = table.rows()
    assert (row.protocol, row.process_id, row.endpoint_id, row.ended) == (6, 0, 0, False)
    assert (row.local_addr, row.local_port) == (ipaddress.ip_address("10.0.0.1"), 40001)
    assert (row.remote_addr, row.remote_port) == (ipaddress.ip_address("192.0.2.7"), 80)
    assert row.outbound
    assert (row.packets_sent, row.bytes_sent) == (2, 85)
    assert (row.packets_received, row.bytes_received) == (1, 140)
    assert (row.started_ns, row.last_ns) == (TIME_NS, TIME_NS + 2_000_000)


def test_a_flow_that_comes_in_is_seen_from_its_local_end() -> None:
    table = od.FlowTable()
    feed(table, back(b"first"), tcp(b""))
    (row,) = table.rows()
    assert (str(row.local_addr), row.local_port, row.outbound) == ("10.0.0.1", 40001, False)
    assert (row.packets_sent, row.packets_received) == (1, 1)


def test_flows_of_each_kind_are_told_apart() -> None:
    table = od.FlowTable()
    fragment = ip("10.0.0.1", "192.0.2.7", 17, b"the rest", fragment=3)
    kinds = [tcp(), udp(src_port=40001, dst_port=80), icmp(), tcp(**V6), tcp(dst_port=443), fragment]
    assert feed(table, *kinds) == [True] * 5 + [False]
    assert (len(table), table.without_flow) == (5, 1)
    assert [row.local_port for row in table.rows() if row.protocol == 1] == [0]


def test_rates_are_what_came_within_about_a_second_and_fade() -> None:
    table = od.FlowTable()
    packets = [tcp(b"x" * 960) for _ in range(3000)]
    feed(table, *packets)
    # A thousand packets a second for three seconds; the rest of the sum is what was before.
    (row,) = table.rows()
    assert row.packets_per_second == pytest.approx(1000 * (1 - math.exp(-3)), rel=0.01)
    assert row.bytes_per_second == pytest.approx(row.packets_per_second * 1000, rel=1e-9)
    (later,) = table.rows(now_ns=row.last_ns + SECOND)
    assert later.packets_per_second == pytest.approx(row.packets_per_second / math.e, rel=1e-6)
    (long_after,) = table.rows(now_ns=row.last_ns + 60 * SECOND)
    assert long_after.bytes_per_second < 1e-3


def test_rows_are_sorted_and_limited() -> None:
    table = od.FlowTable()
    feed(table, *[tcp(b"x" * size, src_port=size) for size in (30, 10, 40, 20)], tcp(src_port=10), tcp(src_port=10))
    ports = {sort: [row.local_port for row in table.rows(sort=sort)] for sort in ("bytes", "packets", "newest")}  # type: ignore[arg-type]
    assert ports == {"bytes": [10, 40, 30, 20], "packets": [10, 20, 40, 30], "newest": [20, 40, 10, 30]}
    assert [row.local_port for row in table.rows(2, sort="bytes")] == [10, 40]
    assert table.rows(0) == []
    with pytest.raises(ValueError, match="'bytes', 'packets' or 'newest', not"):
        table.rows(sort="size")  # type: ignore[arg-type]


def test_a_batch_is_counted_at_once_and_tells_where_flows_began() -> None:
    table = od.FlowTable()
    packets = [tcp(), tcp(b"x"), udp(), tcp(), udp(src_port=9)]
    with od.open(backend=od.Replay(pcap(packets))) as handle:
        batch = handle.recv_batch(255)
        while len(batch) < 5:
            pytest.fail("the replay gives one batch")
        assert table.add_batch(batch) == [0, 2, 4]
        assert table.add_batch(batch.select([False, True, False, False, True])) == []
    assert [row.packets_sent for row in table.rows(sort="packets")] == [4, 2, 1]


@pytest.mark.parametrize(
    ("ending", "ended"),
    [
        ([tcp(flags=FIN | ACK)], False),
        ([tcp(flags=FIN | ACK), back(flags=FIN | ACK)], True),
        ([back(flags=RST)], True),
        ([back(flags=RST), tcp(flags=SYN)], False),
    ],
)
def test_a_connection_ends_by_a_fin_each_way_or_a_reset(ending: list[bytes], ended: bool) -> None:
    table = od.FlowTable()
    feed(table, tcp(flags=SYN), *ending)
    (row,) = table.rows()
    assert row.ended is ended
    assert table.prune(row.last_ns) == []
    gone = table.prune(row.last_ns + 2 * SECOND)
    assert len(gone) == int(ended)
    assert len(table) == int(not ended)


def test_silent_flows_are_taken_out_oldest_first() -> None:
    table = od.FlowTable()
    feed(table, udp(src_port=1), udp(src_port=2))
    assert table.prune(TIME_NS + 30 * SECOND) == []
    assert [row.local_port for row in table.prune(TIME_NS + 30 * SECOND, idle_seconds=10)] == [1, 2]
    assert len(table) == 0


def test_flows_beyond_the_limit_are_counted_and_not_kept() -> None:
    table = od.FlowTable(limit=2)
    assert feed(table, *[tcp(src_port=port) for port in (1, 2, 3, 1, 3)]) == [True, True, False, False, False]
    assert (len(table), table.overflowed) == (2, 2)


def flow_events(
    engine: od.Engine, handle: od.Handle[od.FlowEvent], **fields: object
) -> tuple[od.EngineFlow, od.FlowEvent]:
    flow = engine.flow(local_addr="10.0.0.1", remote_addr="192.0.2.7", local_port=40001, remote_port=80, **fields)
    event = handle.recv(timeout=1)
    assert event is not None
    return flow, event


def test_events_bring_process_begin_and_end() -> None:
    engine, table = od.Engine(), od.FlowTable()
    with od.open(layer=od.Layer.FLOW, flags=od.Flag.SNIFF | od.Flag.RECV_ONLY, backend=engine) as handle:
        flow, event = flow_events(engine, handle, process_id=77, endpoint_id=5)
        table.add_event(event, TIME_NS - SECOND)
        feed(table, tcp(b"x"), back(b"y"))
        (row,) = table.rows()
        assert (row.process_id, row.endpoint_id, row.outbound) == (77, 5, True)
        assert (row.packets_sent, row.packets_received, row.started_ns) == (1, 1, TIME_NS - SECOND)
        # Only its event ends it.
        assert table.prune(TIME_NS + 3600 * SECOND) == []
        flow.end()
        event = handle.recv(timeout=1)
        assert event is not None
        end_ns = TIME_NS + 3600 * SECOND
        table.add_event(event, end_ns)
        # For a moment it stays: what was captured may be told of later.
        feed(table, back(b"z"))
        assert table.prune(end_ns + SECOND // 2) == []
        (ended,) = table.prune(end_ns + 2 * SECOND)
        assert (ended.process_id, ended.packets_sent, ended.packets_received, ended.ended) == (77, 1, 2, True)
        assert (len(table), table.begun) == (0, 1)


def test_a_flow_that_takes_the_ports_of_one_that_ended_is_another() -> None:
    engine, table = od.Engine(), od.FlowTable()
    with od.open(layer=od.Layer.FLOW, flags=od.Flag.SNIFF | od.Flag.RECV_ONLY, backend=engine) as handle:
        first, event = flow_events(engine, handle, process_id=1, endpoint_id=5)
        table.add_event(event, TIME_NS)
        feed(table, tcp(b"x"))
        first.end()
        event = handle.recv(timeout=1)
        assert event is not None
        table.add_event(event, TIME_NS)
        _, event = flow_events(engine, handle, process_id=2, endpoint_id=6)
        table.add_event(event, TIME_NS)
        feed(table, tcp(b"y"), tcp(b"y"))
        assert [(row.process_id, row.packets_sent) for row in table.rows()] == [(2, 2)]
        assert [(row.process_id, row.packets_sent, row.ended) for row in table.prune(TIME_NS)] == [(1, 1, True)]
        assert table.begun == 2


def test_flows_without_packets_can_be_left_out() -> None:
    engine, table = od.Engine(), od.FlowTable()
    with od.open(layer=od.Layer.FLOW, flags=od.Flag.SNIFF | od.Flag.RECV_ONLY, backend=engine) as handle:
        _, event = flow_events(engine, handle, process_id=1, endpoint_id=5)
        table.add_event(event)
    feed(table, udp())
    assert [row.protocol for row in table.rows(silent=False)] == [17]
    assert len(table.rows()) == 2


def test_an_end_that_is_told_late_does_not_end_the_next_flow() -> None:
    engine, table = od.Engine(), od.FlowTable()
    with od.open(layer=od.Layer.FLOW, flags=od.Flag.SNIFF | od.Flag.RECV_ONLY, backend=engine) as handle:
        first, event = flow_events(engine, handle, process_id=1, endpoint_id=5)
        table.add_event(event)
        _, event = flow_events(engine, handle, process_id=2, endpoint_id=6)
        table.add_event(event)
        first.end()
        event = handle.recv(timeout=1)
        assert event is not None
        table.add_event(event)
        assert [(row.process_id, row.ended) for row in table.rows()] == [(1, True), (2, False)]


def test_a_flow_within_the_host_has_a_row_for_each_end() -> None:
    engine, table = od.Engine(), od.FlowTable()
    with od.open(layer=od.Layer.FLOW, flags=od.Flag.SNIFF | od.Flag.RECV_ONLY, backend=engine) as handle:
        for local, remote, process, outbound in ((40001, 80, 1, True), (80, 40001, 2, False)):
            engine.flow(
                local_addr="127.0.0.1",
                remote_addr="127.0.0.1",
                local_port=local,
                remote_port=remote,
                process_id=process,
                endpoint_id=process,
                outbound=outbound,
                loopback=True,
            )
            event = handle.recv(timeout=1)
            assert event is not None
            table.add_event(event)
    feed(table, tcp(b"x", src="127.0.0.1", dst="127.0.0.1"))
    rows = {row.process_id: (row.local_port, row.packets_sent, row.packets_received) for row in table.rows()}
    assert rows == {1: (40001, 1, 0), 2: (80, 0, 1)}


def test_events_of_flows_without_ports_join_their_packets() -> None:
    engine, table = od.Engine(), od.FlowTable()
    with od.open(layer=od.Layer.FLOW, flags=od.Flag.SNIFF | od.Flag.RECV_ONLY, backend=engine) as handle:
        # The local port of such an event is the type of the ICMP message.
        engine.flow(local_addr="10.0.0.1", remote_addr="192.0.2.7", local_port=8, protocol=1, process_id=9)
        event = handle.recv(timeout=1)
        assert event is not None
        table.add_event(event)
    feed(table, icmp())
    (row,) = table.rows()
    assert (row.process_id, row.packets_sent) == (9, 1)


def test_a_process_can_be_told_by_who_knows_it() -> None:
    table = od.FlowTable()
    with od.open(flags=od.Flag.SNIFF, backend=od.Replay(pcap([tcp()]))) as handle:
        packet = handle.recv()
    assert packet is not None
    assert packet.flow is not None
    assert not table.set_process(packet.flow, 3)
    assert table.process_of(packet.flow) is None
    table.add(packet)
    assert table.process_of(packet.flow) == 0
    assert table.set_process(packet.flow, 3)
    assert table.process_of(packet.flow) == 3
    assert table.rows()[0].process_id == 3


def test_the_process_that_an_event_told_can_be_asked_for() -> None:
    engine, table = od.Engine(), od.FlowTable()
    with (
        od.open(flags=od.Flag.SNIFF, backend=engine) as packets,
        od.open(layer=od.Layer.FLOW, flags=od.Flag.SNIFF | od.Flag.RECV_ONLY, backend=engine) as events,
    ):
        far = {"remote_addr": "192.0.2.7", "remote_port": 80}
        engine.flow(local_addr="10.0.0.1", local_port=40001, process_id=9, endpoint_id=1, **far)
        engine.inject(tcp())
        packet, event = packets.recv(timeout=1), events.recv(timeout=1)
    assert packet is not None
    assert packet.flow is not None
    assert event is not None
    table.add(packet)
    assert table.process_of(packet.flow) == 0
    table.add_event(event)
    assert table.process_of(packet.flow) == 9


def test_a_row_and_a_table_say_what_they_are() -> None:
    table = od.FlowTable()
    feed(table, tcp())
    assert repr(table) == "<FlowTable of 1 flows>"
    assert repr(table.rows()[0]) == "<FlowRow protocol 6, 10.0.0.1 port 40001 to 192.0.2.7 port 80, process 0>"
