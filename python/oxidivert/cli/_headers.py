"""A packet header by header, field by field, with its bytes: what WinDivert's netdump prints."""

from __future__ import annotations

from collections.abc import Iterator

import oxidivert as od

from ._style import Style

_HEX_WIDTH = 20
_TEXT_WIDTH = 40


def header_lines(packet: od.Packet, since_ns: int, style: Style) -> Iterator[str]:
    """The lines of a packet; `since_ns` is the moment that its time is counted from."""
    yield style.paint("red", _packet_line(packet, since_ns))
    if packet.ipv4 is not None:
        yield style.paint("yellow", _ipv4_line(packet, packet.ipv4))
    if packet.ipv6 is not None:
        yield style.paint("yellow", _ipv6_line(packet.ipv6))
    for name, header in (("ICMP", packet.icmp), ("ICMPV6", packet.icmpv6)):
        if header is not None:
            yield style.paint("red", _icmp_line(name, header))
    if packet.tcp is not None:
        yield style.paint("green", _tcp_line(packet, packet.tcp))
    if packet.udp is not None:
        yield style.paint("green", _udp_line(packet.udp))
    data = bytes(packet)
    for at in range(0, len(data), _HEX_WIDTH):
        yield style.paint("cyan", "\t" + data[at : at + _HEX_WIDTH].hex().upper())
    for at in range(0, len(data), _TEXT_WIDTH):
        row = data[at : at + _TEXT_WIDTH]
        yield style.paint("magenta", "\t" + printable(row))


def printable(data: bytes) -> str:
    """Bytes as text, with a point for each that is not printable ASCII."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)


def _line(name: str, **fields: object) -> str:
    return f"{name} [{' '.join(f'{field}={value}' for field, value in fields.items())}]"


def _packet_line(packet: od.Packet, since_ns: int) -> str:
    address = packet.address
    network = address.network
    return _line(
        "Packet",
        Timestamp=f"{(packet.time_ns - since_ns) / 1e9:.8g},",
        Direction=packet.direction.value,
        IfIdx=network.interface_index if network else 0,
        SubIfIdx=network.subinterface_index if network else 0,
        Loopback=int(address.loopback),
        Hash=f"0x{packet.packet_hash():016X}",
        # These the original does not show.
        Impostor=int(address.impostor),
        IPChecksum=int(address.ip_checksum),
        TCPChecksum=int(address.tcp_checksum),
        UDPChecksum=int(address.udp_checksum),
    )


def _ipv4_line(packet: od.Packet, header: od.Ipv4Header) -> str:
    return _line(
        "IPv4",
        Version=4,
        HdrLength=header.header_length,
        TOS=header.tos,
        Length=header.length,
        Id=f"0x{header.id:04X}",
        Reserved=packet.data[6] >> 7,
        DF=int(header.dont_fragment),
        MF=int(header.more_fragments),
        FragOff=header.fragment_offset,
        TTL=header.ttl,
        Protocol=header.protocol,
        Checksum=f"0x{header.checksum:04X}",
        SrcAddr=header.src_addr,
        DstAddr=header.dst_addr,
    )


def _ipv6_line(header: od.Ipv6Header) -> str:
    return _line(
        "IPv6",
        Version=6,
        TrafficClass=header.traffic_class,
        FlowLabel=header.flow_label,
        Length=header.length,
        NextHdr=header.next_header,
        HopLimit=header.hop_limit,
        SrcAddr=header.src_addr,
        DstAddr=header.dst_addr,
    )


def _icmp_line(name: str, header: od.IcmpHeader | od.Icmpv6Header) -> str:
    return _line(
        name, Type=header.type, Code=header.code, Checksum=f"0x{header.checksum:04X}", Body=f"0x{header.body:08X}"
    )


def _tcp_line(packet: od.Packet, header: od.TcpHeader) -> str:
    # The payload follows the header, whose length is in words; what lies in front of it is of no view.
    start = len(packet) - len(packet.payload) - 4 * header.data_offset
    return _line(
        "TCP",
        SrcPort=header.src_port,
        DstPort=header.dst_port,
        SeqNum=header.seq,
        AckNum=header.ack_number,
        HdrLength=header.data_offset,
        Reserved1=packet.data[start + 12] & 0x0F if start >= 0 else 0,
        Reserved2=int(header.cwr) << 1 | int(header.ece),
        Urg=int(header.urg),
        Ack=int(header.ack),
        Psh=int(header.psh),
        Rst=int(header.rst),
        Syn=int(header.syn),
        Fin=int(header.fin),
        Window=header.window,
        Checksum=f"0x{header.checksum:04X}",
        UrgPtr=header.urgent_pointer,
    )


def _udp_line(header: od.UdpHeader) -> str:
    return _line(
        "UDP",
        SrcPort=header.src_port,
        DstPort=header.dst_port,
        Length=header.length,
        Checksum=f"0x{header.checksum:04X}",
    )
