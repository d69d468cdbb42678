"""The handle that each tool opens: layer, priority, flags and filter, as WinDivert's programs have them."""

from __future__ import annotations

import pathlib
import socket
from typing import Self

import oxidivert as od
import pytest
from samples import tcp, udp
from tools_support import Bench, Done, bench, inject

__all__ = ["bench"]

WATCH = od.Flag.SNIFF | od.Flag.RECV_ONLY


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def facts(done: Done) -> tuple[od.Layer, int, od.Flag]:
    assert done.code == 0, done.err
    assert done.opened is not None
    return done.opened.layer, done.opened.priority, done.opened.flags


def test_netdump(bench: Bench) -> None:
    done = bench.during(inject(tcp()), "netdump", "tcp", "--limit", "1")
    assert facts(done) == (od.Layer.NETWORK, 0, od.Flag.SNIFF | od.Flag.FRAGMENTS)
    assert str(done.opened.filter) == "tcp"  # type: ignore[union-attr]
    done = bench.during(inject(tcp()), "netdump", "tcp", "--limit", "1", "--priority", "-7")
    assert facts(done)[1] == -7


def test_netdump_watches_forwarded_packets_too(bench: Bench) -> None:
    done = bench.during(
        lambda engine: engine.inject(tcp(), forwarded=True), "netdump", "--layer", "forward", "--limit", "1"
    )
    assert facts(done) == (od.Layer.NETWORK_FORWARD, 0, od.Flag.SNIFF | od.Flag.FRAGMENTS)


def test_netfilter(bench: Bench) -> None:
    done = bench.during(inject(udp()), "netfilter", "udp", "--limit", "1")
    assert facts(done) == (od.Layer.NETWORK, 0, od.Flag(0))
    done = bench.during(inject(udp()), "netfilter", "udp", "--limit", "1", "--priority", "30000")
    assert facts(done)[1] == 30000


def test_passthru(bench: Bench) -> None:
    done = bench.during(inject(udp()), "passthru", "--limit", "1")
    assert facts(done) == (od.Layer.NETWORK, 0, od.Flag(0))
    assert str(done.opened.filter) == "true"  # type: ignore[union-attr]


def test_webfilter(bench: Bench, tmp_path: pathlib.Path) -> None:
    (tmp_path / "list").write_text("example.com\n")
    request = tcp(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    done = bench.during(inject(request), "webfilter", str(tmp_path / "list"), "--limit", "1")
    assert facts(done) == (od.Layer.NETWORK, 404, od.Flag(0))
    filter = done.opened.filter  # type: ignore[union-attr]
    assert filter is not None
    outbound = od.Address()
    assert filter.matches(request, outbound)
    assert not filter.matches(request, od.Address(outbound=False))
    assert not filter.matches(request, od.Address(loopback=True))
    assert not filter.matches(tcp(), outbound)
    assert not filter.matches(tcp(b"x", dst_port=81), outbound)


def test_streamdump(bench: Bench) -> None:
    """Ended by the time, since a proxy without packets has nothing to count."""
    done = bench.during(lambda engine: None, "streamdump", "80", "--proxy-port", str(free_port()), "--duration", "0.5")
    assert facts(done) == (od.Layer.NETWORK, 123, od.Flag(0))
    filter = done.opened.filter  # type: ignore[union-attr]
    assert filter is not None
    assert filter.matches(tcp(), od.Address())
    assert not filter.matches(tcp(), od.Address(loopback=True))
    assert not filter.matches(udp(), od.Address())


def test_flowtrack(bench: Bench) -> None:
    done = bench.during(lambda engine: engine.flow().end() and None, "flowtrack", "--limit", "1", handles=2)  # type: ignore[func-returns-value]
    assert facts(done) == (od.Layer.FLOW, 776, WATCH)


def test_socketdump(bench: Bench) -> None:
    def act(engine: od.Engine) -> None:
        engine.socket_event(od.Event.SOCKET_BIND)

    assert facts(bench.during(act, "socketdump", "--limit", "1")) == (od.Layer.SOCKET, 1121, WATCH)
    done = bench.during(act, "socketdump", "--block", "event == BIND", "--limit", "1")
    assert facts(done) == (od.Layer.SOCKET, 1121, od.Flag.RECV_ONLY)


@pytest.mark.parametrize("command", ["list", "watch", "kill", "uninstall"])
def test_ctl(command: str, monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    """Handles of layer REFLECT are told to nobody, so that their opening is watched from within."""
    asked: list[dict[str, object]] = []
    true_open = od.open

    def open(filter: object, **options: object) -> object:
        asked.append(options)
        return true_open(filter, **options)  # type: ignore[call-overload]

    with od.open(backend=bench.engine):
        monkeypatch.setattr(od, "open", open)
        limit = ["--limit", "1"] if command == "watch" else []
        done = bench.run("ctl", command, *limit)
    assert done.code == 0, done.err
    flags = WATCH if command == "watch" else WATCH | od.Flag.NO_INSTALL
    # Before it removes anything, it looks once more.
    times = 2 if command == "uninstall" else 1
    parameters = [(call["layer"], call["priority"], call["flags"]) for call in asked]
    assert parameters == [(od.Layer.REFLECT, -333, flags)] * times


def test_what_watches_takes_the_longest_queue(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    set_by_tool: dict[str, int] = {}

    class Recording:
        """A handle that notes what is set on it."""

        def __init__(self, handle: od.Handle[od.Packet]) -> None:
            vars(self)["handle"] = handle

        def __getattr__(self, name: str) -> object:
            return getattr(vars(self)["handle"], name)

        def __setattr__(self, name: str, value: int) -> None:
            set_by_tool[name] = value

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self.handle.close()  # type: ignore[attr-defined]

        def __iter__(self) -> object:
            return self.handle  # type: ignore[attr-defined]

    true_open = od.open

    def open(filter: object = "true", **options: object) -> object:
        handle = true_open(filter, **options)  # type: ignore[call-overload]
        return Recording(handle) if options.get("layer") == od.Layer.NETWORK else handle

    monkeypatch.setattr(od, "open", open)
    bench.during(inject(tcp()), "netfilter", "tcp", "--limit", "1")
    assert set_by_tool == {}
    bench.during(inject(tcp()), "netdump", "--limit", "1")
    assert set_by_tool == {"queue_length": 16384, "queue_time": 16000, "queue_size": 33_554_432}
