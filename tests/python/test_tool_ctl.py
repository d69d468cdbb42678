"""ctl: what is listed of handles, and which programs are ended. Handles are those of an engine."""

from __future__ import annotations

import hashlib
import io
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Callable

import oxidivert as od
import pytest
from oxidivert.cli import _ctl_handles, _ctl_kill, cli
from tools_support import Bench, bench, objects

__all__ = ["bench"]

PROGRAM = os.path.realpath(sys.executable)
OTHER = 4_000_000


def test_a_line_for_each_handle(bench: Bench) -> None:
    flags = od.Flag.SNIFF | od.Flag.RECV_ONLY | od.Flag.FRAGMENTS
    with (
        od.open("tcp.DstPort == 80", priority=-5, flags=flags, backend=bench.engine),
        od.open("event == BIND", layer=od.Layer.SOCKET, flags=od.Flag.RECV_ONLY, backend=bench.engine),
    ):
        done = bench.run("ctl", "list")
    assert done.code == 0
    first, second = done.lines
    if sys.platform != "win32":
        sha256 = hashlib.sha256(pathlib.Path(PROGRAM).read_bytes()).hexdigest()
        assert f" pid={os.getpid()} exe={PROGRAM} sha256={sha256} version=2.2 layer=NETWORK " in first
    assert first.startswith("OPEN time=")
    assert first.endswith(' flags=SNIFF|RECV_ONLY|FRAGMENTS priority=-5 filter="tcp.DstPort = 80"')
    assert second.endswith(' layer=SOCKET flags=RECV_ONLY priority=0 filter="event = BIND"')


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        (od.Flag(0), "0"),
        (od.Flag.DROP, "DROP"),
        (od.Flag.FRAGMENTS, "FRAGMENTS"),
        (od.Flag.SEND_ONLY | od.Flag.NO_INSTALL, "SEND_ONLY|NO_INSTALL"),
    ],
)
def test_flags_are_named(flags: od.Flag, shown: str, bench: Bench) -> None:
    with od.open(backend=bench.engine), od.open(flags=flags, backend=bench.engine):
        done = bench.run("ctl", "list")
    assert f" flags={shown} priority=0 " in done.lines[1]


def test_objects_tell_the_same(bench: Bench) -> None:
    with od.open("udp", priority=7, backend=bench.engine):
        (shown,) = bench.run("ctl", "list", "--json").objects
    assert (shown["type"], shown["event"], shown["layer"], shown["flags"]) == ("handle", "open", "NETWORK", [])
    assert (shown["priority"], shown["filter"], shown["version"]) == (7, "udp", "2.2")
    assert shown["process_id"] == os.getpid()
    # An engine's stepped clock shows a year that is long gone.
    assert shown["opened_seconds"] < -1e8


def test_the_time_is_counted_from_this_command_s_start() -> None:
    engine = od.Engine(clock="real")
    with od.open(backend=engine):
        with od.open(layer=od.Layer.REFLECT, flags=_ctl_handles.WATCH_FLAGS, backend=engine) as watcher:
            event = watcher.recv(timeout=1)
            assert event is not None
        seconds = _ctl_handles._clock()(_ctl_handles.Entry.of(event, (2, 2)).opened_ticks)
    assert -1 < seconds <= 0.01


def test_a_filter_chooses_handles(bench: Bench) -> None:
    with od.open("tcp", priority=1, backend=bench.engine), od.open("udp", priority=2, backend=bench.engine):
        assert len(bench.run("ctl", "list", "priority > 1").lines) == 1
        assert len(bench.run("ctl", "list", "layer == NETWORK").lines) == 2
        assert bench.run("ctl", "list", "priority > 2").lines == []
        assert len(bench.run("ctl", "list", "--limit", "1").lines) == 1


def test_the_command_s_own_handle_is_not_listed(bench: Bench) -> None:
    with od.open(backend=bench.engine):
        assert len(bench.run("ctl", "list").lines) == 1


