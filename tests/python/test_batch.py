"""Batches: columns as they are read and written, selections, and how they go together with packets taken out."""

from __future__ import annotations

import ipaddress
import operator
import pathlib
import threading
from collections.abc import Callable, Iterator

import oxidivert as od
import pytest
from samples import EACH_PROTOCOL, TIME_NS, V6, icmp, pcap, read_pcap, tcp, udp

PACKETS = [tcp(b"one"), udp(b"two"), tcp(b"three", dst_port=443, **V6), icmp(b"four"), udp(b"five", **V6)]
NO_TCP = "the packet has no tcp header; no packet was changed; leave such packets out with a mask"


@pytest.fixture
def out(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "out.pcap"


@pytest.fixture
def batch() -> Iterator[od.Batch]:
    with od.open(backend=od.Replay(pcap(PACKETS))) as handle:
        yield handle.recv_batch()


def number(address: str) -> int:
    """An address as columns have it: IPv4 is mapped."""
    parsed = ipaddress.ip_address(address)
    return int(parsed) if parsed.version == 6 else 0xFFFF << 32 | int(parsed)


# Reading


def test_a_column_is_a_sequence_of_values_and_none(batch: od.Batch) -> None:
    column = batch.column("tcp.DstPort")
    assert list(column) == [80, None, 443, None, None]
    assert (len(column), column[0], column[-3], column[1]) == (5, 80, 443, None)
    assert column.name == "tcp.DstPort"
    assert column.valid == od.Mask([True, False, True, False, False])
    assert column.valid is column.valid
    assert repr(column) == "<Column tcp.DstPort of 5 packets, 2 of which have it>"
    for index in (5, -6):
        with pytest.raises(IndexError, match="5 values"):
            column[index]


def test_columns_tell_what_packets_tell(batch: od.Batch) -> None:
    outbound = [packet.direction is od.Direction.OUTBOUND for packet in batch]
    assert list(batch.column("src_addr")) == [number(str(packet.src_addr)) for packet in batch]
    assert list(batch.column("dst_addr")) == [number(str(packet.dst_addr)) for packet in batch]
    assert list(batch.column("src_port")) == [packet.src_port for packet in batch]
    assert list(batch.column("dst_port")) == [packet.dst_port for packet in batch]
    assert list(batch.column("protocol")) == [packet.protocol for packet in batch]
    assert list(batch.column("length")) == [len(packet) for packet in batch]
    assert list(batch.column("time_ns")) == [TIME_NS + 1_000_000 * index for index in range(5)]
    assert list(batch.column("outbound")) == outbound
    assert list(batch.column("direction")) == [list(od.Direction).index(packet.direction) for packet in batch]
    assert list(batch.column("ip.SrcAddr")) == [
        int(packet.src_addr) if packet.ipv4 is not None else None for packet in batch
    ]
    assert list(batch.column("udp.Payload[-1]")) == [None, ord("o"), None, None, ord("e")]


def test_what_is_no_column_is_told_with_what_may_be_meant(batch: od.Batch) -> None:
    for name, message in {
        "tcp.dstport": "packets have no column `tcp.dstport`; did you mean `tcp.DstPort`?",
        "packet32": "expected `\\[` and an index",
        "processId": "columns are the packets' fields of the filter language, time_ns, direction",
    }.items():
        with pytest.raises(ValueError, match=message):
            batch.column(name)


def test_events_have_no_columns(engine: od.Engine) -> None:
    with od.open(layer=od.Layer.FLOW, flags=od.Flag.SNIFF | od.Flag.RECV_ONLY, backend=engine) as handle:
        engine.flow(local_addr="10.0.0.1", remote_addr="192.0.2.7")
        events = handle.recv_batch(timeout=1)
        assert len(events) == 1
        for call in (lambda: events.column("protocol"), lambda: events.set_column("src_port", 1)):
            with pytest.raises(ValueError, match="events have no columns"):
                call()


def test_a_column_is_read_once_until_a_packet_changes(batch: od.Batch) -> None:
    ports, lengths = batch.column("dst_port"), batch.column("length")
    packet = batch[0]
    assert batch.column("dst_port") is ports
    packet.dst_port = 8080
    assert list(batch.column("dst_port"))[:2] == [8080, 53]
    assert batch.column("dst_port") is batch.column("dst_port")
    assert list(ports)[:2] == [80, 53]
    packet.payload = b"longer than before"
    assert batch.column("length")[0] == lengths[0] + 15
    packet.direction = od.Direction.INBOUND
    assert list(batch.column("direction"))[:2] == [1, 0]
    assert batch.column("remotePort")[0] == packet.src_port
    before = batch.column("dst_port")
    batch.set_column("ip.TTL", 9, batch.column("ip.TTL").valid)
    assert batch.column("dst_port") is not before


def test_a_column_tells_lengths_as_they_are_written_and_as_they_are(batch: od.Batch) -> None:
    packet = batch[1]
    packet.ipv4.length = 8000
    assert batch.column("ip.Length")[1] == 8000
    assert batch.column("length")[1] == len(udp(b"two"))


# Writing


def test_what_is_set_goes_out_with_right_checksums_and_the_rest_as_it_came(out: pathlib.Path) -> None:
    with od.open(backend=od.Replay(pcap(PACKETS), out=out)) as handle:
        batch = handle.recv_batch()
        batch.set_column("ip.TTL", 9, batch.matches("tcp and ip"))
        batch.set_column("dst_port", [8080, 5353, 0, 0, 0], [True, True, False, False, False])
        assert handle.send_batch(batch) == 5
        assert handle.stats.modified == 2
    expected = [tcp(b"one", dst_port=8080, ttl=9), udp(b"two", dst_port=5353), *PACKETS[2:]]
    assert read_pcap(out.read_bytes()) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (7, [7, 7, 7, 7, 7]),
        (True, [1, 1, 1, 1, 1]),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]),
        (range(5), [0, 1, 2, 3, 4]),
        ((port for port in (5, 4, None, 2, 1)), [5, 4, None, 2, 1]),
        (bytes(range(5)), [0, 1, 2, 3, 4]),
    ],
    ids=["int", "bool", "list", "range", "generator", "bytes"],
)
def test_values_are_one_for_all_or_many(values: object, expected: list[int | None]) -> None:
    packets = [udp(bytes([index])) for index in range(5)]
    with od.open(backend=od.Replay(pcap(packets))) as handle:
        batch = handle.recv_batch()
        batch.set_column("udp.SrcPort", values, [value is not None for value in expected])
        assert list(batch.column("udp.SrcPort")) == [12345 if value is None else value for value in expected]
        assert all(packet.checksums_valid for packet in batch)


