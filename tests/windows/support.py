"""What the tests of the Windows backend share."""

from __future__ import annotations

import ctypes
import struct

import oxidivert as od
from standin import Network

WATCH = od.Flag.SNIFF | od.Flag.RECV_ONLY


def ticks() -> int:
    """The performance counter, by which the driver stamps."""
    value = ctypes.c_int64()
    ctypes.windll.kernel32.QueryPerformanceCounter(ctypes.byref(value))
    return value.value


def address(layer: od.Layer = od.Layer.NETWORK, event: od.Event = od.Event.NETWORK_PACKET, stamp: int = 0) -> bytearray:
    """An address record as the driver writes it."""
    record = bytearray(80)
    struct.pack_into("<qBBB", record, 0, stamp, int(layer), int(event), 2)
    return record


def fed(network: Network, packets: list[bytes], *, age_ms: int = 0) -> int:
    """Feed packets to this process's latest handle; its number."""
    handle = network.latest().number
    stamp = ticks() - age_ms * 10_000 if age_ms else 0
    network.feed(handle, [(packet, bytes(address(stamp=stamp))) for packet in packets])
    return handle


def received(handle: od.Handle[od.Packet], count: int) -> list[bytes]:
    """So many packets, in the order in which they come."""
    packets: list[bytes] = []
    while len(packets) < count:
        batch = handle.recv_batch(255, timeout=5)
        assert len(batch) > 0, f"{len(packets)} of {count} packets came"
        packets += [bytes(packet) for packet in batch]
    return packets


def sent(network: Network, number: int) -> list[bytes]:
    """What was sent on a handle since the last call."""
    return [data for data, _ in network.sent(number)]
