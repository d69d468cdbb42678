"""Which process a packet belongs to: looked up in the system's tables, or told by events while packets wait."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
import threading
import time

import oxidivert as od
import pytest
from samples import tcp, udp
from standin import STARTUP, Network, Seen
from support import address, fed, received, sent

#: How long the first packet of a flow waits for its process.
HOLD = 0.05
#: A process that there is not.
OTHER = 4711


def test_packets_of_open_connections_tell_their_process_or_none(network: Network) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        od.open("ip") as handle,
    ):
        datagrams.bind(("127.0.0.1", 0))
        ours, theirs = client.getsockname()[1], server.getsockname()[1]
        local = datagrams.getsockname()[1]
        fed(
            network,
            [
                tcp(b"x", src="127.0.0.1", dst="127.0.0.1", src_port=ours, dst_port=theirs),
                udp(b"x", src="127.0.0.1", dst="192.0.2.1", src_port=local, dst_port=53),
                tcp(b"x", src="127.0.0.1", dst="192.0.2.1", src_port=1, dst_port=2),
            ],
        )
        packets = [handle.recv(timeout=5) for _ in range(3)]
        found = [packet.process for packet in packets if packet is not None]
    # Wine 8 lists connections without their processes; docs/windows-checklist.md has the same on Windows.
    assert {process and process.pid for process in found} <= {os.getpid(), None}
    assert found[2] is None
    if found[0] is not None:
        assert found[0].name == os.path.basename(sys.executable)
        assert str(found[0].path).lower().endswith("python.exe")


def packet(port: int, number: int = 0) -> bytes:
    """A packet of the flow that has this local port."""
    return udp(struct.pack("<I", number), src="10.0.0.1", dst="10.0.0.2", src_port=port, dst_port=53)


def number_of(data: bytes) -> tuple[int, int]:
    """Local port and number of a packet."""
    return struct.unpack_from(">H", data, 20)[0], struct.unpack_from("<I", data, 28)[0]


def words(ip: int) -> bytes:
    """An IPv4 address as the driver writes it."""
    return struct.pack("<4I", ip, 0xFFFF, 0, 0)


def tell(network: Network, event: od.Event, ports: list[int], process_id: int) -> None:
    """Have the handle that observes this event's layer see it happen to the flows that have these local ports."""
    layer = od.Layer.FLOW if event in (od.Event.FLOW_ESTABLISHED, od.Event.FLOW_DELETED) else od.Layer.SOCKET
    (observer,) = (seen for seen in network.mine() if seen.layer == int(layer))
    records = []
    for port in ports:
        record = address(layer, event)
        struct.pack_into("<QQI", record, 16, port, 0, process_id)
        is_bound_only = event in (od.Event.SOCKET_BIND, od.Event.SOCKET_LISTEN)
        record[36:52], record[52:68] = words(0x0A000001), words(0 if is_bound_only else 0x0A000002)
        struct.pack_into("<HHB", record, 68, port, 0 if is_bound_only else 53, 17)
        records.append((b"", bytes(record)))
    network.feed(observer.number, records)


def settle(network: Network) -> None:
    """Give the observer's thread time to read what it was told."""
    end = time.monotonic() + 5
    while any(seen.queued for seen in network.mine() if seen.layer >= int(od.Layer.FLOW)):
        assert time.monotonic() < end
        time.sleep(0.005)
    time.sleep(0.05)


@pytest.fixture
def handle(network: Network) -> od.Handle[od.Packet]:
    """A handle that tracks processes, whose reads are pending."""
    opened = od.open("udp", processes=True)
    assert opened.recv(timeout=0) is None
    return opened


def test_two_handles_observe_and_only_look(network: Network) -> None:
    before = {seen.number for seen in network.mine()}
    with od.open("udp", processes=True):
        opened = [seen for seen in network.mine() if seen.number not in before]

        def only_looks(seen: Seen) -> bool:
            return seen.flags == int(od.Flag.SNIFF | od.Flag.RECV_ONLY | od.Flag.NO_INSTALL)

        assert [seen.layer for seen in opened] == [3, 2, 0]
        assert [only_looks(seen) for seen in opened] == [True, True, False]
    assert {seen.number for seen in network.mine()} == before
    # Nobody sees a process's packets here.
    for layer, flags in ((od.Layer.NETWORK, od.Flag.DROP), (od.Layer.NETWORK_FORWARD, od.Flag(0))):
        with od.open("true", layer=layer, flags=flags, processes=True):
            assert len(network.mine()) == len(before) + 1


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_an_observer_that_cannot_be_opened_is_told_and_leaves_nothing(failing: int, network: Network) -> None:
    before = len(network.mine())
    if failing > 1:
        network.answer(STARTUP, 0, failing - 1)
    network.fail(STARTUP, 1753)
    with pytest.raises(od.DivertError) as caught:
        od.open("udp", processes=True)
    assert caught.value.code == 1753
    assert len(network.mine()) == before