def test_addresses_are_numbers_text_or_objects_and_fit_the_packet(batch: od.Batch) -> None:
    is_ipv4 = batch.matches("ip")
    batch.set_column("dst_addr", "198.51.100.1", is_ipv4)
    batch.set_column("dst_addr", ipaddress.ip_address("2001:db8::99"), ~is_ipv4)
    batch.set_column("ip.SrcAddr", int(ipaddress.ip_address("198.51.100.2")), is_ipv4)
    assert [str(packet.dst_addr) for packet in batch] == [
        "198.51.100.1" if meant else "2001:db8::99" for meant in is_ipv4
    ]
    assert [str(packet.src_addr) for packet in batch] == [
        "198.51.100.2" if meant else "2001:db8::1" for meant in is_ipv4
    ]
    assert all(packet.checksums_valid for packet in batch)
    dst_addr = batch.column("dst_addr")
    batch.set_column("dst_addr", batch.column("src_addr"))
    batch.set_column("src_addr", dst_addr)
    assert list(batch.column("src_addr")) == list(dst_addr)
    for address, packet, version in (("192.0.2.1", 2, 6), ("2001:db8::1", 0, 4)):
        with pytest.raises(od.PacketError, match=rf"packet {packet} .*the packet is IPv{version}, the address is not"):
            batch.set_column("src_addr", address)


