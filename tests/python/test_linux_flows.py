"""flowtrack live, with a thousand real connections between two network namespaces."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time

import pytest
from flow_load import LENGTH, PORT, Counters, Flowtrack, Load
from linux_support import in_namespace, peer
from live_tools import has_opened
from tools_support import objects

FLOWS = 1_000
#: Bytes of the headers of IPv4 and TCP, with time stamps.
HEADERS = 52


def number(told: str, name: str) -> int:
    """A number of the summary."""
    found = re.search(rf"([\d,]+) {name}", told)
    assert found, told
    return int(found[1].replace(",", ""))


@in_namespace
def test_a_thousand_connections_are_shown_four_times_a_second_and_no_packet_is_missed() -> None:
    pyte = pytest.importorskip("pyte")
    counters = Counters()
    with peer() as other, Flowtrack("tcp", "--sort", "packets") as tool, Load(other, FLOWS, 4_000) as load:
        started = time.monotonic()
        sent = load.send(3)
        ended = time.monotonic()
        time.sleep(0.7)
        screen = pyte.Screen(120, 40)
        # From the beginning of a screen on: an earlier one has written the same cells.
        pyte.ByteStream(screen).feed(tool.shown[tool.shown.index(b"\x1b[H") :].replace(b"\x1b[?1049l", b""))
        counted = counters.packets()
        told = tool.end()
        client = load.client.pid
    frames = [moment for moment in tool.frames if started <= moment <= ended]
    assert 3 <= len(frames) / (ended - started) <= 5, frames
    assert sent > 3 * FLOWS
    # What the kernel counted at the same hooks.
    assert counted >= sent + 3 * FLOWS
    assert number(told, "packets") == counted
    assert number(told, "flows") == FLOWS
    assert "lost" not in told
    assert screen.display[0].split() == ["PID", "PROGRAM", "PROT", "FLOW", "BYTES", "BYTES/S"]
    assert screen.display[39].strip() == "..."
    program = os.path.basename(os.path.realpath(sys.executable))
    row = rf"\s+{client} {re.escape(program)}\s+TCP +10\.9\.0\.1:\d+ ----> 10\.9\.0\.2:{PORT} +[\d.]+k +[\d.]+k?\s*"
    for line in screen.display[1:39]:
        assert re.fullmatch(row, line), line
    assert len({line.split()[3] for line in screen.display[1:39]}) == 38


@in_namespace
def test_each_of_a_thousand_connections_is_told_with_its_program_and_bytes() -> None:
    command = [sys.executable, "-m", "oxidivert", "flowtrack", "tcp", "--json", "--limit", str(FLOWS)]
    with peer() as other:
        tool = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        has_opened(tool.pid, 2)
        with Load(other, FLOWS, 4_000) as load:
            sent = load.send(2)
            client = load.client.pid
            load.close()
            out, told = tool.communicate(timeout=30)
    assert tool.returncode == 0, told
    shown = objects(out)
    assert len({one["local_port"] for one in shown}) == len(shown) == FLOWS
    assert len({one["endpoint_id"] for one in shown}) == FLOWS
    assert {(one["remote_addr"], one["remote_port"], one["direction"], one["ended"]) for one in shown} == {
        ("10.9.0.2", PORT, "outbound", True)
    }
    assert {one["process_id"] for one in shown} == {client}
    assert {one["program"] for one in shown} == {os.path.realpath(sys.executable)}
    data = sum(one["bytes_sent"] - one["packets_sent"] * HEADERS for one in shown)
    # The options of the packets that begin a connection are eight bytes longer.
    assert data == sent * LENGTH + 8 * FLOWS


@in_namespace
def test_the_program_of_a_connection_that_is_older_than_the_tool_is_looked_up() -> None:
    with peer() as other:
        server = other.python(
            "import socket\nlistener = socket.create_server(('10.9.0.2', 7000))\nprint('ready', flush=True)\n"
            "client, _ = listener.accept()\nclient.sendall(client.recv(5))\nclient.recv(1)\n"
        )
        with socket.create_connection(("10.9.0.2", 7000)) as client:
            command = [sys.executable, "-m", "oxidivert", "flowtrack", "tcp", "--json", "--duration", "3"]
            tool = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            has_opened(tool.pid, 2)
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
            port = client.getsockname()[1]
            out, told = tool.communicate(timeout=30)
        server.wait(10)
    assert tool.returncode == 0, told
    (shown,) = objects(out)
    assert shown["process_id"] == os.getpid()
    assert shown["program"] == os.path.realpath(sys.executable)
    # No event told of it.
    assert (shown["local_port"], shown["endpoint_id"]) == (port, "0")
