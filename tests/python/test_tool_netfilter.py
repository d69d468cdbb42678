"""netfilter: what is blocked, what the sender is told, and what is printed."""

from __future__ import annotations

import pathlib

import oxidivert as od
import pytest
from oxidivert.cli import cli
from samples import EACH_PROTOCOL, V6, icmp, ip, pcap, read_pcap, tcp, udp
from tools_support import Bench, bench, inject

__all__ = ["bench"]

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32


def test_a_blocked_packet_goes_no_further_and_others_do(bench: Bench) -> None:
    done = bench.during(inject(udp(b"passes"), tcp(b"blocked")), "netfilter", "tcp", "--limit", "1")
    assert done.code == 0
    passed, reset = bench.engine.delivered
    assert bytes(passed) == udp(b"passes")
    assert reset.tcp is not None
    assert reset.tcp.rst
    assert done.err == "1 blocked, 1 reset, 0 unreachables in 0.0 s\n"


@pytest.mark.parametrize("outbound", [True, False])
@pytest.mark.parametrize("name", EACH_PROTOCOL)
def test_the_sender_is_told_by_the_library_s_answer(name: str, outbound: bool, bench: Bench) -> None:
    blocked = EACH_PROTOCOL[name]
    bench.during(inject(blocked, outbound=outbound), "netfilter", "true", "--limit", "1")
    packet = od.Packet(blocked, od.Address(outbound=outbound))
    expected = {"tcp": od.build.reset, "udp": od.build.unreachable}.get(name.split()[0])
    delivered = [(bytes(answer), answer.address.outbound) for answer in bench.engine.delivered]
    answer = expected(packet) if expected else None
    assert delivered == ([(bytes(answer), not outbound)] if answer else [])
    assert bool(answer) == (name.split()[0] in ("tcp", "udp"))


@pytest.mark.parametrize(
    "blocked",
    [
        tcp(flags=RST),
        tcp(flags=RST | ACK),
        tcp(flags=FIN | ACK),
        tcp(flags=FIN | PSH | ACK),
        icmp(),
        ip("10.0.0.1", "192.0.2.7", 47, b"tunnel"),
        udp(dst="224.0.0.251"),
        udp(dst="255.255.255.255"),
        ip("10.0.0.1", "192.0.2.7", 17, b"the rest", fragment=3),
    ],
)
def test_what_must_not_be_answered_is_dropped_silently(blocked: bytes, bench: Bench) -> None:
    done = bench.during(inject(blocked), "netfilter", "true", "--limit", "1")
    assert bench.engine.delivered == []
    assert done.err == "1 blocked, 0 resets, 0 unreachables in 0.0 s\n"


def test_the_answer_leaves_on_the_interface_that_the_packet_came_by(bench: Bench) -> None:
    bench.during(
        lambda engine: engine.inject(tcp(), outbound=False, interface_index=9), "netfilter", "tcp", "--limit", "1"
    )
    (answer,) = bench.engine.delivered
    assert answer.address.network is not None
    assert answer.address.network.interface_index == 9
    assert answer.address.outbound


def test_the_tool_is_not_told_of_its_own_answers(bench: Bench) -> None:
    """Its filter matches them too, and yet each blocked packet has one answer."""
    bench.during(inject(tcp(b"1"), tcp(b"2")), "netfilter", "tcp", "--limit", "2")
    assert len(bench.engine.delivered) == 2


@pytest.mark.parametrize(
    ("packet", "line"),
    [
        (
            tcp(flags=FIN | SYN | RST | PSH | ACK | URG),
            "ip.SrcAddr=10.0.0.1 ip.DstAddr=192.0.2.7 tcp.SrcPort=40001 tcp.DstPort=80 "
            "tcp.Flags=[FIN][RST][URG][SYN][PSH][ACK]",
        ),
        (
            tcp(flags=SYN, **V6),
            "ip.SrcAddr=2001:db8::1 ip.DstAddr=2001:db8::2 tcp.SrcPort=40001 tcp.DstPort=80 tcp.Flags=[SYN]",
        ),
        (udp(), "ip.SrcAddr=10.0.0.1 ip.DstAddr=192.0.2.7 udp.SrcPort=12345 udp.DstPort=53"),
        (icmp(), "ip.SrcAddr=10.0.0.1 ip.DstAddr=192.0.2.7 icmp.Type=8 icmp.Code=0"),
        (
            EACH_PROTOCOL["icmpv6"],
            "ip.SrcAddr=2001:db8::1 ip.DstAddr=2001:db8::2 icmpv6.Type=128 icmpv6.Code=0",
        ),
        (ip("10.0.0.1", "192.0.2.7", 47, b"x"), "ip.SrcAddr=10.0.0.1 ip.DstAddr=192.0.2.7"),
    ],
)
def test_the_line_of_a_blocked_packet(packet: bytes, line: str, bench: Bench) -> None:
    done = bench.during(inject(packet), "netfilter", "true", "--limit", "1")
    assert done.lines == [f"BLOCK {line}"]


def test_an_object_tells_of_the_answer(bench: Bench) -> None:
    done = bench.during(inject(tcp(), udp(), icmp()), "netfilter", "true", "--limit", "3", "--json")
    assert [(one["type"], one["protocol_name"], one["answer"]) for one in done.objects] == [
        ("block", "TCP", "reset"),
        ("block", "UDP", "unreachable"),
        ("block", "ICMP", None),
    ]


def test_silent_answers_nothing(bench: Bench) -> None:
    done = bench.during(inject(tcp(), udp()), "netfilter", "true", "--limit", "2", "--silent", "--json")
    assert bench.engine.delivered == []
    assert [one["answer"] for one in done.objects] == [None, None]


def test_on_a_capture_answers_stand_where_the_blocked_were(tmp_path: pathlib.Path) -> None:
    source, out = tmp_path / "in.pcap", tmp_path / "out.pcap"
    source.write_bytes(pcap([udp(b"before"), tcp(b"blocked"), udp(b"after")]))
    assert cli("netfilter", "tcp", "--read", str(source), "--write", str(out), "--quiet") == 0
    before, answer, after = read_pcap(out.read_bytes())
    assert (before, after) == (udp(b"before"), udp(b"after"))
    reset = od.build.reset(od.Packet(tcp(b"blocked")))
    assert reset is not None
    assert answer == bytes(reset)


def test_a_filter_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("netfilter") == 2
    assert "the following arguments are required: FILTER" in capsys.readouterr().err
