"""Properties that hold for all packets: nothing crashes, what is built parses back, edits keep checksums right."""

from __future__ import annotations

import ipaddress
from typing import Any

import oxidivert as od
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oxidivert import build
from samples import pcap, read_pcap

U8, U16, U32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))
PAYLOADS = st.binary(max_size=64)
ADDRESSES = {
    4: st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address),
    6: st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address),
}

TCP_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "seq": U32,
    "ack_number": U32,
    "window": U16,
    "urgent_pointer": U16,
    **{flag: st.booleans() for flag in ("syn", "ack", "fin", "rst", "psh", "urg", "ece", "cwr")},
}
FIELDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "ipv4": {"ttl": U8, "tos": U8, "id": U16, "dont_fragment": st.booleans()},
    "ipv6": {"hop_limit": U8, "traffic_class": U8, "flow_label": st.integers(0, 2**20 - 1)},
    "tcp": {"src_port": U16, "dst_port": U16, **TCP_FIELDS},
    "udp": {"src_port": U16, "dst_port": U16},
    "icmp": {"type": U8, "code": U8, "body": U32},
    "icmpv6": {"type": U8, "code": U8, "body": U32},
}


@st.composite
def packets(draw: st.DrawFn) -> od.Packet:
    """A well-formed packet of any of the six protocols."""
    addresses = ADDRESSES[draw(st.sampled_from([4, 6]))]
    ends = (draw(addresses), draw(addresses))
    kind = draw(st.sampled_from(["tcp", "udp", "icmp", "other"]))
    payload = draw(PAYLOADS)
    if kind == "tcp":
        fields = draw(st.fixed_dictionaries(TCP_FIELDS))
        return build.tcp(*ends, draw(U16), draw(U16), payload=payload, **fields)
    if kind == "udp":
        return build.udp(*ends, draw(U16), draw(U16), payload=payload)
    if kind == "icmp":
        return build.icmp(*ends, draw(U8), code=draw(U8), body=draw(U32), payload=payload)
    return build.other(*ends, draw(st.sampled_from([50, 132, 253])), payload=payload)


def headers(packet: od.Packet) -> list[str]:
    return [name for name in FIELDS if getattr(packet, name) is not None]


@st.composite
def edits(draw: st.DrawFn, packet: od.Packet) -> None:
    """Changes something of the packet that is not structural."""
    what = draw(st.sampled_from([*headers(packet), "src_addr", "dst_addr", "payload"]))
    if what in FIELDS:
        field = draw(st.sampled_from(sorted(FIELDS[what])))
        value = draw(FIELDS[what][field])
        setattr(getattr(packet, what), field, value)
        assert getattr(getattr(packet, what), field) == value
    elif what == "payload":
        packet.payload = draw(PAYLOADS)
    else:
        value = draw(ADDRESSES[4 if packet.ipv4 else 6])
        setattr(packet, what, value)
        assert getattr(packet, what) == value


@given(st.binary(max_size=128), U8)
def test_no_bytes_crash_the_parser(data: bytes, first: int) -> None:
    for candidate in (data, bytes([first | 0x45 & 0x0F]) + data):
        packet = od.Packet(candidate)
        repr(packet)
        assert bytes(packet) == candidate
        for name in headers(packet):
            repr(getattr(packet, name))
        _ = (packet.checksums_valid, packet.packet_hash(), packet.src_port, packet.dst_addr, packet.is_fragment)
        if packet.protocol is not None:
            bytes(packet.payload)


@given(st.data())
def test_checksums_that_were_right_stay_right_over_any_edits(data: st.DataObject) -> None:
    packet = data.draw(packets())
    for _ in range(data.draw(st.integers(1, 6))):
        data.draw(edits(packet))
        full = packet.copy()
        full.recalculate_checksums()
        assert bytes(full) == bytes(packet)
        assert packet.checksums_valid


@given(st.data())
def test_built_fields_read_back(data: st.DataObject) -> None:
    src, dst = data.draw(ADDRESSES[4]), data.draw(ADDRESSES[4])
    fields = data.draw(st.fixed_dictionaries(TCP_FIELDS))
    payload = data.draw(PAYLOADS)
    packet = build.tcp(src, dst, 1, 2, payload=payload, ttl=9, **fields)
    assert (packet.src_addr, packet.dst_addr, bytes(packet.payload)) == (src, dst, payload)
    assert {name: getattr(packet.tcp, name) for name in fields} == fields
    assert packet.checksums_valid


@given(st.lists(packets(), max_size=8), st.integers(1, 5), st.data())
def test_a_packet_edited_after_its_callback_changes_nothing_sent(
    tmp_path_factory: pytest.TempPathFactory, made: list[od.Packet], batch: int, data: st.DataObject
) -> None:
    out = tmp_path_factory.mktemp("replay") / "out.pcap"
    originals = [bytes(packet) for packet in made]
    kept: list[od.Packet] = []

    def callback(packet: od.Packet) -> None:
        if kept and data.draw(st.booleans()):
            data.draw(edits(data.draw(st.sampled_from(kept))))
        if data.draw(st.booleans()):
            kept.append(packet)

    with od.open(backend=od.Replay(pcap(originals), out=out)) as handle:
        assert handle.run(callback, batch=batch) == len(originals)
    assert read_pcap(out.read_bytes()) == originals
