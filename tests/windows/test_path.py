"""The data path: packets in, packets out, time-outs, ends."""

from __future__ import annotations

import time

import oxidivert as od
import pytest
from samples import tcp, udp
from standin import Network
from support import fed


def test_a_packet_is_received_and_goes_back_byte_for_byte(network: Network) -> None:
    with od.open("udp") as handle:
        number = fed(network, [udp(b"one")])
        packet = handle.recv(timeout=5)
        assert packet is not None
        assert bytes(packet) == udp(b"one")
        handle.send(packet)
        assert [data for data, _ in network.sent(number)] == [udp(b"one")]
    assert handle.closed
    assert [seen.number for seen in network.mine() if seen.number == number] == []


def test_a_poll_and_a_time_out_return_none_and_lose_nothing(network: Network) -> None:
    with od.open("udp") as handle:
        assert handle.recv(timeout=0) is None
        started = time.monotonic()
        assert handle.recv(timeout=0.2) is None
        assert 0.15 < time.monotonic() - started < 2
        fed(network, [udp(b"one"), udp(b"two")])
        assert bytes(handle.recv(timeout=5)) == udp(b"one")  # type: ignore[arg-type]
        assert bytes(handle.recv(timeout=5)) == udp(b"two")  # type: ignore[arg-type]


def test_the_first_poll_finds_what_is_queued(network: Network) -> None:
    with od.open("udp") as handle:
        fed(network, [udp(b"one")])
        assert handle.recv(timeout=0) is not None


def test_a_queue_is_received_as_a_batch(network: Network) -> None:
    packets = [udp(bytes([index])) for index in range(100)]
    with od.open("udp") as handle:
        number = fed(network, packets)
        received: list[bytes] = []
        while len(received) < 100:
            batch = handle.recv_batch(64, timeout=5)
            assert 0 < len(batch) <= 64
            received += [bytes(packet) for packet in batch]
            assert handle.send_batch(batch) == len(batch)
        assert received == packets
        assert [data for data, _ in network.sent(number)] == packets
        assert (handle.stats.received, handle.stats.sent) == (100, 100)


def test_after_a_shutdown_the_queue_is_drained_and_ends(network: Network) -> None:
    with od.open("udp") as handle:
        fed(network, [udp(b"one"), udp(b"two")])
        handle.shutdown(od.Shutdown.RECV)
        assert [bytes(packet) for packet in handle] == [udp(b"one"), udp(b"two")]
        with pytest.raises(od.HandleShutdownError):
            handle.recv(timeout=5)


def test_run_lets_a_callback_edit_and_drop(network: Network) -> None:
    with od.open("ip") as handle:
        number = fed(network, [udp(b"one"), tcp(b"two"), udp(b"three")])
        handle.shutdown(od.Shutdown.RECV)

        def callback(packet: od.Packet) -> bool:
            if packet.udp:
                packet.ipv4.ttl = 9  # type: ignore[union-attr]
            return packet.udp is not None

        assert handle.run(callback) == 3
        sent = [od.Packet(data) for data, _ in network.sent(number)]
        assert [packet.ipv4.ttl for packet in sent] == [9, 9]  # type: ignore[union-attr]
        assert [bytes(packet.payload) for packet in sent] == [b"one", b"three"]
        assert (handle.stats.sent, handle.stats.modified, handle.stats.dropped) == (2, 2, 1)


def test_close_gives_back_what_was_read_ahead_and_what_was_queued(network: Network) -> None:
    packets = [udp(bytes([index])) for index in range(20)]
    with od.open("udp") as handle:
        assert handle.recv(timeout=0) is None
        number = fed(network, packets)
        assert handle.recv(timeout=5) is not None
        time.sleep(0.1)
        ahead = network.latest()
        assert ahead.number == number
    # What the driver itself gives back it logs apart from what was sent on a handle that is gone.
    assert handle.stats.given_back + len(network.returned()) == 19
