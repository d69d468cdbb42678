"""The compiled half of the package `oxidivert`."""

import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from types import GenericAlias
from typing import Any, Final, Generic, Literal, Self, SupportsIndex, TypeAlias, TypeVar, final, overload

from ._enums import ChecksumFlag, Direction, Event, Flag, Layer, Shutdown
from ._exceptions import FilterWarning
from ._expression import Expression
from ._process import Process

__all__ = [
    "Address",
    "Batch",
    "Column",
    "EndpointData",
    "Engine",
    "EngineFlow",
    "Filter",
    "Flow",
    "FlowEvent",
    "FlowRow",
    "FlowTable",
    "Handle",
    "IcmpHeader",
    "Icmpv6Header",
    "Ipv4Header",
    "Ipv6Header",
    "Mask",
    "NetworkData",
    "Packet",
    "ParsedPacket",
    "ReflectData",
    "ReflectEvent",
    "Replay",
    "SocketEvent",
    "Statistics",
    "TcpHeader",
    "TraceStep",
    "UdpHeader",
    "__version__",
    "_driver_inventory",
    "_driver_remove",
    "_driver_start",
    "_driver_stop",
    "_run_passthrough",
    "_service",
    "calc_checksums",
    "compile_filter",
    "decrement_ttl",
    "eval_filter",
    "filter_fields",
    "format_filter",
    "format_ipv4_address",
    "format_ipv6_address",
    "hash_packet",
    "hton_ipv6_address",
    "htonl",
    "htonll",
    "htons",
    "icmp",
    "icmp_echo",
    "icmp_unreachable",
    "ntoh_ipv6_address",
    "ntohl",
    "ntohll",
    "ntohs",
    "open",
    "other",
    "parse_batch",
    "parse_ipv4_address",
    "parse_ipv6_address",
    "parse_packet",
    "reset",
    "tcp",
    "udp",
    "unreachable",
]

__version__: Final[str]

_Object: TypeAlias = object
_Buffer: TypeAlias = bytes | bytearray | memoryview
_IpAddress: TypeAlias = IPv4Address | IPv6Address
_ColumnValue: TypeAlias = int | str | _IpAddress
_Member: TypeAlias = int | str | range | _IpAddress | IPv4Network | IPv6Network
_BackendArgument: TypeAlias = Literal["auto", "windivert", "nfqueue"] | Replay | Engine
_Sets: TypeAlias = Mapping[str, Iterable[_Member | tuple[_Member, _Member]]]
_Item = TypeVar("_Item", covariant=True)

@final
class Ipv4Header:
    """The IPv4 header of a packet (RFC 791). Edits keep its checksum right."""

    @property
    def tos(self) -> int:
        """Type of service, 0 to 255."""
    @tos.setter
    def tos(self, value: int, /) -> None: ...
    @property
    def length(self) -> int:
        """Total length in bytes, header included. Setting it parses the packet anew."""
    @length.setter
    def length(self, value: int, /) -> None: ...
    @property
    def id(self) -> int:
        """Identification, 0 to 65535."""
    @id.setter
    def id(self, value: int, /) -> None: ...
    @property
    def dont_fragment(self) -> bool:
        """Whether routers must not fragment the packet."""
    @dont_fragment.setter
    def dont_fragment(self, value: bool, /) -> None: ...
    @property
    def more_fragments(self) -> bool:
        """Whether more fragments follow. Setting it parses the packet anew."""
    @more_fragments.setter
    def more_fragments(self, value: bool, /) -> None: ...
    @property
    def fragment_offset(self) -> int:
        """Fragment offset in units of 8 bytes, 0 to 8191. Setting it parses the packet anew."""
    @fragment_offset.setter
    def fragment_offset(self, value: int, /) -> None: ...
    @property
    def ttl(self) -> int:
        """Time to live, 0 to 255 hops."""
    @ttl.setter
    def ttl(self, value: int, /) -> None: ...
    @property
    def protocol(self) -> int:
        """IP protocol number. Setting it parses the packet anew."""
    @protocol.setter
    def protocol(self, value: int, /) -> None: ...
    @property
    def checksum(self) -> int:
        """Header checksum as stored."""
    @checksum.setter
    def checksum(self, value: int, /) -> None: ...
    @property
    def header_length(self) -> int:
        """Header length in 32-bit words, 5 to 15."""
    @property
    def src_addr(self) -> IPv4Address:
        """Source address (`ipaddress`); settable from that or text."""
    @src_addr.setter
    def src_addr(self, value: IPv4Address | str, /) -> None: ...
    @property
    def dst_addr(self) -> IPv4Address:
        """Destination address (`ipaddress`); settable from that or text."""
    @dst_addr.setter
    def dst_addr(self, value: IPv4Address | str, /) -> None: ...

@final
class Ipv6Header:
    """The IPv6 header of a packet (RFC 8200)."""

    @property
    def traffic_class(self) -> int:
        """Traffic class, 0 to 255."""
    @traffic_class.setter
    def traffic_class(self, value: int, /) -> None: ...
    @property
    def flow_label(self) -> int:
        """Flow label, the true 20 bits (filters read it otherwise)."""
    @flow_label.setter
    def flow_label(self, value: int, /) -> None: ...
    @property
    def length(self) -> int:
        """Payload length in bytes, extension headers included. Setting it parses the packet anew."""
    @length.setter
    def length(self, value: int, /) -> None: ...
    @property
    def next_header(self) -> int:
        """Number of the first header behind this one. Setting it parses the packet anew."""
    @next_header.setter
    def next_header(self, value: int, /) -> None: ...
    @property
    def hop_limit(self) -> int:
        """Hop limit, 0 to 255 hops."""
    @hop_limit.setter
    def hop_limit(self, value: int, /) -> None: ...
    @property
    def src_addr(self) -> IPv6Address:
        """Source address (`ipaddress`); settable from that or text."""
    @src_addr.setter
    def src_addr(self, value: IPv6Address | str, /) -> None: ...
    @property
    def dst_addr(self) -> IPv6Address:
        """Destination address (`ipaddress`); settable from that or text."""
    @dst_addr.setter
    def dst_addr(self, value: IPv6Address | str, /) -> None: ...

@final
class TcpHeader:
    """The TCP header of a packet (RFC 9293). Edits keep its checksum right."""

    @property
    def src_port(self) -> int:
        """Source port."""
    @src_port.setter
    def src_port(self, value: int, /) -> None: ...
    @property
    def dst_port(self) -> int:
        """Destination port."""
    @dst_port.setter
    def dst_port(self, value: int, /) -> None: ...
    @property
    def seq(self) -> int:
        """Sequence number, 0 to 2**32 - 1."""
    @seq.setter
    def seq(self, value: int, /) -> None: ...
    @property
    def ack_number(self) -> int:
        """Acknowledgement number, 0 to 2**32 - 1."""
    @ack_number.setter
    def ack_number(self, value: int, /) -> None: ...
    @property
    def cwr(self) -> bool:
        """Congestion window reduced."""
    @cwr.setter
    def cwr(self, value: bool, /) -> None: ...
    @property
    def ece(self) -> bool:
        """ECN echo."""
    @ece.setter
    def ece(self, value: bool, /) -> None: ...
    @property
    def urg(self) -> bool:
        """Whether the urgent pointer counts."""
    @urg.setter
    def urg(self, value: bool, /) -> None: ...
    @property
    def ack(self) -> bool:
        """Whether the acknowledgement number counts."""
    @ack.setter
    def ack(self, value: bool, /) -> None: ...
    @property
    def psh(self) -> bool:
        """Push."""
    @psh.setter
    def psh(self, value: bool, /) -> None: ...
    @property
    def rst(self) -> bool:
        """Reset."""
    @rst.setter
    def rst(self, value: bool, /) -> None: ...
    @property
    def syn(self) -> bool:
        """Synchronise."""
    @syn.setter
    def syn(self, value: bool, /) -> None: ...
    @property
    def fin(self) -> bool:
        """Finish."""
    @fin.setter
    def fin(self, value: bool, /) -> None: ...
    @property
    def window(self) -> int:
        """Window as stored, unscaled."""
    @window.setter
    def window(self, value: int, /) -> None: ...
    @property
    def checksum(self) -> int:
        """Checksum as stored."""
    @checksum.setter
    def checksum(self, value: int, /) -> None: ...
    @property
    def urgent_pointer(self) -> int:
        """Urgent pointer."""
    @urgent_pointer.setter
    def urgent_pointer(self, value: int, /) -> None: ...
    @property
    def data_offset(self) -> int:
        """Header length in 32-bit words, 5 to 15."""

