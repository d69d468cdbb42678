"""Divert, inspect, edit, drop and re-inject network packets at Rust speed."""

from . import build, helpers
from ._enums import ChecksumFlag, Direction, Event, Flag, Layer, Param, Shutdown
from ._exceptions import DivertError, FilterError, HandleClosedError, HandleShutdownError, PacketError
from ._expression import Expression
from ._fields import f
from ._native import (
    Address,
    Batch,
    EndpointData,
    Filter,
    Handle,
    IcmpHeader,
    Icmpv6Header,
    Ipv4Header,
    Ipv6Header,
    NetworkData,
    Packet,
    ReflectData,
    Replay,
    Statistics,
    TcpHeader,
    UdpHeader,
    __version__,
    open,
)

__all__ = [
    "Address",
    "Batch",
    "ChecksumFlag",
    "Direction",
    "DivertError",
    "EndpointData",
    "Event",
    "Expression",
    "Filter",
    "FilterError",
    "Flag",
    "Handle",
    "HandleClosedError",
    "HandleShutdownError",
    "IcmpHeader",
    "Icmpv6Header",
    "Ipv4Header",
    "Ipv6Header",
    "Layer",
    "NetworkData",
    "Packet",
    "PacketError",
    "Param",
    "ReflectData",
    "Replay",
    "Shutdown",
    "Statistics",
    "TcpHeader",
    "UdpHeader",
    "__version__",
    "build",
    "f",
    "helpers",
    "open",
]
