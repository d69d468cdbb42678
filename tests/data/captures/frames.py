"""Packets with right checksums, link headers before them, and what a reader must say about each.

Link headers: https://www.tcpdump.org/linktypes.html.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address

ICMP, TCP, UDP, IPV6_FRAGMENT, ICMPV6 = 1, 6, 17, 44, 58
IPV4_TYPE, ARP_TYPE, IPV6_TYPE, LLDP_TYPE = 0x0800, 0x0806, 0x86DD, 0x88CC
LOCAL4, REMOTE4 = "192.168.7.2", "198.51.100.7"
LOCAL6, REMOTE6 = "fd00:7::2", "2001:db8::7"
LOCAL_MAC, REMOTE_MAC = bytes.fromhex("00005e005301"), bytes.fromhex("00005e005302")


@dataclass(frozen=True)
class Frame:
    """One captured packet: its bytes from the link header on, and what a reader must say about it."""

    data: bytes
    ip_version: int | None
    protocol: int | None
    ip_length: int | None
    ip_offset: int | None = 0
    direction: str | None = None
    original_length: int | None = None

    def behind(self, header: bytes, trailer: bytes = b"", direction: str | None = None) -> Frame:
        """Return this packet behind a link header."""
        offset = None if self.ip_offset is None else self.ip_offset + len(header)
        data = header + self.data + trailer
        return replace(self, data=data, ip_offset=offset, direction=direction or self.direction)

    def cut(self, length: int) -> Frame:
        """Return what a capture with this snap length keeps."""
        return replace(self, data=self.data[:length], original_length=len(self.data))


def no_ip(data: bytes, direction: str | None = None) -> Frame:
    """Return a frame that is no IP packet, or one that cannot be parsed."""
    return Frame(data, None, None, None, None, direction)


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def transport(protocol: int, source: str, destination: str, segment: bytes, checksum_offset: int) -> bytes:
    """Return the segment with its checksum set."""
    pseudo = ip_address(source).packed + ip_address(destination).packed + struct.pack(">II", len(segment), protocol)
    value = checksum(segment if protocol == ICMP else pseudo + segment)
    if protocol == UDP and value == 0:
        value = 0xFFFF
    return segment[:checksum_offset] + struct.pack(">H", value) + segment[checksum_offset + 2 :]


def ip(
    protocol: int, source: str, destination: str, payload: bytes, fragment: int = 0, extension: bytes = b""
) -> Frame:
    """Return an IP packet; `fragment` is IPv4's word of flags and offset, `extension` goes before an IPv6 payload."""
    addresses = ip_address(source).packed + ip_address(destination).packed
    if isinstance(ip_address(source), IPv4Address):
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0x1234, fragment, 64, protocol, 0) + addresses
        header = header[:10] + struct.pack(">H", checksum(header)) + header[12:]
        return Frame(header + payload, 4, protocol, len(header + payload))
    payload = extension + payload
    first = IPV6_FRAGMENT if extension else protocol
    data = struct.pack(">IHBB", 6 << 28, len(payload), first, 64) + addresses + payload
    return Frame(data, 6, protocol, len(data))


def tcp(source: str, destination: str, ports: tuple[int, int], flags: int, payload: bytes = b"") -> Frame:
    """Return a TCP packet."""
    segment = struct.pack(">HHIIBBHHH", *ports, 1000, 2000, 5 << 4, flags, 64240, 0, 0) + payload
    return ip(TCP, source, destination, transport(TCP, source, destination, segment, 16))


def udp_datagram(source: str, destination: str, ports: tuple[int, int], payload: bytes) -> bytes:
    """Return a UDP datagram without its IP header."""
    datagram = struct.pack(">HHHH", *ports, 8 + len(payload), 0) + payload
    return transport(UDP, source, destination, datagram, 6)


def udp(source: str, destination: str, ports: tuple[int, int], payload: bytes) -> Frame:
    """Return a UDP packet."""
    return ip(UDP, source, destination, udp_datagram(source, destination, ports, payload))