@pytest.mark.parametrize(
    "event",
    [od.Event.SOCKET_BIND, od.Event.SOCKET_CONNECT, od.Event.SOCKET_ACCEPT, od.Event.FLOW_ESTABLISHED],
)
def test_a_process_that_was_told_before_comes_with_the_packet_at_once(
    event: od.Event, network: Network, handle: od.Handle[od.Packet]
) -> None:
    with handle:
        tell(network, event, [5001], os.getpid())
        tell(network, event, [5002], OTHER)
        settle(network)
        fed(network, [packet(5001), packet(5002)])
        for pid in (os.getpid(), OTHER):
            got = handle.recv(timeout=5)
            assert got is not None
            assert got.process is not None
            assert got.process.pid == pid
            if pid == os.getpid():
                assert got.process.name == os.path.basename(sys.executable)
            else:
                assert got.process.name is None


def test_a_packet_waits_for_a_process_that_is_told_20_ms_later(network: Network, handle: od.Handle[od.Packet]) -> None:
    in_time = 0
    with handle:
        # On a busy machine an event may be too late: such a try shows nothing.
        for port in range(6000, 6040):
            started = time.perf_counter()
            fed(network, [packet(port), packet(port, 1)])
            time.sleep(0.02)
            came_early = handle.recv(timeout=0)
            looked = time.perf_counter()
            tell(network, od.Event.SOCKET_CONNECT, [port], OTHER)
            told = time.perf_counter()
            got = [came_early, handle.recv(timeout=5)]
            if came_early is None:
                got = [*got[1:], handle.recv(timeout=5)]
            first, second = got
            assert first is not None
            assert second is not None
            assert [number_of(bytes(one)) for one in (first, second)] == [(port, 0), (port, 1)]
            if looked - started < HOLD:
                assert came_early is None, "it is held"
            if told - started < HOLD - 0.01 and first.process is not None:
                assert [first.process.pid, second.process and second.process.pid] == [OTHER, OTHER]
                in_time += 1
            if in_time == 3:
                break
    assert in_time == 3


def test_a_packet_whose_process_nobody_tells_is_let_go_after_50_ms(
    network: Network, handle: od.Handle[od.Packet]
) -> None:
    waits = []
    with handle:
        for port in range(7000, 7005):
            started = time.perf_counter()
            fed(network, [packet(port, 0)])
            fed(network, [packet(port, 1)])
            got = received(handle, 2)
            waits.append(time.perf_counter() - started)
            assert [number_of(data) for data in got] == [(port, 0), (port, 1)]
            # It is no new flow any more.
            fed(network, [packet(port, 2)])
            got_late = handle.recv(timeout=5)
            assert got_late is not None
            assert got_late.process is None
            assert number_of(bytes(got_late)) == (port, 2)
    assert min(waits) >= HOLD - 0.001
    assert min(waits) < HOLD + 0.1
    assert handle.stats.received == 15


def test_a_flow_that_waits_holds_up_no_other(network: Network, handle: od.Handle[od.Packet]) -> None:
    with handle:
        tell(network, od.Event.SOCKET_CONNECT, [8001], OTHER)
        settle(network)
        fed(network, [packet(8000, 0), packet(8001, 0), packet(8000, 1), packet(8001, 1)])
        assert [number_of(data) for data in received(handle, 4)] == [(8001, 0), (8001, 1), (8000, 0), (8000, 1)]


