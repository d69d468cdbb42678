"""The numbers that have names: layers, events, flags, parameters. Values are WinDivert's."""

from __future__ import annotations

from enum import Enum, IntEnum, IntFlag


class Layer(IntEnum):
    """The part of the network stack that a handle listens at."""

    NETWORK = 0
    NETWORK_FORWARD = 1
    FLOW = 2
    SOCKET = 3
    REFLECT = 4


class Event(IntEnum):
    """What happened."""

    NETWORK_PACKET = 0
    FLOW_ESTABLISHED = 1
    FLOW_DELETED = 2
    SOCKET_BIND = 3
    SOCKET_CONNECT = 4
    SOCKET_LISTEN = 5
    SOCKET_ACCEPT = 6
    SOCKET_CLOSE = 7
    REFLECT_OPEN = 8
    REFLECT_CLOSE = 9


class Flag(IntFlag):
    """How a handle is opened."""

    SNIFF = 1
    DROP = 2
    RECV_ONLY = 4
    SEND_ONLY = 8
    NO_INSTALL = 16
    FRAGMENTS = 32
    READ_ONLY = 4
    WRITE_ONLY = 8


class Shutdown(IntEnum):
    """What a shutdown ends."""

    RECV = 1
    SEND = 2
    BOTH = 3


class Param(IntEnum):
    """A parameter of a handle."""

    QUEUE_LENGTH = 0
    QUEUE_TIME = 1
    QUEUE_SIZE = 2
    VERSION_MAJOR = 3
    VERSION_MINOR = 4


class ChecksumFlag(IntFlag):
    """Checksums that a calculation leaves alone."""

    NO_IP = 1
    NO_ICMP = 2
    NO_ICMPV6 = 4
    NO_TCP = 8
    NO_UDP = 16


class Direction(Enum):
    """Which way a packet goes."""

    OUTBOUND = "outbound"
    INBOUND = "inbound"
