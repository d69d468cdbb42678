"""The address record."""

from __future__ import annotations

import ipaddress
import pickle

import oxidivert as od
import pytest

RECORD = bytes(range(8)) + bytes([3, 4, 0b10100101, 7]) + bytes(range(12, 80))


def test_bytes_round_trip_bit_for_bit() -> None:
    address = od.Address.from_bytes(RECORD)
    assert bytes(address) == RECORD
    assert pickle.loads(pickle.dumps(address)) == address
    assert eval(repr(address), {"Address": od.Address}) == address


def test_every_field_of_the_record_reads_its_place() -> None:
    address = od.Address.from_bytes(RECORD)
    assert address.timestamp == int.from_bytes(RECORD[:8], "little")
    assert (address.layer, address.event) == (od.Layer.SOCKET, od.Event.SOCKET_CONNECT)
    flags = [name for name in ("sniffed", "outbound", "loopback", "impostor", "ipv6") if getattr(address, name)]
    assert flags == ["sniffed", "loopback"]
    assert (address.ip_checksum, address.tcp_checksum, address.udp_checksum) == (True, False, True)
    socket = address.socket
    assert socket is not None
    assert socket.endpoint_id == int.from_bytes(RECORD[16:24], "little")
    assert socket.parent_endpoint_id == int.from_bytes(RECORD[24:32], "little")
    assert socket.process_id == int.from_bytes(RECORD[32:36], "little")
    assert socket.local_addr == ipaddress.ip_address(RECORD[36:52][::-1])
    assert socket.remote_addr == ipaddress.ip_address(RECORD[52:68][::-1])
    assert socket.local_port == int.from_bytes(RECORD[68:70], "little")
    assert socket.remote_port == int.from_bytes(RECORD[70:72], "little")
    assert socket.protocol == RECORD[72]


def test_the_reflect_part_reads_its_place() -> None:
    address = od.Address.from_bytes(RECORD)
    address.layer = od.Layer.REFLECT
    reflect = address.reflect
    assert reflect is not None
    assert reflect.timestamp == int.from_bytes(RECORD[16:24], "little")
    assert reflect.process_id == int.from_bytes(RECORD[24:28], "little")
    assert reflect.layer == int.from_bytes(RECORD[28:32], "little")
    assert reflect.flags == int.from_bytes(RECORD[32:40], "little")
    assert reflect.priority == int.from_bytes(RECORD[40:42], "little")


def test_only_the_part_of_its_layer_is_there() -> None:
    parts = {}
    for layer in od.Layer:
        address = od.Address(layer=layer)
        parts[layer] = [name for name in ("network", "flow", "socket", "reflect") if getattr(address, name) is not None]
    assert parts == {
        od.Layer.NETWORK: ["network"],
        od.Layer.NETWORK_FORWARD: ["network"],
        od.Layer.FLOW: ["flow"],
        od.Layer.SOCKET: ["socket"],
        od.Layer.REFLECT: ["reflect"],
    }


def test_parts_are_live() -> None:
    address = od.Address(layer=od.Layer.FLOW)
    assert address.flow is not None
    address.flow.local_addr = "192.0.2.1"
    address.flow.remote_port = 443
    assert address.flow.local_addr == ipaddress.ip_address("192.0.2.1")
    assert bytes(address)[36:44] == bytes.fromhex("010200c0ffff0000")
    assert bytes(address)[70:72] == b"\xbb\x01"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (RECORD[:79], "an address record has 80 bytes, these are 79"),
        (RECORD[:8] + b"\x05" + RECORD[9:], "byte 8 of the address record names layer 5, the last is 4"),
        (RECORD[:9] + b"\x0a" + RECORD[10:], "byte 9 of the address record names event 10, the last is 9"),
    ],
)
def test_a_record_that_names_nothing_is_refused(record: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        od.Address.from_bytes(record)


def test_any_layer_goes_with_any_event() -> None:
    for layer in od.Layer:
        for event in od.Event:
            address = od.Address(layer=layer, event=event)
            assert (address.layer, address.event) == (layer, event)


def test_records_compare_by_content_and_have_no_hash() -> None:
    assert od.Address() == od.Address()
    assert od.Address() != od.Address(outbound=False)
    with pytest.raises(TypeError):
        hash(od.Address())
