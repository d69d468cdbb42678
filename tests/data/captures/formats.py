"""Writers of pcap and pcapng that note, for each packet they write, what a reader must find.

Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from frames import Frame

START_NS = 1_700_000_000 * 10**9
STEP_NS = 250_123_457
SNAP_LEN = 65535
FLAGS = {"inbound": 1, "outbound": 2}

Expectation = dict[str, int | str | None]
Option = tuple[int, bytes]


@dataclass
class Capture:
    """One file: its bytes and what a reader must find."""

    note: str
    data: bytes
    packets: list[Expectation] = field(default_factory=list)
    ends: str = "complete"
    is_count_known: bool = True

    def damaged(self, note: str, data: bytes, packets: int | None, ends: str) -> Capture:
        """Return a damaged version, of which a reader finds the first packets, or nobody knows how many."""
        return Capture(note, data, self.packets[:packets], ends, packets is not None)

    def zipped(self, note: str) -> Capture:
        """Return the same file, gzip'd."""
        return replace(self, note=note, data=gzip.compress(self.data, mtime=0))


def expect(frame: Frame, link: int, interface: int, time_ns: int | None, direction: str | None) -> Expectation:
    """Return what a reader must say about a frame."""
    return {
        "interface": interface,
        "link_type": link,
        "ip_version": frame.ip_version,
        "protocol": frame.protocol,
        "ip_offset": frame.ip_offset,
        "ip_length": frame.ip_length,
        "direction": direction or frame.direction,
        "time_ns": time_ns,
        "captured_length": len(frame.data),
        "original_length": frame.original_length or len(frame.data),
    }


def pcap(
    note: str,
    link: int,
    frames: Iterable[Frame],
    order: str = "<",
    nano: bool = False,
    snap_len: int = SNAP_LEN,
    fractions: list[int] | None = None,
    link_word: int | None = None,
) -> Capture:
    """Return a classic capture; `fractions` replaces the sub-second fields."""
    units = 10**9 if nano else 10**6
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snap_len, link if link_word is None else link_word)
    capture = Capture(note, data)
    for number, frame in enumerate(frames):
        seconds, ns = divmod(START_NS + number * STEP_NS, 10**9)
        fraction = fractions[number] if fractions else ns * units // 10**9
        lengths = (len(frame.data), frame.original_length or len(frame.data))
        capture.data += struct.pack(order + "IIII", seconds, fraction, *lengths) + frame.data
        time_ns = seconds * 10**9 + fraction * (10**9 // units)
        capture.packets.append(expect(frame, link, 0, time_ns, None))
    return capture


@dataclass(frozen=True)
class Interface:
    """What a section knows of an interface."""

    link: int
    units: int
    offset: int


class Section:
    """A section of a pcapng file, block by block."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.interfaces: list[Interface] = []
        self.packets: list[Expectation] = []
        self.data = b""
        self.block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))

    def block(self, kind: int, body: bytes) -> Section:
        """Add a block of any kind."""
        body += b"\0" * (-len(body) % 4)
        total = struct.pack(self.order + "I", 12 + len(body))
        self.data += struct.pack(self.order + "I", kind) + total + body + total
        return self

    def options(self, *pairs: Option) -> bytes:
        """Return options with their end mark, or nothing."""
        data = b"".join(
            struct.pack(self.order + "HH", code, len(value)) + value + b"\0" * (-len(value) % 4)
            for code, value in pairs
        )
        return data + b"\0\0\0\0" if pairs else b""

    def interface(self, link: int, resolution: int | None = None, offset: int = 0, *extra: Option) -> Section:
        """Add an interface; `resolution` is the byte of if_tsresol, `offset` the seconds of if_tsoffset."""
        options = list(extra)
        if resolution is not None:
            options.append((9, bytes([resolution])))
        if offset:
            options.append((14, struct.pack(self.order + "q", offset)))
        byte = 6 if resolution is None else resolution
        units = 1 << (byte & 0x7F) if byte & 0x80 else 10**byte
        self.interfaces.append(Interface(link, units, offset))
        return self.block(1, struct.pack(self.order + "HHI", link, 0, SNAP_LEN) + self.options(*options))

    def packet(
        self,
        frame: Frame,
        interface: int = 0,
        direction: str | None = None,
        options: tuple[Option, ...] = (),
        old: bool = False,
    ) -> Section:
        """Add an enhanced packet block, or the old packet block; times that do not fit are rounded down."""
        known = self.interfaces[interface]
        ticks = (START_NS + len(self.packets) * STEP_NS - known.offset * 10**9) * known.units // 10**9
        if direction:
            options = ((2, struct.pack(self.order + "I", FLAGS[direction])), *options)
        first = struct.pack(self.order + "HH", interface, 0xFFFF) if old else struct.pack(self.order + "I", interface)
        lengths = (len(frame.data), frame.original_length or len(frame.data))
        body = first + struct.pack(self.order + "IIII", ticks >> 32, ticks & 0xFFFFFFFF, *lengths)
        body += frame.data + b"\0" * (-len(frame.data) % 4) + self.options(*options)
        time_ns = ticks * 10**9 // known.units + known.offset * 10**9
        self.packets.append(expect(frame, known.link, interface, time_ns, direction))
        return self.block(2 if old else 6, body)

    def simple(self, frame: Frame) -> Section:
        """Add a simple packet block: interface 0, no time."""
        self.packets.append(expect(frame, self.interfaces[0].link, 0, None, None))
        return self.block(3, struct.pack(self.order + "I", frame.original_length or len(frame.data)) + frame.data)

    def packets_of(self, frames: Iterable[Frame], interface: int = 0) -> Section:
        """Add a packet block for each frame."""
        for frame in frames:
            self.packet(frame, interface)
        return self


def pcapng(note: str, *sections: Section) -> Capture:
    """Return a pcapng file."""
    packets = [packet for section in sections for packet in section.packets]
    return Capture(note, b"".join(section.data for section in sections), packets)


def stored_gzip(data: bytes) -> bytes:
    """Return a gzip file of one stored block: the same bytes whatever packer a machine has."""
    block = struct.pack("<BHH", 1, len(data), len(data) ^ 0xFFFF) + data
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block + struct.pack("<II", zlib.crc32(data), len(data))
