"""What only a real Windows kernel can show: run as Administrator on Windows 10 or 11, then send the report.

    python docs/windows_checklist.py [REPORT.txt]

It diverts only its own traffic, on the loopback interface and to one address of documentation, and takes two minutes.
docs/windows-checklist.md tells what each line means.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import platform
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator

import oxidivert as od
from oxidivert import _native
from oxidivert.cli import cli

WATCH = od.Flag.SNIFF | od.Flag.RECV_ONLY
CHECKS: list[Callable[[], str | None]] = []


def check(function: Callable[[], str | None]) -> Callable[[], str | None]:
    """Add a check: it returns a remark or None, and fails by any exception."""
    CHECKS.append(function)
    return function


@contextlib.contextmanager
def sockets() -> Iterator[tuple[socket.socket, socket.socket, int]]:
    """Two sockets of UDP on this host, and the second one's port."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        for end in (one, two):
            end.bind(("127.0.0.1", 0))
            end.settimeout(2)
        yield one, two, two.getsockname()[1]


def sent(source: socket.socket, port: int, *payloads: bytes) -> None:
    """Send datagrams to a port of this host."""
    for payload in payloads:
        source.sendto(payload, ("127.0.0.1", port))


@check
def the_driver_starts_from_its_protected_folder() -> str:
    """The service's path, and that the package's file can be renamed meanwhile."""
    with od.open("false") as handle:
        loaded, service, folder, files = _native._driver_inventory()
        assert loaded
        assert handle.version == (2, 2)
        assert not [problem for _, problem in files if problem]
        package = files[1][0]
        package.rename(package.with_suffix(".moved"))
        package.with_suffix(".moved").rename(package)
        listing = subprocess.run(["icacls", str(folder)], capture_output=True, text=True, check=True).stdout
        assert "(W)" not in listing
        return f"service {service and service[1]}\n{listing}"


@check
def a_packet_is_diverted_edited_and_sent_on() -> None:
    """The receiver gets the edited bytes, so that the checksums were right."""
    with sockets() as (source, target, port), od.open(f"udp.DstPort == {port}") as handle:
        sent(source, port, b"before")
        packet = handle.recv(timeout=2)
        assert packet is not None
        assert packet.address.loopback
        assert packet.address.outbound
        packet.payload = b"afterwards"
        handle.send(packet)
        assert target.recv(100) == b"afterwards"


@check
def what_is_not_sent_does_not_arrive_and_a_copy_changes_nothing() -> None:
    """Divert without sending; then sniff."""
    with sockets() as (source, target, port):
        with od.open(f"udp.DstPort == {port}") as handle:
            sent(source, port, b"x")
            assert handle.recv(timeout=2) is not None
            target.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                raise AssertionError(f"arrived: {target.recv(100)!r}")
        with od.open(f"udp.DstPort == {port}", flags=od.Flag.SNIFF) as handle:
            sent(source, port, b"y")
            target.settimeout(2)
            assert target.recv(100) == b"y"
            copy = handle.recv(timeout=2)
            assert copy is not None
            assert copy.address.sniffed


@check
def a_close_gives_back_what_nobody_received() -> None:
    """Of a handle that reads ahead, everything arrives, in order."""
    with sockets() as (source, target, port):
        with od.open(f"udp.DstPort == {port}") as handle:
            assert handle.recv(timeout=0) is None
            sent(source, port, *[bytes([number]) for number in range(50)])
            time.sleep(0.2)
        assert [target.recv(10)[0] for _ in range(50)] == list(range(50))


@check
def what_waits_too_long_is_dropped_and_suspected() -> str:
    """The driver drops after queue_time, and so does what was read ahead."""
    with sockets() as (source, _, port), od.open(f"udp.DstPort == {port}") as handle:
        handle.queue_time = 100
        assert handle.recv(timeout=0) is None
        sent(source, port, *[b"x"] * 50)
        time.sleep(0.5)
        assert handle.recv(timeout=0) is None
        return repr(handle.stats)


@check
def priorities_order_handles_and_reflect_lists_them() -> str:
    """The higher one has the packet first."""
    with (
        sockets() as (source, target, port),
        od.open(f"udp.DstPort == {port}", priority=10) as high,
        od.open(f"udp.DstPort == {port}", priority=-10) as low,
        od.open(f"processId == {os.getpid()}", layer=od.Layer.REFLECT, flags=WATCH) as observer,
    ):
        sent(source, port, b"x")
        first = high.recv(timeout=2)
        assert first is not None
        assert low.recv(timeout=0.2) is None
        high.send(first)
        second = low.recv(timeout=2)
        assert second is not None
        low.send(second)
        assert target.recv(10) == b"x"
        events = [observer.recv(timeout=2), observer.recv(timeout=2)]
        priorities = [event.priority for event in events if isinstance(event, od.ReflectEvent)]
        assert priorities == [10, -10]
        return ", ".join(str(event.filter) for event in events if isinstance(event, od.ReflectEvent))


