"""`f`: every field of the filter language under its Python name, with the types that editors and type checkers read.

The classes here say which fields there are and of which kind they are; what a field is called in a filter, what it
means and where it exists comes from the core's table.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final

from ._comparable import Row
from ._expression import FALSE, TRUE, Expression, conditional
from ._field_kinds import (
    AddressField,
    ArrayField,
    EventField,
    FlagField,
    LayerField,
    NumberField,
    ProtocolField,
)
from ._native import filter_fields

_CAPITAL_INSIDE: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_KINDS: Final = {
    kind.__name__: kind
    for kind in (AddressField, ArrayField, EventField, FlagField, LayerField, NumberField, ProtocolField)
}


def _python_name(name: str) -> str:
    """`tcp.DstPort` as `tcp.dst_port`."""
    return _CAPITAL_INSIDE.sub("_", name).lower()


_ROWS: Final = {_python_name(row[0]): Row(*row) for row in filter_fields()}


class _Namespace:
    """Fields as attributes, one for each annotation of the class."""

    def _fill(self, prefix: str) -> None:
        for name, annotation in type(self).__annotations__.items():
            if (kind := _KINDS.get(annotation)) is not None:
                vars(self)[name] = kind(_ROWS[prefix + name], f"f.{prefix}{name}")

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_"):
            raise AttributeError(f"fields cannot be set; for the test write {self!r}.{name} == {value!r}")
        super().__setattr__(name, value)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            # With an object given, Python adds no suggestions of its own.
            raise AttributeError(f"{self!r} has no field {name!r}{_suggestion(repr(self), name)}", name=name, obj=None)


class _HeaderField(_Namespace, FlagField):
    """Whether there is a header; its fields are attributes."""

    def __init__(self, name: str) -> None:
        super().__init__(_ROWS[name], f"f.{name}")
        self._fill(f"{name}.")


class IpField(_HeaderField):
    """The packet is IPv4."""

    hdr_length: NumberField
    tos: NumberField
    length: NumberField
    id: NumberField
    df: FlagField
    mf: FlagField
    frag_off: NumberField
    ttl: NumberField
    protocol: ProtocolField
    checksum: NumberField
    src_addr: AddressField
    dst_addr: AddressField


class Ipv6Field(_HeaderField):
    """The packet is IPv6."""

    traffic_class: NumberField
    flow_label: NumberField
    length: NumberField
    next_hdr: ProtocolField
    hop_limit: NumberField
    src_addr: AddressField
    dst_addr: AddressField


class IcmpField(_HeaderField):
    """There is an ICMP header."""

    type: NumberField
    code: NumberField
    checksum: NumberField
    body: NumberField


class Icmpv6Field(_HeaderField):
    """There is an ICMPv6 header."""

    type: NumberField
    code: NumberField
    checksum: NumberField
    body: NumberField


class TcpField(_HeaderField):
    """There is a TCP header."""

    src_port: NumberField
    dst_port: NumberField
    seq_num: NumberField
    ack_num: NumberField
    hdr_length: NumberField
    urg: FlagField
    ack: FlagField
    psh: FlagField
    rst: FlagField
    syn: FlagField
    fin: FlagField
    window: NumberField
    checksum: NumberField
    urg_ptr: NumberField
    payload_length: NumberField
    payload: ArrayField
    payload16: ArrayField
    payload32: ArrayField


class UdpField(_HeaderField):
    """There is a UDP header."""

    src_port: NumberField
    dst_port: NumberField
    length: NumberField
    checksum: NumberField
    payload_length: NumberField
    payload: ArrayField
    payload16: ArrayField
    payload32: ArrayField


class Fields(_Namespace):
    """Every field of the filter language, to build filters from.

    The names are those of the language in Python's spelling: `tcp.DstPort` is `f.tcp.dst_port`, `ip.TTL` is `f.ip.ttl`.
    A flag, such as `f.outbound`, `f.tcp.syn` or `f.tcp` (there is a TCP header), is a test by itself; other fields make
    one when they are compared. Tests combine with `&`, `|` and `~`, where comparisons need parentheses.

    >>> from oxidivert import Filter, f
    >>> print((f.tcp.dst_port == 443) & f.outbound & (f.ip.ttl > 3))
    tcp.DstPort == 443 and outbound and ip.TTL > 3
    >>> print(f.where(f.ipv6, f.ipv6.hop_limit == 1, f.ip.ttl == 1))
    (ipv6? ipv6.HopLimit == 1: ip.TTL == 1)
    >>> Filter(f.tcp & f.outbound)
    Filter('tcp and outbound', dialect='extended')
    """

    true: Expression
    false: Expression
    zero: FlagField
    inbound: FlagField
    outbound: FlagField
    if_idx: NumberField
    sub_if_idx: NumberField
    ip: IpField
    ipv6: Ipv6Field
    icmp: IcmpField
    tcp: TcpField
    udp: UdpField
    icmpv6: Icmpv6Field
    loopback: FlagField
    impostor: FlagField
    process_id: NumberField
    local_addr: AddressField
    remote_addr: AddressField
    local_port: NumberField
    remote_port: NumberField
    protocol: ProtocolField
    endpoint_id: NumberField
    parent_endpoint_id: NumberField
    layer: LayerField
    priority: NumberField
    event: EventField
    packet: ArrayField
    packet16: ArrayField
    packet32: ArrayField
    length: NumberField
    timestamp: NumberField
    random8: NumberField
    random16: NumberField
    random32: NumberField
    fragment: FlagField

    def __init__(self) -> None:
        self._fill("")
        headers = {"ip": IpField, "ipv6": Ipv6Field, "icmp": IcmpField, "tcp": TcpField, "udp": UdpField}
        vars(self).update({name: header(name) for name, header in headers.items()})
        vars(self).update(icmpv6=Icmpv6Field("icmpv6"), true=TRUE, false=FALSE)

    def where(self, condition: Expression, then: Expression, otherwise: Expression) -> Expression:
        """The ternary: `then` must match where `condition` does, `otherwise` where it does not."""
        return conditional(condition, then, otherwise)

    def __repr__(self) -> str:
        return "f"


f: Final = Fields()


def _suggestion(owner: str, name: str) -> str:
    """What may have been meant: the name in the language's spelling, the same name elsewhere, or a similar one here."""
    prefix = f"{owner}.".removeprefix("f.")
    own = [known.removeprefix(prefix) for known in _ROWS if known.startswith(prefix)]
    wanted = _python_name(name)
    found = [prefix + wanted] if wanted in own else []
    found = found or [known for known in _ROWS if known.rpartition(".")[2] == wanted]
    found = found or [prefix + match for match in difflib.get_close_matches(wanted, own, n=1)]
    return f"; did you mean {' or '.join(f'f.{known}' for known in found)}?" if found else ""