def test_if_one_packet_cannot_be_changed_none_is(batch: od.Batch) -> None:
    taken = batch[0]
    for values, message in {
        8080: f"`tcp.DstPort` of packet 1 .*{NO_TCP}",
        (80, None, 80, None, None): f"of packet 1 .*{NO_TCP}",
    }.items():
        with pytest.raises(od.PacketError, match=message):
            batch.set_column("tcp.DstPort", values)
    with pytest.raises(od.PacketError, match=r"packet 2 .*: 65536 does not fit, .* and the largest 65535"):
        batch.set_column("tcp.DstPort", [1, 2, 65536, 4, 5], batch.matches("tcp"))
    with pytest.raises(od.PacketError, match=r"packet 0 .*: -1 does not fit"):
        batch.set_column("tcp.DstPort", -1, batch.matches("tcp"))
    with pytest.raises(od.PacketError, match=r"packet 0 .*: there is no value for it"):
        batch.set_column("tcp.DstPort", [None] * 5, batch.matches("tcp"))
    with pytest.raises(od.PacketError, match=r"packet 3 .*: the packet has no tcp or udp header"):
        batch.set_column("localPort", 5)
    assert [bytes(packet) for packet in batch] == PACKETS
    assert bytes(taken) == PACKETS[0]


def test_what_cannot_be_values_is_refused(batch: od.Batch) -> None:
    for values, error, message in [
        ([1, 2], ValueError, "there are 2 values for 5 packets"),
        (2**200, ValueError, "values are from 0 to"),
        ("eighty", ValueError, '"eighty" is no IP address'),
        (1.5, TypeError, "not float"),
        (None, TypeError, "not NoneType"),
        ([1.5] * 5, TypeError, "not float"),
    ]:
        with pytest.raises(error, match=message):
            batch.set_column("ip.TTL", values)
    with pytest.raises(ValueError, match=r"column `length` cannot be set; those that can are ip\.TOS, ip\.Id, "):
        batch.set_column("length", 5)
    with pytest.raises(ValueError, match="the mask needs 5 truth values, one for each packet, and has 1"):
        batch.set_column("ip.TTL", 5, [True])
    for mask in ([1, 0, 1, 0, 1], b"\0\1\0\1\0", 5):
        with pytest.raises(TypeError):
            batch.set_column("ip.TTL", 5, mask)
    assert [bytes(packet) for packet in batch] == PACKETS


def test_packets_that_were_taken_out_see_what_is_set_and_keep_what_was_edited(batch: od.Batch) -> None:
    packet, view = batch[0], batch[0].data
    packet.dst_port = 8080
    batch.set_column("tcp.SrcPort", 1234, batch.matches("tcp"))
    assert (packet.src_port, packet.dst_port, packet.checksums_valid) == (1234, 8080, True)
    assert bytes(view) == bytes(packet)
    packet.ipv4.ttl = 3
    assert list(batch.column("ip.TTL")) == [3, 64, None, 64, None]
    assert batch[2].src_port == 1234


# Selecting


def test_selected_packets_are_the_same_packets(batch: od.Batch) -> None:
    selected = batch.select(batch.matches("udp or icmp"))
    assert len(selected) == 3
    assert [bytes(packet) for packet in selected] == [PACKETS[1], PACKETS[3], PACKETS[4]]
    assert selected[0] is batch[1]
    assert list(selected.column("udp.DstPort")) == [53, None, 53]
    assert selected.column("udp.DstPort") is selected.column("udp.DstPort")
    selected.set_column("udp.DstPort", [99, 0, 98], selected.matches("udp"))
    assert list(batch.column("dst_port")) == [80, 99, 443, None, 98]
    batch[4].dst_port = 97
    assert list(selected.column("udp.DstPort")) == [99, None, 97]
    again = selected.select([False, True, True])
    assert again[1] is batch[4]
    with pytest.raises(od.PacketError, match=r"`udp\.DstPort` of packet 0 "):
        again.set_column("udp.DstPort", 5)
    with pytest.raises(ValueError, match="needs 3 truth values"):
        selected.select(batch.matches("udp"))
    with pytest.raises(IndexError):
        selected[3]
    assert len(batch.select([False] * 5)) == 0


def test_a_packet_is_sent_once_whichever_batch_sends_it_and_then_as_a_copy(out: pathlib.Path) -> None:
    with od.open(backend=od.Replay(pcap(PACKETS), out=out)) as handle:
        batch = handle.recv_batch()
        selected = batch.select(batch.matches("udp"))
        assert handle.send_batch(selected, [False, True]) == 1
        handle.send(batch[1])
        batch[0].ipv4.ttl = 5
        assert handle.send_batch(batch, [True, True, False, False, True]) == 3
        assert handle.send_batch(selected) == 2
    # A copy lies behind its original while that is not written.
    two, five = PACKETS[1], PACKETS[4]
    sent = read_pcap(out.read_bytes())
    assert sent[:5] == [tcp(b"one", ttl=5), two, two, five, five]
    assert sorted(sent[5:]) == sorted([two, five])


