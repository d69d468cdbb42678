"""webfilter: lists, requests, and the packets that take a connection over."""

from __future__ import annotations

import pathlib

import oxidivert as od
import pytest
from oxidivert.cli import cli
from oxidivert.cli._blacklist import Blacklist, entries
from oxidivert.cli._requests import Request, Requests, parse_request
from oxidivert.cli._webfilter import page_of
from samples import V6, pcap, read_pcap, tcp, udp
from tools_support import Bench, bench, inject

__all__ = ["bench"]

HEAD = b"GET /news/today?page=2 HTTP/1.1\r\nHost: www.example.com\r\nAccept: */*\r\n\r\n"


@pytest.fixture
def blacklist(tmp_path: pathlib.Path) -> str:
    """A list with example.com/news and other.org."""
    path = tmp_path / "list.txt"
    path.write_text("example.com/news\nother.org\n")
    return str(path)


# Lists


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("example.com", [("example.com", "")]),
        ("example.com\n", [("example.com", "")]),
        ("a.com b.org\tc.net\r\nd.de", [("a.com", ""), ("b.org", ""), ("c.net", ""), ("d.de", "")]),
        ("example.com/", [("example.com", "")]),
        ("example.com/a/b?c=d", [("example.com", "a/b?c=d")]),
        ("Example.COM./Path", [("example.com", "Path")]),
        ("10.0.0.1 -odd-.com 3com.com", [("10.0.0.1", ""), ("-odd-.com", ""), ("3com.com", "")]),
        # Not what a domain begins with, or not made of what domains are.
        (".com /path *.com example.com:80 http://a.com", []),
        # From a number sign on it is a comment, to the end of the line.
        ("# two words\na.com # b.com\nc.com#d.com", [("a.com", ""), ("c.com", "")]),
        ("a" * 4096 + " " + "b" * 4097, [("a" * 4096, "")]),
        ("a.com/" + "x" * 4096 + " b.com/" + "x" * 4097, [("a.com", "x" * 4096)]),
        ("", []),
    ],
)
def test_a_list_is_made_of_words(text: str, expected: list[tuple[str, str]]) -> None:
    assert list(entries(text)) == expected


@pytest.mark.parametrize(
    ("entry", "host", "path", "blocked"),
    [
        ("example.com", "example.com", "/", True),
        ("example.com", "www.example.com", "/x", True),
        ("example.com", "a.b.example.com", "/x", True),
        # By labels: no other domain that happens to end so.
        ("example.com", "notexample.com", "/", False),
        ("example.com", "example.com.org", "/", False),
        ("www.example.com", "example.com", "/", False),
        ("example.com", "EXAMPLE.com.", "/", True),
        ("example.com/news", "example.com", "/news/today", True),
        ("example.com/news", "example.com", "/newsletter", True),
        ("example.com/news", "example.com", "/old/news", False),
        ("example.com/news", "example.com", "/News", False),
        ("example.com/news", "www.example.com", "/news", True),
    ],
)
def test_an_entry_blocks_its_domain_and_what_begins_as_its_path(
    entry: str, host: str, path: str, blocked: bool
) -> None:
    assert Blacklist(entries(entry)).blocks(host, path) is blocked


def test_overlapping_entries_are_all_found() -> None:
    """Also those that a binary search by prefixes would miss."""
    added = ["com/x", "example.com/a", "www.example.com/zz", "example.com/b", "www.example.com/a/b"]
    blacklist = Blacklist(pair for entry in added for pair in entries(entry))
    assert len(blacklist) == 5
    for path in ("/x", "/a", "/b", "/zz", "/a/b"):
        assert blacklist.blocks("www.example.com", path)
    assert not blacklist.blocks("www.example.com", "/c")


def test_a_list_of_a_hundred_thousand_is_looked_up_at_once() -> None:
    blacklist = Blacklist((f"host{number}.example.com", "") for number in range(100_000))
    assert blacklist.blocks("www.host99999.example.com", "/")
    assert not blacklist.blocks("host100000.example.com", "/")


