"""What all tools have in common: options, ends, exit codes, and what goes to stdout and what to stderr."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import sys
import threading
import time

import oxidivert as od
import pytest
from oxidivert.cli import _programs, cli
from samples import PROJECT, pcap, tcp, udp
from tools_support import Bench, bench, inject, objects

__all__ = ["bench"]

TOOLS = ["netdump", "netfilter", "webfilter", "streamdump", "flowtrack", "socketdump", "passthru"]
TOOLS += ["ctl list", "ctl watch", "ctl kill", "ctl uninstall"]
#: What each tool needs to be told, and what ends it on a capture.
ON_CAPTURES = {
    "netdump": [],
    "netfilter": ["tcp"],
    "webfilter": ["list.txt"],
    "streamdump": ["80"],
    "flowtrack": [],
    "passthru": [],
}

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="on Windows: signals are not sent so")


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("example.com\n")
    (tmp_path / "in.pcap").write_bytes(pcap([tcp(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"), udp()]))
    return tmp_path


@pytest.mark.parametrize("tool", TOOLS)
def test_help_has_two_examples_that_are_right(tool: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(*tool.split(), "--help") == 0
    examples = capsys.readouterr().out.partition("\nexamples:\n")[2].splitlines()
    assert len(examples) == 2
    import importlib
    import shlex

    module = importlib.import_module(f"oxidivert.cli._{tool.replace(' ', '_')}")
    for example in examples:
        words = shlex.split(example)
        assert words[: len(tool.split()) + 1] == ["oxidivert", *tool.split()]
        module.parser(tool).parse_intermixed_args(words[len(tool.split()) + 1 :])


@pytest.mark.parametrize("tool", TOOLS)
def test_all_have_the_common_options(tool: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(*tool.split(), "--help") == 0
    out = capsys.readouterr().out
    for option in ("--json", "--quiet", "--limit N", "--duration S"):
        assert option in out


@pytest.mark.parametrize("tool", ON_CAPTURES)
def test_on_a_capture_the_summary_goes_to_stderr_unless_quiet(
    tool: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    command = [tool, *ON_CAPTURES[tool], "--read", "in.pcap"]
    assert cli(*command) == 0
    out, err = capsys.readouterr()
    assert out
    if tool != "passthru":
        assert re.search(r" in \d+\.\d s\n$", err)
    assert cli(*command, "--quiet") == 0
    again = capsys.readouterr()
    assert again.err == ""
    if tool != "passthru":
        assert again.out == out


@pytest.mark.parametrize("tool", ON_CAPTURES)
def test_objects_and_their_summary_fit_the_schema(tool: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(tool, *ON_CAPTURES[tool], "--read", "in.pcap", "--json") == 0
    out, err = capsys.readouterr()
    assert objects(out)
    assert [one["type"] for one in objects(err)] == ([] if tool == "passthru" else ["summary"])


@pytest.mark.parametrize("tool", ON_CAPTURES)
def test_no_colours_where_there_is_no_terminal(tool: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(tool, *ON_CAPTURES[tool], "--read", "in.pcap") == 0
    assert "\x1b" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("tool", ["netfilter", "passthru", "webfilter"])
def test_write_goes_with_read(tool: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(tool, *ON_CAPTURES[tool], "--write", "out.pcap") == 2
    message = f"oxidivert {tool}: error: --write goes with --read: what is live goes on by itself\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    "tool", ["netdump", "netfilter", "flowtrack", "socketdump", "passthru", "ctl list", "ctl kill"]
)
def test_a_bad_filter_is_told_with_a_caret_and_2(tool: str, bench: Bench) -> None:
    done = bench.run(*tool.split(), "bogus == 1")
    assert done.code == 2
    assert done.err.startswith(f"oxidivert {tool}: error: the filter does not compile\n")
    lines = done.err.splitlines()
    shown = next(index for index, line in enumerate(lines) if line.strip() == "bogus == 1")
    assert lines[shown + 1].index("^") == lines[shown].index("bogus")


@pytest.mark.parametrize("value", ["0", "-1", "x", "nan", "1e99"])
def test_a_duration_must_make_sense(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("netdump", f"--duration={value}") == 2
    assert f"'{value}' is no time; give seconds, such as 10 or 0.5" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        *(["netfilter", "tcp"], ["passthru"], ["passthru", "--way", "rust"], ["socketdump"], ["flowtrack"]),
        *(["ctl", "watch"], ["webfilter", "list.txt"], ["streamdump", "80"]),
    ],
)
def test_the_time_ends_a_tool_with_0(command: list[str], bench: Bench) -> None:
    started = time.monotonic()
    done = bench.run(*command, "--duration", "0.3")
    assert done.code == 0
    assert 0.25 < time.monotonic() - started < 5


def test_the_time_ends_netdump_with_1_if_nothing_matched(bench: Bench) -> None:
    assert bench.run("netdump", "--duration", "0.2").code == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [(5, "root rights are needed"), (50, "the layer is not supported here"), (1275, "the driver is blocked")],
)
@pytest.mark.parametrize(
    "command",
    [["netdump"], ["netfilter", "tcp"], ["passthru"], ["socketdump"], ["ctl", "list"], ["webfilter", "list.txt"]],
)
def test_what_is_missing_is_one_line_and_2(
    command: list[str], code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise od.DivertError(code, message)

    monkeypatch.setattr(od, "open", refuse)
    assert cli(*command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    name = " ".join(command[:2]) if command[0] == "ctl" else command[0]
    assert err.startswith(f"oxidivert {name}: error: {message}")
    assert err.count("\n") == 1


# Ctrl-C


def interrupt_after(act, seconds: float = 0.5) -> None:
    def run() -> None:
        time.sleep(seconds)
        act()
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=run, daemon=True).start()


@needs_posix
@pytest.mark.parametrize("way", ["batch", "callback", "loop", "rust"])
def test_ctrl_c_ends_with_130_and_all_packets_go_on(way: str, bench: Bench) -> None:
    packets = [tcp(bytes([index])) for index in range(200)]
    interrupt_after(lambda: inject(*packets)(bench.engine))
    done = bench.run("passthru", "--way", way, "--json")
    assert done.code == 130
    assert done.objects[0]["packets"] == 200
    assert [bytes(packet) for packet in bench.engine.delivered] == packets
    # Nothing is diverted any more, and the signal means again what it meant.
    inject(udp())(bench.engine)
    assert bytes(bench.engine.delivered[-1]) == udp()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@needs_posix
def test_ctrl_c_gives_back_what_the_tool_has_not_looked_at(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from oxidivert.cli import _netfilter

    waits = threading.Event()

    def slow(*_: object) -> None:
        waits.set()
        time.sleep(0.5)

    monkeypatch.setattr(_netfilter, "_print", slow)
    packets = [udp(bytes([index])) for index in range(20)]
    interrupt_after(lambda: inject(*packets)(bench.engine))
    done = bench.run("netfilter", "udp", "--silent")
    assert waits.is_set()
    assert done.code == 130
    # The first one was blocked; the others had only waited.
    assert [bytes(packet) for packet in bench.engine.delivered] == packets[1:]


@needs_posix
@pytest.mark.parametrize(
    "command",
    [["netdump"], ["socketdump"], ["flowtrack"], ["ctl", "watch"], ["webfilter", "list.txt"], ["streamdump", "80"]],
)
def test_ctrl_c_ends_every_tool_with_its_summary(command: list[str], bench: Bench) -> None:
    interrupt_after(lambda: None, 0.3)
    done = bench.run(*command)
    assert done.code == 130
    assert re.search(r" in \d+\.\d s\n$", done.err)


@needs_posix
def test_a_second_ctrl_c_ends_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from oxidivert.cli import _netfilter

    waits = threading.Event()

    def stuck(*_: object) -> None:
        waits.set()
        time.sleep(30)

    monkeypatch.setattr(_netfilter, "_print", stuck)
    packets = [udp(bytes([index])) for index in range(20)]
    interrupt_after(lambda: inject(*packets)(bench.engine), 0.3)
    threading.Timer(1.5, os.kill, [os.getpid(), signal.SIGINT]).start()
    started = time.monotonic()
    done = bench.run("netfilter", "udp", "--silent")
    assert waits.is_set()
    assert 1 < time.monotonic() - started < 5
    assert (done.code, done.err) == (130, "oxidivert netfilter: interrupted\n")
    # What was looked at is lost with the tool; all else goes on.
    assert [bytes(packet) for packet in bench.engine.delivered] == packets[1:]


@needs_posix
def test_ctrl_c_on_a_capture_discards_the_output(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from oxidivert.cli import _netfilter

    monkeypatch.setattr(_netfilter, "_print", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    assert cli("netfilter", "tcp", "--read", "in.pcap", "--write", "out.pcap") == 130
    assert capsys.readouterr().err == "oxidivert netfilter: interrupted\n"
    assert sorted(path.name for path in folder.iterdir()) == ["in.pcap", "list.txt"]


# The list of tests


def test_every_row_names_tests_that_there_are() -> None:
    text = (PROJECT / "docs" / "tools.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| §")]
    assert len(rows) > 60
    paths = (PROJECT / "tests").glob("[pw]*/test_*.py")
    sources = {path.stem: path.read_text(encoding="utf-8") for path in paths}
    missing = []
    for row in rows:
        names = re.findall(r"`([a-z_]+)::(test_\w+)`", row[-1])
        assert names, row
        missing += [f"{module}::{name}" for module, name in names if f"def {name}(" not in sources.get(module, "")]
    assert missing == []


def test_what_was_told_of_a_program_counts_and_the_rest_is_asked_of_the_system() -> None:
    programs, nobody, own = _programs.Programs(), 2**31 - 2, os.getpid()
    programs.note(None)
    assert (programs.path(nobody), programs.name(nobody)) == (None, "???")
    programs.note(od.Process(nobody, "gone"))
    assert (programs.path(nobody), programs.name(nobody)) == ("gone", "gone")
    path = os.path.join("folder", "another")
    programs.note(od.Process(nobody, "another", path))
    # An answer without a name, as of an engine, says nothing new.
    programs.note(od.Process(nobody))
    assert (programs.path(nobody), programs.name(nobody)) == (path, "another")
    programs.note(od.Process(own))
    assert os.path.samefile(str(programs.path(own)), os.path.realpath(sys.executable))


def test_only_so_many_programs_are_remembered() -> None:
    programs, first = _programs.Programs(), 2**30
    for pid in range(first, first + 5000):
        programs.note(od.Process(pid, str(pid)))
    assert programs.path(first) is None
    assert [programs.path(pid) for pid in (first + 1000, first + 4999)] == [str(first + 1000), str(first + 4999)]
