"""Packets and captures for the tests, made with the standard library only: nothing under test makes its own input."""

from __future__ import annotations

import ipaddress
import pathlib
import struct

PROJECT = pathlib.Path(__file__).parents[2]

TIME_NS = 1_700_000_000_123_456_000


def internet_checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071), the slow and plain way."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _pseudo(src: bytes, dst: bytes, protocol: int, length: int) -> bytes:
    if len(src) == 4:
        return src + dst + struct.pack(">BBH", 0, protocol, length)
    return src + dst + struct.pack(">I3xB", length, protocol)


def ip(
    src: str, dst: str, protocol: int, body: bytes, *, checksum_at: int | None = None, ttl: int = 64, fragment: int = 0
) -> bytes:
    """An IP packet; `checksum_at` is where in `body` its checksum is filled in (with a pseudo header unless ICMP)."""
    source, destination = ipaddress.ip_address(src).packed, ipaddress.ip_address(dst).packed
    if checksum_at is not None:
        pseudo = b"" if protocol == 1 else _pseudo(source, destination, protocol, len(body))
        value = internet_checksum(pseudo + body)
        if protocol == 17 and value == 0:
            value = 0xFFFF
        body = body[:checksum_at] + struct.pack(">H", value) + body[checksum_at + 2 :]
    if len(source) == 16:
        return struct.pack(">IHBB", 0x60000000, len(body), protocol, ttl) + source + destination + body
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 7, fragment, ttl, protocol, 0) + source + destination
    return header[:10] + struct.pack(">H", internet_checksum(header)) + header[12:] + body


def tcp(
    payload: bytes = b"",
    *,
    src: str = "10.0.0.1",
    dst: str = "192.0.2.7",
    src_port: int = 40001,
    dst_port: int = 80,
    flags: int = 0x18,
    seq: int = 1,
    ttl: int = 64,
) -> bytes:
    """A TCP packet with right checksums."""
    header = struct.pack(">HHIIBBHHH", src_port, dst_port, seq, 2, 0x50, flags, 8192, 0, 0)
    return ip(src, dst, 6, header + payload, checksum_at=16, ttl=ttl)


def udp(
    payload: bytes = b"abcd",
    *,
    src: str = "10.0.0.1",
    dst: str = "192.0.2.7",
    src_port: int = 12345,
    dst_port: int = 53,
    ttl: int = 64,
) -> bytes:
    """A UDP packet with right checksums."""
    header = struct.pack(">HHHH", src_port, dst_port, 8 + len(payload), 0)
    return ip(src, dst, 17, header + payload, checksum_at=6, ttl=ttl)


def icmp(payload: bytes = b"ping", *, src: str = "10.0.0.1", dst: str = "192.0.2.7") -> bytes:
    """An ICMP echo request with right checksums."""
    return ip(src, dst, 1, struct.pack(">BBHHH", 8, 0, 0, 1, 2) + payload, checksum_at=2)


def icmpv6(payload: bytes = b"ping", *, src: str = "2001:db8::1", dst: str = "2001:db8::2") -> bytes:
    """An ICMPv6 echo request with a right checksum."""
    return ip(src, dst, 58, struct.pack(">BBHHH", 128, 0, 0, 1, 2) + payload, checksum_at=2)


V6 = {"src": "2001:db8::1", "dst": "2001:db8::2"}

EACH_PROTOCOL = {
    "tcp over ipv4": tcp(b"hello"),
    "udp over ipv4": udp(b"hello"),
    "icmp": icmp(b"hello"),
    "tcp over ipv6": tcp(b"hello", **V6),
    "udp over ipv6": udp(b"hello", **V6),
    "icmpv6": icmpv6(b"hello"),
}


def pcap(packets: list[bytes], *, link_type: int = 101) -> bytes:
    """A little-endian microsecond pcap file; packet i is i milliseconds after `TIME_NS`."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link_type)]
    for index, packet in enumerate(packets):
        seconds, nanoseconds = divmod(TIME_NS + index * 1_000_000, 1_000_000_000)
        out.append(struct.pack("<IIII", seconds, nanoseconds // 1000, len(packet), len(packet)) + packet)
    return b"".join(out)


def read_pcap(data: bytes) -> list[bytes]:
    """The records of a file that `pcap` could have made."""
    packets = []
    at = 24
    while at < len(data):
        _, _, length, _ = struct.unpack_from("<IIII", data, at)
        packets.append(data[at + 16 : at + 16 + length])
        at += 16 + length
    return packets
