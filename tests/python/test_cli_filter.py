"""The commands for writing filters: what they print where, and how they exit."""

from __future__ import annotations

import io
import json
import pathlib
import shlex
import sys

import oxidivert as od
import pytest
from oxidivert.cli import cli
from samples import EACH_PROTOCOL, icmp, pcap, tcp, udp

DATA = pathlib.Path(__file__).parent.parent / "data" / "cli"
COMMANDS = ["check", "explain", "format", "compile", "match"]
# The third record is no IP packet, so that no filter sees it.
RECORDS = [tcp(b"one"), udp(b"two"), b"\x00 no packet", tcp(b"three", dst_port=443, ttl=3), icmp(b"four")]

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An empty current folder with the capture in.pcap."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "in.pcap").write_bytes(pcap(RECORDS))
    return tmp_path


def numbers(out: str) -> list[int]:
    return [int(line.split()[0]) for line in out.splitlines() if line[:5].strip().isdigit()]


# Help and usage


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_is_the_golden(command: str | None, capsys: Captured) -> None:
    assert cli("filter", *([command] if command else []), "--help") == 0
    golden = f"filter_{command}_help.txt" if command else "filter_help.txt"
    assert capsys.readouterr() == ((DATA / golden).read_text(encoding="utf-8"), "")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_of_the_help_run(command: str, folder: pathlib.Path, capsys: Captured) -> None:
    (folder / "traffic.pcapng").write_bytes(pcap([*RECORDS, tcp(flags=2)]))
    (folder / "addresses.txt").write_text("192.0.2.0/24\n")
    assert cli("filter", command, "--help") == 0
    text = capsys.readouterr().out
    examples = [line for line in text.splitlines() if line.startswith(f"  oxidivert filter {command} ")]
    assert len(examples) == 2
    for example in examples:
        assert cli(*shlex.split(example)[1:]) in (0, 1)
        out, err = capsys.readouterr()
        assert (bool(out), err) == (True, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "oxidivert filter: error: the following arguments are required: COMMAND"),
        (["fly"], "oxidivert filter: error: argument COMMAND: invalid choice: 'fly'"),
        (["check"], "oxidivert filter check: error: the following arguments are required: FILTER"),
        (["match", "tcp"], "oxidivert filter match: error: the following arguments are required: CAPTURE"),
        (["check", "tcp", "--layer", "lower"], "argument --layer: 'lower' is no layer"),
        (["check", "tcp", "--dialect", "c"], "argument --dialect: invalid choice: 'c'"),
        (["check", "tcp", "--set", "80"], "argument --set: '80' has no name; write NAME=FILE or NAME=MEMBER,MEMBER"),
        (["match", "tcp", "in.pcap", "--limit", "0"], "'0' is no count of packets; give 1 or more"),
    ],
)
def test_wrong_usage_is_told_on_stderr_with_2(arguments: list[str], message: str, capsys: Captured) -> None:
    assert cli("filter", *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


@pytest.mark.parametrize("command", ["explain", "format", "compile", "match"])
def test_a_bad_filter_is_an_error_where_validity_is_not_the_question(command: str, capsys: Captured) -> None:
    more = ["in.pcap"] if command == "match" else []
    assert cli("filter", command, "tcp and bogus == 1", *more) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == f"oxidivert filter {command}: error: the filter does not compile"
    assert lines[-1].index("^") == lines[-2].index("bogus")


# The filter and its surroundings


@pytest.mark.parametrize("text", ["tcp && outbound", "tcp\nand outbound\n\n"])
def test_the_filter_comes_from_stdin(text: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert cli("filter", "format", "-") == 0
    assert capsys.readouterr() == ("tcp and outbound\n", "")


def test_a_filter_of_no_valid_text_is_told(capsys: Captured) -> None:
    assert cli("filter", "check", "tcp\udcff") == 2
    assert capsys.readouterr() == ("", "oxidivert filter check: error: the filter is no valid text\n")


def test_the_layer_decides_which_fields_there_are(capsys: Captured) -> None:
    assert cli("filter", "check", "processId == 4") == 1
    assert "processId" in capsys.readouterr().out
    for layer in ("socket", "SOCKET", "Flow"):
        assert cli("filter", "check", "processId == 4", "--layer", layer) == 0
        assert capsys.readouterr() == ("valid\n", "")
    assert cli("filter", "check", "ifIdx == 4", "--layer", "network-forward") == 0


def test_the_dialect_decides_what_is_valid(capsys: Captured) -> None:
    assert cli("filter", "check", "tcp.DstPort in {80, 443}") == 0
    assert capsys.readouterr().out == "valid\n"
    assert cli("filter", "check", "tcp.DstPort in {80, 443}", "--dialect", "windivert") == 1
    assert "extended" in capsys.readouterr().out


def test_sets_are_lists_or_files(folder: pathlib.Path, capsys: Captured) -> None:
    (folder / "ports.txt").write_text("# the web\n80\n443, 8000-8080 # and more\n\n")
    text = "tcp.DstPort in $ports"
    long = ",".join(map(str, range(443, 5000, 2)))
    for given in ("ports=80, 443,8000-8080", "ports=ports.txt", f"ports=80,{long}"):
        assert cli("filter", "match", text, "in.pcap", "--set", given) == 0
        assert numbers(capsys.readouterr().out) == [1, 3]
    assert cli("filter", "match", text, "in.pcap", "--set", "ports=81", "--set", "ports=443") == 0
    assert numbers(capsys.readouterr().out) == [3]


def test_a_missing_set_and_a_bad_member_are_told(folder: pathlib.Path, capsys: Captured) -> None:
    assert cli("filter", "check", "tcp.DstPort in $ports", "--set", "other=80") == 1
    assert "$other" in capsys.readouterr().out
    assert cli("filter", "check", "tcp", "--set", "ports=missing.txt") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("oxidivert filter check: error: ")) == ("", 1)
    assert "`ports`" in err
    assert err.endswith("\na set is a file that exists, or members with commas between\n")
    (folder / "binary").write_bytes(b"\xff\xfe")
    assert cli("filter", "check", "tcp", "--set", "ports=binary") == 2
    assert capsys.readouterr().err == "oxidivert filter check: error: cannot read the set binary: it is no text\n"


# check


def test_check_shows_the_error_with_a_caret(capsys: Captured) -> None:
    text = "tcp.DstPort = = 80"
    assert cli("filter", "check", text) == 1
    out, err = capsys.readouterr()
    assert err == ""
    with pytest.raises(od.FilterError) as caught:
        od.Filter(text)
    assert out == f"{caught.value}\n"


def test_check_shows_what_is_odd(capsys: Captured) -> None:
    text = "outbound and tcp.DstPort == 70000"
    assert cli("filter", "check", text) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == "valid"
    assert lines[1].startswith("warning: ")
    assert lines[-1].index("^") == lines[-2].index("tcp.DstPort")


def test_check_prints_the_same_as_json(capsys: Captured) -> None:
    assert cli("filter", "check", "tcp", "--json") == 0
    nothing = {"message": None, "position": None, "account": None, "warnings": []}
    assert json.loads(capsys.readouterr().out) == {"valid": True, **nothing}

    assert cli("filter", "check", "udp.DstPort == 70000", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["valid"] is True
    [warning] = result["warnings"]
    assert (warning["start"], warning["end"]) == (0, 20)
    assert warning["account"].startswith(warning["message"])

    assert cli("filter", "check", "tcp and bogus", "--json") == 1
    result = json.loads(capsys.readouterr().out)
    with pytest.raises(od.FilterError) as caught:
        od.Filter("tcp and bogus")
    error = caught.value
    assert result == {
        "valid": False,
        "message": error.message,
        "position": error.position,
        "account": str(error),
        "warnings": [],
    }


# explain, format, compile


def test_explain_shows_what_the_filter_compiles_to(capsys: Captured) -> None:
    text = "tcp.DstPort in {80, 443} and outbound"
    assert cli("filter", "explain", text) == 0
    filter = od.Filter(text, dialect="extended")
    out, err = capsys.readouterr()
    assert (out.rstrip("\n"), err) == (filter.explain().rstrip("\n"), "")
    assert cli("filter", "explain", text, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(filter.explain(json=True))


def test_format_prints_the_normal_form(capsys: Captured) -> None:
    for text, form in [
        ("tcp && tcp.DstPort==0x50", "tcp and tcp.DstPort = 80"),
        ("@WinDiv_WX_eXWWAX", "tcp"),
        ("tcp.DstPort in {443,80}", "tcp.DstPort in {80, 443}"),
    ]:
        assert cli("filter", "format", text) == 0
        assert capsys.readouterr() == (f"{form}\n", "")
    assert cli("filter", "format", "event=3", "--layer", "socket") == 0
    assert capsys.readouterr().out == "event = BIND\n"


def test_compile_prints_the_object(capsys: Captured) -> None:
    assert cli("filter", "compile", "tcp.DstPort == 80") == 0
    assert capsys.readouterr() == ("@WinDiv_WX_1dWW2mAX\n", "")
    assert cli("filter", "compile", "tcp.DstPort in {80, 443}") == 0
    assert capsys.readouterr() == (f"{od.helpers.compile_filter('tcp.DstPort == 80 or tcp.DstPort == 443')}\n", "")


def test_compile_tells_of_an_object_that_matches_more(folder: pathlib.Path, capsys: Captured) -> None:
    (folder / "many").write_text("\n".join(f"10.{number}.0.1" for number in range(0, 256)))
    (folder / "more").write_text("\n".join(f"11.{number}.0.1" for number in range(0, 256)))
    text = "ip.SrcAddr in $many or ip.SrcAddr in $more"
    assert cli("filter", "compile", text, "--set", "many=many", "--set", "more=more") == 0
    out, err = capsys.readouterr()
    assert out.startswith("@WinDiv_")
    assert err == "note: the object matches more packets than the filter, which no object can say\n"


# match


def test_match_prints_the_packets_with_their_numbers_among_those_of_the_capture(capsys: Captured) -> None:
    assert cli("filter", "match", "tcp", "in.pcap") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert numbers(out) == [1, 3]
    assert cli("netdump", "tcp", "--read", "in.pcap") == 0
    assert [line[5:] for line in out.splitlines()] == [line[5:] for line in capsys.readouterr().out.splitlines()]


def test_match_without_a_match_exits_with_1(capsys: Captured) -> None:
    for more, out in [([], ""), (["--count"], "0\n"), (["--count", "--json"], '{"count": 0}\n')]:
        assert cli("filter", "match", "tcp.DstPort == 1", "in.pcap", *more) == 1
        assert capsys.readouterr() == (out, "")


def test_match_inverts_limits_and_counts(capsys: Captured) -> None:
    assert cli("filter", "match", "tcp", "in.pcap", "--invert") == 0
    assert numbers(capsys.readouterr().out) == [2, 4]
    assert cli("filter", "match", "true", "in.pcap", "--limit", "3") == 0
    assert numbers(capsys.readouterr().out) == [1, 2, 3]
    assert cli("filter", "match", "tcp", "in.pcap", "--count") == 0
    assert capsys.readouterr().out == "2\n"
    assert cli("filter", "match", "true", "in.pcap", "--count", "--limit", "3") == 0
    assert capsys.readouterr().out == "3\n"


def test_match_tells_the_test_that_decided(capsys: Captured) -> None:
    text = "tcp.DstPort == 443 and ip.TTL < 5"
    assert cli("filter", "match", text, "in.pcap", "--why") == 0
    lines = capsys.readouterr().out.splitlines()
    assert numbers("\n".join(lines)) == [3]
    assert lines[1:] == ["       ip.TTL < 5 holds: the value is 3"]
    assert cli("filter", "match", text, "in.pcap", "--why", "--invert") == 0
    lines = capsys.readouterr().out.splitlines()
    assert numbers("\n".join(lines[::2])) == [1, 2, 4]
    assert lines[1::2] == [
        "       tcp.DstPort = 443 does not hold: the value is 80",
        "       tcp.DstPort = 443 does not hold: the packet has no such value",
        "       tcp.DstPort = 443 does not hold: the packet has no such value",
    ]


def test_match_tells_where_nothing_decided(capsys: Captured) -> None:
    assert cli("filter", "match", "true", "in.pcap", "--why", "--limit", "1") == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["       the filter answers so for every packet"]


def test_match_prints_json_a_line(capsys: Captured) -> None:
    assert cli("filter", "match", "ip.DstAddr == 192.0.2.7", "in.pcap", "--json", "--why", "--limit", "2") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert [first["number"], second["number"]] == [1, 2]
    assert (first["protocol_name"], second["protocol_name"]) == ("TCP", "UDP")
    assert first["why"] == {
        "test": "ip.DstAddr = 192.0.2.7",
        "value": 0xFFFF_C000_0207,
        "shown": "192.0.2.7",
        "passed": True,
    }
    assert cli("filter", "match", "udp", "in.pcap", "--json") == 0
    assert "why" not in json.loads(capsys.readouterr().out)
    assert cli("filter", "match", "true", "in.pcap", "--json", "--why", "--limit", "1") == 0
    assert json.loads(capsys.readouterr().out)["why"] is None


def test_match_takes_local_networks(folder: pathlib.Path, capsys: Captured) -> None:
    (folder / "in.pcap").write_bytes(pcap(list(EACH_PROTOCOL.values())))
    assert cli("filter", "match", "inbound", "in.pcap", "--local", "192.0.2.0/24", "2001:db8::2/128") == 0
    assert numbers(capsys.readouterr().out) == [1, 2, 3, 4, 5, 6]


def test_match_tells_of_a_capture_that_cannot_be_read(folder: pathlib.Path, capsys: Captured) -> None:
    assert cli("filter", "match", "tcp", "missing.pcap") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("oxidivert filter match: error: ")
    assert "missing.pcap" in err
    assert err.count("\n") == 1
