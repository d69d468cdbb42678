"""What the tests of screens start: `python screen_child.py NAME` runs a tool on an engine where something happens."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import oxidivert as od
from oxidivert.cli import _ctl_handles, _flow_screen, _flowtrack, _programs, cli
from samples import V6, icmp, tcp, udp

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
    files: dict[str, str] = field(default_factory=dict)


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


def nothing(engine: od.Engine) -> None:
    """Nothing happens."""


SCENES = {
    "flowtrack": Scene(["flowtrack", "--sort", "bytes"], flows, handles=2),
    "flowtrack_full": Scene(["flowtrack", "--sort", "newest"], many_flows, handles=2),
    "netdump": Scene(["netdump"], packets),
    "netfilter": Scene(["netfilter", "tcp or udp"], packets),
    "webfilter": Scene(["webfilter", "list.txt"], requests, files={"list.txt": "example.com\n"}),
    "socketdump": Scene(["socketdump"], sockets),
    "ctl_list": Scene(["ctl", "list"], nothing, handles=0, is_endless=False),
}


def main(name: str) -> None:
    scene = SCENES[name]
    engine = od.Engine()
    _programs._path = PROGRAMS.get  # type: ignore[assignment]
    _flowtrack.time = _flow_screen.time = StandingClock  # type: ignore[assignment]
    for path, text in scene.files.items():
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    watcher = od.open(layer=od.Layer.REFLECT, flags=od.Flag.SNIFF | od.Flag.RECV_ONLY, backend=engine)

    def act() -> None:
        for _ in range(scene.handles):
            watcher.recv()
        scene.act(engine)

    if scene.handles:
        threading.Thread(target=act, daemon=True).start()
        sys.exit(cli(*scene.arguments, backend=engine))
    true_of = _ctl_handles.Entry.of

    def of(event: od.ReflectEvent, version: tuple[int, int]) -> _ctl_handles.Entry:
        entry = true_of(event, version)
        return _ctl_handles.Entry(**(vars(entry) | {"process_id": 1001}))

    _ctl_handles.Entry.of = staticmethod(of)  # type: ignore[method-assign]
    _ctl_handles._clock = lambda: lambda ticks: -12.3456  # type: ignore[assignment]
    with od.open("outbound and tcp.DstPort == 80", priority=404, backend=engine):
        sys.exit(cli(*scene.arguments, backend=engine))


if __name__ == "__main__":
    main(sys.argv[1])
