"""How the tools name protocols and ends of connections."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPV6"}
#: The colours that the tools show protocols in.
PROTOCOL_COLOURS = {1: "red", 6: "green", 17: "yellow", 58: "red"}


def protocol_name(number: int) -> str:
    """TCP, UDP, ICMP, ICMPV6, or the number."""
    return _PROTOCOLS.get(number, str(number))


def end_text(address: IPv4Address | IPv6Address, port: int) -> str:
    """An address and a port as one word; the address alone if there is no port."""
    if not port:
        return str(address)
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