@check
def sockets_and_flows_tell_this_process() -> str:
    """A connection of this process on the layers SOCKET and FLOW, and as `packet.process`."""
    told: list[str] = []
    text = f"processId == {os.getpid()}"
    with (
        od.open(text, layer=od.Layer.SOCKET, flags=WATCH) as operations,
        od.open(text, layer=od.Layer.FLOW, flags=WATCH) as flows,
        od.open("tcp and loopback", flags=od.Flag.SNIFF) as packets,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
    ):
        for handle in (operations, flows):
            event = handle.recv(timeout=2)
            assert isinstance(event, od.SocketEvent | od.FlowEvent)
            told.append(f"{event.event.name} {event.local_addr}:{event.local_port}")
        packet = packets.recv(timeout=2)
        assert packet is not None
        assert packet.process is not None
        told.append(f"packet of {packet.process}")
    return "; ".join(told)


@check
def the_first_packet_of_a_flow_tells_its_process() -> str:
    """With `processes=True`: datagrams of new sockets, and how long each was held for its process."""
    found: list[int | None] = []
    waits: list[str] = []
    with sockets() as (_, _, port), od.open(f"udp.DstPort == {port}", processes=True) as handle:
        for _ in range(5):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as fresh:
                started = time.perf_counter()
                sent(fresh, port, b"one")
                packet = handle.recv(timeout=2)
                waits.append(f"{(time.perf_counter() - started) * 1000:.1f} ms")
                assert packet is not None
                found.append(packet.process and packet.process.pid)
    assert found == [os.getpid()] * 5, (found, waits)
    return ", ".join(waits)


@check
def a_connection_is_refused_by_a_blocking_handle() -> str:
    """SOCKET without SNIFF: `connect` fails, and the error is what Windows chose."""
    text = f"event == CONNECT and processId == {os.getpid()}"
    with (
        od.open(text, layer=od.Layer.SOCKET, flags=od.Flag.RECV_ONLY),
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        try:
            socket.create_connection(server.getsockname(), timeout=3).close()
        except OSError as error:
            return repr(error)
    raise AssertionError("the connection was not refused")


@check
def the_filter_is_swapped_without_losing_a_packet() -> str:
    """Numbered datagrams through a swap."""
    found: list[int] = []
    with sockets() as (source, _, port), od.open(f"udp.DstPort == {port}") as handle:

        def send() -> None:
            for number in range(2000):
                sent(source, port, number.to_bytes(4, "big"))
                if number % 50 == 0:
                    time.sleep(0.001)

        thread = threading.Thread(target=send)
        thread.start()
        while (packet := handle.recv(timeout=1)) is not None:
            found.append(int.from_bytes(packet.payload, "big"))
            if len(found) == 1000:
                handle.set_filter(f"udp.DstPort == {port} and udp")
        thread.join()
    assert found == list(range(2000)), f"{len(found)} of 2000, in order: {found == sorted(found)}"
    return f"{len(found)} packets"


@check
def shutdown_wakes_and_ctrl_c_ends_a_wait() -> str:
    """A blocked receive returns at once."""
    with od.open("false") as handle:
        threading.Timer(0.3, handle.shutdown, [od.Shutdown.RECV]).start()
        started = time.monotonic()
        assert list(handle) == []
        return f"{time.monotonic() - started - 0.3:.3f} s after the shutdown"


@check
def a_loop_of_loopback_traffic() -> str:
    """Packets a second through a callback, and how full the batches were."""
    with sockets() as (source, _, port), od.open(f"udp.DstPort == {port}") as handle:
        over = threading.Event()

        def send() -> None:
            while not over.is_set():
                sent(source, port, bytes(1000))

        threading.Thread(target=send, daemon=True).start()
        threading.Timer(3, lambda: (over.set(), handle.shutdown(od.Shutdown.RECV))).start()
        count = handle.run(lambda packet: None)
        return f"{count / 3:,.0f} packets/s; {handle.stats!r}"


@check
def the_doctor_is_content() -> None:
    """Its findings are in the report."""
    assert cli("doctor") in (0, 1)


@check
def the_driver_is_stopped_and_removed() -> None:
    """Nothing is left behind."""
    assert cli("driver", "uninstall") == 0
    assert not _native._driver_inventory()[0]


def main() -> None:
    """Run all checks and write the report."""
    report = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "windows-report.txt")
    lines = [f"oxidivert {od.__version__}, {platform.platform()}, Python {sys.version}"]
    failed = 0
    for function in CHECKS:
        try:
            remark = function() or ""
            lines.append(f"pass  {function.__name__}  {remark}".rstrip())
        except Exception:
            failed += 1
            lines.append(f"FAIL  {function.__name__}\n{traceback.format_exc()}")
        print(lines[-1])
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} passed; the report is {report.resolve()}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
