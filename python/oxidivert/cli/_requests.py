"""Recognising HTTP requests in TCP segments, also in several that belong together."""

from __future__ import annotations

import re
from dataclasses import dataclass

import oxidivert as od

_REQUEST_LINE = re.compile(rb"([A-Z][A-Z-]*) (\S+) HTTP/1\.[01]\r?\n")
_METHOD_START = re.compile(rb"[A-Z][A-Z-]*( |$)")
_HOST = re.compile(rb"\r?\nhost:[ \t]*([^\s]+)[ \t]*\r?\n", re.IGNORECASE)
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_METHOD_MAX = 24
#: A head that is longer is let through: servers refuse it.
_HEAD_MAX = 16_384
#: So many connections may be in the middle of a head; the oldest is forgotten for a further one.
_PENDING_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Request:
    """Host and path of a request; the path begins with a slash."""

    host: str
    path: str


@dataclass(slots=True)
class _Pending:
    head: bytes
    next_seq: int


class Requests:
    """Finds the requests of connections whose packets it is shown in order; keeps what of a head has come so far."""

    def __init__(self) -> None:
        self._pending: dict[od.Flow, _Pending] = {}

    def request_of(self, packet: od.Packet) -> Request | None:
        """The request whose head this segment of a client completes."""
        flow, tcp = packet.flow, packet.tcp
        if flow is None or tcp is None:
            return None
        payload, seq = bytes(packet.payload), tcp.seq
        pending = self._pending.pop(flow, None)
        if pending and pending.next_seq == seq:
            payload = pending.head + payload
        elif not _METHOD_START.match(payload[:_METHOD_MAX]):
            # In the middle of something, or no HTTP at all.
            return None
        end = _HEAD_END.search(payload)
        if end is None:
            if len(payload) < _HEAD_MAX:
                self._keep(flow, _Pending(payload, (seq + len(packet.payload)) & 0xFFFF_FFFF))
            return None
        return parse_request(payload[: end.end()])

    def _keep(self, flow: od.Flow, pending: _Pending) -> None:
        if len(self._pending) >= _PENDING_MAX:
            del self._pending[next(iter(self._pending))]
        self._pending[flow] = pending


def parse_request(head: bytes) -> Request | None:
    """Host and path of a request's head, wherever in it the host stands; None if it tells of no host."""
    line = _REQUEST_LINE.match(head)
    if line is None:
        return None
    target = line[2].decode("latin-1")
    host = _HOST.search(head)
    name = host[1].decode("latin-1") if host else ""
    if "://" in target:
        # As requests to a proxy name it; then it counts more than the header (RFC 9112).
        name, slash, rest = target.partition("://")[2].partition("/")
        target = slash + rest or "/"
    name = _without_port(name).rstrip(".")
    return Request(name, target) if name and target.startswith("/") else None


def _without_port(name: str) -> str:
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0]
