"""socketdump: its lines, and what it refuses."""

from __future__ import annotations

import os
import sys

import oxidivert as od
import pytest
from oxidivert.cli import cli
from tools_support import Bench, bench

__all__ = ["bench"]

ENDS = {"local_addr": "10.0.0.1", "local_port": 40001, "remote_addr": "192.0.2.7", "remote_port": 80}


@pytest.mark.parametrize(
    ("event", "name", "remote"),
    [
        (od.Event.SOCKET_BIND, "BIND", ""),
        (od.Event.SOCKET_LISTEN, "LISTEN", ""),
        (od.Event.SOCKET_CONNECT, "CONNECT", " remote=[192.0.2.7]:80"),
        (od.Event.SOCKET_ACCEPT, "ACCEPT", " remote=[192.0.2.7]:80"),
        (od.Event.SOCKET_CLOSE, "CLOSE", " remote=[192.0.2.7]:80"),
    ],
)
def test_a_line_for_each_event(event: od.Event, name: str, remote: str, bench: Bench) -> None:
    def act(engine: od.Engine) -> None:
        assert engine.socket_event(
            event, process_id=os.getpid(), endpoint_id=1 << 40 | 5, parent_endpoint_id=3, protocol=6, **ENDS
        )

    done = bench.during(act, "socketdump", "--limit", "1")
    program, parent = os.path.basename(os.path.realpath(sys.executable)), 3 if remote else 0
    if sys.platform != "win32":
        assert done.lines == [
            f"{name} pid={os.getpid()} program={program} endpoint={1 << 40 | 5} parent={parent} protocol=TCP "
            f"local=[10.0.0.1]:40001{remote}"
        ]
    else:
        assert done.lines[0].startswith(f"{name} pid=")


@pytest.mark.parametrize(("number", "name"), [(6, "TCP"), (17, "UDP"), (1, "ICMP"), (58, "ICMPV6"), (132, "132")])
def test_protocols_are_named(number: int, name: str, bench: Bench) -> None:
    def act(engine: od.Engine) -> None:
        engine.socket_event(od.Event.SOCKET_BIND, protocol=number, **ENDS)

    done = bench.during(act, "socketdump", "--limit", "1")
    assert f" protocol={name} " in done.out


def test_ends_that_are_not_there_are_left_out(bench: Bench) -> None:
    def act(engine: od.Engine) -> None:
        engine.socket_event(od.Event.SOCKET_BIND, local_addr="::", remote_addr="::")
        engine.socket_event(od.Event.SOCKET_BIND, local_addr="::", local_port=53, remote_addr="::")
        engine.socket_event(od.Event.SOCKET_BIND, local_addr="2001:db8::1", remote_addr="::")

    done = bench.during(act, "socketdump", "--limit", "3")
    assert [line.partition("protocol=TCP")[2] for line in done.lines] == [
        "",
        " local=[::]:53",
        " local=[2001:db8::1]:0",
    ]


def test_a_program_that_nobody_knows_is_question_marks(bench: Bench) -> None:
    def act(engine: od.Engine) -> None:
        engine.socket_event(od.Event.SOCKET_BIND, process_id=0, **ENDS)

    done = bench.during(act, "socketdump", "--limit", "1")
    assert done.lines[0].startswith("BIND pid=0 program=??? endpoint=0 parent=0 ")


def test_objects_have_numbers_of_64_bits_as_text(bench: Bench) -> None:
    def act(engine: od.Engine) -> None:
        engine.socket_event(od.Event.SOCKET_ACCEPT, endpoint_id=2**64 - 1, parent_endpoint_id=2**63, **ENDS)

    (shown,) = bench.during(act, "socketdump", "--limit", "1", "--json").objects
    assert (shown["endpoint_id"], shown["parent_endpoint_id"]) == (str(2**64 - 1), str(2**63))
    assert (shown["event"], shown["blocked"], shown["program"]) == ("accept", False, None)


def test_a_filter_chooses_events(bench: Bench) -> None:
    def act(engine: od.Engine) -> None:
        engine.socket_event(od.Event.SOCKET_BIND, **ENDS)
        engine.socket_event(od.Event.SOCKET_CONNECT, **ENDS)

    done = bench.during(act, "socketdump", "event == CONNECT", "--limit", "1")
    assert [line.split()[0] for line in done.lines] == ["CONNECT"]


def test_block_refuses_what_matches_but_for_closing(bench: Bench) -> None:
    answers: list[bool] = []

    def act(engine: od.Engine) -> None:
        for event in (od.Event.SOCKET_BIND, od.Event.SOCKET_CONNECT, od.Event.SOCKET_CLOSE):
            answers.append(engine.socket_event(event, **ENDS))
        other = ENDS | {"local_port": 40002}
        answers.append(engine.socket_event(od.Event.SOCKET_CONNECT, **other))

    done = bench.during(act, "socketdump", "--block", "localPort == 40001", "--limit", "3", "--json")
    assert answers == [False, False, True, True]
    assert [(one["event"], one["blocked"]) for one in done.objects] == [
        ("bind", True),
        ("connect", True),
        ("close", False),
    ]


def test_watching_refuses_nothing(bench: Bench) -> None:
    def act(engine: od.Engine) -> None:
        assert engine.socket_event(od.Event.SOCKET_CONNECT, **ENDS)

    assert bench.during(act, "socketdump", "--limit", "1").code == 0


@pytest.mark.parametrize("arguments", [["--block"], ["--block", "true"], ["--block", " true "]])
def test_blocking_everything_must_be_meant(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("socketdump", *arguments) == 2
    assert capsys.readouterr().err == (
        "oxidivert socketdump: error: --block without a filter stops all new networking of this machine; "
        "name a filter, or add --yes\n"
    )


def test_blocking_everything_can_be_meant(bench: Bench) -> None:
    def act(engine: od.Engine) -> None:
        assert not engine.socket_event(od.Event.SOCKET_CONNECT, **ENDS)

    assert bench.during(act, "socketdump", "--block", "--yes", "--limit", "1").code == 0


def test_a_filter_of_another_layer_is_told(bench: Bench) -> None:
    done = bench.run("socketdump", "tcp.DstPort == 80")
    assert done.code == 2
    assert "the filter does not compile" in done.err
