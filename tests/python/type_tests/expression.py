"""What a type checker makes of expressions. Checked by mypy, never run; an ignored line is one that it must refuse."""

from __future__ import annotations

import ipaddress
from typing import assert_type

import oxidivert as od
from oxidivert import Event, Expression, Layer, f

# Fields make expressions

assert_type(f.tcp.dst_port == 80, Expression)
assert_type(f.tcp.dst_port != 80, Expression)
assert_type(f.ip.ttl < 5, Expression)
assert_type(f.ip.ttl >= 5, Expression)
assert_type(f.outbound == True, Expression)  # noqa: E712
assert_type(f.tcp.syn != 0, Expression)
assert_type(f.protocol == "TCP", Expression)
assert_type(f.ip.protocol.isin(["TCP", 17]), Expression)
assert_type(f.event == Event.SOCKET_BIND, Expression)
assert_type(f.event == "BIND", Expression)
assert_type(f.layer != Layer.FLOW, Expression)
assert_type(f.ip.dst_addr == "10.0.0.0/8", Expression)
assert_type(f.ip.dst_addr != ipaddress.ip_address("10.0.0.1"), Expression)
assert_type(f.packet[0] == 0x45, Expression)
assert_type(f.tcp.payload16.at_byte(3) > 5, Expression)

# Sets

assert_type(f.tcp.dst_port.isin({80, 443}), Expression)
assert_type(f.tcp.dst_port.isin([80, range(8000, 8081), (9000, 9090)]), Expression)
assert_type(f.tcp.dst_port.isin(range(8000, 8081)), Expression)
assert_type(f.tcp.dst_port.notin("$ports"), Expression)
assert_type(f.tcp.dst_port.between(8000, 8080), Expression)
assert_type(f.ip.src_addr.isin("10.0.0.0/8"), Expression)
assert_type(f.ip.src_addr.isin(ipaddress.ip_network("10.0.0.0/8")), Expression)
assert_type(f.ip.src_addr.isin(["10.0.0.1", ipaddress.IPv4Network("9.0.0.0/8"), ("1.1.1.1", "1.1.1.9")]), Expression)

# Expressions combine

assert_type((f.tcp.dst_port == 80) & f.outbound, Expression)
assert_type(f.tcp | f.udp | f.true, Expression)
assert_type(~f.tcp.syn, Expression)
assert_type(f.where(f.tcp, f.outbound, f.false), Expression)
assert_type(f.tcp & f.udp == f.udp & f.tcp, bool)
assert_type(f.tcp == f.udp, bool)

# Where expressions go

od.Filter(f.tcp & f.outbound)
od.open(f.tcp).set_filter(f.udp & f.inbound)

# What is refused. A wrong comparison with == is a bool to the type checker, which fits nowhere.

(f.tcp.dst_port == "80") & f.tcp  # type: ignore[operator]
f.tcp.dst_port < 8.5  # type: ignore[operator]
(f.ip.src_addr == 5) & f.tcp  # type: ignore[operator]
(f.protocol == "tcp") & f.tcp  # type: ignore[operator]
f.tcp.dst_port.isin(80)  # type: ignore[arg-type]
f.tcp.dst_port.isin(["80"])  # type: ignore[list-item]
(f.packet == 1) & f.tcp  # type: ignore[operator]
f.tcp.dst_prot == 80  # type: ignore[attr-defined]
f.tcp.dst_port == 80 & f.outbound  # type: ignore[operator]
f.outbound & f.tcp.dst_port == 80  # type: ignore[operator]
f.outbound & f.length  # type: ignore[operator]
f.length | f.outbound  # type: ignore[operator]
f.where(f.tcp, True, f.udp)  # type: ignore[arg-type]
od.Filter(f.length)  # type: ignore[arg-type]
