"""The rows of the table of behaviours that library, driver and backend share; docs/windows.md lists the others."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable

import oxidivert as od
import pytest
from samples import tcp, udp
from standin import SET_PARAM, SHUTDOWN, STARTUP, Network
from support import WATCH, address, fed, received, sent

PACKETS = [udp(bytes([index])) for index in range(20)]


def code(call: Callable[[], object]) -> int:
    """The number that a call fails with, 0 if it does not."""
    try:
        result = call()
    except od.DivertError as error:
        return error.code
    if isinstance(result, od.Handle):
        result.close()
    return 0


# Rows 1, 2, 3, 4, 5: refused before the driver is asked.
def test_wrong_arguments_of_open_are_refused(network: Network) -> None:
    before = len(network.mine())
    assert code(lambda: od.open(layer=5)) == 87  # type: ignore[call-overload]
    for flags in (0x40, 1 << 63, 0x03, 0x07, 0x0C, 0x0F):
        assert code(lambda flags=flags: od.open(flags=flags)) == 87  # type: ignore[misc]
    priorities = (30_000, -30_000, 30_001, -30_001)
    codes = [code(lambda priority=priority: od.open("false", priority=priority)) for priority in priorities]  # type: ignore[misc]
    assert codes == [0, 0, 87, 87]
    for layer, flags in ((od.Layer.FLOW, od.Flag.SNIFF), (od.Layer.SOCKET, od.Flag(0)), (od.Layer.REFLECT, od.Flag(4))):
        assert code(lambda layer=layer, flags=flags: od.open(layer=layer, flags=flags)) == 87  # type: ignore[misc]
        assert code(lambda layer=layer: od.open(layer=layer, flags=WATCH)) == 0  # type: ignore[misc]
    assert len(network.mine()) == before


# Rows 6, 9.
def test_a_wrong_filter_is_told_with_its_place_before_the_driver_is_asked(network: Network) -> None:
    before = len(network.mine())
    with pytest.raises(od.FilterError) as caught:
        od.open("tcp.DstPort ==")
    assert caught.value.position > 0
    with pytest.raises(od.FilterError):
        od.open("outbound", layer=od.Layer.NETWORK_FORWARD, dialect="windivert")
    many = " and ".join(["tcp.SrcPort == 80"] * 255)
    od.open(many, dialect="windivert").close()
    with pytest.raises(od.FilterError):
        od.open(many + " and tcp", dialect="windivert")
    assert len(network.mine()) == before


def test_the_driver_gets_layer_priority_and_flags_as_they_were_given(network: Network) -> None:
    flags = od.Flag.SNIFF | od.Flag.FRAGMENTS | od.Flag.RECV_ONLY
    for layer in od.Layer:
        with od.open(layer=layer, priority=-7, flags=flags):
            seen = network.latest()
            assert (seen.layer, seen.priority, seen.flags) == (int(layer), -7, int(flags))


# Row 10, and what a handle that only sends captures: nothing.
def test_a_handle_that_only_sends_is_opened_with_a_filter_that_takes_nothing(network: Network) -> None:
    with od.open("false"):
        nothing = network.startup(network.latest().number)
    with od.open("true", flags=od.Flag.SEND_ONLY) as handle:
        assert network.startup(network.latest().number) == nothing
        # Row 58.
        assert code(lambda: handle.recv(timeout=0)) == 87
        number = network.latest().number
        handle.send(udp(b"one"), od.Address())
        assert sent(network, number) == [udp(b"one")]


# Rows 38, 39, 40: batches come out whole and in order, whatever one read of the driver holds.
@pytest.mark.parametrize(("count", "size"), [(300, 20), (10, 60_000), (3, 1), (600, 1400)])
def test_batches_of_any_size_come_whole_and_in_order(count: int, size: int, network: Network) -> None:
    packets = [udp(struct.pack("<I", index) + bytes(size)) for index in range(count)]
    with od.open("udp") as handle:
        fed(network, packets)
        assert received(handle, count) == packets
        assert handle.recv(timeout=0) is None


# Row 42.
def test_a_wait_ends_with_the_first_packet(network: Network) -> None:
    with od.open("udp") as handle:
        batches: list[od.Batch] = []
        thread = threading.Thread(target=lambda: batches.append(handle.recv_batch(64, timeout=20)))
        thread.start()
        while not network.latest().pending:
            time.sleep(0.01)
        fed(network, PACKETS[:1])
        thread.join(timeout=20)
        assert [bytes(packet) for batch in batches for packet in batch] == PACKETS[:1]


# Rows 44, 45, 46, 50.
def test_a_packet_is_sent_as_long_as_its_header_says(network: Network) -> None:
    with od.open("udp") as handle:
        number = network.latest().number
        handle.send(udp(b"one") + b"behind", od.Address())
        assert sent(network, number) == [udp(b"one")]
        cut = od.Packet(udp(b"some payload")[:30])
        assert code(lambda: handle.send(cut)) == 122
        for at, wrong in ((0, b"\x55"), (2, b"\0\x10")):
            malformed = bytearray(udp(b"one"))
            malformed[at : at + len(wrong)] = wrong
            with pytest.raises(od.PacketError):
                handle.send(bytes(malformed), od.Address())
        assert sent(network, number) == []


# Row 49, with the exact count.
def test_a_packet_without_hops_is_left_out_and_told_at_the_end(network: Network) -> None:
    with od.open("udp") as handle:
        number = fed(network, PACKETS[:3])
        handle.shutdown(od.Shutdown.RECV)
        batch = handle.recv_batch(64, timeout=5)
        while len(batch) < 3:
            time.sleep(0.05)
            fed(network, [])
            batch = handle.recv_batch(64, timeout=5)
        batch[1].ipv4.ttl = 1  # type: ignore[union-attr]
        batch[1].address.impostor = True
        with pytest.raises(od.DivertError) as caught:
            handle.send_batch(batch)
        assert (caught.value.code, caught.value.sent) == (1232, 2)
        assert sent(network, number) == [PACKETS[0], PACKETS[2]]


# Rows 57, 59, 70.
def test_handles_that_do_not_send_refuse_to(network: Network) -> None:
    with od.open("udp", flags=od.Flag.RECV_ONLY) as handle:
        assert code(lambda: handle.send(udp(b"one"), od.Address())) == 87
        handle.shutdown(od.Shutdown.SEND)
        assert code(lambda: handle.send(udp(b"one"), od.Address())) == 232
    for layer in (od.Layer.FLOW, od.Layer.SOCKET, od.Layer.REFLECT):
        with od.open(layer=layer, flags=WATCH) as events:
            assert code(lambda events=events: events.send(udp(b"one"), od.Address())) == 87  # type: ignore[misc]
    with od.open("udp") as handle:
        fed(network, PACKETS[:1])
        handle.shutdown(od.Shutdown.SEND)
        assert received(handle, 1) == PACKETS[:1]
        assert code(lambda: handle.send(udp(b"one"), od.Address())) == 232


# Row 62, for what was read ahead, and row 63.
def test_what_was_read_ahead_expires_by_its_stamp_and_is_not_given_back(network: Network) -> None:
    handle = od.open("udp")

    def let_expire() -> None:
        assert handle.recv(timeout=0) is None
        fed(network, PACKETS[:2], age_ms=1900)
        time.sleep(0.2)
        fed(network, PACKETS[2:3])
        assert received(handle, 1) == PACKETS[2:3]
        assert (handle.stats.expired, handle.stats.received) == (2, 1)
        fed(network, PACKETS[:1], age_ms=1900)
        time.sleep(0.2)
        handle.close()

    with pytest.warns(od.OverloadWarning, match="dropped after 2000 ms"):
        let_expire()
    assert handle.stats.given_back == 0


# Rows 64, 65, and that the driver and the queue of what was read ahead have the same.
def test_parameters_have_the_driver_s_bounds(network: Network) -> None:
    bounds = {"queue_length": (32, 16384), "queue_time": (100, 16000), "queue_size": (65535, 33554432)}
    with od.open("udp") as handle:
        assert handle.version == (2, 2)
        assert [getattr(handle, name) for name in bounds] == [4096, 2000, 4194304]
        for name, (low, high) in bounds.items():
            for value in (low, high):
                setattr(handle, name, value)
                assert getattr(handle, name) == value
            for value in (low - 1, high + 1):
                assert code(lambda name=name, value=value: setattr(handle, name, value)) == 87  # type: ignore[misc]
                assert getattr(handle, name) == high


# Rows 67, 69, 71.
def test_a_shutdown_drains_wakes_and_ends_for_good(network: Network) -> None:
    with od.open("udp") as handle:
        fed(network, PACKETS[:3])
        handle.shutdown(od.Shutdown.RECV)
        assert [bytes(packet) for packet in handle] == PACKETS[:3]
        for _ in range(3):
            assert code(lambda: handle.recv(timeout=5)) == 232
        handle.shutdown(od.Shutdown.RECV)
        for how in (0, 4):
            assert code(lambda how=how: handle.shutdown(how)) == 87  # type: ignore[misc]
    with od.open("udp") as handle:
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(code(handle.recv)))
        thread.start()
        while not network.latest().pending:
            time.sleep(0.01)
        started = time.monotonic()
        handle.shutdown(od.Shutdown.RECV)
        thread.join(timeout=10)
        assert codes == [232]
        assert time.monotonic() - started < 1


# Row 72.
def test_a_close_wakes_a_blocked_receive(network: Network) -> None:
    handle = od.open("udp")
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(code(handle.recv))) for _ in range(4)]
    for thread in threads:
        thread.start()
    while not network.latest().pending:
        time.sleep(0.01)
    number = network.latest().number
    handle.close()
    for thread in threads:
        thread.join(timeout=10)
    assert len(codes) == 4
    assert set(codes) <= {6, 995}
    assert code(lambda: handle.recv(timeout=0)) == 6
    assert code(lambda: handle.send(udp(b"one"), od.Address())) == 6
    assert code(lambda: handle.shutdown(od.Shutdown.RECV)) == 6
    handle.close()
    assert number not in [seen.number for seen in network.mine()]


# Row 73, its part that is ours: what was read ahead goes on before what the driver itself gives back.
@pytest.mark.parametrize("flags", [od.Flag(0), od.Flag.RECV_ONLY])
@pytest.mark.parametrize("ends", [None, od.Shutdown.SEND, od.Shutdown.BOTH])
def test_a_close_gives_back_what_nobody_received(ends: od.Shutdown | None, flags: od.Flag, network: Network) -> None:
    handle = od.open("udp", flags=flags)
    assert handle.recv(timeout=0) is None
    fed(network, PACKETS)
    assert received(handle, 1)[0] == PACKETS[0]
    if ends is not None:
        handle.shutdown(ends)
    time.sleep(0.1)
    taken = handle.stats.received
    handle.close()
    returned = [data for data, _ in network.returned()]
    assert handle.stats.given_back + len(returned) == len(PACKETS) - taken
    assert returned == PACKETS[len(PACKETS) - len(returned) :]


# Row 74.
def test_a_close_forgets_copies(network: Network) -> None:
    with od.open("udp", flags=od.Flag.SNIFF) as handle:
        assert handle.recv(timeout=0) is None
        fed(network, PACKETS)
        time.sleep(0.1)
    assert handle.stats.given_back == 0
    assert network.returned() == []


# Row 75.
def test_each_packet_goes_to_exactly_one_of_several_readers(network: Network) -> None:
    packets = [udp(struct.pack("<I", index)) for index in range(1000)]
    found: list[bytes] = []
    with od.open("udp") as handle:

        def read() -> None:
            found.extend(bytes(packet) for packet in handle)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for start in range(0, 1000, 50):
            fed(network, packets[start : start + 50])
        handle.shutdown(od.Shutdown.RECV)
        for thread in threads:
            thread.join(timeout=20)
    assert sorted(found) == sorted(packets)


# Row 87, and what time a packet tells.
def test_stamps_become_unix_time(network: Network) -> None:
    with od.open("udp") as handle:
        fed(network, PACKETS[:2])
        first, second = handle.recv(timeout=5), handle.recv(timeout=5)
        assert first is not None
        assert second is not None
        assert first.address.timestamp <= second.address.timestamp
        assert abs(first.time_ns - time.time_ns()) < 5_000_000_000


# Row 89.
def test_a_cancelled_read_loses_no_packet_though_data_was_faster(network: Network) -> None:
    from standin import HOLD_CANCELS

    network.options(0, HOLD_CANCELS)
    handle = od.open("udp")
    number = network.latest().number
    assert handle.recv(timeout=0) is None
    pending = network.latest().pending
    closing = threading.Thread(target=handle.close)
    closing.start()
    time.sleep(0.2)
    assert closing.is_alive(), "the close waits for every read"
    network.feed(number, [(packet, bytes(address())) for packet in PACKETS[:2]])
    network.release_cancelled(number, with_data=True)
    closing.join(timeout=10)
    assert not closing.is_alive()
    assert pending > 0
    assert handle.stats.given_back + len(network.returned()) == 2


def test_a_filter_the_driver_cannot_run_is_decided_here(network: Network) -> None:
    ports = ", ".join(str(port) for port in range(1, 1200, 2))
    packets = [udp(b"x", dst_port=port) for port in range(1, 41)]
    odd, even = packets[::2], packets[1::2]
    with od.open(f"udp.DstPort in {{{ports}}}") as handle:
        number = fed(network, packets)
        # Nobody receives, and what does not match goes on all the same.
        end = time.monotonic() + 5
        went_on: list[bytes] = []
        while len(went_on) < len(even) and time.monotonic() < end:
            went_on += sent(network, number)
            time.sleep(0.01)
        assert went_on == even
        assert received(handle, len(odd)) == odd
    with od.open(f"udp.DstPort in {{{ports}}}", flags=od.Flag.DROP) as handle:
        number = fed(network, packets)
        time.sleep(0.3)
        assert sent(network, number) == even
        assert handle.stats.dropped == len(odd)


def test_a_filter_is_swapped_without_a_gap_and_in_order(network: Network) -> None:
    with od.open("udp") as handle:
        handle.queue_time = 5000
        old = fed(network, PACKETS[:5])
        handle.set_filter("udp.DstPort == 53")
        new = network.latest()
        assert new.number != old
        fed(network, PACKETS[5:10])
        assert received(handle, 10) == PACKETS[:10]
        assert handle.queue_time == 5000
        assert [seen.number for seen in network.mine() if seen.number == old] == []
        handle.send(udp(b"one"), od.Address())
        assert sent(network, new.number) == [udp(b"one")]
        assert handle.stats.received == 10


def test_a_swap_that_fails_leaves_the_handle_as_it_was(network: Network) -> None:
    with od.open("udp") as handle:
        before = [seen.number for seen in network.mine()]
        for request, number in ((SET_PARAM, 87), (SHUTDOWN, 22), (STARTUP, 1753)):
            network.fail(request, number)
            assert code(lambda: handle.set_filter("tcp")) == number
            assert [seen.number for seen in network.mine()] == before
        fed(network, PACKETS[:1])
        assert received(handle, 1) == PACKETS[:1]
        assert str(handle.filter) == "udp"
        handle.shutdown(od.Shutdown.RECV)
        # A swap does not bring an ended handle back.
        handle.set_filter("udp.DstPort == 53")
        assert code(lambda: handle.recv(timeout=5)) == 232


def test_a_flow_bypasses_the_handle(network: Network) -> None:
    with od.open("tcp") as handle:
        number = fed(network, [tcp(b"one")])
        packet = handle.recv(timeout=5)
        assert packet is not None
        handle.send(packet)
        packet.flow.bypass()
        sent(network, number)
        fed(network, [tcp(b"two"), tcp(b"other", dst_port=81), tcp(b"three")])
        assert received(handle, 1) == [tcp(b"other", dst_port=81)]
        time.sleep(0.1)
        assert sent(network, number) == [tcp(b"two"), tcp(b"three")]
        assert handle.stats.bypassed == 2


def test_letting_pass_on_overload_is_refused(network: Network) -> None:
    with pytest.raises(od.DivertError, match='on_overload="drop"') as caught:
        od.open("udp", on_overload="pass")
    assert caught.value.code == 50


def test_a_handle_that_could_not_be_started_leaves_nothing_open(network: Network) -> None:
    before = len(network.mine())
    network.fail(STARTUP, 87)
    assert code(lambda: od.open("udp")) == 87
    assert len(network.mine()) == before
