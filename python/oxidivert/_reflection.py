"""Outbound connections bent to a proxy on this machine, by reflection."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from ._enums import Direction
from ._native import Packet

__all__ = ["Reflection"]


class Reflection:
    """Bends outbound TCP connections to `port` to a proxy on this machine that accepts on `proxy_port`, transparently.

    A packet of the client to a server is turned round: its addresses are swapped, so that it comes back in as if the
    server had connected to the proxy. The proxy sees the server's address as that of its peer, which is all it needs
    to know: `original_dst` tells where a connection wanted to go. What the proxy answers is turned round likewise. To
    reach the server the proxy connects to `alt_port` there (`upstream` gives the address); on its way such a packet
    gets `port`, and is so told from those of the client. The wire only ever shows `port`. Nothing is remembered of
    any connection.

    Connections within this machine are left alone: their packets never come in from outside. ValueError if the three
    ports are not different.

    >>> reflection = Reflection(80)
    >>> with od.open(reflection.filter, backend=...) as handle:  # doctest: +SKIP
    ...     handle.run(reflection.rewrite)
    """

    def __init__(self, port: int, *, proxy_port: int = 34010, alt_port: int = 43010) -> None:
        for name, number in (("port", port), ("proxy_port", proxy_port), ("alt_port", alt_port)):
            if not 1 <= number <= 65535:
                raise ValueError(f"{name} is a port from 1 to 65535, not {number}")
        if len({port, proxy_port, alt_port}) < 3:
            raise ValueError("port, proxy_port and alt_port must be different")
        #: The port that clients connect to.
        self.port = port
        #: The port that the proxy accepts on, on all addresses.
        self.proxy_port = proxy_port
        #: The port that the proxy connects to at the server.
        self.alt_port = alt_port

    @property
    def filter(self) -> str:
        """The packets that `rewrite` has to see, as a filter for layer NETWORK."""
        ports = f"{{{self.port}, {self.proxy_port}, {self.alt_port}}}"
        return f"!loopback and (tcp.SrcPort in {ports} or tcp.DstPort in {ports})"

    def rewrite(self, packet: Packet) -> None:
        """Turns a packet round, or renames its port, as its part in the connection wants; others are left as they are.

        Fit to be the callback of `Handle.run`.
        """
        if packet.tcp is None or packet.address.loopback:
            return
        if packet.address.outbound:
            if packet.dst_port == self.port:
                packet.dst_port = self.proxy_port
                _turn_round(packet)
            elif packet.src_port == self.proxy_port:
                packet.src_port = self.port
                _turn_round(packet)
            elif packet.dst_port == self.alt_port:
                packet.dst_port = self.port
        elif packet.src_port == self.port:
            packet.src_port = self.alt_port

    def original_dst(self, peer: tuple[str, int] | tuple[str, int, int, int]) -> tuple[IPv4Address | IPv6Address, int]:
        """Where the client of a connection that the proxy accepted wanted to go: address and port.

        `peer` is what `accept` gave, or `getpeername`.
        """
        address = ip_address(peer[0].partition("%")[0])
        # A socket for both IP versions tells IPv4 addresses as mapped ones.
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return mapped or address, self.port

    def upstream(self, peer: tuple[str, int] | tuple[str, int, int, int]) -> tuple[str, int]:
        """What the proxy has to connect to in order to reach that server past the reflection: address and port."""
        return str(self.original_dst(peer)[0]), self.alt_port


def _turn_round(packet: Packet) -> None:
    packet.src_addr, packet.dst_addr = packet.dst_addr, packet.src_addr  # type: ignore[assignment]
    packet.direction = Direction.INBOUND
