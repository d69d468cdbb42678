"""A packet as a line for readers and as an object for programs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import oxidivert as od

_PROTOCOLS = {
    1: "ICMP",
    2: "IGMP",
    4: "IPIP",
    6: "TCP",
    17: "UDP",
    41: "IPv6",
    47: "GRE",
    50: "ESP",
    51: "AH",
    58: "ICMPv6",
    59: "none",
    89: "OSPF",
    103: "PIM",
    112: "VRRP",
    132: "SCTP",
}
_ICMP_TYPES = {
    0: "echo reply",
    3: "destination unreachable",
    4: "source quench",
    5: "redirect",
    8: "echo request",
    9: "router advertisement",
    10: "router solicitation",
    11: "time exceeded",
    12: "parameter problem",
    13: "timestamp request",
    14: "timestamp reply",
}
_ICMPV6_TYPES = {
    1: "destination unreachable",
    2: "packet too big",
    3: "time exceeded",
    4: "parameter problem",
    128: "echo request",
    129: "echo reply",
    130: "listener query",
    131: "listener report",
    132: "listener done",
    133: "router solicitation",
    134: "router advertisement",
    135: "neighbor solicitation",
    136: "neighbor advertisement",
    137: "redirect",
    143: "listener report v2",
}
_TCP_FLAGS = ("syn", "fin", "rst", "psh", "ack", "urg", "ece", "cwr")
_HEX_WIDTH = 16


def line(number: int, packet: od.Packet) -> str:
    """One readable line: number, time, direction, protocol, addresses and ports, what is special, lengths."""
    direction = "out" if packet.direction is od.Direction.OUTBOUND else "in"
    source = _endpoint(packet.src_addr, packet.src_port)
    destination = _endpoint(packet.dst_addr, packet.dst_port)
    parts = [f"{number:>5}", _time(packet.time_ns), f"{direction:3}", f"{_protocol(packet.protocol):6}"]
    parts.append(f"{source} > {destination}")
    parts.extend(_details(packet))
    parts.append(f"length {len(packet)} payload {len(packet.payload)}")
    return "  ".join(parts)


def as_dict(number: int, packet: od.Packet) -> dict[str, object]:
    """The same under stable names; a part that the packet lacks is absent, a single value is null."""
    fields: dict[str, object] = {
        "number": number,
        "time_ns": packet.time_ns,
        "direction": packet.direction.value,
        "loopback": packet.address.loopback,
        "protocol": packet.protocol,
        "protocol_name": _protocol(packet.protocol),
        "src_addr": _text(packet.src_addr),
        "src_port": packet.src_port,
        "dst_addr": _text(packet.dst_addr),
        "dst_port": packet.dst_port,
        "length": len(packet),
        "payload_length": len(packet.payload),
        "fragment": packet.is_fragment,
    }
    if packet.ipv4 is not None:
        fields["ttl"] = packet.ipv4.ttl
    elif packet.ipv6 is not None:
        fields["hop_limit"] = packet.ipv6.hop_limit
    if packet.tcp is not None:
        tcp = packet.tcp
        fields["tcp"] = {"flags": _flags(tcp), "seq": tcp.seq, "ack_number": tcp.ack_number, "window": tcp.window}
    for name, header in (("icmp", packet.icmp), ("icmpv6", packet.icmpv6)):
        if header is not None:
            fields[name] = {"type": header.type, "code": header.code, "body": header.body}
    return fields


def hex_lines(data: bytes) -> Iterator[str]:
    """The bytes, sixteen a line: offset, hexadecimal, printable ASCII."""
    for offset in range(0, len(data), _HEX_WIDTH):
        row = data[offset : offset + _HEX_WIDTH]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"       {offset:04x}  {row.hex(' '):{3 * _HEX_WIDTH - 1}}  {text}"


def _details(packet: od.Packet) -> Iterator[str]:
    if packet.is_fragment:
        yield _fragment(packet)
    if packet.tcp is not None:
        tcp = packet.tcp
        flags = " ".join(name.upper() for name in _flags(tcp)) or "no flags"
        yield f"[{flags}] seq {tcp.seq} ack {tcp.ack_number} window {tcp.window}"
    if packet.icmp is not None:
        yield _icmp(packet.icmp, _ICMP_TYPES)
    if packet.icmpv6 is not None:
        yield _icmp(packet.icmpv6, _ICMPV6_TYPES)


def _fragment(packet: od.Packet) -> str:
    if packet.ipv4 is None:
        return "fragment"
    more = ", more follow" if packet.ipv4.more_fragments else ", the last"
    # The header counts in units of 8 bytes.
    return f"fragment at {packet.ipv4.fragment_offset * 8}{more}"


def _icmp(header: od.IcmpHeader | od.Icmpv6Header, names: dict[int, str]) -> str:
    name = names.get(header.type, f"type {header.type}")
    if name.startswith("echo "):
        return f"{name} id {header.body >> 16} seq {header.body & 0xFFFF}"
    return f"{name} code {header.code}"


def _flags(tcp: od.TcpHeader) -> list[str]:
    return [name for name in _TCP_FLAGS if getattr(tcp, name)]


def _protocol(number: int | None) -> str:
    if number is None:
        return "?"
    return _PROTOCOLS.get(number, f"proto {number}")


def _endpoint(address: object | None, port: int | None) -> str:
    text = _text(address) or "?"
    if port is None:
        return text
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


def _text(address: object | None) -> str | None:
    return None if address is None else str(address)


def _time(time_ns: int) -> str:
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    # Captures may carry any number here; a date ends with the year 9999.
    if not 0 <= seconds < 253_402_300_800:
        return f"{seconds}.{nanoseconds // 1000:06}"
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{nanoseconds // 1000:06}"
