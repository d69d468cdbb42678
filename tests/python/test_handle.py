"""open, Handle and the callback loop over a replay, held to the contract."""

from __future__ import annotations

import logging
import pathlib
import sys
import threading
from collections.abc import Callable
from typing import Literal

import oxidivert as od
import pytest
from samples import TIME_NS, icmp, pcap, read_pcap, tcp, udp

PACKETS = [tcp(b"one"), udp(b"two"), tcp(b"three", dst_port=443), icmp(b"four"), tcp(b"five")]


@pytest.fixture
def out(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "out.pcap"


def replay(out: pathlib.Path | None = None, packets: list[bytes] = PACKETS) -> od.Replay:
    return od.Replay(pcap(packets), out=out)


def result(out: pathlib.Path) -> list[bytes]:
    return read_pcap(out.read_bytes())


def with_ttl(data: bytes, ttl: int) -> bytes:
    packet = od.Packet(data)
    assert packet.ipv4 is not None
    packet.ipv4.ttl = ttl
    return bytes(packet)


def test_iteration_sends_what_is_sent_and_drops_the_rest(out: pathlib.Path) -> None:
    with od.open("tcp", backend=replay(out)) as handle:
        for packet in handle:
            if packet.dst_port == 80:
                assert packet.ipv4 is not None
                packet.ipv4.ttl = 9
                handle.send(packet)
    assert result(out) == [with_ttl(PACKETS[0], 9), PACKETS[1], PACKETS[3], with_ttl(PACKETS[4], 9)]


def test_a_replayed_packet_carries_time_and_checksum_flags_of_its_capture() -> None:
    with od.open(backend=replay()) as handle:
        first = handle.recv()
        second = handle.recv()
    assert first is not None
    assert second is not None
    assert (first.time_ns, second.time_ns) == (TIME_NS, TIME_NS + 1_000_000)
    assert first.address.tcp_checksum
    assert first.address.ip_checksum
    assert first.direction is od.Direction.OUTBOUND


def test_the_end_of_a_replay_ends_iteration_and_raises_from_recv(out: pathlib.Path) -> None:
    with od.open("udp", backend=replay(out)) as handle:
        assert [bytes(packet) for packet in handle] == [PACKETS[1]]
        with pytest.raises(od.HandleShutdownError) as caught:
            handle.recv()
        assert (caught.value.code, caught.value.symbol) == (232, "ERROR_NO_DATA")
    with pytest.raises(od.HandleClosedError):
        handle.recv()
    assert list(handle) == []
    assert handle.closed


def test_a_batch_is_a_sequence_sent_as_it_now_is(out: pathlib.Path) -> None:
    with od.open("tcp", backend=replay(out)) as handle:
        batch = handle.recv_batch(limit=10)
        assert len(batch) == 3
        assert batch[0] is batch[0]
        assert bytes(batch[-1]) == PACKETS[4]
        with pytest.raises(IndexError):
            batch[3]
        for packet in batch:
            assert packet.ipv4 is not None
            packet.ipv4.ttl = 5
        assert handle.send_batch(batch, [True, False, True]) == 2
        with pytest.raises(ValueError, match="3 truth values"):
            handle.send_batch(batch, [True])
    assert result(out) == [with_ttl(PACKETS[0], 5), PACKETS[1], PACKETS[3], with_ttl(PACKETS[4], 5)]


def test_a_second_send_injects_a_copy_and_bytes_need_an_address(out: pathlib.Path) -> None:
    with od.open("udp", backend=replay(out)) as handle:
        packet = handle.recv()
        assert packet is not None
        handle.send(packet)
        packet.dst_port = 99
        handle.send(packet)
        handle.send(icmp(b"new"), od.Address())
        with pytest.raises(TypeError, match="bytes need an address"):
            handle.send(icmp())  # type: ignore[call-overload]
        assert handle.stats.sent == 3
    assert result(out)[1:4] == [PACKETS[1], udp(b"two", dst_port=99), icmp(b"new")]


def test_open_checksums_are_computed_when_a_packet_is_sent(out: pathlib.Path) -> None:
    broken = bytearray(udp(b"new"))
    broken[10:12] = broken[26:28] = b"\xde\xad"
    with od.open("udp", backend=replay(out)) as handle:
        handle.recv()
        handle.send(bytes(broken), od.Address())
        handle.send(bytes(broken), od.Address(ip_checksum=True, udp_checksum=True))
        assert handle.stats.checksums_computed > 0
    assert udp(b"new") in result(out)
    assert bytes(broken) in result(out)


def test_run_takes_none_and_true_as_send_and_false_as_drop(out: pathlib.Path) -> None:
    answers = iter([None, False, True])

    def callback(packet: od.Packet) -> bool | None:
        assert packet.ipv4 is not None
        packet.ipv4.ttl = 7
        return next(answers)

    with od.open("tcp", backend=replay(out)) as handle:
        assert handle.run(callback) == 3
        stats = handle.stats
    assert result(out) == [with_ttl(PACKETS[0], 7), PACKETS[1], PACKETS[3], with_ttl(PACKETS[4], 7)]
    assert (stats.seen, stats.received, stats.sent, stats.modified, stats.dropped) == (5, 3, 2, 2, 1)


@pytest.mark.parametrize("batch", [1, 2, 64, 255])
def test_an_unedited_packet_is_byte_identical_after_the_loop(out: pathlib.Path, batch: int) -> None:
    broken = bytearray(PACKETS[0])
    broken[10:12] = b"\0\0"
    source = pcap([*PACKETS, bytes(broken), b"\x00no packet"])
    with od.open(backend=od.Replay(source, out=out)) as handle:
        assert handle.run(lambda packet: None, batch=batch) == 6
    assert out.read_bytes() == source


def test_a_packet_that_the_callback_sent_itself_is_not_sent_again(out: pathlib.Path) -> None:
    def callback(packet: od.Packet) -> None:
        handle.send(packet)
        packet.dst_port = 1

    with od.open("udp", backend=replay(out)) as handle:
        assert handle.run(callback) == 1
    assert result(out) == PACKETS


def test_a_packet_made_by_the_callback_lies_behind_the_one_in_hand(out: pathlib.Path) -> None:
    with od.open("tcp", backend=replay(out)) as handle:
        handle.run(lambda packet: handle.send(icmp(b"extra"), od.Address()))
    extra = icmp(b"extra")
    assert result(out) == [PACKETS[0], extra, PACKETS[1], PACKETS[2], extra, PACKETS[3], PACKETS[4], extra]


def test_a_kept_packet_changes_nothing_that_is_on_its_way(out: pathlib.Path) -> None:
    kept: list[od.Packet] = []

    def callback(packet: od.Packet) -> None:
        for earlier in kept:
            earlier.dst_port = 1
            earlier.payload = b"changed later, and longer than it was"
        kept.append(packet)

    with od.open("tcp", backend=replay(out)) as handle:
        handle.run(callback)
        kept[0].dst_port = 2
    assert result(out) == PACKETS
    assert len({id(packet) for packet in kept}) == 3
    assert bytes(kept[2]) == PACKETS[4]


@pytest.mark.parametrize(
    "keep",
    [
        lambda packet: packet,
        lambda packet: packet.tcp,
        lambda packet: packet.ipv4,
        lambda packet: packet.address,
        lambda packet: packet.data,
        lambda packet: packet.payload[1:],
    ],
    ids=["packet", "tcp", "ipv4", "address", "data", "payload slice"],
)
def test_whatever_somebody_keeps_is_not_recycled(keep: Callable[[od.Packet], object]) -> None:
    kept: list[object] = []
    expected: list[bytes] = []

    def callback(packet: od.Packet) -> None:
        kept.append(keep(packet))
        expected.append(repr(kept[-1]).encode() if not isinstance(kept[-1], memoryview) else bytes(kept[-1]))

    with od.open("tcp", backend=replay()) as handle:
        handle.run(callback)
    now = [repr(item).encode() if not isinstance(item, memoryview) else bytes(item) for item in kept]
    assert now == expected
    assert len(set(now)) == 3 or keep.__code__.co_names in [("ipv4",), ("address",)]


def test_the_argument_tuple_may_be_kept() -> None:
    kept: list[tuple[od.Packet, ...]] = []
    with od.open("tcp", backend=replay()) as handle:
        handle.run(lambda *arguments: kept.append(arguments))
    assert [bytes(packet) for (packet,) in kept] == [PACKETS[0], PACKETS[2], PACKETS[4]]


class Failed(Exception):
    pass


def failing_at(index: int, error: Callable[[], BaseException | object]) -> Callable[[od.Packet], object]:
    seen = iter(range(100))

    def callback(packet: od.Packet) -> object:
        assert packet.ipv4 is not None
        packet.ipv4.ttl = 3
        if next(seen) == index:
            failure = error()
            if isinstance(failure, BaseException):
                raise failure
            return failure
        return None

    return callback


def test_an_exception_drops_the_packet_in_hand_and_leaves_the_rest_to_be_received(out: pathlib.Path) -> None:
    with od.open("tcp", backend=replay(out)) as handle:
        with pytest.raises(Failed):
            handle.run(failing_at(1, Failed))
        last = handle.recv()
        assert last is not None
        assert bytes(last) == PACKETS[4]
        handle.send(last)
    assert result(out) == [with_ttl(PACKETS[0], 3), PACKETS[1], PACKETS[3], PACKETS[4]]


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_an_exception_says_which_packet_it_is_about(batch: int) -> None:
    with od.open("tcp", backend=replay()) as handle, pytest.raises(Failed) as caught:
        handle.run(failing_at(1, Failed), batch=batch)
    assert caught.value.__notes__ == ["on packet 2 of this run"]


def test_what_nobody_received_goes_on_when_the_handle_closes(out: pathlib.Path) -> None:
    with od.open("tcp", backend=replay(out)) as handle, pytest.raises(Failed):
        handle.run(failing_at(0, Failed))
    assert result(out) == PACKETS[1:]


def test_an_exception_that_leaves_the_block_discards_the_output(out: pathlib.Path) -> None:
    with pytest.raises(Failed), od.open("tcp", backend=replay(out)) as handle:
        handle.run(failing_at(1, Failed))
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("nonsense", [0, 1, "yes", b"", object()])
def test_a_nonsense_answer_is_a_type_error(nonsense: object, out: pathlib.Path) -> None:
    expected = "None or True to send the packet on, False to drop it"
    with od.open("tcp", backend=replay(out)) as handle, pytest.raises(TypeError, match=expected):
        handle.run(failing_at(0, lambda: nonsense))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("on_error", "expected"),
    [("drop", [PACKETS[0], *PACKETS[1:2], *PACKETS[3:]]), ("pass", PACKETS)],
)
def test_an_exception_can_be_logged_and_the_loop_goes_on(
    on_error: str, expected: list[bytes], out: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    with od.open("tcp", backend=replay(out)) as handle, caplog.at_level(logging.ERROR, "oxidivert"):
        assert handle.run(failing_at(1, Failed), on_error=on_error) == 3  # type: ignore[arg-type]
    assert result(out) == [
        data if data == PACKETS[2] or data not in PACKETS[::2] else with_ttl(data, 3) for data in expected
    ]
    assert [record.exc_info is not None for record in caplog.records] == [True]


@pytest.mark.parametrize("on_error", ["raise", "drop", "pass"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_always_raises(on_error: str, error: type[BaseException]) -> None:
    with od.open("tcp", backend=replay()) as handle, pytest.raises(error):
        handle.run(failing_at(1, error), on_error=on_error)  # type: ignore[arg-type]


def test_run_on_a_sniffing_handle_sends_nothing_and_every_answer_goes_on(out: pathlib.Path) -> None:
    with od.open("tcp", flags=od.Flag.SNIFF, backend=replay(out)) as handle:
        assert handle.run(lambda packet: False) == 3
        assert handle.flags is od.Flag.SNIFF
        assert handle.stats.sent == 0
    assert result(out) == PACKETS


def test_the_drop_flag_drops_what_matches_and_receives_nothing(out: pathlib.Path) -> None:
    with od.open("tcp", flags=od.Flag.DROP, backend=replay(out)) as handle:
        assert handle.run(lambda packet: None) == 0
    assert result(out) == [PACKETS[1], PACKETS[3]]


def test_recv_only_and_send_only_handles_refuse_the_other() -> None:
    with od.open(flags=od.Flag.RECV_ONLY, backend=replay()) as handle:
        packet = handle.recv()
        assert packet is not None
        with pytest.raises(od.DivertError) as caught:
            handle.send(packet)
        assert caught.value.code == 87
    with od.open(flags=od.Flag.SEND_ONLY, backend=replay()) as handle, pytest.raises(od.DivertError) as caught:
        handle.recv(timeout=0)
    assert caught.value.code == 87


def test_shutting_receiving_down_ends_the_loop() -> None:
    with od.open(backend=replay()) as handle:

        def callback(packet: od.Packet) -> None:
            handle.shutdown(od.Shutdown.RECV)

        assert handle.run(callback, batch=1) == 1
        with pytest.raises(od.HandleShutdownError):
            handle.recv()


def test_shutting_sending_down_ends_the_loop_without_an_error() -> None:
    with od.open(backend=replay()) as handle:
        handle.shutdown(od.Shutdown.SEND)
        assert handle.run(lambda packet: None, batch=2) == 2
        assert handle.stats.errors == 2
        with pytest.raises(od.HandleShutdownError):
            handle.send(udp(), od.Address())


def test_closing_from_within_the_callback_ends_the_loop(out: pathlib.Path) -> None:
    handle = od.open("tcp", backend=replay(out))
    assert handle.run(lambda packet: handle.close(), batch=1) == 1
    handle.close()


def test_an_open_handle_that_is_collected_warns_and_closes(out: pathlib.Path) -> None:
    handle = od.open("tcp", backend=replay(out))
    assert not handle.closed
    with pytest.warns(ResourceWarning, match="an open handle was collected"):
        del handle
    assert result(out) == PACKETS


def test_the_filter_can_be_swapped() -> None:
    with od.open("tcp", backend=replay()) as handle:
        first = handle.recv()
        handle.set_filter("icmp")
        assert str(handle.filter) == "icmp"
        second = handle.recv()
    assert first is not None
    assert second is not None
    assert first.tcp
    assert second.icmp


def test_parameters_have_the_drivers_bounds() -> None:
    with od.open(backend=replay()) as handle:
        assert (handle.queue_length, handle.queue_time, handle.queue_size) == (4096, 2000, 4194304)
        handle.queue_length = 32
        assert handle.queue_length == 32
        for name, wrong in [("queue_length", 31), ("queue_time", 16001), ("queue_size", 65534)]:
            with pytest.raises(od.DivertError) as caught:
                setattr(handle, name, wrong)
            assert caught.value.code == 87
        assert (handle.layer, handle.priority, handle.backend) == (od.Layer.NETWORK, 0, "replay")
        assert handle.version == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"layer": 7}, 87),
        ({"flags": 0x40}, 87),
        ({"flags": od.Flag.SNIFF | od.Flag.DROP}, 87),
        ({"flags": od.Flag.RECV_ONLY | od.Flag.SEND_ONLY}, 87),
        ({"layer": od.Layer.FLOW}, 87),
        ({"layer": od.Layer.SOCKET, "flags": od.Flag.SNIFF}, 87),
        ({"priority": 30001}, 87),
        ({"priority": -30001}, 87),
        ({"layer": od.Layer.SOCKET, "flags": od.Flag.RECV_ONLY}, 50),
    ],
)
def test_wrong_arguments_of_open_give_the_drivers_code(arguments: dict[str, int], code: int) -> None:
    with pytest.raises(od.DivertError) as caught:
        od.open("true", backend=replay(), **arguments)  # type: ignore[arg-type]
    assert caught.value.code == code