# Requests


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (HEAD, Request("www.example.com", "/news/today?page=2")),
        (b"POST / HTTP/1.1\r\nHost: a.com\r\n\r\n", Request("a.com", "/")),
        (b"DELETE /x HTTP/1.1\r\nHost: a.com\r\n\r\n", Request("a.com", "/x")),
        # Not the first header, in any case, with any blanks, with a port or a point at its end.
        (b"GET /x HTTP/1.1\r\nAccept: */*\r\nhOST:\t a.com:8080 \r\nX: y\r\n\r\n", Request("a.com", "/x")),
        (b"GET /x HTTP/1.1\r\nHost: a.com.\r\n\r\n", Request("a.com", "/x")),
        (b"GET /x HTTP/1.0\r\nHost: a.com\r\n\r\n", Request("a.com", "/x")),
        (b"GET /x HTTP/1.1\nHost: a.com\n\n", Request("a.com", "/x")),
        (b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", Request("[2001:db8::1]", "/")),
        (b"GET http://b.com/y HTTP/1.1\r\nHost: a.com\r\n\r\n", Request("b.com", "/y")),
        (b"GET http://b.com HTTP/1.1\r\nHost: a.com\r\n\r\n", Request("b.com", "/")),
        (b"GET /x HTTP/1.1\r\nAccept: */*\r\n\r\n", None),
        (b"GET /x HTTP/1.1\r\nHost: \r\n\r\n", None),
        (b"GET /x HTTP/2\r\nHost: a.com\r\n\r\n", None),
        (b"OPTIONS * HTTP/1.1\r\nHost: a.com\r\n\r\n", None),
        (b"GET /x\r\n\r\n", None),
    ],
)
def test_host_and_path_of_a_request(head: bytes, expected: Request | None) -> None:
    assert parse_request(head) == expected


def segments(*payloads: bytes, gap_at: int | None = None) -> list[od.Packet]:
    seq, packets = 1000, []
    for index, payload in enumerate(payloads):
        seq += 7 if index == gap_at else 0
        packets.append(od.Packet(tcp(payload, seq=seq & 0xFFFF_FFFF)))
        seq += len(payload)
    return packets


@pytest.mark.parametrize("cut", range(1, len(HEAD)))
def test_a_request_in_two_segments_is_recognised_with_the_second(cut: int) -> None:
    requests = Requests()
    found = [requests.request_of(packet) for packet in segments(HEAD[:cut], HEAD[cut:])]
    assert found == [None, Request("www.example.com", "/news/today?page=2")]


def test_a_request_byte_by_byte_is_recognised() -> None:
    requests = Requests()
    found = [requests.request_of(packet) for packet in segments(*(HEAD[at : at + 1] for at in range(len(HEAD))))]
    assert found[-1] == Request("www.example.com", "/news/today?page=2")
    assert found[:-1] == [None] * (len(HEAD) - 1)


def test_the_requests_of_connections_are_kept_apart() -> None:
    requests = Requests()
    one, other = segments(HEAD[:20], HEAD[20:]), segments(HEAD[:20], HEAD[20:])
    for packet in other:
        packet.src_port = 40002
    assert requests.request_of(one[0]) is None
    assert requests.request_of(other[0]) is None
    assert requests.request_of(other[1]) is not None
    assert requests.request_of(one[1]) is not None


def test_segments_that_do_not_follow_each_other_make_no_request() -> None:
    requests = Requests()
    assert [requests.request_of(packet) for packet in segments(HEAD[:20], HEAD[20:], gap_at=1)] == [None, None]


def test_a_segment_that_is_sent_again_does_not_disturb() -> None:
    requests = Requests()
    first, second = segments(HEAD[:20], HEAD[20:])
    for packet in (first, first.copy()):
        assert requests.request_of(packet) is None
    assert requests.request_of(second) is not None


def test_a_head_without_end_is_let_through_and_forgotten() -> None:
    requests = Requests()
    for packet in segments(b"GET /x HTTP/1.1\r\n", *[b"X: " + b"y" * 1000 + b"\r\n"] * 17, HEAD[-4:]):
        assert requests.request_of(packet) is None


