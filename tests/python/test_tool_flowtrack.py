"""flowtrack: what it tells of flows on an engine and on captures. Its screens are in test_tools_screen.py."""

from __future__ import annotations

import os
import pathlib
import sys
import time

import oxidivert as od
import pytest
from oxidivert.cli import cli
from oxidivert.cli._flow_screen import scaled
from samples import TIME_NS, icmp, pcap, tcp, udp
from tools_support import Bench, bench, objects

__all__ = ["bench"]

ENDS = {"local_addr": "10.0.0.1", "local_port": 40001, "remote_addr": "192.0.2.7", "remote_port": 80}


@pytest.fixture(autouse=True)
def real_clock(bench: Bench) -> None:
    """What is silent for long is taken out, by the system's time."""
    bench.engine = od.Engine(clock="real")


BACK = {"src": "192.0.2.7", "dst": "10.0.0.1", "src_port": 80, "dst_port": 40001}


def test_an_object_for_each_flow_that_ends(bench: Bench) -> None:
    def act(engine: od.Engine) -> None:
        flow = engine.flow(process_id=os.getpid(), endpoint_id=2**63, **ENDS)
        engine.inject(tcp(b"hello"))
        engine.inject(tcp(b"x" * 100, **BACK), outbound=False)
        # What is told of its end comes after the packets, which another thread counts.
        time.sleep(0.3)
        flow.end()

    done = bench.during(act, "flowtrack", "--json", "--limit", "1", handles=2)
    (shown,) = done.objects
    assert (shown["ended"], shown["direction"], shown["endpoint_id"]) == (True, "outbound", str(2**63))
    assert (shown["local_addr"], shown["local_port"]) == ("10.0.0.1", 40001)
    assert (shown["remote_addr"], shown["remote_port"], shown["protocol_name"]) == ("192.0.2.7", 80, "TCP")
    assert (shown["packets_sent"], shown["bytes_sent"]) == (1, 45)
    assert (shown["packets_received"], shown["bytes_received"]) == (1, 140)
    assert shown["process_id"] == os.getpid()
    if sys.platform != "win32":
        assert shown["program"] == os.path.realpath(sys.executable)
    assert bytes(bench.engine.delivered[0]) == tcp(b"hello")


def test_flows_that_are_left_are_told_at_the_end(bench: Bench) -> None:
    def act(engine: od.Engine) -> None:
        engine.flow(process_id=1, endpoint_id=1, outbound=False, **ENDS)
        engine.flow(process_id=2, endpoint_id=2, protocol=17, **ENDS)
        ended = engine.flow(process_id=3, endpoint_id=3, **(ENDS | {"local_port": 5}))
        time.sleep(0.3)
        ended.end()

    done = bench.during(act, "flowtrack", "--json", "--limit", "1", "--sort", "newest", handles=2)
    told = [(one["process_id"], one["ended"], one["direction"]) for one in done.objects]
    assert told == [(3, True, "outbound"), (2, False, "outbound"), (1, False, "inbound")]


def test_lines_have_pid_program_protocol_and_ends(bench: Bench) -> None:
    def act(engine: od.Engine) -> None:
        for protocol in (6, 17, 1, 58, 132):
            engine.flow(process_id=0, endpoint_id=protocol, protocol=protocol, **ENDS)
        engine.flow(process_id=0, endpoint_id=1000, outbound=False, **(ENDS | {"local_port": 7}))
        ended = engine.flow(endpoint_id=7, **(ENDS | {"local_port": 5}))
        time.sleep(0.3)
        ended.end()

    done = bench.during(act, "flowtrack", "--limit", "1", "--sort", "newest", handles=2)
    assert [" ".join(line.split()).partition("  ")[0] for line in done.lines] == [
        "??? TCP 10.0.0.1:7 <---- 192.0.2.7:80 0 sent, 0 received",
        "??? 132 10.0.0.1 ----> 192.0.2.7 0 sent, 0 received",
        "??? ICMPV6 10.0.0.1 ----> 192.0.2.7 0 sent, 0 received",
        "??? ICMP 10.0.0.1 ----> 192.0.2.7 0 sent, 0 received",
        "??? UDP 10.0.0.1:40001 ----> 192.0.2.7:80 0 sent, 0 received",
        "??? TCP 10.0.0.1:40001 ----> 192.0.2.7:80 0 sent, 0 received",
    ]
    assert done.err.startswith("7 flows, 0 packets in ")


def test_a_capture_s_flows_are_told_with_rates(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    packets = [tcp(b"x" * 960)] * 1000 + [udp()] + [icmp()] + [tcp(b"y", **BACK)]
    (tmp_path / "in.pcap").write_bytes(pcap(packets))
    assert cli("flowtrack", "--read", str(tmp_path / "in.pcap"), "--json", "--sort", "bytes") == 0
    out, err = capsys.readouterr()
    first, second, third = objects(out)
    assert (first["packets_sent"], first["packets_received"]) == (1000, 1)
    assert first["packets_per_second"] == pytest.approx(1000 * (1 - 0.3679), rel=0.01)
    assert (first["started_ns"], first["last_ns"]) == (TIME_NS, TIME_NS + 1_002_000_000)
    assert {second["protocol_name"], third["protocol_name"]} == {"UDP", "ICMP"}
    assert objects(err)[0] | {"seconds": 0} == {"type": "summary", "flows": 3, "packets": 1003, "seconds": 0}


def test_a_filter_chooses_packets(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.pcap").write_bytes(pcap([tcp(), udp(), icmp()]))
    assert cli("flowtrack", "udp", "--read", str(tmp_path / "in.pcap"), "--json") == 0
    assert [one["protocol_name"] for one in objects(capsys.readouterr().out)] == ["UDP"]


@pytest.mark.parametrize("interval", ["0", "0.01", "-1", "nan", "1e9"])
def test_an_interval_must_make_sense(interval: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("flowtrack", f"--interval={interval}") == 2
    assert "--interval takes 0.05 to 3600 seconds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.4, "999"),
        (999.6, "1.0k"),
        (1000, "1.0k"),
        (1234, "1.2k"),
        (99_900, "99.9k"),
        (99_960, "100k"),
        (123_456, "123k"),
        (1_500_000, "1.5M"),
        (2.5e9, "2.5G"),
        (7e12, "7.0T"),
        (8e15, "8P"),
    ],
)
def test_numbers_are_short(number: float, text: str) -> None:
    assert scaled(number) == text