def test_arguments_are_checked_in_the_drivers_order() -> None:
    with pytest.raises(od.DivertError, match="there is no layer 9"):
        od.open("nonsense", layer=9, flags=0x40, priority=40000)
    with pytest.raises(od.DivertError, match="flags 0x40"):
        od.open("nonsense", flags=0x40, priority=40000)
    with pytest.raises(od.DivertError, match="priority 40000"):
        od.open("nonsense", priority=40000)
    with pytest.raises(od.FilterError):
        od.open("nonsense")


def test_without_a_live_backend_the_error_names_the_alternatives() -> None:
    elsewhere: Literal["nfqueue", "windivert"] = "nfqueue" if sys.platform == "win32" else "windivert"
    with pytest.raises(od.DivertError, match="Replay") as caught:
        od.open("tcp", backend=elsewhere)
    assert (caught.value.code, caught.value.symbol) == (50, "ERROR_NOT_SUPPORTED")
    with pytest.raises(od.DivertError) as caught:
        od.open("tcp", flags=od.Flag.NO_INSTALL, backend=elsewhere)
    assert caught.value.code == 1060
    with pytest.raises(ValueError, match='not "pcap"'):
        od.open("tcp", backend="pcap")  # type: ignore[arg-type]


def test_time_outs_and_limits_are_checked() -> None:
    with od.open(backend=replay()) as handle:
        for wrong in (-1.0, float("nan")):
            with pytest.raises(ValueError, match="0 or more"):
                handle.recv(timeout=wrong)
        for limit in (0, 256):
            with pytest.raises(ValueError, match="1 to 255"):
                handle.recv_batch(limit=limit)
        with pytest.raises(TypeError, match="callable"):
            handle.run(None)  # type: ignore[arg-type]


def test_several_threads_may_share_a_handle(out: pathlib.Path) -> None:
    packets = [udp(index.to_bytes(4, "big")) for index in range(2000)]
    seen: list[bytes] = []

    def work() -> None:
        for packet in handle:
            seen.append(bytes(packet.payload))

    with od.open(backend=replay(out, packets)) as handle:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(seen) == [index.to_bytes(4, "big") for index in range(2000)]


def test_an_unknown_link_type_passes_through_with_one_warning(out: pathlib.Path) -> None:
    source = pcap([b"\x00" * 40, b"\x01" * 40], link_type=127)
    with (
        pytest.warns(UserWarning, match="link type 127 is not supported; its packets pass through untouched") as caught,
        od.open(backend=od.Replay(source, out=out)) as handle,
    ):
        assert handle.run(lambda packet: None) == 0
    assert len(caught) == 1
    assert out.read_bytes() == source


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_handle_collected_by_an_exception_leaves_it_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        [[od.open(backend=replay()), 1 / 0] for _ in range(2)]
