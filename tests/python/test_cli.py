"""The command line: help, wrong usage, and what each command says of filters and captures that are no good."""

from __future__ import annotations

import ctypes
import gzip
import json
import os
import pathlib
import re
import sys

import pytest
from cli_support import DATA, PACKETS, folder, names, script, spawn
from oxidivert.cli import cli
from samples import pcap

__all__ = ["folder", "script"]


def system_message(posix: int, windows: int) -> str:
    """The system's own words for an error, to be searched for."""
    if sys.platform == "win32":
        return re.escape(ctypes.FormatError(windows).strip().rstrip("."))
    return re.escape(os.strerror(posix))


#: What the system says of a file that is missing, and of a folder that is opened as a file.
NOT_FOUND = system_message(2, 2)
FOLDER_REFUSED = system_message(21, 5) if sys.platform == "win32" else "is a directory"


# Help and usage

TOOLS = [
    *("netdump", "netfilter", "webfilter", "streamdump", "flowtrack", "socketdump", "passthru"),
    *("ctl", "ctl list", "ctl watch", "ctl kill", "ctl uninstall"),
]


@pytest.mark.parametrize(
    ("arguments", "golden"),
    [(["--help"], "help.txt"), (["run", "--help"], "run_help.txt")]
    + [([*name.split(), "--help"], f"{name.replace(' ', '_')}_help.txt") for name in TOOLS],
)
def test_help_is_the_golden(arguments: list[str], golden: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(*arguments) == 0
    assert capsys.readouterr() == ((DATA / golden).read_text(encoding="utf-8"), "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "oxidivert: error: the following arguments are required: COMMAND"),
        (["fly"], "oxidivert: error: argument COMMAND: invalid choice: 'fly'"),
        (["run", "script.py"], "oxidivert run: error: the following arguments are required: --read"),
        (["run", "--read", "in.pcap"], "oxidivert run: error: the following arguments are required: SCRIPT.py"),
        (["netdump", "--read", "in.pcap", "--limit", "0"], "'0' is no count of packets; give 1 or more"),
        (["netdump", "--read", "in.pcap", "--lim", "1"], "oxidivert netdump: error: unrecognized arguments: --lim"),
        (["run", "s.py", "--read", "in.pcap", "--on-error", "panic"], "argument --on-error: invalid choice: 'panic'"),
    ],
)
def test_wrong_usage_is_told_on_stderr_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


# Bad filters and captures


@pytest.mark.parametrize("command", ["run", "netdump"])
def test_a_bad_filter_is_told_with_a_caret_under_the_spot(
    command: str, script: pathlib.Path, folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["script.py", "--write", "out.pcap"] if command == "run" else []
    text = "tcp and bogus == 1"
    assert cli(command, *more, text, "--read", "in.pcap") == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == f"oxidivert {command}: error: the filter does not compile"
    shown = next(index for index, line in enumerate(lines) if text in line)
    assert lines[shown + 1].index("^") == lines[shown].index("bogus")
    assert "Traceback" not in err
    assert names(folder) == {"in.pcap", "script.py"}


@pytest.fixture(params=["run", "netdump"])
def command(request: pytest.FixtureRequest, script: pathlib.Path) -> list[str]:
    """Each command, reading bad.pcap."""
    if request.param == "run":
        return ["run", "script.py", "--read", "bad.pcap", "--write", "out.pcap"]
    return ["netdump", "--read", "bad.pcap"]


def is_told(
    command: list[str], message: str, folder: pathlib.Path, capsys: pytest.CaptureFixture[str], code: int = 2
) -> None:
    """Asserts that the command fails with one line that has `message`, and leaves nothing behind."""
    before = names(folder)
    assert cli(*command) == code
    out, err = capsys.readouterr()
    assert command[0] == "netdump" or out == ""
    assert err.startswith(f"oxidivert {command[0]}: error: ")
    assert re.search(message, err), err
    assert err.count("\n") == 1
    assert names(folder) == before


def test_a_missing_capture_is_told(
    command: list[str], folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    is_told(command, rf"bad\.pcap.*{NOT_FOUND}; ", folder, capsys)


def test_a_folder_is_no_capture(command: list[str], folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.pcap").mkdir()
    is_told(command, rf"bad\.pcap.*{FOLDER_REFUSED}; ", folder, capsys)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"this is a text, no capture at all\n" * 9, bytes(500), gzip.compress(b"a text")],
    ids=["empty", "one byte", "text", "zeros", "gzip'd text"],
)
def test_a_file_that_is_no_capture_is_told(
    data: bytes, command: list[str], folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.pcap").write_bytes(data)
    is_told(command, r"bad\.pcap.*pcap or pcapng", folder, capsys)


@pytest.mark.parametrize("cut", [1, 30, 45])
def test_a_truncated_capture_is_told(
    cut: int, command: list[str], folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.pcap").write_bytes(pcap(PACKETS)[:-cut])
    is_told(command, r"bad\.pcap.*(truncated|cut|ends|incomplete)", folder, capsys)


def test_a_truncated_gzip_file_is_told(
    command: list[str], folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.pcap").write_bytes(gzip.compress(pcap(PACKETS))[:-12])
    is_told(command, r"bad\.pcap", folder, capsys)


def test_bad_networks_are_told(script: pathlib.Path, folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    is_told(["netdump", "--read", "in.pcap", "--local", "10.0.0.0/99"], "10.0.0.0/99", folder, capsys)


@pytest.mark.parametrize("out", ["nowhere/out.pcap", "taken"])
def test_an_output_that_cannot_be_written_is_told(
    out: str, script: pathlib.Path, folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "taken").mkdir()
    is_told(["run", "script.py", "--read", "in.pcap", "--write", out, "--json"], re.escape(out), folder, capsys)


def test_a_link_type_that_is_not_read_is_one_line_of_warning(script: pathlib.Path, folder: pathlib.Path) -> None:
    (folder / "in.pcap").write_bytes(pcap(PACKETS, link_type=147))
    child = spawn("run", "script.py", "--read", "in.pcap", "--write", "out.pcap", "--json")
    out, err = child.communicate(timeout=30)
    assert child.returncode == 0
    assert json.loads(out)["matched"] == 0
    assert re.fullmatch(r"oxidivert run: warning: .*147.*\n", err)
    assert (folder / "out.pcap").read_bytes() == (folder / "in.pcap").read_bytes()
