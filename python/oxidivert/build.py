"""Packets from keyword arguments, with lengths and checksums right.

>>> from oxidivert import build
>>> build.tcp("10.0.0.1", "192.0.2.7", 40001, 80, syn=True, mss=1460)
<Packet IPv4 TCP 10.0.0.1:40001 > 192.0.2.7:80 S, 0 bytes>

`reset` and `unreachable` answer a packet that is not let through.
"""

from ._native import icmp, icmp_echo, icmp_unreachable, other, reset, tcp, udp, unreachable

__all__ = ["icmp", "icmp_echo", "icmp_unreachable", "other", "reset", "tcp", "udp", "unreachable"]