def echo(source: str, destination: str, reply: bool = False) -> Frame:
    """Return a ping or its answer."""
    version6 = isinstance(ip_address(source), IPv6Address)
    protocol, kind = (ICMPV6, 128 + reply) if version6 else (ICMP, 0 if reply else 8)
    message = struct.pack(">BBHHH", kind, 0, 0, 77, 1) + bytes(range(16))
    return ip(protocol, source, destination, transport(protocol, source, destination, message, 2))


def fragments() -> list[Frame]:
    """Return two fragments of an IPv4 and two of an IPv6 datagram."""
    payload = bytes(range(120))
    whole4 = udp_datagram(LOCAL4, REMOTE4, (40000, 7), payload)
    whole6 = udp_datagram(LOCAL6, REMOTE6, (40000, 7), payload)
    return [
        ip(UDP, LOCAL4, REMOTE4, whole4[:64], fragment=0x2000),
        ip(UDP, LOCAL4, REMOTE4, whole4[64:], fragment=64 // 8),
        ip(UDP, LOCAL6, REMOTE6, whole6[:64], extension=struct.pack(">BBHI", UDP, 0, 1, 99)),
        ip(UDP, LOCAL6, REMOTE6, whole6[64:], extension=struct.pack(">BBHI", UDP, 0, 64, 99)),
    ]


PACKETS4 = [
    tcp(LOCAL4, REMOTE4, (50000, 80), 0x02),
    tcp(REMOTE4, LOCAL4, (80, 50000), 0x12),
    tcp(LOCAL4, REMOTE4, (50000, 80), 0x18, b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"),
    udp(LOCAL4, REMOTE4, (40000, 7), b"four"),
    echo(LOCAL4, REMOTE4),
    echo(REMOTE4, LOCAL4, reply=True),
]
PACKETS6 = [
    tcp(LOCAL6, REMOTE6, (50001, 443), 0x02),
    tcp(REMOTE6, LOCAL6, (443, 50001), 0x14),
    udp(LOCAL6, REMOTE6, (40001, 7), b"six"),
    echo(LOCAL6, REMOTE6),
    echo(REMOTE6, LOCAL6, reply=True),
]
PACKETS = PACKETS4 + PACKETS6


def is_outbound(packet: Frame) -> bool:
    """Say whether a packet of ours comes from the local host."""
    local = {4: (12, IPv4Address(LOCAL4).packed), 6: (8, IPv6Address(LOCAL6).packed)}
    offset, address = local[packet.ip_version or 4]
    return packet.data[offset : offset + len(address)] == address


def ether_type(packet: Frame) -> int:
    """Return the EtherType of an IP packet."""
    return IPV6_TYPE if packet.ip_version == 6 else IPV4_TYPE


def ethernet(packet: Frame, tags: Iterable[tuple[int, int]] = (), trailer: bytes = b"") -> Frame:
    """Return the packet in an Ethernet frame with the given (type, tag) pairs."""
    addresses = REMOTE_MAC + LOCAL_MAC if is_outbound(packet) else LOCAL_MAC + REMOTE_MAC
    tagging = b"".join(struct.pack(">HH", kind, tag) for kind, tag in tags)
    header = addresses + tagging + struct.pack(">H", ether_type(packet))
    return packet.behind(header, trailer)


def padded(packet: Frame, filler: bytes = b"\0") -> Frame:
    """Return the packet in a frame of Ethernet's smallest length."""
    frame = ethernet(packet)
    return replace(frame, data=frame.data.ljust(60, filler))


def family(packet: Frame, order: str, inet6: int = 24) -> Frame:
    """Return the packet behind the family word of links 0 and 108."""
    return packet.behind(struct.pack(order + "I", inet6 if packet.ip_version == 6 else 2))


SLL_DIRECTION = {0: "inbound", 1: "inbound", 2: "inbound", 3: "inbound", 4: "outbound"}


def cooked(kind: int, protocol: int, address: bytes = REMOTE_MAC) -> bytes:
    """Return a header of link 113."""
    return struct.pack(">HHH8sH", kind, 1, len(address), address, protocol)


def cooked2(kind: int, protocol: int, interface: int = 3, address: bytes = REMOTE_MAC) -> bytes:
    """Return a header of link 276."""
    return struct.pack(">HHIHBB8s", protocol, 0, interface, 1, kind, len(address), address)


def sll(packet: Frame, kind: int | None = None) -> Frame:
    """Return the packet behind a header of link 113."""
    kind = (4 if is_outbound(packet) else 0) if kind is None else kind
    return packet.behind(cooked(kind, ether_type(packet)), direction=SLL_DIRECTION[kind])


def sll2(packet: Frame, kind: int | None = None) -> Frame:
    """Return the packet behind a header of link 276."""
    kind = (4 if is_outbound(packet) else 0) if kind is None else kind
    return packet.behind(cooked2(kind, ether_type(packet)), direction=SLL_DIRECTION[kind])


ARP_BODY = struct.pack(">HHBBH", 1, IPV4_TYPE, 6, 4, 1) + LOCAL_MAC + IPv4Address(LOCAL4).packed + bytes(6)
ARP_BODY += IPv4Address("192.168.7.1").packed
ARP = no_ip((b"\xff" * 6 + LOCAL_MAC + struct.pack(">H", ARP_TYPE) + ARP_BODY).ljust(60, b"\0"))
LLDP_BODY = b"\x02\x07\x04" + LOCAL_MAC + b"\x04\x03\x07p1\x06\x02\0\x78\0\0"
LLDP = no_ip((bytes.fromhex("0180c200000e") + LOCAL_MAC + struct.pack(">H", LLDP_TYPE) + LLDP_BODY).ljust(60, b"\0"))
SPANNING_TREE_BODY = bytes.fromhex("4242030000000000800000005e00530100000000800000005e005301")
SPANNING_TREE_BODY += bytes.fromhex("80010000140002000f00")
SPANNING_TREE = no_ip((bytes.fromhex("0180c2000000") + LOCAL_MAC + b"\0\x26" + SPANNING_TREE_BODY).ljust(60, b"\0"))
RADIOTAP = no_ip(bytes.fromhex("0000080000000000d4000000") + LOCAL_MAC)


def ethernet_frames() -> list[Frame]:
    """Return frames with tags, with padding, and with things that are no IP."""
    return [
        *map(ethernet, PACKETS),
        ARP,
        ethernet(PACKETS[0], [(0x8100, 7)]),
        ethernet(PACKETS[6], [(0x8100, 0x2000 | 7)]),
        ethernet(PACKETS[1], [(0x88A8, 100), (0x8100, 7)]),
        ethernet(PACKETS[7], [(0x88A8, 100), (0x8100, 7)]),
        ethernet(PACKETS[2], [(0x8100, 100), (0x8100, 7)]),
        padded(PACKETS[3]),
        padded(PACKETS[4], b"\xaa"),
        ethernet(PACKETS[8], trailer=b"trailer!"),
        LLDP,
        SPANNING_TREE,
        no_ip(ARP.data[:12] + struct.pack(">HH", 0x8100, 7) + ARP.data[12:]),
        *map(ethernet, fragments()),
    ]


def odd_ip_frames() -> list[Frame]:
    """Return Ethernet frames whose type says IP but whose bytes are odd."""
    good = ethernet(PACKETS[2])
    header = good.data[:14]
    whole = good.data[14:]
    longer = whole[:2] + struct.pack(">H", 400) + whole[4:]
    longer = longer[:10] + b"\0\0" + longer[12:]
    longer = longer[:10] + struct.pack(">H", checksum(longer[:20])) + longer[12:]
    return [
        no_ip(header + whole[:2] + b"\0\0" + whole[4:]),
        no_ip(header + b"\x75" + whole[1:]),
        no_ip(header + b"\x44" + whole[1:]),
        no_ip(header + whole[:19]),
        no_ip(header),
        no_ip(header[:9]),
        replace(good, data=header + longer, ip_length=400),
        good,
    ]


def cut_frames() -> list[Frame]:
    """Return frames cut by the capture at the payload, in the TCP header, in the IP header and in the link header."""
    payload, headers = ethernet(PACKETS[2]), ethernet(PACKETS[1])
    in_ip = no_ip(headers.data)
    return [payload.cut(64), headers.cut(44), in_ip.cut(24), in_ip.cut(10), ethernet(PACKETS[6]).cut(60), payload]