@final
class UdpHeader:
    """The UDP header of a packet (RFC 768). Edits keep its checksum right; 0 stays 0."""

    @property
    def src_port(self) -> int:
        """Source port."""
    @src_port.setter
    def src_port(self, value: int, /) -> None: ...
    @property
    def dst_port(self) -> int:
        """Destination port."""
    @dst_port.setter
    def dst_port(self, value: int, /) -> None: ...
    @property
    def length(self) -> int:
        """Length in bytes, header included, as stored."""
    @length.setter
    def length(self, value: int, /) -> None: ...
    @property
    def checksum(self) -> int:
        """Checksum as stored; 0 over IPv4 means none."""
    @checksum.setter
    def checksum(self, value: int, /) -> None: ...

@final
class IcmpHeader:
    """The ICMP header of a packet (RFC 792). Edits keep its checksum right."""

    @property
    def type(self) -> int:
        """Type: 8 echo request, 0 echo reply, 3 unreachable, …"""
    @type.setter
    def type(self, value: int, /) -> None: ...
    @property
    def code(self) -> int:
        """Code."""
    @code.setter
    def code(self, value: int, /) -> None: ...
    @property
    def checksum(self) -> int:
        """Checksum as stored."""
    @checksum.setter
    def checksum(self, value: int, /) -> None: ...
    @property
    def body(self) -> int:
        """The four bytes behind the checksum as one number; for echo: identifier and sequence number."""
    @body.setter
    def body(self, value: int, /) -> None: ...

@final
class Icmpv6Header:
    """The ICMPv6 header of a packet (RFC 4443). Edits keep its checksum right."""

    @property
    def type(self) -> int:
        """Type: 128 echo request, 129 echo reply, 1 unreachable, …"""
    @type.setter
    def type(self, value: int, /) -> None: ...
    @property
    def code(self) -> int:
        """Code."""
    @code.setter
    def code(self, value: int, /) -> None: ...
    @property
    def checksum(self) -> int:
        """Checksum as stored."""
    @checksum.setter
    def checksum(self, value: int, /) -> None: ...
    @property
    def body(self) -> int:
        """The four bytes behind the checksum as one number; for echo: identifier and sequence number."""
    @body.setter
    def body(self, value: int, /) -> None: ...

@final
class NetworkData:
    """The part of an address that packets have."""

    @property
    def interface_index(self) -> int:
        """Interface index."""
    @interface_index.setter
    def interface_index(self, value: int, /) -> None: ...
    @property
    def subinterface_index(self) -> int:
        """Sub-interface index."""
    @subinterface_index.setter
    def subinterface_index(self, value: int, /) -> None: ...

@final
class EndpointData:
    """The part of an address that flow and socket events have."""

    @property
    def endpoint_id(self) -> int:
        """The endpoint's number."""
    @endpoint_id.setter
    def endpoint_id(self, value: int, /) -> None: ...
    @property
    def parent_endpoint_id(self) -> int:
        """The number of the endpoint that this one came from."""
    @parent_endpoint_id.setter
    def parent_endpoint_id(self, value: int, /) -> None: ...
    @property
    def process_id(self) -> int:
        """The process."""
    @process_id.setter
    def process_id(self, value: int, /) -> None: ...
    @property
    def local_port(self) -> int:
        """The local port, or the ICMP type."""
    @local_port.setter
    def local_port(self, value: int, /) -> None: ...
    @property
    def remote_port(self) -> int:
        """The remote port."""
    @remote_port.setter
    def remote_port(self, value: int, /) -> None: ...
    @property
    def protocol(self) -> int:
        """The IP protocol number."""
    @protocol.setter
    def protocol(self, value: int, /) -> None: ...
    @property
    def local_addr(self) -> _IpAddress:
        """The local address (`ipaddress`); settable from that or text. IPv4-mapped words read as IPv4."""
    @local_addr.setter
    def local_addr(self, value: _IpAddress | str, /) -> None: ...
    @property
    def remote_addr(self) -> _IpAddress:
        """The remote address (`ipaddress`); settable from that or text. IPv4-mapped words read as IPv4."""
    @remote_addr.setter
    def remote_addr(self, value: _IpAddress | str, /) -> None: ...

@final
class ReflectData:
    """The part of an address that events about handles have."""

    @property
    def timestamp(self) -> int:
        """When the handle was opened, in ticks."""
    @timestamp.setter
    def timestamp(self, value: int, /) -> None: ...
    @property
    def process_id(self) -> int:
        """The process that opened the handle."""
    @process_id.setter
    def process_id(self, value: int, /) -> None: ...
    @property
    def layer(self) -> int:
        """The handle's layer, as a number."""
    @layer.setter
    def layer(self, value: int, /) -> None: ...
    @property
    def flags(self) -> int:
        """The handle's open flags, as a number."""
    @flags.setter
    def flags(self, value: int, /) -> None: ...
    @property
    def priority(self) -> int:
        """The handle's priority."""
    @priority.setter
    def priority(self, value: int, /) -> None: ...

@final
class Address:
    """The 80-byte address record that travels with a packet or event.

    Without arguments: layer NETWORK, outbound, nothing else set; checksum flags of 0 mean "computed when sent". The
    timestamp is the raw clock, not Unix time (see `Packet.time_ns`).
    """

    def __new__(
        cls,
        *,
        timestamp: int = 0,
        layer: Layer | int = 0,
        event: Event | int = 0,
        sniffed: bool = False,
        outbound: bool = True,
        loopback: bool = False,
        impostor: bool = False,
        ipv6: bool = False,
        ip_checksum: bool = False,
        tcp_checksum: bool = False,
        udp_checksum: bool = False,
    ) -> Self: ...
    @staticmethod
    def from_bytes(data: _Buffer) -> Address:
        """An address record from its 80 bytes. ValueError for another length, a layer above 4 or an event above 9."""
    @property
    def timestamp(self) -> int:
        """Capture time in ticks of the raw clock (100 ns in replays)."""
    @timestamp.setter
    def timestamp(self, value: int, /) -> None: ...
    @property
    def layer(self) -> Layer:
        """The layer."""
    @layer.setter
    def layer(self, value: Layer | int, /) -> None: ...
    @property
    def event(self) -> Event:
        """The event."""
    @event.setter
    def event(self, value: Event | int, /) -> None: ...
    @property
    def sniffed(self) -> bool:
        """Whether the packet is a copy."""
    @sniffed.setter
    def sniffed(self, value: bool, /) -> None: ...
    @property
    def outbound(self) -> bool:
        """Whether the packet leaves this host."""
    @outbound.setter
    def outbound(self, value: bool, /) -> None: ...
    @property
    def loopback(self) -> bool:
        """Whether the packet stays within this host."""
    @loopback.setter
    def loopback(self, value: bool, /) -> None: ...
    @property
    def impostor(self) -> bool:
        """Whether another driver made the packet."""
    @impostor.setter
    def impostor(self, value: bool, /) -> None: ...
    @property
    def ipv6(self) -> bool:
        """Whether the packet is IPv6."""
    @ipv6.setter
    def ipv6(self, value: bool, /) -> None: ...
    @property
    def ip_checksum(self) -> bool:
        """Whether the IPv4 header checksum is final; if not it is computed when the packet is sent."""
    @ip_checksum.setter
    def ip_checksum(self, value: bool, /) -> None: ...
    @property
    def tcp_checksum(self) -> bool:
        """Whether the TCP checksum is final; if not it is computed when the packet is sent."""
    @tcp_checksum.setter
    def tcp_checksum(self, value: bool, /) -> None: ...
    @property
    def udp_checksum(self) -> bool:
        """Whether the UDP checksum is final; if not it is computed when the packet is sent."""
    @udp_checksum.setter
    def udp_checksum(self, value: bool, /) -> None: ...
    @property
    def network(self) -> NetworkData | None:
        """The part of layers NETWORK and NETWORK_FORWARD; None on other layers."""
    @property
    def flow(self) -> EndpointData | None:
        """The part of layer FLOW; None on other layers."""
    @property
    def socket(self) -> EndpointData | None:
        """The part of layer SOCKET; None on other layers."""
    @property
    def reflect(self) -> ReflectData | None:
        """The part of layer REFLECT; None on other layers."""
    def copy(self) -> Address:
        """An address record of its own with the same content."""
    def __bytes__(self) -> bytes: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]
    def __reduce__(self) -> tuple[Callable[[bytes], Address], tuple[bytes]]: ...

