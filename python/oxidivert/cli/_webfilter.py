"""`oxidivert webfilter`: web pages that are on a list are not reached."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import oxidivert as od

from ._blacklist import Blacklist, read_lists
from ._errors import CommandError
from ._input import bounded
from ._requests import Request, Requests
from ._session import Session, add_session, tool_parser

SUMMARY = "Block unencrypted web pages by lists of hosts and URLs, and show a page instead."

_ACCOUNT = """\
A list has words such as example.com (with all hosts of that domain) or example.com/news (all that begins so);
# begins a comment. The server is told of a reset, the browser gets the page.
"""

_PAGE = """\
<!doctype html>
<html>
\t<head>
\t\t<title>BLOCKED!</title>
\t</head>
\t<body>
\t\t<h1>BLOCKED!</h1>
\t\t<hr>
\t\t<p>This URL has been blocked!</p>
\t</body>
</html>
"""

_ADDED_SHOWN_MAX = 100
# What fits into a segment on every path: the smallest MTU of IPv6 less both headers.
_SEGMENT_MAX = 1280 - 40 - 20


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    examples = "blocked.txt", "ads.txt news.txt --status 451 --page sorry.html --port 80 --port 8080"
    parser = tool_parser(prog, SUMMARY, _ACCOUNT, examples)
    parser.add_argument("lists", metavar="LIST", nargs="+", help="files with hosts and URLs")
    add_session(parser, priority=404, limit="requests", capture="read and write")
    parser.add_argument(
        "--port", metavar="N", type=bounded(1, 65535), action="append", help="servers' ports (default: 80)"
    )
    parser.add_argument("--page", metavar="FILE", help="the page to show, in HTML (default: one that says BLOCKED!)")
    parser.add_argument(
        "--status", metavar="CODE", type=bounded(100, 599), default=200, help="the page's status (default: 200)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be blocked")
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    added = read_lists(options.lists)
    blacklist, page = Blacklist(added), page_of(options.page, options.status)
    ports = " or ".join(f"tcp.DstPort == {port}" for port in options.port or [80])
    counts = {"requests": 0, "blocked": 0}
    with Session(options) as session:
        # Data of clients: nothing else can hold a request.
        handle = session.open(f"outbound and !loopback and tcp.PayloadLength > 0 and ({ports})")
        if not options.quiet and not options.json:
            for domain, path in added[:_ADDED_SHOWN_MAX]:
                session.note(f"ADD {domain}/{path}")
            if len(added) > _ADDED_SHOWN_MAX:
                session.note(f"ADD {len(added) - _ADDED_SHOWN_MAX} more")
            session.note("OPENED oxidivert")
        requests = Requests()
        for packet in session.items(handle):
            request = requests.request_of(packet)
            is_blocked = request is not None and blacklist.blocks(request.host, request.path)
            if is_blocked and not options.dry_run:
                hijack(session, handle, packet, page)
            else:
                handle.send(packet)
            if request is not None:
                counts["requests"] += 1
                counts["blocked"] += is_blocked
                _print(session, packet, request, is_blocked)
                session.count()
        session.summary = dict(counts)
    return session.code


def page_of(path: str | None, status: int) -> bytes:
    """The answer that takes the place of a blocked page."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Blocked"
    try:
        body = Path(path).read_bytes() if path else _PAGE.encode()
    except OSError as error:
        raise CommandError(f"cannot read the page {path}: {error.strerror}") from None
    head = f"HTTP/1.1 {status} {phrase}\r\nConnection: close\r\nContent-Type: text/html\r\n\r\n"
    return head.encode() + body


def hijack(session: Session, handle: od.Handle[od.Packet], request: od.Packet, page: bytes) -> None:
    """Takes a connection over: the server gets a reset, the client the page and the connection's end."""
    try:
        for packet in answers(request, page):
            handle.send(packet)
    except od.DivertError as error:
        session.warn(f"a page was not sent: {error.strerror}")


def answers(request: od.Packet, page: bytes) -> Iterator[od.Packet]:
    """The packets that take the place of a request: the page and the end to the client, a reset to the server.

    The reset comes last: a server that knows no such connection any more answers what the client acknowledges with a
    reset of its own, which must not overtake the page.
    """
    tcp = request.tcp
    assert tcp is not None
    # Over IPv4 with the identification 0, as these packets are never fragmented.
    more: dict[str, Any] = {"ack": True, "window": 0, "ttl": 64} | ({"id": 0} if request.ipv4 else {})
    client, server = (str(request.src_addr), tcp.src_port), (str(request.dst_addr), tcp.dst_port)

    def segment(*, back: bool, **fields: Any) -> od.Packet:  # noqa: ANN401 # keyword arguments of build.tcp
        source, destination = (server, client) if back else (client, server)
        packet = od.build.tcp(source[0], destination[0], source[1], destination[1], **more, **fields)
        address = request.address.copy()
        address.outbound = not back
        # All checksums of what is built here are final.
        address.ip_checksum = address.tcp_checksum = True
        packet.address = address
        return packet

    seen = (tcp.seq + len(request.payload)) & 0xFFFF_FFFF
    for start in range(0, len(page), _SEGMENT_MAX):
        part = page[start : start + _SEGMENT_MAX]
        seq = (tcp.ack_number + start) & 0xFFFF_FFFF
        yield segment(back=True, psh=True, seq=seq, ack_number=seen, payload=part)
    end = (tcp.ack_number + len(page)) & 0xFFFF_FFFF
    yield segment(back=True, fin=True, seq=end, ack_number=seen)
    yield segment(back=False, rst=True, seq=tcp.seq, ack_number=tcp.ack_number)


def _print(session: Session, packet: od.Packet, request: Request, is_blocked: bool) -> None:
    verdict, colour = ("BLOCKED!", "red") if is_blocked else ("allowed", "green")
    session.emit(
        lambda: {
            "type": "request",
            "time_ns": packet.time_ns,
            "host": request.host,
            "path": request.path,
            "src_addr": str(packet.src_addr),
            "src_port": packet.src_port,
            "dst_addr": str(packet.dst_addr),
            "dst_port": packet.dst_port,
            "blocked": is_blocked,
        },
        lambda: f"URL {request.host}{request.path}: {session.style.paint(colour, verdict)}",
    )
