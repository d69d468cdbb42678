"""What the tests of screens start: `python screen_child.py NAME` runs a tool on an engine where something happens."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import oxidivert as od
from oxidivert.cli import _ctl_handles, _flow_screen, _flowtrack, _programs, cli
from samples import V6, icmp, pcap, tcp, udp

#: Programs that are the same on every machine.
PROGRAMS = {
    1001: "/usr/bin/firefox",
    1002: "/usr/lib/systemd/systemd-resolved",
    1003: "/usr/bin/a-program-with-a-long-name",
}


@dataclass(frozen=True)
class Scene:
    """What is run, what happens meanwhile, and how many handles the tool opens before."""

    arguments: list[str]
    act: Callable[[od.Engine], None]
    handles: int = 1
    #: Ended by Ctrl-C; else the tool ends by itself.
    is_endless: bool = True
    #: A handle is open before.
    is_about_handles: bool = False
    files: dict[str, bytes] = field(default_factory=dict)


def flows(engine: od.Engine) -> None:
    far = {"remote_addr": "198.51.100.10", "remote_port": 443}
    engine.flow(local_addr="192.168.100.7", local_port=51234, process_id=1001, endpoint_id=1, **far)
    engine.flow(local_addr="10.0.0.1", local_port=40001, remote_addr="192.0.2.7", remote_port=80, endpoint_id=2)
    engine.flow(
        local_addr="10.0.0.1", local_port=12345, remote_addr="192.0.2.7", remote_port=53, protocol=17,
        process_id=1002, endpoint_id=3,
    )  # fmt: skip
    engine.flow(local_addr="10.0.0.1", local_port=8, remote_addr="192.0.2.7", protocol=1, process_id=0, endpoint_id=4)
    engine.flow(
        local_addr="2001:db8::1", local_port=22, remote_addr="2001:db8::2", remote_port=50022, outbound=False,
        process_id=1003, endpoint_id=5,
    )  # fmt: skip
    for count, packet in ((40, tcp(b"x" * 1400)), (3, udp(b"y" * 100)), (2, icmp()), (700, tcp(b"z" * 1300, **V6))):
        for _ in range(count):
            engine.inject(packet)


def many_flows(engine: od.Engine) -> None:
    for port in range(1, 101):
        engine.flow(local_addr="10.0.0.1", local_port=port, remote_addr="192.0.2.7", remote_port=80, endpoint_id=port)


def packets(engine: od.Engine) -> None:
    for packet in (tcp(b"hello"), udp(b"hello"), icmp(b"hello"), tcp(b"hello", **V6)):
        engine.inject(packet)


def requests(engine: od.Engine) -> None:
    for host in (b"example.com", b"example.org"):
        engine.inject(tcp(b"GET /news HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"))


def sockets(engine: od.Engine) -> None:
    ends = {"local_addr": "10.0.0.1", "local_port": 40001, "remote_addr": "192.0.2.7", "remote_port": 80}
    for event in (od.Event.SOCKET_CONNECT, od.Event.SOCKET_CLOSE):
        engine.socket_event(event, process_id=1001, endpoint_id=5, **ends)  # type: ignore[arg-type]


class StandingClock:
    """The time as the engine has it, for what reckons with time."""

    monotonic = staticmethod(time.monotonic)

    @staticmethod
    def time_ns() -> int:
        return 946_684_800 * 1_000_000_000


def come_and_go(engine: od.Engine) -> None:
    """A handle opens and closes."""
    od.open("udp", priority=-5, flags=od.Flag.SNIFF | od.Flag.FRAGMENTS, backend=engine).close()


def dialogue() -> list[bytes]:
    """A request and its answer."""
    request, answer = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n" + b"page " * 20
    there = {"src": "192.0.2.7", "dst": "10.0.0.1", "src_port": 80, "dst_port": 40001}
    return [tcp(request), tcp(answer, **there)]


def nothing(engine: od.Engine) -> None:
    """Nothing happens."""


SCENES = {
    "flowtrack": Scene(["flowtrack", "--sort", "bytes"], flows, handles=2),
    "flowtrack_full": Scene(["flowtrack", "--sort", "newest"], many_flows, handles=2),
    "netdump": Scene(["netdump"], packets),
    "netdump_headers": Scene(["netdump", "tcp", "--headers", "--limit", "1", "--quiet"], packets, is_endless=False),
    "netfilter": Scene(["netfilter", "tcp or udp"], packets),
    "passthru": Scene(["passthru"], packets),
    "streamdump": Scene(
        ["streamdump", "80", "--read", "in.pcap"], nothing, is_endless=False, files={"in.pcap": pcap(dialogue())}
    ),
    "webfilter": Scene(["webfilter", "list.txt"], requests, files={"list.txt": b"example.com\n"}),
    "socketdump": Scene(["socketdump"], sockets),
    "ctl_list": Scene(["ctl", "list"], nothing, is_endless=False, is_about_handles=True),
    "ctl_watch": Scene(["ctl", "watch"], come_and_go, handles=0, is_about_handles=True),
}


def main(name: str) -> None:
    scene = SCENES[name]
    engine = od.Engine()
    _programs._path = PROGRAMS.get  # type: ignore[assignment]
    _flowtrack.time = _flow_screen.time = StandingClock  # type: ignore[assignment]
    _ctl_handles.Entry.of = staticmethod(of_another(_ctl_handles.Entry.of))  # type: ignore[method-assign]
    _ctl_handles._clock = lambda: lambda ticks: -12.3456  # type: ignore[assignment]
    for path, data in scene.files.items():
        with open(path, "wb") as file:
            file.write(data)
    watcher = od.open(layer=od.Layer.REFLECT, flags=od.Flag.SNIFF | od.Flag.RECV_ONLY, backend=engine)

    def act() -> None:
        for _ in range(scene.handles):
            watcher.recv()
        # Of those that watch handles nobody is told.
        time.sleep(0 if scene.handles else 1)
        scene.act(engine)

    threading.Thread(target=act, daemon=True).start()
    with ExitStack() as stack:
        if scene.is_about_handles:
            stack.enter_context(od.open("outbound and tcp.DstPort == 80", priority=404, backend=engine))
        sys.exit(cli(*scene.arguments, backend=engine))


def of_another(true_of: Callable[..., _ctl_handles.Entry]) -> Callable[..., _ctl_handles.Entry]:
    """What makes each handle that of a process which is the same on every machine."""

    def of(event: od.ReflectEvent, version: tuple[int, int]) -> _ctl_handles.Entry:
        return _ctl_handles.Entry(**(vars(true_of(event, version)) | {"process_id": 1001}))

    return of


if __name__ == "__main__":
    main(sys.argv[1])