@final
class Packet:
    """One packet: bytes, address, and typed views of its headers.

    `Packet(data, address=None)` copies the bytes in; any bytes are taken, and what is no packet has no headers. Without an
    address it gets `Address()`: NETWORK, outbound, checksums computed when sent. Edits keep every checksum right that was
    right (RFC 1624); an unedited packet goes back byte for byte.
    """

    def __new__(cls, data: _Buffer, address: Address | None = None) -> Self: ...
    @property
    def address(self) -> Address:
        """The live address record; assigning copies one in."""
    @address.setter
    def address(self, value: Address, /) -> None: ...
    @property
    def ipv4(self) -> Ipv4Header | None:
        """The IPv4 header, or None."""
    @property
    def ipv6(self) -> Ipv6Header | None:
        """The IPv6 header, or None."""
    @property
    def tcp(self) -> TcpHeader | None:
        """The TCP header, or None."""
    @property
    def udp(self) -> UdpHeader | None:
        """The UDP header, or None."""
    @property
    def icmp(self) -> IcmpHeader | None:
        """The ICMP header, or None."""
    @property
    def icmpv6(self) -> Icmpv6Header | None:
        """The ICMPv6 header, or None."""
    @property
    def src_addr(self) -> _IpAddress | None:
        """Source address (`ipaddress`), or None if the bytes are no packet; settable from that or text."""
    @src_addr.setter
    def src_addr(self, value: _IpAddress | str, /) -> None: ...
    @property
    def dst_addr(self) -> _IpAddress | None:
        """Destination address (`ipaddress`), or None if the bytes are no packet; settable from that or text."""
    @dst_addr.setter
    def dst_addr(self, value: _IpAddress | str, /) -> None: ...
    @property
    def src_port(self) -> int | None:
        """Source port of TCP or UDP, or None."""
    @src_port.setter
    def src_port(self, value: int, /) -> None: ...
    @property
    def dst_port(self) -> int | None:
        """Destination port of TCP or UDP, or None."""
    @dst_port.setter
    def dst_port(self, value: int, /) -> None: ...
    @property
    def direction(self) -> Direction:
        """Which way the packet goes (`Direction`); settable."""
    @direction.setter
    def direction(self, value: Direction, /) -> None: ...
    @property
    def protocol(self) -> int | None:
        """Final IP protocol number (6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6, …), or None if the bytes are no packet."""
    @property
    def flow(self) -> Flow | None:
        """The flow that the packet belongs to. None for fragments, which do not all tell it, and for bytes that are no packet."""
    @property
    def process(self) -> Process | None:
        """The process that the packet belongs to, as far as the backend knows: a live one looks it up when asked. None if it is not
        to be found. On an engine that is what `inject` was given.
        """
    @property
    def is_fragment(self) -> bool:
        """Whether the packet is an IP fragment; an IPv6 atomic fragment counts."""
    @property
    def time_ns(self) -> int:
        """Capture time in nanoseconds since the Unix epoch; 0 if unknown."""
    @property
    def data(self) -> memoryview:
        """All bytes, as a read-only memoryview; assigning replaces them (they must be a packet)."""
    @data.setter
    def data(self, value: _Buffer, /) -> None: ...
    @property
    def payload(self) -> memoryview:
        """The payload, as a read-only memoryview; assigning one of any length fixes lengths and checksums.

        Assigning raises PacketError on a first fragment, a truncated packet, and where the result is too long.
        """
    @payload.setter
    def payload(self, value: _Buffer, /) -> None: ...
    def recalculate_checksums(self, flags: ChecksumFlag | int = 0) -> bool:
        """Calculates every checksum anew, except those that `flags` (`ChecksumFlag`) leave alone, and sets the address's
        checksum flags. False for a first fragment or a truncated packet, whose transport checksum cannot be known.
        """
    @property
    def checksums_valid(self) -> bool:
        """Whether the checksums in the bytes are right, whatever the address's flags say."""
    def packet_hash(self, seed: int = 0) -> int:
        """WinDivert's 64-bit hash of the headers; 0 for bytes that are no whole packet."""
    def copy(self) -> Packet:
        """A packet of its own with the same bytes and address. Sending it injects a new packet."""
    def __copy__(self) -> Packet: ...
    def __deepcopy__(self, _memo: object, /) -> Packet: ...
    def __reduce__(self) -> tuple[type[Packet], tuple[bytes, Address]]: ...
    def __bytes__(self) -> bytes: ...
    def __len__(self) -> int: ...

@final
class Batch:
    """Packets and their addresses over one buffer, as `recv_batch` gives them: a sequence.

    A packet taken out of it is the same object each time, and goes out as it then is when the batch is sent. `column` reads a
    value of all packets at once, `set_column` writes one, `matches` asks a filter, `select` picks packets.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: SupportsIndex, /) -> Packet: ...
    def __iter__(self) -> Iterator[Packet]: ...
    def matches(self, filter: str | Filter | Expression) -> Mask:
        """For each packet, as it now is, whether it matches a filter: text, an expression of `f` or a Filter."""
    def column(self, name: str) -> Column:
        """A value of each packet, as it now is: a field of the filter language (`tcp.DstPort`, `ip.SrcAddr`, `localAddr`,
        `outbound`, `tcp.Payload[0]`), `length`, `time_ns`, `direction` (0 outbound, 1 inbound), `src_addr`, `dst_addr`,
        `src_port`, `dst_port` or `protocol`.

        Read once; the same object until a packet changes. ValueError if there is no such column.
        """
    def set_column(
        self,
        name: str,
        values: _ColumnValue | Iterable[_ColumnValue | None],
        mask: Mask | Iterable[bool] | None = None,
    ) -> None:
        """Gives the packets that `mask` selects (default all) a value each: one for all, a sequence, a Column or a buffer of
        integers with one for each packet of the batch. Checksums follow, as with every edit.

        Ports, addresses and other header fields can be set, but none that tells of the packet's structure: ValueError, with the
        list. If a packet lacks the header or its value does not fit, PacketError names it and no packet is changed.
        """
    def select(self, mask: Mask | Iterable[bool]) -> Batch:
        """The packets that a mask means, as a batch. They are the same packets: what changes in one batch changes in the other,
        and what was sent by one is sent again by the other as a copy.
        """

@final
class Column:
    """A value of each packet of a batch, in host byte order: a read-only sequence of int (flags: bool; addresses as numbers), None
    where the packet has none.

    `==`, `!=`, `<`, `<=`, `>` and `>=` with a number or an address give the Mask of the packets whose value stands so to it;
    packets that have none are never among them, as with the tests of the filter language.

    Takes part in the buffer protocol, so that `numpy.asarray(column)` is an array without a copy (0 where there is no value,
    see `valid`; IPv6 and mapped addresses are 16 bytes), and in Arrow's C data interface: `pyarrow.array(column)`,
    `polars.Series(column)`. Never changes; outlives its batch.
    """

    @property
    def name(self) -> str:
        """The name that the column was asked for by."""
    @property
    def valid(self) -> Mask:
        """Which packets have a value."""
    def __len__(self) -> int: ...
    def __getitem__(self, index: SupportsIndex, /) -> int | None: ...
    def __iter__(self) -> Iterator[int | None]: ...
    def __eq__(self, other: int | str | _IpAddress, /) -> Mask: ...  # type: ignore[override]
    def __ne__(self, other: int | str | _IpAddress, /) -> Mask: ...  # type: ignore[override]
    def __lt__(self, other: int | str | _IpAddress, /) -> Mask: ...
    def __le__(self, other: int | str | _IpAddress, /) -> Mask: ...
    def __gt__(self, other: int | str | _IpAddress, /) -> Mask: ...
    def __ge__(self, other: int | str | _IpAddress, /) -> Mask: ...
    def __hash__(self) -> int: ...
    def __arrow_c_schema__(self) -> _Object:
        """The column's type, for Arrow's C data interface."""
    def __arrow_c_array__(self, requested_schema: _Object | None = None) -> tuple[_Object, _Object]:
        """The column, for Arrow's C data interface, as the type that it has whatever is requested."""

