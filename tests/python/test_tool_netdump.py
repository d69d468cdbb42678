"""netdump on an engine and on captures: each line of what WinDivert's program prints, and what is better here."""

from __future__ import annotations

import pathlib
import re

import oxidivert as od
import pytest
from oxidivert.cli import cli
from samples import EACH_PROTOCOL, TIME_NS, V6, icmp, icmpv6, ip, pcap, tcp, udp
from tools_support import Bench, bench, inject, objects

__all__ = ["bench"]


@pytest.fixture
def shown(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """What `netdump --headers` prints of packets."""
    monkeypatch.setenv("NO_COLOR", "1")

    def show(*packets: bytes, local: str = "10.0.0.0/8") -> list[str]:
        (tmp_path / "in.pcap").write_bytes(pcap(list(packets)))
        assert cli("netdump", "--headers", "--quiet", "--local", local, "--read", str(tmp_path / "in.pcap")) == 0
        return capsys.readouterr().out.splitlines()

    return show


def test_a_blank_line_precedes_each_packet(shown) -> None:
    lines = shown(tcp(), udp())
    blanks = [index for index, line in enumerate(lines) if not line]
    assert blanks[0] == 0
    assert [lines[index + 1].split()[0] for index in blanks] == ["Packet", "Packet"]


def test_the_packet_line(shown) -> None:
    first, second = (line for line in shown(tcp(), udp(src="192.0.2.7", dst="10.0.0.1")) if line.startswith("Packet"))
    hashed = od.helpers.hash_packet(tcp())
    assert first.startswith(
        f"Packet [Timestamp=0, Direction=outbound IfIdx=1 SubIfIdx=0 Loopback=0 Hash=0x{hashed:016X} Impostor=0 "
    )
    # A millisecond later.
    assert second.startswith("Packet [Timestamp=0.001, Direction=inbound ")


def test_the_time_has_eight_significant_digits(shown) -> None:
    packets = [tcp()] * 1235
    times = re.findall(r"Timestamp=([0-9.e-]+),", "\n".join(shown(*packets)))
    assert (times[0], times[1], times[1234]) == ("0", "0.001", "1.234")


def test_a_packet_within_the_machine_is_shown_as_such(shown) -> None:
    lines = shown(tcp(src="127.0.0.1", dst="127.0.0.1"))
    assert "Direction=outbound" in lines[1]
    assert "Loopback=1" in lines[1]


def test_the_ipv4_line(shown) -> None:
    packet = bytearray(tcp())
    # TOS is a number of one byte, which the original multiplies by 256; bit 15 of the flags is reserved.
    packet[1], packet[6] = 0x12, 0xE0
    assert shown(bytes(packet))[2] == (
        "IPv4 [Version=4 HdrLength=5 TOS=18 Length=40 Id=0x0007 Reserved=1 DF=1 MF=1 FragOff=0 TTL=64 Protocol=6 "
        f"Checksum=0x{int.from_bytes(packet[10:12]):04X} SrcAddr=10.0.0.1 DstAddr=192.0.2.7]"
    )


def test_the_ipv6_line(shown) -> None:
    packet = bytearray(tcp(b"x", **V6))
    packet[0:4] = (6 << 28 | 0x12 << 20 | 0x34567).to_bytes(4)
    # The label in network order, which the original has wrong.
    assert shown(bytes(packet))[2] == (
        "IPv6 [Version=6 TrafficClass=18 FlowLabel=214375 Length=21 NextHdr=6 HopLimit=64 SrcAddr=2001:db8::1 "
        "DstAddr=2001:db8::2]"
    )


def test_the_icmp_lines(shown) -> None:
    for name, packet, kind in (("ICMP", icmp(), 8), ("ICMPV6", icmpv6(), 128)):
        at = 40 if name == "ICMPV6" else 20
        checksum = int.from_bytes(packet[at + 2 : at + 4])
        assert shown(packet)[3] == f"{name} [Type={kind} Code=0 Checksum=0x{checksum:04X} Body=0x00010002]"


def test_the_tcp_line(shown) -> None:
    packet = bytearray(tcp(b"x", seq=7))
    packet[32], packet[33] = 0x5A, 0xEA
    checksum = int.from_bytes(packet[36:38])
    assert shown(bytes(packet))[3] == (
        "TCP [SrcPort=40001 DstPort=80 SeqNum=7 AckNum=2 HdrLength=5 Reserved1=10 Reserved2=3 Urg=1 Ack=0 Psh=1 Rst=0 "
        f"Syn=1 Fin=0 Window=8192 Checksum=0x{checksum:04X} UrgPtr=0]"
    )


def test_the_udp_line(shown) -> None:
    checksum = int.from_bytes(udp()[26:28])
    assert shown(udp())[3] == f"UDP [SrcPort=12345 DstPort=53 Length=12 Checksum=0x{checksum:04X}]"


def test_the_bytes_are_shown_twenty_a_line_and_the_text_forty(shown) -> None:
    packet = udp(b"text that is longer than forty characters, \x00\xff and odd")
    lines = shown(packet)[4:]
    hexadecimal = [line for line in lines if re.fullmatch(r"\t[0-9A-F]+", line)]
    assert [len(line) for line in hexadecimal[:-1]] == [41] * (len(hexadecimal) - 1)
    assert bytes.fromhex("".join(hexadecimal)) == packet
    text = lines[len(hexadecimal) :]
    assert [len(line) for line in text[:-1]] == [41] * (len(text) - 1)
    joined = "".join(line[1:] for line in text)
    assert len(joined) == len(packet)
    assert joined.endswith("text that is longer than forty characters, .. and odd")


@pytest.mark.parametrize("name", EACH_PROTOCOL)
def test_only_the_headers_that_are_there_are_shown(name: str, shown) -> None:
    kinds = [line.split()[0] for line in shown(EACH_PROTOCOL[name]) if line and not line.startswith("\t")]
    transport = {"tcp": "TCP", "udp": "UDP", "icmp": "ICMP", "icmpv6": "ICMPV6"}[name.split()[0]]
    assert kinds == ["Packet", "IPv6" if "v6" in name else "IPv4", transport]


def test_fragments_are_shown_one_by_one(bench: Bench) -> None:
    fragment = ip("192.0.2.7", "10.0.0.1", 17, b"the rest", fragment=3)
    done = bench.during(inject(fragment, outbound=False), "netdump", "--limit", "1", "--json")
    assert [one["fragment"] for one in done.objects] == [True]


def test_packets_go_on_untouched(bench: Bench) -> None:
    packets = [tcp(b"one"), udp(b"two"), icmp(b"three")]
    done = bench.during(inject(*packets), "netdump", "--limit", "3")
    assert done.code == 0
    assert [bytes(packet) for packet in bench.engine.delivered] == packets
    assert [line.split()[4] for line in done.lines] == ["TCP", "UDP", "ICMP"]


def test_packets_are_written_to_a_capture(bench: Bench, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "out.pcap"
    packets = [tcp(b"one"), tcp(b"two", **V6)]
    done = bench.during(inject(packets[0], udp(), packets[1]), "netdump", "tcp", "--limit", "2", "--write", str(out))
    assert done.code == 0
    with od.open(backend=od.Replay(out)) as handle:
        assert [bytes(packet) for packet in handle] == packets


def test_a_capture_written_keeps_times_to_the_nanosecond(tmp_path: pathlib.Path) -> None:
    (tmp_path / "in.pcap").write_bytes(pcap([tcp(), udp()]))
    again = tmp_path / "out.pcap"
    assert cli("netdump", "--read", str(tmp_path / "in.pcap"), "--write", str(again), "--quiet") == 0
    with od.open(backend=od.Replay(again)) as handle:
        assert [packet.time_ns for packet in handle] == [TIME_NS, TIME_NS + 1_000_000]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.pcap", "out.pcap"]


def test_a_capture_that_cannot_be_written_is_told(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.pcap").write_bytes(pcap([tcp()]))
    where = str(tmp_path / "nowhere" / "out.pcap")
    assert cli("netdump", "--read", str(tmp_path / "in.pcap"), "--write", where) == 2
    assert capsys.readouterr().err.startswith(f"oxidivert netdump: error: cannot write {where}: ")


def test_objects_have_the_bytes_where_asked(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.pcap").write_bytes(pcap(list(EACH_PROTOCOL.values())))
    assert cli("netdump", "--read", str(tmp_path / "in.pcap"), "--json", "--hex") == 0
    out, err = capsys.readouterr()
    assert [bytes.fromhex(one["data"]) for one in objects(out)] == list(EACH_PROTOCOL.values())
    assert objects(err)[0]["packets"] == 6
