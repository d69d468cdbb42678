"""Live on Linux: what goes wrong leaves nothing behind, and lets nothing pass unseen."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import oxidivert as od
import pytest
from linux_support import in_namespace, ip, nothing_comes, port_of, running, tables, udp_socket


def program(code: str) -> subprocess.Popen[str]:
    """A Python program beside this one, once it has said `ready`."""
    started = subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


def ruleset() -> str:
    """What nftables has."""
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout


def links() -> list[str]:
    """The names of the interfaces."""
    lines = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.split(":")[1] for line in lines]


def flood(bound: socket.socket, stop: threading.Event) -> threading.Thread:
    """Send to a socket until `stop` is set."""

    def send() -> None:
        out = udp_socket()
        out.setblocking(False)
        while not stop.is_set():
            try:
                out.sendto(b"x" * 64, bound.getsockname())
            except BlockingIOError:
                time.sleep(0.001)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@in_namespace
def test_a_killed_program_leaves_nothing_and_traffic_flows_again() -> None:
    before = ruleset(), links()
    bound = udp_socket()
    started = program(
        "import oxidivert as od\n"
        f"handle = od.open('udp.DstPort == {port_of(bound)}', backend='nfqueue')\n"
        "injector = od.open('false', backend='nfqueue')\n"
        "address = od.Address(); address.outbound = False; address.network.interface_index = 1\n"
        "packet = bytes(od.build.udp('10.0.0.2', '10.0.0.1', 1, 1))\n"
        "try:\n    injector.send(packet, address)\nexcept od.DivertError:\n    pass\n"
        "print('ready')\nhandle.run(lambda packet: None)\n"
    )
    assert len(links()) == len(before[1]) + 1
    stop = threading.Event()
    thread = flood(bound, stop)
    try:
        time.sleep(0.3)
        assert bound.recv(100)
        assert tables() == 2
        started.send_signal(signal.SIGKILL)
        started.wait()
        killed = time.monotonic()
        bound.setblocking(False)
        # What came before is not what counts.
        time.sleep(0.05)
        while True:
            try:
                bound.recv(100)
            except BlockingIOError:
                break
        bound.settimeout(1)
        assert bound.recv(100)
        assert time.monotonic() - killed < 1
    finally:
        stop.set()
        thread.join()
    assert (ruleset(), links()) == before
    assert tables() == 0


@in_namespace
def test_overload_fails_closed_and_counts_every_packet() -> None:
    bound, out = udp_socket(), udp_socket()
    out.setsockopt(socket.SOL_SOCKET, 32, 1 << 28)
    count = 3000
    with od.open(f"udp.DstPort == {port_of(bound)}", backend="nfqueue") as handle:
        handle.queue_length = 100
        for number in range(count):
            out.sendto(b"%d" % number, bound.getsockname())
        time.sleep(0.3)
        got = []
        while packet := handle.recv(0):
            got.append(int(bytes(packet.payload)))
        stats = handle.stats
        # The most recent ones are there, as with the driver.
        assert got == list(range(count - 100, count))
        assert stats.overflowed == count - 100
        assert stats.received + stats.overflowed + stats.expired == count
    assert nothing_comes(bound, 0.05)


@in_namespace
def test_packets_that_wait_too_long_expire_though_nobody_receives() -> None:
    bound, out = udp_socket(), udp_socket()
    with od.open(f"udp.DstPort == {port_of(bound)}", backend="nfqueue") as handle:
        handle.queue_time = 200
        for _ in range(10):
            out.sendto(b"x", bound.getsockname())
        time.sleep(0.7)
        assert handle.recv(0) is None
        assert handle.stats.expired == 10
    assert nothing_comes(bound, 0.05)


@in_namespace
def test_overload_passes_where_that_is_asked_for() -> None:
    bound, out = udp_socket(), udp_socket()
    with od.open(f"udp.DstPort == {port_of(bound)}", backend="nfqueue", on_overload="pass") as handle:
        handle.queue_length = 32
        for number in range(132):
            out.sendto(b"%d" % number, bound.getsockname())
        time.sleep(0.3)
        assert [int(bound.recv(10)) for _ in range(100)] == list(range(100))
        assert handle.stats.passed_on_overload == 100
        assert handle.recv(0) is not None


@in_namespace
def test_twenty_thousand_packets_are_held_and_sent_in_order() -> None:
    bound, out = udp_socket(), udp_socket()
    bound.setsockopt(socket.SOL_SOCKET, 33, 1 << 28)
    out.setsockopt(socket.SOL_SOCKET, 32, 1 << 28)
    count = 20_000
    with od.open(f"udp.DstPort == {port_of(bound)}", backend="nfqueue") as handle:
        held: list[od.Packet] = []
        for number in range(count):
            out.sendto(b"%d" % number, bound.getsockname())
            packet = handle.recv(2)
            assert packet is not None
            held.append(packet)
        time.sleep(2)
        for packet in held:
            handle.send(packet)
        assert [int(bound.recv(10)) for _ in range(count)] == list(range(count))
        assert handle.stats.errors == 0


@in_namespace
def test_more_packets_than_the_kernel_keeps_are_sent_all_the_same() -> None:
    bound, out = udp_socket(), udp_socket()
    bound.setsockopt(socket.SOL_SOCKET, 33, 1 << 28)
    out.setsockopt(socket.SOL_SOCKET, 32, 1 << 28)
    count = 34_000
    with od.open(f"udp.DstPort == {port_of(bound)}", backend="nfqueue") as handle:
        held = []
        for number in range(count):
            out.sendto(b"%d" % number, bound.getsockname())
            packet = handle.recv(2)
            assert packet is not None
            held.append(packet)
        for packet in held:
            handle.send(packet)
        assert [int(bound.recv(10)) for _ in range(count)] == list(range(count))


@pytest.mark.parametrize("priorities", [[5, -5], [0, 0], [3, 2, 1, 0, 0, -1, -2, -2]])
@in_namespace
def test_processes_see_each_packet_in_the_order_of_their_priorities(priorities: list[int]) -> None:
    bound, out = udp_socket(), udp_socket()
    programs = [
        program(
            "import oxidivert as od, threading, sys\n"
            f"handle = od.open('udp.DstPort == {port_of(bound)}', backend='nfqueue', priority={priority})\n"
            "def add(packet):\n"
            f"    packet.payload = bytes(packet.payload) + b'{place}'\n"
            "print('ready')\n"
            "threading.Thread(target=lambda: (sys.stdin.read(), handle.shutdown(1))).start()\n"
            "handle.run(add)\nhandle.close()\n"
        )
        for place, priority in enumerate(priorities)
    ]
    # High ones first, and of equal ones the later.
    order = sorted(range(len(priorities)), key=lambda place: (-priorities[place], -place))
    try:
        for _ in range(200):
            out.sendto(b"", bound.getsockname())
            assert bound.recv(100).decode() == "".join(str(place) for place in order)
    finally:
        for started in programs:
            started.communicate(timeout=10)
    assert [started.returncode for started in programs] == [0] * len(programs)
    assert tables() == 0


@in_namespace
def test_a_forked_child_neither_uses_nor_keeps_the_handle() -> None:
    bound, out = udp_socket(), udp_socket()
    parent = program(
        "import oxidivert as od, os, time, sys\n"
        f"handle = od.open('udp.DstPort == {port_of(bound)}', backend='nfqueue')\n"
        "told, tell = os.pipe()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try:\n        handle.recv(0)\n"
        "    except od.HandleClosedError as error:\n        print('ready' if 'forked' in str(error) else error)\n"
        "    os.write(tell, b'x')\n"
        "    time.sleep(60)\n"
        "    os._exit(0)\n"
        "os.read(told, 1)\n"
        "print(child)\n"
        "time.sleep(60)\n"
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        assert tables() == 1
        out.sendto(b"held", bound.getsockname())
        assert nothing_comes(bound)
        parent.kill()
        parent.wait()
        time.sleep(0.1)
        assert tables() == 0
        out.sendto(b"free", bound.getsockname())
        assert bound.recv(10) == b"free"
    finally:
        os.kill(child, signal.SIGKILL)


@in_namespace
def test_a_child_that_closes_its_copy_leaves_the_parents_handle_open() -> None:
    bound, out = udp_socket(), udp_socket()
    with od.open(f"udp.DstPort == {port_of(bound)}", backend="nfqueue") as handle:
        child = os.fork()
        if child == 0:
            try:
                handle.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        out.sendto(b"x", bound.getsockname())
        packet = handle.recv(2)
        assert packet is not None
        handle.send(packet)
        assert bound.recv(10) == b"x"


@in_namespace
def test_closing_and_waking_end_every_wait() -> None:
    handle = od.open("udp.DstPort == 9", backend="nfqueue")
    ends: list[str] = []

    def wait() -> None:
        try:
            handle.recv()
        except od.DivertError as error:
            ends.append(error.symbol)

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    handle.close()
    for thread in threads:
        thread.join(2)
        assert not thread.is_alive()
    assert set(ends) <= {"ERROR_OPERATION_ABORTED", "ERROR_INVALID_HANDLE"}
    assert len(ends) == 4


@in_namespace
def test_a_handler_that_raises_leaves_the_rest_to_be_received() -> None:
    bound, out = udp_socket(), udp_socket()
    with od.open(f"udp.DstPort == {port_of(bound)}", backend="nfqueue") as handle:
        for number in range(5):
            out.sendto(b"%d" % number, bound.getsockname())

        def stop(packet: od.Packet) -> None:
            if bytes(packet.payload) == b"2":
                raise RuntimeError("stop")

        with pytest.raises(RuntimeError, match="stop"):
            handle.run(stop)
        assert [bound.recv(10), bound.recv(10)] == [b"0", b"1"]
        rest = [handle.recv(1), handle.recv(1)]
        assert [bytes(packet.payload) for packet in rest if packet] == [b"3", b"4"]


@in_namespace
def test_interfaces_may_come_and_go() -> None:
    bound, out = udp_socket(), udp_socket()
    text = f"udp.DstPort == {port_of(bound)}"
    with od.open(text, backend="nfqueue") as handle, running(handle, lambda packet: None):
        for number in range(20):
            ip("link add one type veth peer name two")
            ip("link set one up")
            out.sendto(b"%d" % number, bound.getsockname())
            assert bound.recv(10) == b"%d" % number
            ip("link del one")


@in_namespace
def test_after_a_receive_shutdown_traffic_flows_and_the_queue_empties() -> None:
    bound, out = udp_socket(), udp_socket()
    with od.open(f"udp.DstPort == {port_of(bound)}", backend="nfqueue") as handle:
        out.sendto(b"queued", bound.getsockname())
        handle.shutdown(od.Shutdown.RECV)
        out.sendto(b"free", bound.getsockname())
        assert bound.recv(10) == b"free"
        packet = handle.recv(1)
        assert packet is not None
        with pytest.raises(od.HandleShutdownError):
            handle.recv(1)
        handle.send(packet)
        assert bound.recv(10) == b"queued"
        handle.shutdown(od.Shutdown.SEND)
        with pytest.raises(od.HandleShutdownError):
            handle.send(packet)


@in_namespace
def test_bypassed_flows_pass_unseen() -> None:
    bound, out = udp_socket(), udp_socket()
    with od.open(f"udp.DstPort == {port_of(bound)}", backend="nfqueue") as handle:
        out.sendto(b"first", bound.getsockname())
        packet = handle.recv(1)
        assert packet is not None
        assert packet.flow is not None
        packet.flow.bypass()
        handle.send(packet)
        assert bound.recv(10) == b"first"
        out.sendto(b"second", bound.getsockname())
        assert bound.recv(10) == b"second"
        other = udp_socket()
        other.sendto(b"other", bound.getsockname())
        packet = handle.recv(1)
        assert packet is not None
        assert bytes(packet.payload) == b"other"


@in_namespace
def test_held_packets_outlive_handles_that_open_and_close_beside_them() -> None:
    bound, out = udp_socket(), udp_socket()
    text = f"udp.DstPort == {port_of(bound)}"
    with od.open(text, backend="nfqueue") as handle:
        for number in range(6):
            out.sendto(b"%d" % number, bound.getsockname())
        held = [handle.recv(1), handle.recv(1)]
        with od.open("false", priority=9, backend="nfqueue"):
            held.append(handle.recv(1))
        with od.open(text, priority=-9, backend="nfqueue") as lower:
            held.append(handle.recv(1))
            for packet in held:
                assert packet is not None
                handle.send(packet)
            for number in range(4):
                packet = lower.recv(1)
                assert packet is not None
                assert bytes(packet.payload) == b"%d" % number
                lower.send(packet)
        assert [bound.recv(10) for _ in range(4)] == [b"0", b"1", b"2", b"3"]
        # The last two were queued all the time, and go on when the handle closes.
    assert [bound.recv(10), bound.recv(10)] == [b"4", b"5"]
    assert nothing_comes(bound, 0.05)


@in_namespace
def test_a_descriptor_can_be_selected() -> None:
    bound, out = udp_socket(), udp_socket()
    with od.open(f"udp.DstPort == {port_of(bound)}", backend="nfqueue") as handle:
        assert select.select([handle], [], [], 0)[0] == []
        out.sendto(b"x", bound.getsockname())
        assert select.select([handle], [], [], 1)[0] == [handle]
        packet = handle.recv(0)
        assert packet is not None
        assert select.select([handle], [], [], 0.02)[0] == []
        handle.send(packet)
        assert bound.recv(10) == b"x"