@final
class Statistics:
    """What a handle has counted since it was opened: a snapshot."""

    @property
    def seen(self) -> int:
        """Packets that the handle could have matched."""
    @property
    def unmatched(self) -> int:
        """Packets that the system handed over although the filter does not match them: none where it asks the whole filter."""
    @property
    def received(self) -> int:
        """Packets handed out."""
    @property
    def sent(self) -> int:
        """Packets sent, re-injected or new."""
    @property
    def modified(self) -> int:
        """Of those sent, how many had been changed."""
    @property
    def dropped(self) -> int:
        """Packets received and never sent."""
    @property
    def overflowed(self) -> int:
        """Packets dropped because the queue was full."""
    @property
    def overflowed_by_size(self) -> int:
        """Of those overflowed, how many because of their bytes rather than their number."""
    @property
    def expired(self) -> int:
        """Packets that waited too long in the queue."""
    @property
    def suspected_loss(self) -> int:
        """Packets probably lost by a driver that counts none, estimated from the age of those that came."""
    @property
    def passed_on_overload(self) -> int:
        """Packets that passed unseen because the queue was full (on_overload="pass")."""
    @property
    def bypassed(self) -> int:
        """Packets that passed unseen because their flow bypasses the handle."""
    @property
    def given_back(self) -> int:
        """Packets that were still queued when the handle closed, and went on."""
    @property
    def errors(self) -> int:
        """Packets that could not be sent, or not be read."""
    @property
    def checksums_computed(self) -> int:
        """Checksums computed on sending because the address said that they were not final."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Filter:
    """A compiled filter.

    `Filter(text, layer=Layer.NETWORK)` compiles WinDivert's filter language, an expression of `f`, or decodes a compiled object
    string. With `dialect="extended"`, or with `sets`, the text may also ask about sets, ranges, prefixes and negated groups:
    `tcp.DstPort in {80, 8000-8080}`, `ip.SrcAddr in 10.0.0.0/8`, `!(udp or icmp)`, and name `sets`: `ip.SrcAddr in $blocked`
    with `sets={"blocked": ["192.0.2.0/24", ...]}`, whose members are int, str, range, (low, high), or of ipaddress.

    FilterError says what is wrong and where. A FilterWarning tells of a part that can never hold, or always does.
    """

    def __new__(
        cls,
        text: str | Expression,
        layer: Layer | int = 0,
        *,
        dialect: Literal["windivert", "extended"] = "windivert",
        sets: _Sets | None = None,
    ) -> Self: ...
    @overload
    def matches(self, packet: Packet, address: None = None) -> bool:
        """Whether a packet matches; or bytes (None on event layers) together with an address.

        ValueError where bytes and address do not fit each other or the filter's layer.
        """
    @overload
    def matches(self, packet: _Buffer | None, address: Address) -> bool: ...
    @overload
    def trace(self, packet: Packet, address: None = None) -> list[TraceStep]:
        """The tests that were asked of a packet, or of bytes with their address, in order: the last one decided. Tests whose outcome
        makes no difference are left out.

        ValueError as from `matches`, and for a packet whose bytes are none.
        """
    @overload
    def trace(self, packet: _Buffer | None, address: Address) -> list[TraceStep]: ...
    def explain(self, *, json: bool = False, ebpf: bool = False) -> str:
        """What the filter compiles to, for people: its tests, what a driver runs in front of it, and the program that runs here
        for each class of packets. With `json=True` the same as JSON text, for tools; with `ebpf=True` the programs that a Linux
        kernel is asked instead, one instruction a line.
        """
    @property
    def warnings(self) -> tuple[FilterWarning, ...]:
        """The parts of the filter that can never hold or always do, as FilterWarnings."""
    @property
    def superset(self) -> Filter:
        """The filter of WinDivert's language that matches at least the same packets and fits a driver's limits; the filter itself
        where that language can say it.
        """
    @property
    def superset_is_exact(self) -> bool:
        """Whether the superset matches no other packets than the filter."""
    @property
    def object(self) -> str:
        """The compiled object string, as WinDivert writes it; that of the superset where only the extended dialect can say the
        filter.
        """
    @property
    def layer(self) -> Layer:
        """The filter's layer."""
    @property
    def text(self) -> str:
        """The text that the filter was compiled from."""
    def __eq__(self, other: _Object, /) -> bool: ...
    def __ne__(self, other: _Object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Callable[..., Filter], tuple[str, int]]: ...

@final
class TraceStep:
    """A test that was asked on the way to a filter's answer."""

    @property
    def text(self) -> str:
        """The test, as the normal form writes it."""
    @property
    def value(self) -> int | None:
        """The value of the field; None if it is not there, which fails every test. An IPv4 address counts as the IPv6 address that
        it is mapped to.
        """
    @property
    def shown(self) -> str | None:
        """The value as filters write it; None if the field is not there."""
    @property
    def passed(self) -> bool:
        """Whether the test passed."""