def test_many_flows_each_get_their_process_and_keep_their_order(network: Network, handle: od.Handle[od.Packet]) -> None:
    ports, each = list(range(10_000, 10_300)), 5
    expected = {port: 100 + 4 * (port % 7) for port in ports}
    found: list[tuple[int, int, int]] = []
    with handle:
        handle.queue_time = 16000

        def play() -> None:
            for start in range(0, len(ports), 50):
                some = ports[start : start + 50]
                network.feed(number, [(packet(port, 0), bytes(address())) for port in some])
                for port in some:
                    # Two of three are told, and one of these by both layers.
                    if port % 3 != 0:
                        tell(network, od.Event.SOCKET_CONNECT, [port], expected[port])
                    if port % 3 == 1:
                        tell(network, od.Event.FLOW_ESTABLISHED, [port], expected[port])
                for count in range(1, each):
                    network.feed(number, [(packet(port, count), bytes(address())) for port in some])

        number = network.latest().number
        player = threading.Thread(target=play)
        player.start()
        while len(found) < len(ports) * each:
            batch = handle.recv_batch(64, timeout=10)
            assert len(batch) > 0, f"{len(found)} packets came"
            for one in batch:
                port, count = number_of(bytes(one))
                process = one.process
                found.append((port, count, process.pid if process is not None else 0))
        player.join(timeout=20)
        assert handle.recv(timeout=0) is None
    for port in ports:
        mine = [(count, pid) for at, count, pid in found if at == port]
        assert [count for count, _ in mine] == list(range(each))
        # On a busy machine some are told too late.
        assert {pid for _, pid in mine} <= ({0} if port % 3 == 0 else {0, expected[port]})
    told = [pid for port, _, pid in found if port % 3 != 0]
    assert sum(pid != 0 for pid in told) > len(told) // 2


@pytest.mark.parametrize("flags", [od.Flag(0), od.Flag.RECV_ONLY, od.Flag.SNIFF])
def test_a_close_loses_nothing_of_what_waits(flags: od.Flag, network: Network) -> None:
    handle = od.open("udp", flags=flags, processes=True)
    assert handle.recv(timeout=0) is None
    number = fed(network, packets := [packet(port) for port in range(9000, 9020)])
    taken = handle.recv(timeout=0.01)
    count = 0 if taken is None else 1
    handle.close()
    returned = [data for data, _ in network.returned()]
    if flags == od.Flag.SNIFF:
        assert (handle.stats.given_back, returned) == (0, [])
        return
    assert handle.stats.given_back + len(returned) + count == len(packets)
    assert returned == packets[len(packets) - len(returned) :]
    assert number not in [seen.number for seen in network.mine()]


def test_a_shutdown_hands_out_what_waits_and_then_ends(network: Network, handle: od.Handle[od.Packet]) -> None:
    with handle:
        fed(network, [packet(9100, 0), packet(9100, 1), packet(9101, 0)])
        handle.shutdown(od.Shutdown.RECV)
        assert [number_of(bytes(one)) for one in handle] == [(9100, 0), (9100, 1), (9101, 0)]
        with pytest.raises(od.HandleShutdownError):
            handle.recv(timeout=1)


def test_receivers_of_every_kind_get_what_waits(network: Network, handle: od.Handle[od.Packet]) -> None:
    async def wait() -> od.Packet | None:
        return await asyncio.wait_for(handle.recv_async(), 10)

    with handle:
        # One that waits for long, and one that gives up earlier than the packet is let go.
        got: list[od.Packet | None] = []
        waiting = threading.Thread(target=lambda: got.append(handle.recv(timeout=20)))
        leaving = threading.Thread(target=lambda: got.append(handle.recv(timeout=0.02)))
        for thread in (waiting, leaving):
            thread.start()
        time.sleep(0.005)
        fed(network, [packet(9200)])
        leaving.join(timeout=20)
        if got != [None]:
            # It began late, and has it.
            fed(network, [packet(9200)])
        waiting.join(timeout=10)
        assert not waiting.is_alive()
        assert [number_of(bytes(one)) for one in got if one is not None][-1] == (9200, 0)
        timer = threading.Timer(0.1, lambda: fed(network, [packet(9201)]))
        timer.start()
        one = asyncio.run(wait())
        timer.join()
        assert one is not None
        assert number_of(bytes(one)) == (9201, 0)
        # `run` sends what it had waited for.
        number = fed(network, [packet(9202, count) for count in range(3)])
        handle.shutdown(od.Shutdown.RECV)
        assert handle.run(lambda _: True) == 3
        assert sent(network, number) == [packet(9202, count) for count in range(3)]


def test_a_filter_is_swapped_while_a_packet_waits(network: Network, handle: od.Handle[od.Packet]) -> None:
    with handle:
        fed(network, [packet(9300, 0)])
        time.sleep(0.005)
        handle.set_filter("udp.DstPort == 53")
        fed(network, [packet(9300, 1)])
        tell(network, od.Event.SOCKET_CONNECT, [9300], OTHER)
        assert [number_of(data) for data in received(handle, 2)] == [(9300, 0), (9300, 1)]
        fed(network, [packet(9300, 2)])
        got = handle.recv(timeout=5)
        assert got is not None
        assert got.process is not None
        assert got.process.pid == OTHER
        assert [seen.layer for seen in network.mine()][-3:] == [3, 2, 0]
