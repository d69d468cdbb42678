"""`netdump` over captures: its lines and objects, and what it does when nobody takes them."""

from __future__ import annotations

import json
import os
import pathlib
import re

import pytest
from cli_support import DATA, EXAMPLES, PACKETS, folder, needs_posix, spawn
from oxidivert.cli import cli
from samples import EACH_PROTOCOL, ip, pcap, tcp

__all__ = ["folder"]


def test_netdump_prints_a_line_a_packet(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    fragment = ip("10.0.0.1", "192.0.2.7", 17, bytes(8), fragment=185)
    gre = ip("192.0.2.7", "10.0.0.1", 47, b"tunnel")
    (folder / "in.pcap").write_bytes(pcap([*EACH_PROTOCOL.values(), fragment, gre]))
    assert cli("netdump", "--read", "in.pcap") == 0
    out, err = capsys.readouterr()
    assert out == (DATA / "netdump.txt").read_text(encoding="utf-8")
    assert re.fullmatch(r"8 packets in \d+\.\d s\n", err)
    assert cli("netdump", "--read", "in.pcap", "--quiet") == 0
    assert capsys.readouterr() == (out, "")


def test_netdump_prints_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("netdump", "tcp.DstPort == 443 or icmp", "--read", "in.pcap", "--json") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    common = {
        "type": "packet",
        "direction": "outbound",
        "loopback": False,
        "src_addr": "10.0.0.1",
        "dst_addr": "192.0.2.7",
        "fragment": False,
        "ttl": 64,
    }
    assert first == common | {
        "number": 1,
        "time_ns": 1_700_000_000_125_456_000,
        "protocol": 6,
        "protocol_name": "TCP",
        "src_port": 40001,
        "dst_port": 443,
        "length": 45,
        "payload_length": 5,
        "tcp": {"flags": ["psh", "ack"], "seq": 1, "ack_number": 2, "window": 8192},
    }
    assert second == common | {
        "number": 2,
        "time_ns": 1_700_000_000_126_456_000,
        "protocol": 1,
        "protocol_name": "ICMP",
        "src_port": None,
        "dst_port": None,
        "length": 32,
        "payload_length": 4,
        "icmp": {"type": 8, "code": 0, "body": 0x0001_0002},
    }


def test_netdump_shows_the_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("netdump", "udp", "--read", "in.pcap", "--hex") == 0
    _, first, last = capsys.readouterr().out.splitlines()
    rows = [" ".join(f"{byte:02x}" for byte in PACKETS[1][at : at + 16]) for at in (0, 16)]
    assert first.startswith(f"       0000  {rows[0]}  E...")
    assert last == f"       0010  {rows[1]:47}  ....09.5....two"
    assert cli("netdump", "udp", "--read", "in.pcap", "--hex", "--json") == 0
    assert json.loads(capsys.readouterr().out)["data"] == PACKETS[1].hex()


def test_netdump_ends_after_the_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("netdump", "tcp", "--read", "in.pcap", "--limit", "2") == 0
    assert capsys.readouterr().out.count("\n") == 2


def test_netdump_without_a_match_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("netdump", "tcp.DstPort == 99", "--read", "in.pcap", "--quiet") == 1
    assert capsys.readouterr() == ("", "")


@needs_posix
def test_a_reader_that_leaves_is_no_error(folder: pathlib.Path) -> None:
    (folder / "in.pcap").write_bytes(pcap([tcp(b"x")] * 5000))
    child = spawn("netdump", "--read", "in.pcap")
    assert child.stdout is not None
    assert child.stderr is not None
    assert child.stdout.readline().startswith("    1  ")
    child.stdout.close()
    assert child.stderr.read() == ""
    assert child.wait(timeout=30) == 0
    child.stderr.close()


@needs_posix
def test_a_full_disk_behind_stdout_is_told() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with open("/dev/full", "w") as full:
        child = spawn("netdump", "--read", "in.pcap", stdout=full)
        assert child.communicate(timeout=30)[1] == (
            "oxidivert netdump: error: cannot write to stdout: No space left on device\n"
        )
    assert child.returncode == 2


def test_the_shipped_capture_is_dumped_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("netdump", "--read", str(EXAMPLES / "traffic.pcapng"), "--json") == 0
    packets = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {packet["protocol_name"] for packet in packets} >= {"TCP", "UDP", "ICMP", "ICMPv6"}
    assert any(packet["fragment"] for packet in packets)
