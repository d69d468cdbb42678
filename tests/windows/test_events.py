"""Events of the layers without packets: what the driver writes is what the event tells."""

from __future__ import annotations

import ipaddress
import os
import struct
import sys

import oxidivert as od
import pytest
from samples import udp
from standin import Network
from support import WATCH, address

V4, V6 = ipaddress.ip_address("192.0.2.9"), ipaddress.ip_address("2001:db8::7")


def words(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    """An address as the driver writes it: four words, the least significant one first; IPv4 is mapped."""
    value = int(ip) if ip.version == 6 else 0xFFFF << 32 | int(ip)
    return struct.pack("<4I", *(value >> shift & 0xFFFFFFFF for shift in (0, 32, 64, 96)))


def endpoint_address(layer: od.Layer, event: od.Event) -> bytes:
    """The record of an event about a connection."""
    record = address(layer, event, stamp=12345)
    struct.pack_into("<QQI", record, 16, 77, 66, 4711)
    record[36:52], record[52:68] = words(V4), words(V6)
    struct.pack_into("<HHB", record, 68, 443, 50_000, 6)
    return bytes(record)


# Rows 80, 81.
@pytest.mark.parametrize(
    ("layer", "event"),
    [
        (od.Layer.FLOW, od.Event.FLOW_ESTABLISHED),
        (od.Layer.FLOW, od.Event.FLOW_DELETED),
        *((od.Layer.SOCKET, od.Event(number)) for number in range(3, 8)),
    ],
)
def test_an_event_tells_what_the_driver_wrote(layer: od.Layer, event: od.Event, network: Network) -> None:
    with od.open(layer=layer, flags=WATCH) as handle:
        record = endpoint_address(layer, event)
        fresh = bytes(8) + record[8:]
        # Rows 37, 38: without bytes, one and several together.
        network.feed(network.latest().number, [(b"", fresh)] * 3)
        for _ in range(3):
            told = handle.recv(timeout=5)
            assert isinstance(told, od.FlowEvent | od.SocketEvent)
            assert (told.event, told.process_id) == (event, 4711)
            # There is none of this number.
            assert told.process == od.Process(4711)
            assert (told.endpoint_id, told.parent_endpoint_id, told.protocol) == (77, 66, 6)
            assert (told.local_addr, told.local_port) == (V4, 443)
            assert (told.remote_addr, told.remote_port) == (V6, 50_000)
        assert handle.recv(timeout=0) is None


@pytest.mark.parametrize("layer", [od.Layer.FLOW, od.Layer.SOCKET])
def test_an_event_names_its_program(layer: od.Layer, network: Network) -> None:
    with od.open(layer=layer, flags=WATCH) as handle:
        event = od.Event.FLOW_ESTABLISHED if layer == od.Layer.FLOW else od.Event.SOCKET_CONNECT
        record = bytearray(endpoint_address(layer, event))
        struct.pack_into("<I", record, 32, os.getpid())
        network.feed(network.latest().number, [(b"", bytes(8) + bytes(record[8:]))])
        told = handle.recv(timeout=5)
        assert isinstance(told, od.FlowEvent | od.SocketEvent)
        assert told.process is not None
        assert (told.process.pid, told.process.name) == (os.getpid(), os.path.basename(sys.executable))
        assert str(told.process.path).lower().endswith("python.exe")


# Rows 85, 86.
def test_reflected_filters_come_without_their_end_and_read_back(network: Network) -> None:
    texts = ["tcp and outbound", "udp.DstPort == 53", "true"]
    with od.open(layer=od.Layer.REFLECT, flags=WATCH) as handle:
        number = network.latest().number
        items = []
        for index, text in enumerate(texts):
            record = address(od.Layer.REFLECT, od.Event.REFLECT_OPEN)
            struct.pack_into("<qIIQh", record, 16, 99, os.getpid(), 0, 4, index - 1)
            items.append((od.Filter(text).object.encode() + b"\0", bytes(record)))
        network.feed(number, items)
        for index, text in enumerate(texts):
            told = handle.recv(timeout=5)
            assert isinstance(told, od.ReflectEvent)
            assert (told.layer, told.priority, told.flags) == (od.Layer.NETWORK, index - 1, od.Flag.RECV_ONLY)
            assert told.process_id == os.getpid()
            assert str(told.filter) == str(od.Filter(text))


def test_run_takes_events_and_never_sends(network: Network) -> None:
    told: list[object] = []
    with od.open(layer=od.Layer.FLOW, flags=WATCH) as handle:
        record = endpoint_address(od.Layer.FLOW, od.Event.FLOW_ESTABLISHED)
        network.feed(network.latest().number, [(b"", bytes(8) + record[8:])] * 5)
        handle.shutdown(od.Shutdown.RECV)
        assert handle.run(told.append) == 5
        assert network.latest().sent == 0


def test_forwarded_packets_keep_their_interface(network: Network) -> None:
    with od.open(layer=od.Layer.NETWORK_FORWARD) as handle:
        record = address(od.Layer.NETWORK_FORWARD)
        struct.pack_into("<II", record, 16, 12, 3)
        number = network.latest().number
        network.feed(number, [(udp(b"one"), bytes(record))])
        packet = handle.recv(timeout=5)
        assert isinstance(packet, od.Packet)
        assert packet.address.network.interface_index == 12
        handle.send(packet)
        ((data, back),) = network.sent(number)
        assert data == udp(b"one")
        assert back[8:24] == bytes(record[8:24])
