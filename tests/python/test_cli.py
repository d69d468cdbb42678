"""The command line: what it prints where, how it exits, and what it leaves behind."""

from __future__ import annotations

import ctypes
import gzip
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
from oxidivert.cli import cli
from samples import EACH_PROTOCOL, icmp, ip, pcap, read_pcap, tcp, udp

DATA = pathlib.Path(__file__).parent.parent / "data" / "cli"
EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "examples"
PACKETS = [tcp(b"one"), udp(b"two"), tcp(b"three", dst_port=443), icmp(b"four"), tcp(b"five")]


def system_message(posix: int, windows: int) -> str:
    """The system's own words for an error, to be searched for."""
    if sys.platform == "win32":
        return re.escape(ctypes.FormatError(windows).strip().rstrip("."))
    return re.escape(os.strerror(posix))


needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="on Windows: no such signal, shell or terminal")


#: What the system says of a file that is missing, and of a folder that is opened as a file.
NOT_FOUND = system_message(2, 2)
FOLDER_REFUSED = system_message(21, 5) if sys.platform == "win32" else "is a directory"


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An empty current folder with the capture in.pcap."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "in.pcap").write_bytes(pcap(PACKETS))
    return tmp_path


@pytest.fixture
def script(folder: pathlib.Path) -> pathlib.Path:
    """A script that changes a packet to port 80, drops one to port 443 and passes the others."""
    return write_script(
        folder,
        "def handle(packet):",
        "    if packet.dst_port == 80:",
        "        packet.ipv4.ttl = 9",
        "    return packet.dst_port != 443",
    )


def write_script(folder: pathlib.Path, *lines: str) -> pathlib.Path:
    path = folder / "script.py"
    path.write_text("\n".join(lines) + "\n")
    return path


def names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def spawn(*arguments: str, **more: object) -> subprocess.Popen[str]:
    def take_signals() -> None:
        # A runner in the background may have left Ctrl-C ignored, which children inherit.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more
    if sys.platform != "win32":
        options["preexec_fn"] = take_signals
    return subprocess.Popen([sys.executable, "-m", "oxidivert", *arguments], **options)  # type: ignore[call-overload]


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


# run


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


# netdump


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


def test_the_shipped_capture_is_dumped_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("netdump", "--read", str(EXAMPLES / "traffic.pcapng"), "--json") == 0
    packets = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {packet["protocol_name"] for packet in packets} >= {"TCP", "UDP", "ICMP", "ICMPv6"}
    assert any(packet["fragment"] for packet in packets)
