"""`run`: what a script makes of a capture, what is told when it fails, and what is left behind."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
from cli_support import DATA, EXAMPLES, PACKETS, folder, names, needs_posix, script, spawn, write_script
from oxidivert.cli import cli
from samples import pcap, read_pcap, tcp

__all__ = ["folder", "script"]


def test_run_writes_what_the_script_made_of_the_packets(script: pathlib.Path, folder: pathlib.Path) -> None:
    assert cli("run", "script.py", "tcp", "--read", "in.pcap", "--write", "out.pcap", "--json") == 0
    changed = [tcp(b"one", ttl=9), PACKETS[1], PACKETS[3], tcp(b"five", ttl=9)]
    assert read_pcap((folder / "out.pcap").read_bytes()) == changed
    assert names(folder) == {"in.pcap", "out.pcap", "script.py"}


def test_run_prints_a_table(script: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("run", "script.py", "tcp", "--read", "in.pcap", "--write", "out.pcap") == 0
    out, err = capsys.readouterr()
    assert err == ""
    shown = re.sub(r"(per second +│) +[\d,]+ │", r"\1     RATE │", out)
    assert shown == (DATA / "summary.txt").read_text(encoding="utf-8")


def test_run_prints_the_same_as_json(script: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("run", "script.py", "tcp", "--read", "in.pcap", "--write", "out.pcap", "--json") == 0
    out, err = capsys.readouterr()
    assert (err, out.count("\n")) == ("", 1)
    summary = json.loads(out)
    assert summary.pop("seconds") > 0
    assert summary.pop("packets_per_second") > 0
    assert summary == {
        "output": "out.pcap",
        "seen": 5,
        "matched": 3,
        "sent": 2,
        "modified": 2,
        "dropped": 1,
        "failed": 0,
        "errors": 0,
        "checksums_computed": 0,
    }


def test_run_takes_the_filter_at_any_place_and_needs_no_output(
    script: pathlib.Path, folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("run", "script.py", "--read", "in.pcap", "--json", "udp") == 0
    assert json.loads(capsys.readouterr().out)["matched"] == 1
    assert names(folder) == {"in.pcap", "script.py"}


def test_run_without_a_filter_matches_all(script: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("run", "script.py", "--read", "in.pcap", "--json") == 0
    assert json.loads(capsys.readouterr().out)["matched"] == 5


def test_a_script_imports_its_neighbours_and_is_not_main(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts = folder / "scripts"
    scripts.mkdir()
    (scripts / "neighbour.py").write_text("def keep(packet): return False\n")
    write_script(
        scripts,
        "from dataclasses import dataclass",
        "from neighbour import keep as handle",
        "@dataclass",
        "class Needs: 'its module in sys.modules'",
        "assert __name__ != '__main__' and __file__.endswith('script.py')",
    )
    before = list(sys.path)
    try:
        assert cli("run", "scripts/script.py", "--read", "in.pcap", "--json") == 0
    finally:
        sys.modules.pop("neighbour", None)
    assert json.loads(capsys.readouterr().out)["dropped"] == 5
    assert sys.path == before


def test_local_networks_tell_the_directions(script: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    for local, matched in [("10.0.0.0/8", 5), ("192.0.2.0/24", 0)]:
        assert cli("run", "script.py", "outbound", "--read", "in.pcap", "--local", local, "--json") == 0
        assert json.loads(capsys.readouterr().out)["matched"] == matched


def test_without_rich_the_table_is_refused_before_the_work(
    script: pathlib.Path, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    assert cli("run", "script.py", "--read", "in.pcap", "--write", "out.pcap") == 2
    message = "oxidivert run: error: the summary table needs rich: install oxidivert[cli], or use --json\n"
    assert capsys.readouterr() == ("", message)
    assert "out.pcap" not in names(folder)
    assert cli("run", "script.py", "--read", "in.pcap", "--write", "out.pcap", "--json") == 0
    assert cli("netdump", "--read", "in.pcap") == 0


# Failing callbacks

FAILING = [
    "import json",
    "def parse(packet):",
    "    return json.loads('{')",
    "def handle(packet):",
    "    return parse(packet)",
]


def test_a_callback_that_raises_is_told_by_the_script_s_own_frames(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_script(
        folder,
        "count = 0",
        "def handle(packet):",
        "    global count",
        "    count += 1",
        "    if count == 3:",
        "        raise LookupError('no such host')",
    )
    assert cli("run", "script.py", "tcp", "--read", "in.pcap", "--write", "out.pcap") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "oxidivert run: error: the script script.py failed\n"
        "Traceback (most recent call last):\n"
        '  File "script.py", line 6, in handle\n'
        "    raise LookupError('no such host')\n"
        "LookupError: no such host\n"
        "on packet 3 of this run\n"
    )
    assert names(folder) == {"in.pcap", "script.py"}


def test_frames_below_the_script_s_are_shown_too(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_script(
        folder,
        "import json",
        "def parse(packet):",
        "    return json.loads('{')",
        "def handle(packet):",
        "    return parse(packet)",
    )
    assert cli("run", "script.py", "--read", "in.pcap") == 2
    err = capsys.readouterr().err
    frames = re.findall(r'File "(.+)", line', err)
    assert frames[:2] == ["script.py", "script.py"]
    assert "oxidivert" not in "".join(frames)
    assert frames[-1].endswith("decoder.py")


@pytest.mark.parametrize(
    ("answer", "kind"), [("1", "int"), ("'yes'", "str"), ("packet", "Packet"), ("0", "int"), ("[]", "list")]
)
def test_a_nonsense_answer_is_told(
    answer: str, kind: str, folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_script(folder, f"def handle(packet): return {answer} if packet.udp else None")
    assert cli("run", "script.py", "--read", "in.pcap", "--write", "out.pcap") == 2
    assert capsys.readouterr() == (
        "",
        f"oxidivert run: error: the script script.py failed: the callback returned {kind}; "
        "it returns None or True to send the packet on, False to drop it (on packet 2 of this run)\n",
    )
    assert names(folder) == {"in.pcap", "script.py"}


def test_a_callback_with_other_parameters_is_told(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_script(folder, "def handle(): pass")
    assert cli("run", "script.py", "--read", "in.pcap") == 2
    assert capsys.readouterr().err == (
        "oxidivert run: error: the script script.py failed: "
        "handle() takes 0 positional arguments but 1 was given (on packet 1 of this run)\n"
    )


def test_a_script_that_exits_is_told(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_script(folder, "import sys", "def handle(packet): sys.exit('enough')")
    assert cli("run", "script.py", "--read", "in.pcap", "--write", "out.pcap") == 2
    message = "oxidivert run: error: the script script.py exited with 'enough' (on packet 1 of this run)\n"
    assert capsys.readouterr() == ("", message)
    assert names(folder) == {"in.pcap", "script.py"}


@pytest.mark.parametrize(("on_error", "kept"), [("drop", 0), ("pass", 12)])
def test_failures_that_the_loop_goes_on_after_are_told_and_counted(
    on_error: str, kept: int, folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "in.pcap").write_bytes(pcap([tcp(bytes([index])) for index in range(12)]))
    write_script(folder, "def handle(packet): raise LookupError('no such host')")
    assert cli("run", "script.py", "--read", "in.pcap", "--write", "out.pcap", "--on-error", on_error) == 0
    out, err = capsys.readouterr()
    assert re.search(r"failures of the callback +│ +12 │", out)
    assert re.findall("LookupError: no such host\non packet ([0-9]+) of this run\n", err) == [
        str(n) for n in range(1, 11)
    ]
    assert err.endswith("the callback failed 2 more times\n")
    assert len(read_pcap((folder / "out.pcap").read_bytes())) == kept


# Bad scripts


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["x = 1"], "the script script.py has no function handle; it needs: def handle(packet): ..."),
        (["handle = 1"], "in the script script.py, handle is int, no function"),
        (["import sys", "sys.exit(3)"], "the script script.py exited with 3"),
        (
            ["def handle(packet)"],
            "the script script.py is no valid Python\n"
            '  File "script.py", line 1\n'
            "    def handle(packet)\n"
            "                      ^\n"
            "SyntaxError: expected ':'",
        ),
        (
            ["", "1 / 0"],
            "the script script.py failed\n"
            "Traceback (most recent call last):\n"
            '  File "script.py", line 2, in <module>\n'
            "    1 / 0\n"
            "    ~~^~~\n"
            "ZeroDivisionError: division by zero",
        ),
    ],
    ids=["no handle", "no function", "exits", "syntax", "raises"],
)
def test_a_bad_script_is_told(
    lines: list[str], message: str, folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_script(folder, *lines)
    assert cli("run", "script.py", "--read", "in.pcap", "--write", "out.pcap") == 2
    assert capsys.readouterr() == ("", f"oxidivert run: error: {message}\n")
    assert names(folder) == {"in.pcap", "script.py"}


def test_a_script_that_cannot_be_read_is_told(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "folder.py").mkdir()
    # Windows refuses to open a folder like a file that one may not read.
    folder_reason = "Permission denied" if sys.platform == "win32" else "Is a directory"
    for name, reason in [("none.py", "No such file or directory"), ("folder.py", folder_reason)]:
        assert cli("run", name, "--read", "in.pcap", "--write", "out.pcap") == 2
        message = f"oxidivert run: error: cannot read the script {name}: {reason}\n"
        assert capsys.readouterr() == ("", message)
    assert "out.pcap" not in names(folder)


# Signals, pipes and terminals


@pytest.fixture
def slow(folder: pathlib.Path) -> pathlib.Path:
    """A script and a capture that take several seconds; the script says when it is at work."""
    (folder / "in.pcap").write_bytes(pcap([tcp(bytes([index])) for index in range(100)]))
    return write_script(
        folder,
        "import pathlib, time",
        "def handle(packet):",
        "    pathlib.Path('at_work').touch()",
        "    time.sleep(0.02)",
    )


def wait_for(path: pathlib.Path) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not appear"
        time.sleep(0.01)


@needs_posix
def test_ctrl_c_ends_with_130_and_discards_the_output(slow: pathlib.Path, folder: pathlib.Path) -> None:
    child = spawn("run", "script.py", "--read", "in.pcap", "--write", "out.pcap")
    wait_for(folder / "at_work")
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=30) == ("", "oxidivert run: interrupted\n")
    assert child.returncode == 130
    assert names(folder) == {"in.pcap", "script.py", "at_work"}


@needs_posix
@pytest.mark.parametrize("stream", [1, 2])
def test_a_closed_stream_is_no_error(stream: int, script: pathlib.Path, folder: pathlib.Path) -> None:
    command = f'"$0" -m oxidivert run script.py --read in.pcap --write out.pcap {stream}>&-'
    ended = subprocess.run(["/bin/sh", "-c", command, sys.executable], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (folder / "out.pcap").exists()


@needs_posix
@pytest.mark.parametrize("on_error", ["raise", "drop"])
def test_a_script_whose_reader_leaves_ends_quietly_without_output(on_error: str, folder: pathlib.Path) -> None:
    (folder / "in.pcap").write_bytes(pcap([tcp(b"x")] * 5000))
    write_script(folder, "def handle(packet): print('x' * 100)")
    arguments = ["run", "script.py", "--read", "in.pcap", "--write", "out.pcap", "--json", "--on-error", on_error]
    child = spawn(*arguments)
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.readline()
    child.stdout.close()
    assert child.stderr.read() == ""
    assert child.wait(timeout=30) == 2
    child.stderr.close()
    assert names(folder) == {"in.pcap", "script.py"}


@needs_posix
def test_long_work_shows_a_bar_on_a_terminal_only(slow: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    leader, follower = os.openpty()
    child = spawn("run", "script.py", "--read", "in.pcap", "--json", stderr=follower)
    os.close(follower)
    shown = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:
            # How the end looks on Linux.
            break
        if not part:
            break
        shown += part
    os.close(leader)
    assert json.loads(child.communicate(timeout=30)[0])["matched"] == 100
    assert re.search(rb"\d+% *\d+ packets *\d+/s", re.sub(rb"\x1b\[[\d;?]*[a-zA-Z]", b"", shown))


def test_long_work_is_silent_without_a_terminal(slow: pathlib.Path) -> None:
    child = spawn("run", "script.py", "--read", "in.pcap", "--json")
    out, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (0, "")
    assert json.loads(out)["seen"] == 100


# The shipped capture


def test_the_examples_run_over_the_shipped_capture(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(
        "run", str(EXAMPLES / "mask_token.py"), "tcp.PayloadLength > 0", "--json",
        "--read", str(EXAMPLES / "traffic.pcapng"), "--write", "masked.pcapng",
    ) == 0  # fmt: skip
    summary = json.loads(capsys.readouterr().out)
    assert summary["seen"] > summary["matched"] > summary["modified"] > 0
    assert (summary["dropped"], summary["errors"], summary["failed"]) == (0, 0, 0)
    assert (folder / "masked.pcapng").stat().st_size == (EXAMPLES / "traffic.pcapng").stat().st_size