@final
class Mask:
    """Which packets of a batch are meant: a read-only sequence of truth values, one for each packet.

    `&`, `|`, `^` and `~` combine masks of one length. Takes part in the buffer protocol (format `?`), so that
    `numpy.asarray(mask)` is an array of bool without a copy.
    """

    def __new__(cls, values: Iterable[bool]) -> Self: ...
    def count(self) -> int:
        """How many packets are meant."""
    def __len__(self) -> int: ...
    def __getitem__(self, index: SupportsIndex, /) -> bool: ...
    def __iter__(self) -> Iterator[bool]: ...
    def __and__(self, other: Mask, /) -> Mask: ...
    def __or__(self, other: Mask, /) -> Mask: ...
    def __xor__(self, other: Mask, /) -> Mask: ...
    def __rand__(self, value: Mask, /) -> Mask: ...
    def __ror__(self, value: Mask, /) -> Mask: ...
    def __rxor__(self, value: Mask, /) -> Mask: ...
    def __invert__(self) -> Mask: ...
    def __eq__(self, other: _Object, /) -> bool: ...
    def __ne__(self, other: _Object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Handle(Generic[_Item]):
    """An open handle: receives the packets that its filter matches, and sends.

    Made by `open`. A context manager, like a file: leaving the block closes it; an exception that leaves the block discards a
    replay's output. May be used from any thread; `close` and `shutdown` wake every waiter.
    """

    def recv(self, timeout: float | None = None) -> _Item | None:
        """Waits for a packet: `timeout` seconds, 0 polls, None waits as long as it takes. None only when the time is out.

        HandleShutdownError (232) after a receive shutdown or the end of a replay, HandleClosedError after close.
        """
    def recv_batch(self, limit: int = 64, timeout: float | None = None) -> Batch:
        """Waits like `recv` for at least one packet, and takes up to `limit` (1 to 255) that are there.

        An empty batch when the time is out.
        """
    @overload
    def send(self, packet: Packet, address: Address | None = None) -> None:
        """Sends a packet, or bytes with an address.

        The first send of a received packet re-injects it; later ones, and packets made here, inject new ones.
        """
    @overload
    def send(self, packet: _Buffer, address: Address) -> None: ...
    def send_batch(self, batch: Batch, mask: Mask | Iterable[bool] | None = None) -> int:
        """Sends the packets of a batch that `mask` (one truth value each, default all) selects; how many went out.

        A failure in the middle raises DivertError with `sent`.
        """
    def run(
        self,
        callback: Callable[[_Item], bool | None],
        *,
        batch: int = 64,
        workers: int = 1,
        on_error: Literal["raise", "drop", "pass"] = "raise",
    ) -> int:
        """Calls `callback(packet)` for every packet, in a loop that runs in Rust, until the handle is shut down or closed or
        the replay ends; how many packets were handled.

        The callback returns None or True to send the packet on as it now is, or False to drop it; anything else is a
        TypeError. On handles with SNIFF, DROP or RECV_ONLY and on event layers nothing is sent. An exception in it, by
        `on_error`: "raise" drops the packet, sends those that were decided, leaves the rest to be received, and raises; "drop"
        and "pass" log it and drop the packet or send its original bytes.

        `workers`: so many threads (1 to 64) call it, which helps callbacks that wait; the packets of a flow keep their order.
        """
    def recv_async(self, timeout: float | None = None) -> Coroutine[Any, Any, _Item | None]:
        """`recv` for asyncio. A wait that is cancelled loses no packet; many tasks may wait."""
    def recv_batch_async(self, limit: int = 64, timeout: float | None = None) -> Coroutine[Any, Any, Batch]:
        """`recv_batch` for asyncio."""
    @overload
    def send_async(self, packet: Packet, address: Address | None = None) -> Coroutine[Any, Any, None]:
        """`send` for asyncio."""
    @overload
    def send_async(self, packet: _Buffer, address: Address) -> Coroutine[Any, Any, None]: ...
    def send_batch_async(self, batch: Batch, mask: Mask | Iterable[bool] | None = None) -> Coroutine[Any, Any, int]:
        """`send_batch` for asyncio."""
    def _recv_slice(self, limit: int) -> Batch:
        """Waits like `recv_batch`, for a short time and not beyond the next `_wake`; an empty batch if nothing came."""
    def _wake(self) -> None:
        """Ends the wait of a `_recv_slice`."""
    def _give_back(self, batch: Batch) -> None:
        """Puts a batch that nobody has looked at back to the head of the queue."""
    @property
    def _waits_to_send(self) -> bool:
        """Whether sending may take as long as the system likes."""
    def shutdown(self, how: Shutdown | int) -> None:
        """Ends receiving, sending or both (`Shutdown`), and wakes every waiter."""
    def close(self) -> None:
        """Closes the handle, lets what nobody received go on, and wakes every waiter. A second call does nothing."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, _value: BaseException | None, _traceback: object, /
    ) -> None: ...
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: object, /
    ) -> Coroutine[Any, Any, None]: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, _Item]: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> _Item: ...
    def __class_getitem__(cls, item: object) -> GenericAlias: ...
    def set_filter(
        self,
        filter: str | Filter | Expression,
        *,
        dialect: Literal["windivert", "extended"] = "extended",
        sets: _Sets | None = None,
    ) -> None:
        """Puts another filter in the old one's place without missing a packet that either matches.

        `dialect` and `sets` are those of the text, as for `open`.
        """
    @property
    def closed(self) -> bool:
        """Whether the handle was closed."""
    @property
    def filter(self) -> Filter:
        """The filter."""
    @property
    def layer(self) -> Layer:
        """The layer."""
    @property
    def priority(self) -> int:
        """The priority."""
    @property
    def flags(self) -> Flag:
        """The open flags."""
    @property
    def version(self) -> tuple[int, int]:
        """The version of the driver, or of the semantics that the backend keeps: major and minor."""
    @property
    def backend(self) -> str:
        """The backend's name."""
    @property
    def queue_length(self) -> int:
        """Packets that fit into the queue, 32 to 16384."""
    @queue_length.setter
    def queue_length(self, value: int, /) -> None: ...
    @property
    def queue_time(self) -> int:
        """How long a packet may wait in the queue, 100 to 16000 milliseconds."""
    @queue_time.setter
    def queue_time(self, value: int, /) -> None: ...
    @property
    def queue_size(self) -> int:
        """Bytes that fit into the queue, 65535 to 33554432."""
    @queue_size.setter
    def queue_size(self, value: int, /) -> None: ...
    def fileno(self) -> int:
        """A descriptor that can be read while packets wait, for `select` and its kind; it belongs to the handle. DivertError 50 where
        the backend has none.
        """
    @property
    def stats(self) -> Statistics:
        """What was counted so far, as a snapshot."""

@final
class Flow:
    """The flow that a packet belongs to: protocol, addresses and ports, whichever way the packet goes. Equal for all packets of a
    flow and hashable, so that it can be the key of a table.
    """

    @property
    def protocol(self) -> int:
        """IP protocol number."""
    @property
    def ends(self) -> tuple[tuple[IPv4Address | IPv6Address, int], tuple[IPv4Address | IPv6Address, int]]:
        """The two ends, each an address (`ipaddress`) and a port, 0 where the protocol has none; in the order of their numbers."""
    def bypass(self) -> bool:
        """Lets the rest of the flow, both directions, pass the handle that the packet was received from without Python, until the
        flow ends or the handle closes. False if too many flows pass already.

        What is queued of the flow goes on at once: send what was received of it first. HandleClosedError if the handle is
        closed or the packet came from none, DivertError 50 where the backend cannot.
        """
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class FlowTable:
    """The flows that are under way: who talks with whom, which process that is, how much, and how fast.

    Fed by packets, which bring the counts, and by the events of layer FLOW, which bring processes, begin and end; either alone will
    do. `limit`: so many flows at most; packets of further ones are counted in `overflowed`. Needs about 300 bytes a flow and may
    be used from any thread.
    """

    def __new__(cls, *, limit: int = 65536) -> Self: ...
    def add(self, packet: Packet, /) -> bool:
        """Counts a packet; whether a flow began with it. Fragments belong to no flow and are only counted."""
    def add_batch(self, batch: Batch, /) -> list[int]:
        """Counts the packets of a batch; the positions of those that a flow began with."""
    def add_event(self, event: FlowEvent, /, time_ns: int | None = None) -> None:
        """Takes an event of layer FLOW in. A flow that it ends stays until `prune`, since its last packets may be told of later.
        `time_ns` is when it happened, in nanoseconds since the Unix epoch; without it, now.
        """
    def set_process(self, flow: Flow, process_id: int, /) -> bool:
        """Says which process a flow's local end belongs to, where no event does. False if the flow is unknown."""
    def process_of(self, flow: Flow, /) -> int | None:
        """The process at a flow's local end, as an event or `set_process` told it; 0 if none did, None if the flow is unknown."""
    def rows(
        self,
        limit: int | None = None,
        *,
        sort: Literal["rate", "bytes", "packets", "newest"] = "rate",
        now_ns: int | None = None,
        silent: bool = True,
    ) -> list[FlowRow]:
        """The rows, those with the largest values first, `limit` at most. `sort`: "rate" (bytes a second), "bytes", "packets" or
        "newest". `now_ns` is the moment that rates are told for; without it, that of the last packet or event. Flows without
        packets, which only events told of, are left out without `silent`.

        A flow within this host has a row for each of its ends that an event told of.
        """
    def prune(self, now_ns: int, idle_seconds: float = 60.0) -> list[FlowRow]:
        """Takes out flows that ended more than a second ago, and those that were silent for longer than `idle_seconds`, unless an
        event is to tell of their end; their rows, oldest first. `now_ns` is the time, in nanoseconds since the Unix epoch.
        """
    @property
    def begun(self) -> int:
        """How many flows there have been so far."""
    @property
    def overflowed(self) -> int:
        """Packets and events of flows that found no room."""
    @property
    def without_flow(self) -> int:
        """Packets that belong to no flow: fragments, and bytes that are no packet."""
    def __len__(self) -> int: ...

@final
class FlowRow:
    """One flow of a `FlowTable`, as its local end sees it: a snapshot."""

    @property
    def protocol(self) -> int:
        """IP protocol number."""
    @property
    def local_addr(self) -> _IpAddress:
        """The local address."""
    @property
    def local_port(self) -> int:
        """The local port; 0 where the protocol has none."""
    @property
    def remote_addr(self) -> _IpAddress:
        """The remote address."""
    @property
    def remote_port(self) -> int:
        """The remote port; 0 where the protocol has none."""
    @property
    def outbound(self) -> bool:
        """Whether the local end began the flow, as far as is known: by the event, else by the first packet that was seen."""
    @property
    def process_id(self) -> int:
        """The process at the local end; 0 if unknown."""
    @property
    def endpoint_id(self) -> int:
        """The endpoint's number; 0 if no event told of it."""
    @property
    def packets_sent(self) -> int:
        """Packets that the local end sent."""
    @property
    def packets_received(self) -> int:
        """Packets that the local end received."""
    @property
    def bytes_sent(self) -> int:
        """Bytes that the local end sent, IP headers included."""
    @property
    def bytes_received(self) -> int:
        """Bytes that the local end received, IP headers included."""
    @property
    def bytes_per_second(self) -> float:
        """Bytes a second, both ways: what came within about the last second."""
    @property
    def packets_per_second(self) -> float:
        """Packets a second, both ways: what came within about the last second."""
    @property
    def started_ns(self) -> int:
        """When the flow was first seen, in nanoseconds since the Unix epoch."""
    @property
    def last_ns(self) -> int:
        """When its last packet or event was, in nanoseconds since the Unix epoch."""
    @property
    def ended(self) -> bool:
        """Whether it was seen to end: by an event, a reset, or a FIN each way."""

@final
class Replay:
    """A capture (pcap or pcapng, plain or gzip'd) as a backend for `open`: its packets are received, and what is sent is
    written to `out`.

    `source`: a path, or the bytes of a capture. `out`: a path that appears, whole, when the last handle closes, and not at all
    after an exception; None discards. `local`: the networks ("10.0.0.0/8") of this side, for captures that do not tell
    directions; default the private ranges.
    """

    def __new__(
        cls,
        source: str | os.PathLike[str] | bytes | bytearray,
        out: str | os.PathLike[str] | None = None,
        *,
        local: Iterable[str | IPv4Network | IPv6Network] | None = None,
    ) -> Self: ...
    @property
    def progress(self) -> tuple[int, int]:
        """How much of the source was read: bytes, and how many there are."""

@final
class Engine:
    """A small network stack in process, and handles on it that behave as WinDivert's: `open(..., backend=engine)`.

    `inject` sends a packet on its way, which it has gone before the call returns, as far as no handle holds it; `delivered` lists
    what reached the host or the wire. `flow` and `socket_event` tell handles of the other layers. Engines are independent of
    each other, and everything may be used from any thread.

    `clock`: "stepped" stands still but for `advance`, so that timestamps and queue times are the same in every run; "real" is
    the system's.
    """

    def __new__(cls, clock: Literal["stepped", "real"] = "stepped") -> Self: ...
    def inject(
        self,
        packet: Packet | _Buffer,
        outbound: bool = True,
        *,
        loopback: bool = False,
        forwarded: bool = False,
        reassembled: bool = False,
        interface_index: int = 1,
        process: int | None = None,
    ) -> None:
        """Sends a packet, or the bytes of one, on its way: from this host's programs (`outbound`) or from the wire; with
        `loopback` between two addresses of this host, with `forwarded` through it (layer NETWORK_FORWARD). `reassembled`:
        it was put together from fragments. `process`: the number of the process that it belongs to.

        Its checksums are taken to be final. Bytes that are no packet pass untouched.
        """
    @property
    def delivered(self) -> list[Packet]:
        """The packets that reached the host or the wire, in order; `packet.direction` tells which. Always the same list, so that a
        test may clear it between its steps.
        """
    def flow(
        self,
        *,
        local_addr: _IpAddress | str | None = None,
        remote_addr: _IpAddress | str | None = None,
        local_port: int = 0,
        remote_port: int = 0,
        protocol: int = 6,
        process_id: int = 0,
        endpoint_id: int = 0,
        parent_endpoint_id: int = 0,
        outbound: bool = True,
        loopback: bool = False,
    ) -> EngineFlow:
        """A flow begins: handles of layer FLOW are told, and told again when the answer's `end` is called."""
    def socket_event(
        self,
        event: Event | int,
        *,
        local_addr: _IpAddress | str | None = None,
        remote_addr: _IpAddress | str | None = None,
        local_port: int = 0,
        remote_port: int = 0,
        protocol: int = 6,
        process_id: int = 0,
        endpoint_id: int = 0,
        parent_endpoint_id: int = 0,
        loopback: bool = False,
    ) -> bool:
        """A socket operation happens (`event`: SOCKET_BIND to SOCKET_CLOSE): handles of layer SOCKET are told. Whether they allow it."""
    def advance(self, seconds: float) -> None:
        """Moves a stepped clock on by so many seconds. DivertError 50 with the system's clock."""

@final
class EngineFlow:
    """A flow that began on an engine."""

    def end(self) -> bool:
        """The flow ends: handles of layer FLOW that were open when it began are told. False if it has ended before."""

@final
class FlowEvent:
    """A flow that began or ended (layer FLOW)."""

    @property
    def address(self) -> Address:
        """A copy of the event's address record."""
    @property
    def event(self) -> Event:
        """What happened."""
    @property
    def timestamp(self) -> int:
        """When it happened, in ticks of the raw clock."""
    @property
    def process_id(self) -> int:
        """The process; 0 if unknown."""
    @property
    def process(self) -> Process | None:
        """The process that did it, with name and path as far as the system tells, on Linux also when it is gone by then. None if
        unknown.
        """
    @property
    def local_addr(self) -> _IpAddress:
        """The local address."""
    @property
    def remote_addr(self) -> _IpAddress:
        """The remote address."""
    @property
    def local_port(self) -> int:
        """The local port, or the ICMP type."""
    @property
    def remote_port(self) -> int:
        """The remote port."""
    @property
    def protocol(self) -> int:
        """The IP protocol number."""
    @property
    def endpoint_id(self) -> int:
        """The endpoint's number."""
    @property
    def parent_endpoint_id(self) -> int:
        """The number of the endpoint that this one came from."""

@final
class SocketEvent:
    """A socket operation (layer SOCKET). Unless the handle only watches (SNIFF), the operation was blocked."""

    @property
    def address(self) -> Address:
        """A copy of the event's address record."""
    @property
    def event(self) -> Event:
        """What happened."""
    @property
    def timestamp(self) -> int:
        """When it happened, in ticks of the raw clock."""
    @property
    def process_id(self) -> int:
        """The process; 0 if unknown."""
    @property
    def process(self) -> Process | None:
        """The process that did it, with name and path as far as the system tells, on Linux also when it is gone by then. None if
        unknown.
        """
    @property
    def local_addr(self) -> _IpAddress:
        """The local address."""
    @property
    def remote_addr(self) -> _IpAddress:
        """The remote address."""
    @property
    def local_port(self) -> int:
        """The local port, or the ICMP type."""
    @property
    def remote_port(self) -> int:
        """The remote port."""
    @property
    def protocol(self) -> int:
        """The IP protocol number."""
    @property
    def endpoint_id(self) -> int:
        """The endpoint's number."""
    @property
    def parent_endpoint_id(self) -> int:
        """The number of the endpoint that this one came from."""

@final
class ReflectEvent:
    """A handle that opened or closed (layer REFLECT)."""

    @property
    def address(self) -> Address:
        """A copy of the event's address record."""
    @property
    def event(self) -> Event:
        """What happened."""
    @property
    def timestamp(self) -> int:
        """When it happened, in ticks of the raw clock."""
    @property
    def process_id(self) -> int:
        """The process that opened the handle."""
    @property
    def layer(self) -> Layer:
        """The handle's layer."""
    @property
    def priority(self) -> int:
        """The handle's priority."""
    @property
    def flags(self) -> Flag:
        """The handle's open flags."""
    @property
    def filter(self) -> Filter | None:
        """The handle's filter; None if what the driver tells of it is no object."""

@final
class ParsedPacket:
    """Where the headers of a packet lie, in bytes from the start of the data; None for what is absent."""

    @property
    def ipv4(self) -> int | None:
        """Offset of the IPv4 header."""
    @property
    def ipv6(self) -> int | None:
        """Offset of the IPv6 header."""
    @property
    def icmp(self) -> int | None:
        """Offset of the ICMP header."""
    @property
    def icmpv6(self) -> int | None:
        """Offset of the ICMPv6 header."""
    @property
    def tcp(self) -> int | None:
        """Offset of the TCP header."""
    @property
    def udp(self) -> int | None:
        """Offset of the UDP header."""
    @property
    def payload(self) -> int | None:
        """Offset of the payload."""
    @property
    def next(self) -> int | None:
        """Offset of what follows behind the packet: the next packet of a batch, or padding."""
    @property
    def protocol(self) -> int:
        """Final IP protocol number."""
    @property
    def payload_len(self) -> int:
        """Length of the payload in bytes."""
    @property
    def next_len(self) -> int:
        """Length of what follows behind the packet, in bytes."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@overload
def open(
    filter: str | Filter | Expression = "true",
    *,
    layer: Literal[Layer.NETWORK, Layer.NETWORK_FORWARD, 0, 1] = 0,
    priority: int = 0,
    flags: Flag | int = 0,
    backend: _BackendArgument = "auto",
    dialect: Literal["windivert", "extended"] = "extended",
    sets: _Sets | None = None,
    on_overload: Literal["drop", "pass"] = "drop",
    processes: bool = False,
) -> Handle[Packet]:
    """Opens a handle, like the builtin `open`: use it in a `with` block.

    `filter`: text, compiled object text, an expression of `f` or a `Filter`. `backend`: a `Replay`, or the name of a live
    backend ("auto" takes this platform's). Wrong arguments and filters are told in the driver's order: layer, flags, priority
    (DivertError 87), filter (FilterError), backend.

    `on_overload`: "drop" drops what does not fit into the queue, "pass" lets it go on unseen; either is counted in `stats`.
    `processes`: the first packet of a new flow waits, 50 ms at most, until `packet.process` is known.
    """

@overload
def open(
    filter: str | Filter | Expression = "true",
    *,
    layer: Literal[Layer.FLOW, 2],
    priority: int = 0,
    flags: Flag | int = 0,
    backend: _BackendArgument = "auto",
    dialect: Literal["windivert", "extended"] = "extended",
    sets: _Sets | None = None,
    on_overload: Literal["drop", "pass"] = "drop",
    processes: bool = False,
) -> Handle[FlowEvent]: ...
@overload
def open(
    filter: str | Filter | Expression = "true",
    *,
    layer: Literal[Layer.SOCKET, 3],
    priority: int = 0,
    flags: Flag | int = 0,
    backend: _BackendArgument = "auto",
    dialect: Literal["windivert", "extended"] = "extended",
    sets: _Sets | None = None,
    on_overload: Literal["drop", "pass"] = "drop",
    processes: bool = False,
) -> Handle[SocketEvent]: ...
@overload
def open(
    filter: str | Filter | Expression = "true",
    *,
    layer: Literal[Layer.REFLECT, 4],
    priority: int = 0,
    flags: Flag | int = 0,
    backend: _BackendArgument = "auto",
    dialect: Literal["windivert", "extended"] = "extended",
    sets: _Sets | None = None,
    on_overload: Literal["drop", "pass"] = "drop",
    processes: bool = False,
) -> Handle[ReflectEvent]: ...
@overload
def open(
    filter: str | Filter | Expression = "true",
    *,
    layer: Layer | int,
    priority: int = 0,
    flags: Flag | int = 0,
    backend: _BackendArgument = "auto",
    dialect: Literal["windivert", "extended"] = "extended",
    sets: _Sets | None = None,
    on_overload: Literal["drop", "pass"] = "drop",
    processes: bool = False,
) -> Handle[Any]: ...
def _driver_inventory() -> tuple[bool, tuple[bool, Path] | None, Path, list[tuple[Path, str]]]:
    """What is there of the WinDivert driver: whether it is loaded, its service, the folder it is run from, the package's files
    and what is wrong with each."""

def _driver_remove() -> None:
    """Removes the WinDivert driver's service."""

def _driver_start() -> None:
    """Installs and starts the WinDivert driver if it is not loaded."""

def _driver_stop() -> None:
    """Stops the WinDivert driver."""

def _service(name: str) -> tuple[bool, Path] | None:
    """A service of Windows by its name: whether it runs, and its file."""

def _run_passthrough(handle: Handle[Packet], batch: int = 64) -> int:
    """The loop of `run` with a callback in Rust that does nothing: what a callback's cost is measured against."""

def parse_packet(data: _Buffer) -> ParsedPacket | None:
    """Parses the packet that `data` begins with; None if it has no usable IP header or is cut short."""

def parse_batch(data: _Buffer) -> Iterator[ParsedPacket]:
    """Iterates over the packets that lie back to back in `data`, up to the first that does not parse."""

def calc_checksums(data: bytearray, address: Address | None = None, flags: ChecksumFlag | int = 0) -> bool:
    """Calculates the checksums of the first packet in `data`, in place, and sets the address's checksum flags.

    `flags` (`ChecksumFlag`) name those to leave alone. False for bytes that are no packet, and for first fragments and
    truncated packets, of which the IPv4 header checksum is written all the same.
    """

def decrement_ttl(data: bytearray) -> bool:
    """Lowers the TTL or hop limit of the first packet in `data` by one, in place; False, and nothing changed, if it is 0 or 1
    or the bytes are no packet.
    """

def hash_packet(data: _Buffer, seed: int = 0) -> int:
    """WinDivert's 64-bit hash of the headers of the first packet in `data`; 0 for bytes that are no whole packet."""

def compile_filter(text: str, layer: Layer | int = 0) -> str:
    """Compiles a filter for a layer to WinDivert's object string. FilterError says what is wrong and where."""

def format_filter(text: str, layer: Layer | int = 0) -> str:
    """A filter, or a compiled object string, in normal form. FilterError says what is wrong and where."""

def filter_fields() -> list[
    tuple[
        str,
        str,
        str | None,
        tuple[Layer, ...],
        Literal["flag", "decimal", "hexadecimal", "ipv4", "ipv6", "layer", "event"],
        int | None,
    ]
]:
    """The table of fields of the filter language: name, what it is, the header that it needs, the layers that have it, how its
    values are written, and the length in bytes of an element if it is an array.
    """

def eval_filter(filter: str | Filter, data: _Buffer | None, address: Address) -> bool:
    """Whether a packet (None on event layers) with its address matches a filter: text, an object string or a `Filter`.

    ValueError where the library reports an error rather than "no match": a bad filter, a field that the layer lacks, bytes
    that are no packet, an address that does not fit.
    """

def parse_ipv4_address(text: str) -> int:
    """An IPv4 address in text as a number in host order. ValueError on refusal."""

def parse_ipv6_address(text: str) -> tuple[int, int, int, int]:
    """An IPv6 address in text as four words in host order, the first one least significant. ValueError on refusal."""

def format_ipv4_address(address: int) -> str:
    """An IPv4 address, a number in host order, as text."""

def format_ipv6_address(words: Sequence[int]) -> str:
    """An IPv6 address, four words in host order with the first one least significant, as text."""

def ntohs(value: int) -> int:
    """Swaps the bytes of a 16-bit number between network and host order."""

def htons(value: int) -> int:
    """Swaps the bytes of a 16-bit number between host and network order."""

def ntohl(value: int) -> int:
    """Swaps the bytes of a 32-bit number between network and host order."""

def htonl(value: int) -> int:
    """Swaps the bytes of a 32-bit number between host and network order."""

def ntohll(value: int) -> int:
    """Swaps the bytes of a 64-bit number between network and host order."""

def htonll(value: int) -> int:
    """Swaps the bytes of a 64-bit number between host and network order."""

def ntoh_ipv6_address(words: Sequence[int]) -> tuple[int, int, int, int]:
    """Reverses all 16 bytes of an IPv6 address of four words: network to host order."""

def hton_ipv6_address(words: Sequence[int]) -> tuple[int, int, int, int]:
    """Reverses all 16 bytes of an IPv6 address of four words: host to network order."""

def tcp(
    src_addr: _IpAddress | str,
    dst_addr: _IpAddress | str,
    src_port: int,
    dst_port: int,
    *,
    payload: _Buffer | None = None,
    seq: int = 0,
    ack_number: int = 0,
    syn: bool = False,
    ack: bool = False,
    fin: bool = False,
    rst: bool = False,
    psh: bool = False,
    urg: bool = False,
    ece: bool = False,
    cwr: bool = False,
    window: int = 65535,
    urgent_pointer: int = 0,
    mss: int | None = None,
    window_scale: int | None = None,
    sack_permitted: bool = False,
    timestamps: tuple[int, int] | None = None,
    options: _Buffer | None = None,
    ttl: int = 64,
    tos: int = 0,
    id: int | None = None,
    dont_fragment: bool = False,
    flow_label: int | None = None,
) -> Packet:
    """A TCP packet (RFC 9293).

    Options in this order, where given: `mss` (bytes), `window_scale` (shift count), `sack_permitted`, `timestamps` (value
    and echo reply), then the bytes of `options`; together at most 40 bytes.

    The addresses, both IPv4 or both IPv6, are text or `ipaddress` objects. `ttl` is the hop limit and `tos` the traffic
    class under IPv6; `id` and `dont_fragment` are of IPv4, `flow_label` is of IPv6. The packet is outbound and its
    checksums are final. PacketError if a value does not fit.
    """

def udp(
    src_addr: _IpAddress | str,
    dst_addr: _IpAddress | str,
    src_port: int,
    dst_port: int,
    *,
    payload: _Buffer | None = None,
    ttl: int = 64,
    tos: int = 0,
    id: int | None = None,
    dont_fragment: bool = False,
    flow_label: int | None = None,
) -> Packet:
    """A UDP packet (RFC 768).

    The addresses, both IPv4 or both IPv6, are text or `ipaddress` objects. `ttl` is the hop limit and `tos` the traffic
    class under IPv6; `id` and `dont_fragment` are of IPv4, `flow_label` is of IPv6. The packet is outbound and its
    checksums are final. PacketError if a value does not fit.
    """

def icmp(
    src_addr: _IpAddress | str,
    dst_addr: _IpAddress | str,
    type: int,
    *,
    code: int = 0,
    body: int = 0,
    payload: _Buffer | None = None,
    ttl: int = 64,
    tos: int = 0,
    id: int | None = None,
    dont_fragment: bool = False,
    flow_label: int | None = None,
) -> Packet:
    """An ICMP packet (RFC 792), or ICMPv6 (RFC 4443) between IPv6 addresses; `body` is the four bytes behind the checksum.

    The addresses, both IPv4 or both IPv6, are text or `ipaddress` objects. `ttl` is the hop limit and `tos` the traffic
    class under IPv6; `id` and `dont_fragment` are of IPv4, `flow_label` is of IPv6. The packet is outbound and its
    checksums are final. PacketError if a value does not fit.
    """

def icmp_echo(
    src_addr: _IpAddress | str,
    dst_addr: _IpAddress | str,
    *,
    identifier: int = 0,
    sequence: int = 0,
    reply: bool = False,
    payload: _Buffer | None = None,
    ttl: int = 64,
    tos: int = 0,
    id: int | None = None,
    dont_fragment: bool = False,
    flow_label: int | None = None,
) -> Packet:
    """An ICMP or ICMPv6 echo request, or the reply to one.

    The addresses, both IPv4 or both IPv6, are text or `ipaddress` objects. `ttl` is the hop limit and `tos` the traffic
    class under IPv6; `id` and `dont_fragment` are of IPv4, `flow_label` is of IPv6. The packet is outbound and its
    checksums are final. PacketError if a value does not fit.
    """

def icmp_unreachable(
    src_addr: _IpAddress | str,
    dst_addr: _IpAddress | str,
    packet: Packet | _Buffer,
    *,
    code: int = 0,
    ttl: int = 64,
    tos: int = 0,
    id: int | None = None,
    dont_fragment: bool = False,
    flow_label: int | None = None,
) -> Packet:
    """An ICMP or ICMPv6 "destination unreachable" that quotes as much of `packet` as the RFCs want.

    The addresses, both IPv4 or both IPv6, are text or `ipaddress` objects. `ttl` is the hop limit and `tos` the traffic
    class under IPv6; `id` and `dont_fragment` are of IPv4, `flow_label` is of IPv6. The packet is outbound and its
    checksums are final. PacketError if a value does not fit.
    """

def other(
    src_addr: _IpAddress | str,
    dst_addr: _IpAddress | str,
    protocol: int,
    *,
    payload: _Buffer | None = None,
    ttl: int = 64,
    tos: int = 0,
    id: int | None = None,
    dont_fragment: bool = False,
    flow_label: int | None = None,
) -> Packet:
    """A packet of any other IP protocol.

    The addresses, both IPv4 or both IPv6, are text or `ipaddress` objects. `ttl` is the hop limit and `tos` the traffic
    class under IPv6; `id` and `dont_fragment` are of IPv4, `flow_label` is of IPv6. The packet is outbound and its
    checksums are final. PacketError if a value does not fit.
    """

def reset(packet: Packet, /) -> Packet | None:
    """The TCP reset that answers a packet as its destination would, to be sent back: addresses, ports and direction are swapped,
    and its checksums are final.

    None if there is nothing to answer: no TCP, a reset, a fragment but the first, or not from one host to another.
    """

def unreachable(packet: Packet, /, *, code: int | None = None) -> Packet | None:
    """The ICMP or ICMPv6 "destination unreachable" that answers a packet as its destination would, to be sent back: addresses and
    direction are swapped, and its checksums are final. `code` says why; without one, that the port is unreachable.

    None if there is nothing to answer: an error message, a TCP reset, a fragment but the first, or not from one host to
    another.
    """
