"""Columns and masks as numpy, pyarrow and polars take them, and give them back."""

from __future__ import annotations

import gc
import ipaddress
import sys
from collections.abc import Iterator

import oxidivert as od
import pytest
from samples import EACH_PROTOCOL, V6, pcap, tcp, udp

WHERE = "on Windows: " if sys.platform == "win32" else ""
np = pytest.importorskip("numpy", reason=f"{WHERE}numpy does not load under Wine")
pa = pytest.importorskip("pyarrow")
pl = pytest.importorskip("polars")

PACKETS = list(EACH_PROTOCOL.values())

#: Columns with the types that numpy and Arrow see.
TYPES = {
    "tcp.Syn": ("?", "bool"),
    "outbound": ("?", "bool"),
    "direction": ("u1", "uint8"),
    "ip.TTL": ("u1", "uint8"),
    "protocol": ("u1", "uint8"),
    "dst_port": ("u2", "uint16"),
    "localPort": ("u2", "uint16"),
    "packet16[1]": ("u2", "uint16"),
    "ip.SrcAddr": ("u4", "uint32"),
    "tcp.SeqNum": ("u4", "uint32"),
    "tcp.PayloadLength": ("u4", "uint32"),
    "length": ("u4", "uint32"),
    "time_ns": ("i8", "int64"),
    "timestamp": ("i8", "int64"),
    "src_addr": ("S16", "fixed_size_binary[16]"),
    "ipv6.DstAddr": ("S16", "fixed_size_binary[16]"),
    "remoteAddr": ("S16", "fixed_size_binary[16]"),
}


@pytest.fixture
def batch() -> Iterator[od.Batch]:
    with od.open(backend=od.Replay(pcap(PACKETS))) as handle:
        yield handle.recv_batch()


def expected(column: od.Column) -> list[object]:
    """The values as Arrow has them."""
    is_address = column.name.lower().endswith("addr") and column.name != "ip.SrcAddr"
    return [value.to_bytes(16, "big") if is_address and value is not None else value for value in column]


@pytest.mark.parametrize("name", TYPES)
def test_numpy_takes_a_column_without_a_copy(batch: od.Batch, name: str) -> None:
    column = batch.column(name)
    array, again = np.asarray(column), np.asarray(column)
    assert array.dtype == np.dtype(TYPES[name][0])
    assert np.shares_memory(array, again)
    assert not array.flags.writeable
    assert array.shape == (len(PACKETS),)
    zero = b"" if array.dtype.kind == "S" else 0
    values = [zero if value is None else value for value in expected(column)]
    # numpy leaves out the zeros at the end of text.
    assert array.tolist() == [value.rstrip(b"\0") if isinstance(value, bytes) else value for value in values]
    assert np.asarray(column.valid).tolist() == [value is not None for value in column]


@pytest.mark.parametrize("name", TYPES)
def test_pyarrow_and_polars_take_a_column_with_its_nulls(batch: od.Batch, name: str) -> None:
    column = batch.column(name)
    array = pa.array(column)
    array.validate(full=True)
    assert str(array.type) == TYPES[name][1]
    assert array.to_pylist() == expected(column)
    assert array.null_count == list(column).count(None)
    series = pl.Series(column)
    assert series.name == name
    assert series.to_list() == expected(column)
    field = pa.field(column)
    assert (field.name, field.nullable, field.type) == (name, True, array.type)


def test_arrow_takes_the_values_where_they_lie(batch: od.Batch) -> None:
    column = batch.column("length")
    (_, values) = pa.array(column).buffers()
    assert values.address == np.asarray(column).ctypes.data


def test_columns_of_any_length_have_all_their_bits() -> None:
    packets = [tcp(flags=0x12) if index % 3 else udp() for index in range(70)]
    with od.open(backend=od.Replay(pcap(packets))) as handle:
        for limit in (1, 7, 8, 9, 16, 17):
            column = handle.recv_batch(limit=limit).column("tcp.Syn")
            array = pa.array(column)
            array.validate(full=True)
            assert array.to_pylist() == list(column)
        assert {True, None} == set(column)


def test_an_empty_batch_has_empty_columns(engine: od.Engine) -> None:
    with od.open(backend=engine) as handle:
        batch = handle.recv_batch(timeout=0)
        for name in TYPES:
            column = batch.column(name)
            assert np.asarray(column).shape == (0,)
            assert pa.array(column).to_pylist() == pl.Series(column).to_list() == list(column) == []


# Lifetimes


def test_a_column_outlives_its_batch_and_what_was_made_of_it_outlives_the_column() -> None:
    def read() -> tuple[od.Column, object, object, object, memoryview]:
        with od.open(backend=od.Replay(pcap(PACKETS))) as handle:
            column = handle.recv_batch().column("src_addr")
        kept = handle_column(column)
        return (column, *kept)

    def handle_column(column: od.Column) -> tuple[object, object, object, memoryview]:
        return np.asarray(column), pa.array(column), pl.Series(column), memoryview(column)

    column, *others = read()
    values = expected(column)
    del column
    gc.collect()
    # Something else may take the place of what was freed.
    filler = [read() for _ in range(50)]
    array, arrow, series, view = others
    assert array.tolist() == [value.rstrip(b"\0") for value in values]
    assert arrow.to_pylist() == series.to_list() == values
    assert bytes(view) == b"".join(values)
    assert len(filler) == 50