def test_no_more_connections_are_remembered_than_there_is_room_for() -> None:
    requests = Requests()
    for port in range(1, 5000):
        requests.request_of(od.Packet(tcp(b"GET /", src_port=port)))
    assert len(requests._pending) == 4096


@pytest.mark.parametrize("payload", [b"", b"\x16\x03\x01\x02\x00", b"get / http/1.1\r\n\r\n", b"rest of an upload"])
def test_what_is_no_request_is_none(payload: bytes) -> None:
    assert Requests().request_of(od.Packet(tcp(payload))) is None


# Blocking


def request_segment(payload: bytes, **more: object) -> bytes:
    return tcp(payload, src_port=50000, seq=1000, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("ends", [{}, V6])
def test_a_blocked_request_is_hijacked_by_three_packets(ends: dict[str, str], bench: Bench, blacklist: str) -> None:
    done = bench.during(inject(request_segment(HEAD, **ends)), "webfilter", blacklist, "--limit", "1")
    assert done.code == 0
    page, end, reset = bench.engine.delivered
    body = page_of(None, 200)
    client, server = ends.get("src", "10.0.0.1"), ends.get("dst", "192.0.2.7")
    forth, back = (client, 50000, server, 80, "outbound"), (server, 80, client, 50000, "inbound")
    answered = 1000 + len(HEAD)
    wanted = [
        (page, back, 2, answered, {"psh", "ack"}, body),
        (end, back, 2 + len(body), answered, {"fin", "ack"}, b""),
        (reset, forth, 1000, 2, {"rst", "ack"}, b""),
    ]
    for packet, way, seq, ack_number, flags, payload in wanted:
        tcp_header = packet.tcp
        assert tcp_header is not None
        shown = str(packet.src_addr), packet.src_port, str(packet.dst_addr), packet.dst_port, packet.direction.value
        assert shown == way
        assert (tcp_header.seq, tcp_header.ack_number) == (seq, ack_number)
        assert {name for name in ("fin", "syn", "rst", "psh", "ack", "urg") if getattr(tcp_header, name)} == flags
        assert bytes(packet.payload) == payload
        assert (tcp_header.window, tcp_header.data_offset) == (0, 5)
        assert packet.checksums_valid
        if packet.ipv4:
            header = packet.ipv4
            assert (header.id, header.tos, header.ttl, header.dont_fragment, header.header_length) == (
                0,
                0,
                64,
                False,
                5,
            )


def test_the_interface_of_the_answers_is_that_of_the_request(bench: Bench, blacklist: str) -> None:
    bench.during(
        lambda engine: engine.inject(request_segment(HEAD), interface_index=9), "webfilter", blacklist, "--limit", "1"
    )
    networks = [packet.address.network for packet in bench.engine.delivered]
    assert [network and network.interface_index for network in networks] == [9, 9, 9]


def test_allowed_requests_and_other_data_go_on_untouched(bench: Bench, blacklist: str) -> None:
    allowed = request_segment(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
    packets = [allowed, tcp(b"data"), tcp(b"GET / HTTP/1.1\r\nHost: other.org\r\n\r\n", dst_port=81), udp(), tcp()]
    done = bench.during(inject(*packets[1:], packets[0]), "webfilter", blacklist, "--limit", "1")
    assert sorted(map(bytes, bench.engine.delivered)) == sorted(packets)
    assert done.lines == ["URL example.com/: allowed"]


def test_a_request_in_two_segments_is_blocked_with_the_second(bench: Bench, blacklist: str) -> None:
    first = tcp(HEAD[:30], seq=1000)
    second = tcp(HEAD[30:], seq=1030)
    done = bench.during(inject(first, second), "webfilter", blacklist, "--limit", "1")
    passed, page, _, reset = bench.engine.delivered
    assert bytes(passed) == first
    assert page.tcp is not None
    assert page.tcp.ack_number == 1000 + len(HEAD)
    assert reset.tcp is not None
    assert reset.tcp.seq == 1030
    assert done.lines == ["URL www.example.com/news/today?page=2: BLOCKED!"]


def test_each_entry_and_the_opening_are_told(bench: Bench, blacklist: str) -> None:
    done = bench.during(inject(request_segment(HEAD)), "webfilter", blacklist, "--limit", "1")
    assert done.err.splitlines()[:3] == ["ADD example.com/news", "ADD other.org/", "OPENED oxidivert"]
    assert done.err.splitlines()[3].startswith("1 request, 1 blocked in ")


def test_the_page_says_that_the_url_is_blocked() -> None:
    head, _, body = page_of(None, 200).partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [b"HTTP/1.1 200 OK", b"Connection: close", b"Content-Type: text/html"]
    assert body.count(b"BLOCKED!") == 2
    assert b"<hr>" in body
    # In one segment on every path.
    assert len(head + body) + 4 < 1220


def test_page_and_status_can_be_chosen(bench: Bench, blacklist: str, tmp_path: pathlib.Path) -> None:
    page = tmp_path / "page.html"
    page.write_bytes(b"<p>" + b"x" * 3000)
    arguments = ["webfilter", blacklist, "--page", str(page), "--status", "451", "--limit", "1"]
    bench.during(inject(request_segment(HEAD)), *arguments)
    *pages, end, _reset = bench.engine.delivered
    whole = b"".join(bytes(packet.payload) for packet in pages)
    assert whole == page_of(str(page), 451)
    assert whole.startswith(b"HTTP/1.1 451 Unavailable For Legal Reasons\r\n")
    assert whole.endswith(page.read_bytes())
    # Each part begins where the one before ended.
    ends = [packet.tcp.seq + len(packet.payload) for packet in pages if packet.tcp]
    assert [packet.tcp.seq for packet in [*pages[1:], end] if packet.tcp] == ends
    assert all(len(packet) <= 1280 for packet in pages)


def test_other_ports_can_be_watched(bench: Bench, blacklist: str) -> None:
    packets = [request_segment(HEAD), tcp(HEAD, dst_port=8080), tcp(HEAD, dst_port=3128)]
    done = bench.during(
        inject(*packets), "webfilter", blacklist, "--port", "8080", "--port", "3128", "--limit", "2", "--json"
    )
    assert [one["dst_port"] for one in done.objects] == [8080, 3128]
    assert bytes(bench.engine.delivered[0]) == packets[0]


def test_a_dry_run_only_tells(bench: Bench, blacklist: str) -> None:
    packet = request_segment(HEAD)
    done = bench.during(inject(packet), "webfilter", blacklist, "--dry-run", "--limit", "1", "--json")
    assert [(one["host"], one["path"], one["blocked"]) for one in done.objects] == [
        ("www.example.com", "/news/today?page=2", True)
    ]
    assert [bytes(one) for one in bench.engine.delivered] == [packet]


def test_on_a_capture_the_answers_take_the_request_s_place(tmp_path: pathlib.Path, blacklist: str) -> None:
    source, out = tmp_path / "in.pcap", tmp_path / "out.pcap"
    source.write_bytes(pcap([udp(b"before"), request_segment(HEAD), udp(b"after")]))
    assert cli("webfilter", blacklist, "--read", str(source), "--write", str(out), "--quiet") == 0
    packets = read_pcap(out.read_bytes())
    assert (packets[0], packets[-1], len(packets)) == (udp(b"before"), udp(b"after"), 5)
    assert page_of(None, 200) in packets[1]


def test_several_lists_are_joined_and_one_is_needed(
    bench: Bench, blacklist: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = tmp_path / "more.txt"
    more.write_text("third.net")
    done = bench.during(
        inject(request_segment(b"GET / HTTP/1.1\r\nHost: third.net\r\n\r\n")),
        *("webfilter", blacklist, str(more), "--limit", "1", "--quiet"),
    )
    assert done.lines == ["URL third.net/: BLOCKED!"]
    assert done.err == ""
    assert cli("webfilter") == 2
    assert "the following arguments are required: LIST" in capsys.readouterr().err


def test_a_list_that_cannot_be_read_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("webfilter", "nowhere.txt") == 2
    assert capsys.readouterr().err.startswith("oxidivert webfilter: error: cannot read the list nowhere.txt: ")