def test_a_sent_packet_knows_it_even_if_it_was_taken_out_before(out: pathlib.Path) -> None:
    with od.open("tcp", backend=od.Replay(pcap(PACKETS[:2]), out=out)) as handle:
        batch = handle.recv_batch()
        packet = batch[0]
        assert handle.send_batch(batch.select([True])) == 1
        handle.send(packet)
        assert handle.stats.sent == 2
    assert read_pcap(out.read_bytes()) == [PACKETS[0], PACKETS[1], PACKETS[0]]


def test_a_batch_may_be_used_from_many_threads() -> None:
    packets = list(EACH_PROTOCOL.values()) * 20
    failures = []

    def repeat(work: Callable[[], object]) -> None:
        try:
            for _ in range(200):
                work()
        except Exception as error:
            failures.append(error)

    with od.open(backend=od.Replay(pcap(packets))) as handle:
        batch = handle.recv_batch(limit=255)
        selected = batch.select(batch.matches("tcp or udp"))
        threads = [
            threading.Thread(target=repeat, args=(work,))
            for work in (
                lambda: handle.send_batch(batch),
                lambda: selected.set_column("src_port", 7),
                lambda: list(batch.column("src_port")),
                lambda: [packet.checksums_valid for packet in selected],
                lambda: handle.send_batch(selected),
            )
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(batch) == len(packets)
        assert set(selected.column("src_port")) == {7}
        assert all(packet.checksums_valid for packet in batch)


#: Columns of every type, each with values on both sides of it and one that no packet has.
COMPARED = {
    "tcp.Syn": (0, 1, 2, -1),
    "ip.TTL": (0, 63, 64, 255, 256, -1),
    "dst_port": (53, 80, 65_535, 65_536, -5),
    "tcp.SeqNum": (0, 1, 2**32, 2**127, 2**128 - 1),
    "time_ns": (0, -1, 2**62, 2**64),
    "length": (20, 40, 2**40),
}
OPERATORS = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)


@pytest.mark.parametrize("name", COMPARED)
def test_a_column_compares_with_a_number_as_its_values_do(name: str) -> None:
    packets = [*EACH_PROTOCOL.values(), tcp(flags=2, ttl=63), udp(dst_port=80), tcp(dst_port=65_535, ttl=255)]
    with od.open(backend=od.Replay(pcap(packets))) as handle:
        column = handle.recv_batch(limit=255).column(name)
    values = list(column)
    others = [*COMPARED[name], *(int(value) for value in values if value is not None)]
    for compares in OPERATORS:
        for other in others:
            expected = [value is not None and compares(value, other) for value in values]
            assert list(compares(column, other)) == expected, f"{compares.__name__} {other}"


def test_a_column_compares_with_an_address_in_every_form() -> None:
    with od.open(backend=od.Replay(pcap(list(EACH_PROTOCOL.values())))) as handle:
        batch = handle.recv_batch(limit=255)
    src_addr, ipv4_addr = batch.column("src_addr"), batch.column("ip.SrcAddr")
    for packet in batch:
        for other in (packet.src_addr, str(packet.src_addr)):
            assert list(src_addr == other) == [each.src_addr == packet.src_addr for each in batch]
    (first,) = {packet.src_addr for packet in batch if packet.ipv4}
    assert list(ipv4_addr == first) == list(ipv4_addr == int(first)) == list(ipv4_addr.valid)
    assert list(ipv4_addr <= first) == list(ipv4_addr.valid)
    assert not any(ipv4_addr != first)


def test_a_column_does_not_compare_with_what_it_holds_none_of() -> None:
    with od.open(backend=od.Replay(pcap([udp()]))) as handle:
        batch = handle.recv_batch()
    port = batch.column("udp.DstPort")
    comparison: object = port == [53]
    assert comparison is False
    assert port != batch.column("udp.SrcPort")
    assert port in {port}
    for other in (1.5, None, "10.0.0.1"):
        with pytest.raises(TypeError, match="'<' not supported"):
            _ = port < other
    with pytest.raises(ValueError, match="is no IP address"):
        _ = port < "http"