def test_slices_in_arrow_keep_the_column(batch: od.Batch) -> None:
    part = pa.array(batch.column("length")).slice(2, 2)
    gc.collect()
    assert part.to_pylist() == [len(packet) for packet in PACKETS[2:4]]


def test_capsules_that_nobody_takes_and_those_that_are_taken_free_what_they_hold() -> None:
    packets = [udp(bytes(index)) for index in range(255)]
    with od.open(backend=od.Replay(pcap(packets))) as handle:
        batch = handle.recv_batch(limit=255)

    def use(count: int) -> None:
        for index in range(count):
            # Another column each time, of more than 4 kB.
            batch.set_column("ip.TTL", index % 256)
            column = batch.column("src_addr")
            column.__arrow_c_array__()
            column.__arrow_c_schema__()
            pa.array(column)
            np.asarray(column)

    resource = pytest.importorskip("resource", reason=f"{WHERE}memory is measured the POSIX way")
    use(500)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    use(10_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 15_000


# Giving back


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", ">u2", ">i8", "<u4"])
def test_set_column_takes_arrays_of_integers_of_any_type(batch: od.Batch, dtype: str) -> None:
    values = np.arange(10, 16).astype(dtype)
    batch.set_column("src_port", values, np.asarray(batch.column("src_port").valid))
    assert [packet.src_port for packet in batch] == [10, 11, None, 13, 14, None]
    assert all(packet.checksums_valid for packet in batch)


def test_set_column_takes_strided_arrays_and_scalars_of_numpy(batch: od.Batch) -> None:
    tcp_only = batch.matches("tcp")
    batch.set_column("tcp.Window", np.arange(60, dtype="u2")[::-10], tcp_only)
    assert list(batch.column("tcp.Window")) == [59, None, None, 29, None, None]
    for value in (np.uint16(7), np.int64(7), np.array(7)):
        batch.set_column("tcp.Window", value, tcp_only)
        assert batch.column("tcp.Window")[0] == 7
        batch.set_column("tcp.Window", 0, tcp_only)
    batch.set_column("tcp.Syn", np.array([True] * 6), tcp_only)
    assert batch.column("tcp.Syn")[0] is True
    batch.set_column("tcp.Syn", np.bool_(False), tcp_only)
    assert batch.column("tcp.Syn")[0] is False


def test_set_column_takes_addresses_of_sixteen_bytes(batch: od.Batch) -> None:
    addresses = np.asarray(batch.column("dst_addr")).copy()
    addresses[3] = ipaddress.ip_address("2001:db8::77").packed
    batch.set_column("src_addr", addresses)
    assert list(batch.column("src_addr"))[:3] == list(batch.column("dst_addr"))[:3]
    assert str(batch[3].src_addr) == "2001:db8::77"
    assert all(packet.checksums_valid for packet in batch)


def test_set_column_takes_series_of_polars_with_nulls(batch: od.Batch) -> None:
    ports = pl.Series(batch.column("dst_port")) + 1
    batch.set_column("dst_port", ports, ports.is_not_null())
    assert list(batch.column("dst_port")) == ports.to_list() == [81, 54, None, 81, 54, None]


def test_negative_and_large_numbers_in_arrays_are_refused_where_they_count(batch: od.Batch) -> None:
    values = np.array([-1, 5, -1, 5, 5, -1])
    udp_only = batch.matches("udp")
    batch.set_column("udp.SrcPort", values, udp_only)
    assert list(batch.column("udp.SrcPort")) == [None, 5, None, None, 5, None]
    for number in (-1, 65536, 2**63 - 1):
        with pytest.raises(od.PacketError, match=f"of packet 1 .*: {number} does not fit"):
            batch.set_column("udp.SrcPort", np.full(6, number), udp_only)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(6), 'integers or addresses of 16 bytes, not of the format "d"'),
        (np.zeros((6, 2), dtype="u1"), "one dimension, not 2"),
        (np.array(["a"] * 6), "not of the format"),
    ],
    ids=["float", "table", "text"],
)
def test_other_arrays_are_refused(batch: od.Batch, values: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        batch.set_column("dst_port", values, batch.column("dst_port").valid)


def test_masks_are_arrays_of_bool_series_or_anything_that_gives_truth_values(batch: od.Batch) -> None:
    ports = batch.column("dst_port")
    masks = [
        np.asarray(ports) == 80,
        pl.Series(ports).eq_missing(80),
        od.Mask(np.asarray(ports) == 80),
        [port == 80 for port in ports],
        (port == 80 for port in ports),
    ]
    for mask in masks:
        assert [bytes(packet) for packet in batch.select(mask)] == [tcp(b"hello"), tcp(b"hello", **V6)]
    for mask in (np.asarray(ports), np.ones((6, 1), dtype="?"), np.ones(6), pl.Series([1, 0, 1, 0, 1, 0])):
        with pytest.raises(TypeError):
            batch.select(mask)


def test_send_batch_takes_a_mask_of_numpy() -> None:
    with od.open(backend=od.Replay(pcap(PACKETS))) as handle:
        batch = handle.recv_batch()
        assert handle.send_batch(batch, np.asarray(batch.column("dst_port")) == 80) == 2
        with pytest.raises(ValueError, match="needs 6 truth values"):
            handle.send_batch(batch, np.array([True]))
