"""Live on Linux: with `processes=True` packets tell whose they are, by socket events, also if the program is gone."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time

import oxidivert as od
import pytest
from linux_support import Peer, in_namespace, peer, port_of, received, tcp_listener, udp_socket

SNIFF = od.Flag.SNIFF


def tracking(text: str, flags: od.Flag = SNIFF, processes: bool = True) -> od.Handle[od.Packet]:
    """A handle whose packets tell their processes, and wait for as long as programs may take to start and end."""
    handle = od.open(text, flags=flags, backend="nfqueue", processes=processes)
    handle.queue_time = 16_000
    return handle


def pid_of(packet: od.Packet) -> int | None:
    """The process of a packet."""
    process = packet.process
    return process and process.pid


def ran(code: str) -> int:
    """Run a program to its end; its number."""
    program = subprocess.Popen([sys.executable, "-c", f"import socket\n{code}"])
    assert program.wait(10) == 0
    return program.pid


#: One datagram or one connection, by a program that ends at once: the way to send, and what of it goes to the port.
WAYS = {
    "unconnected": "s = socket.socket(socket.{family}, socket.SOCK_DGRAM)\ns.sendto(b'x', ({address!r}, {port}))",
    "bound": (
        "s = socket.socket(socket.{family}, socket.SOCK_DGRAM)\ns.bind(({address!r}, 0))\n"
        "s.sendto(b'x', ({address!r}, {port}))"
    ),
    "stream": "s = socket.create_connection(({address!r}, {port}))\ns.sendall(b'x')",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@in_namespace
def test_a_program_that_is_gone_is_known(address: str, way: str) -> None:
    family = "AF_INET6" if ":" in address else "AF_INET"
    if way == "stream":
        bound = socket.create_server((address, 0), family=socket.AddressFamily[family])
    else:
        bound = udp_socket(address)
    port = port_of(bound)
    code = WAYS[way].format(family=family, address=address, port=port)
    with tracking(f"outbound and tcp.DstPort == {port} or udp.DstPort == {port}") as handle:
        pids = [ran(code) for _ in range(3)]
        # Copies lie where nobody looked at them yet; the programs and their sockets are gone.
        packets = received(handle)
        found = [pid_of(packet) for packet in packets]
        assert found == sorted(found, key=pids.index)  # type: ignore[arg-type]
        assert set(found) == set(pids)
        assert len(found) >= 3


@in_namespace
def test_both_ends_within_this_host_are_told_apart() -> None:
    listener = tcp_listener()
    port = port_of(listener)
    with tracking(f"tcp.SrcPort == {port} or tcp.DstPort == {port}") as handle:
        client = ran(f"s = socket.create_connection(('127.0.0.1', {port}))\ns.sendall(b'x')")
        server, _ = listener.accept()
        assert server.recv(10) == b"x"
        server.close()
        time.sleep(0.05)
        packets = received(handle)
        assert all(packet.tcp for packet in packets)
        assert len(packets) >= 6
        for packet in packets:
            assert pid_of(packet) == (client if packet.dst_port == port else os.getpid())


@pytest.mark.parametrize("version", [4, 6])
@in_namespace
def test_what_comes_in_is_whose_socket_waits_for_it(version: int) -> None:
    local, remote = (Peer.local, Peer.remote) if version == 4 else (Peer.local6, Peer.remote6)
    family = "AF_INET" if version == 4 else "AF_INET6"
    with peer() as other, tracking("(tcp or udp) and inbound") as handle:
        program = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"import socket\nl = socket.create_server(({local!r}, 7000), family=socket.{family})\n"
                f"u = socket.socket(socket.{family}, socket.SOCK_DGRAM)\nu.bind(({local!r}, 7000))\n"
                "print('ready', flush=True)\nc, _ = l.accept()\nc.recv(10)\nu.recv(10)\n",
            ],
            stdout=subprocess.PIPE,
        )
        assert program.stdout
        assert program.stdout.readline() == b"ready\n"
        other.run(
            sys.executable,
            "-c",
            f"import socket\nc = socket.create_connection(({local!r}, 7000))\nc.sendall(b'x')\n"
            f"u = socket.socket(socket.{family}, socket.SOCK_DGRAM)\nu.sendto(b'x', ({local!r}, 7000))\n"
            f"u.sendto(b'x', ({local!r}, 7001))\n",
        )
        assert program.wait(10) == 0
        packets = received(handle)
        for packet in packets:
            assert str(packet.src_addr) == remote
            assert pid_of(packet) == (program.pid if packet.dst_port == 7000 else None)
        assert {packet.protocol for packet in packets if packet.dst_port == 7000} == {6, 17}


@in_namespace
def test_sockets_that_are_older_or_connected_or_inherited_are_known() -> None:
    bound, second, old = udp_socket(), udp_socket(), udp_socket()
    with tracking(f"udp.DstPort == {port_of(bound)} or udp.DstPort == {port_of(second)}", od.Flag(0)) as handle:
        # Made before the handle was opened.
        old.sendto(b"old", bound.getsockname())
        (packet,) = received(handle)
        assert pid_of(packet) == os.getpid()
        # Connected, so that its first packet comes without a word.
        program = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                f"s.connect(('127.0.0.1', {port_of(bound)}))\ns.send(b'x')\ninput()\n",
            ],
            stdin=subprocess.PIPE,
        )
        connected = handle.recv(20)
        assert connected is not None
        assert pid_of(connected) == program.pid
        program.communicate(b"\n")
        # Made here and used by a child.
        child = os.fork()
        if child == 0:
            old.sendto(b"child", second.getsockname())
            os._exit(0)
        os.waitpid(child, 0)
        (packet,) = received(handle, 0.3)
        assert bytes(packet.payload) == b"child"
        assert pid_of(packet) == child


@in_namespace
def test_a_port_that_another_program_takes_over_is_its_own() -> None:
    bound = udp_socket()
    with tracking(f"udp.DstPort == {port_of(bound)}") as handle:
        code = (
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('127.0.0.1', 7000))\n"
            f"s.sendto(b'x', ('127.0.0.1', {port_of(bound)}))"
        )
        pids = []
        for _ in range(5):
            pids.append(ran(code))
            (packet,) = received(handle)
            assert pid_of(packet) == pids[-1]
        assert len(set(pids)) == 5


@in_namespace
def test_without_programs_owners_are_looked_up_and_that_is_said() -> None:
    if not shutil.which("setpriv"):
        pytest.skip("the program setpriv is missing (package util-linux)")
    code = (
        "import os, socket, warnings\nimport oxidivert as od\n"
        "bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nbound.bind(('127.0.0.1', 0))\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    with od.open(f'udp.DstPort == {bound.getsockname()[1]}', backend='nfqueue', processes=True) as handle:\n"
        "        bound.sendto(b'x', bound.getsockname())\n"
        "        packet = handle.recv(2)\n"
        "        print(packet.process.pid == os.getpid())\n"
        "print([str(warning.message) for warning in caught])\n"
    )
    command = [
        "setpriv",
        "--bounding-set",
        "-all,+net_admin,+net_raw",
        "--inh-caps",
        "-all",
        sys.executable,
        "-c",
        code,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, warned = done.stdout.splitlines()
    assert found == "True"
    assert "sockets cannot be followed" in warned
    assert "CAP_BPF" in warned