@pytest.mark.parametrize("command", ["list", "kill", "uninstall"])
def test_where_no_driver_runs_there_is_nothing_to_tell(
    command: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open(*_: object, **options: object) -> None:
        assert od.Flag.NO_INSTALL in od.Flag(options["flags"])  # type: ignore[arg-type]
        raise od.DivertError(1060, "the service does not exist")

    monkeypatch.setattr(od, "open", open)
    done = bench.run("ctl", command)
    assert (done.code, done.out, done.err) == (0, "", "")


def test_where_nobody_has_a_handle_none_is_listed(bench: Bench) -> None:
    assert bench.run("ctl", "list").err == "0 handles in 0.0 s\n"
    assert bench.run("ctl", "kill").err == "0 handles, 0 left in 0.0 s\n"


def test_watch_shows_what_is_open_and_then_what_happens(bench: Bench) -> None:
    codes: list[int] = []
    with od.open("tcp", priority=1, backend=bench.engine):
        thread = threading.Thread(
            target=lambda: codes.append(cli("ctl", "watch", "--limit", "3", backend=bench.engine)), daemon=True
        )
        thread.start()
        with od.open("udp", priority=2, backend=bench.engine):
            pass
        for _ in range(100):
            # The watcher may have come later than that handle.
            if not thread.is_alive():
                break
            od.open("udp", priority=2, backend=bench.engine).close()
            thread.join(0.05)
    assert codes == [0]
    out = bench._capsys.readouterr().out
    first, second, third = out.splitlines()
    assert (first.split()[0], second.split()[0], third.split()[0]) == ("OPEN", "OPEN", "CLOSE")
    assert first.endswith('priority=1 filter="tcp"')
    assert second.partition(" pid=")[2] == third.partition(" pid=")[2]


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes the handles of an engine look as if they were of other processes; the list is of those that were ended."""
    ended: list[int] = []
    true_of = _ctl_handles.Entry.of

    def of(event: od.ReflectEvent, version: tuple[int, int]) -> _ctl_handles.Entry:
        entry = true_of(event, version)
        return _ctl_handles.Entry(**(vars(entry) | {"process_id": OTHER + entry.priority}))

    monkeypatch.setattr(_ctl_handles.Entry, "of", staticmethod(of))
    monkeypatch.setattr(_ctl_kill.os, "kill", lambda pid, number: ended.append(pid))
    return ended


def test_kill_ends_each_process_once(bench: Bench, others: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    handles = [od.open(priority=priority, backend=bench.engine) for priority in (1, 2)]
    twice = od.open("udp", priority=1, backend=bench.engine)

    def close_all(pid: int, number: int) -> None:
        others.append(pid)
        for handle in (*handles, twice):
            handle.close()

    monkeypatch.setattr(_ctl_kill.os, "kill", close_all)
    done = bench.run("ctl", "kill", "--yes")
    assert done.code == 0
    assert others == [OTHER + 1, OTHER + 2]
    assert [line.split()[0] for line in done.lines] == ["KILL"] * 3
    assert done.err == "3 handles, 2 processes, 0 left in 0.0 s\n"


def test_kill_by_a_filter_leaves_others(bench: Bench, others: list[int]) -> None:
    with od.open(priority=1, backend=bench.engine), od.open(priority=2, backend=bench.engine):
        done = bench.run("ctl", "kill", "priority == 2", "--yes", "--wait", "0.1", "--json")
    assert others == [OTHER + 2]
    # The handle is still there, since nothing was really ended.
    assert done.code == 1
    assert [one["event"] for one in done.objects] == ["kill"]


def test_kill_says_what_is_left_when_the_time_is_out(bench: Bench, others: list[int]) -> None:
    with od.open(priority=1, backend=bench.engine):
        done = bench.run("ctl", "kill", "--yes", "--wait", "0.1")
    assert done.code == 1
    assert "1 handle, 1 process, 1 left in 0." in done.err


def test_kill_tells_of_a_process_that_cannot_be_ended(
    bench: Bench, others: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(_ctl_kill.os, "kill", refuse)
    with od.open(priority=1, backend=bench.engine):
        done = bench.run("ctl", "kill", "--yes", "--wait", "0.1")
    assert done.code == 1
    assert f"oxidivert ctl kill: warning: process {OTHER + 1} cannot be ended: not permitted\n" in done.err


def test_a_process_that_has_just_ended_is_no_failure(
    bench: Bench, others: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = od.open(priority=1, backend=bench.engine)

    def gone(pid: int, number: int) -> None:
        handle.close()
        raise ProcessLookupError

    monkeypatch.setattr(_ctl_kill.os, "kill", gone)
    assert bench.run("ctl", "kill", "--yes").code == 0


def test_kill_never_ends_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(_ctl_kill.os, "kill", lambda pid, number: ended.append(pid))
    with od.open(backend=bench.engine):
        done = bench.run("ctl", "kill", "--yes")
    assert (done.code, done.out, ended) == (0, "", [])


class Terminal:
    """Somebody at a terminal, who answers so, or by something else."""

    def __init__(self, answer: str, act: Callable[[], None] = lambda: None) -> None:
        self.answer = answer
        self.act = act

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        self.act()
        return self.answer


def test_kill_asks_first(bench: Bench, others: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    with od.open(priority=1, backend=bench.engine):
        for answer in ("n\n", "\n", "maybe\n"):
            monkeypatch.setattr(sys, "stdin", Terminal(answer))
            done = bench.run("ctl", "kill")
            assert (done.code, others) == (1, [])
            assert done.lines[0].startswith("OPEN ")
            assert done.err == "end these programs? [y/N] nothing was done\n"
        monkeypatch.setattr(sys, "stdin", Terminal("Y\n"))
        bench.run("ctl", "kill", "--wait", "0.1")
    assert others == [OTHER + 1]


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows: signals are not sent so")
def test_ctrl_c_at_the_question_ends_the_command_and_nothing_else(
    bench: Bench, others: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("y\n", lambda: signal.raise_signal(signal.SIGINT)))
    with od.open(priority=1, backend=bench.engine):
        done = bench.run("ctl", "kill")
    assert (done.code, others) == (130, [])
    assert done.err == "end these programs? [y/N] \noxidivert ctl kill: interrupted\n"


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows: signals are not sent so")
def test_ctrl_c_ends_the_wait_for_programs_that_do_not_end(bench: Bench, others: list[int]) -> None:
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    with od.open(priority=1, backend=bench.engine):
        timer.start()
        started = time.monotonic()
        done = bench.run("ctl", "kill", "--yes", "--wait", "30")
    assert time.monotonic() - started < 5
    assert (done.code, others) == (130, [OTHER + 1])
    assert "1 handle, 1 process, 1 left in 0." in done.err


def test_kill_needs_a_yes_where_nobody_can_be_asked(
    bench: Bench, others: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Windows takes its null device for a terminal.
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with od.open(priority=1, backend=bench.engine):
        done = bench.run("ctl", "kill")
    assert (done.code, others) == (2, [])
    assert done.err == (
        "oxidivert ctl kill: error: there is no terminal to ask on; "
        "add --yes to end these programs without a question\n"
    )


def test_uninstall_ends_programs_first(bench: Bench, others: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    handle = od.open(priority=1, backend=bench.engine)

    def close(pid: int, number: int) -> None:
        others.append(pid)
        handle.close()

    monkeypatch.setattr(_ctl_kill.os, "kill", close)
    done = bench.run("ctl", "uninstall", "--yes")
    assert (done.code, others) == (0, [OTHER + 1])
    assert done.lines[0].startswith("KILL ")


def test_uninstall_stops_short_where_handles_are_left(bench: Bench, others: list[int]) -> None:
    with od.open(priority=1, backend=bench.engine):
        assert bench.run("ctl", "uninstall", "--yes", "--wait", "0.1").code == 1


def test_uninstall_stops_short_of_handles_beyond_its_limit(
    bench: Bench, others: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (od.open(priority=priority, backend=bench.engine) for priority in (2, 1))

    def close(pid: int, number: int) -> None:
        others.append(pid)
        (first if pid == OTHER + 2 else second).close()

    monkeypatch.setattr(_ctl_kill.os, "kill", close)
    done = bench.run("ctl", "uninstall", "--yes", "--limit", "1", "--json")
    assert (done.code, len(others), len(done.objects)) == (1, 1, 1)
    assert objects(done.err)[0]["left"] == 1
    assert bench.run("ctl", "uninstall", "--yes").code == 0
    assert sorted(others) == [OTHER + 1, OTHER + 2]


def test_uninstall_takes_no_filter(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("ctl", "uninstall", "true") == 2
    assert "unrecognized arguments: true" in capsys.readouterr().err


def test_ctl_alone_names_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("ctl") == 2
    assert "the following arguments are required: COMMAND" in capsys.readouterr().err
