"""Which process a packet belongs to: looked up in the system's connection tables, if the system tells."""

from __future__ import annotations

import os
import socket
import sys

import oxidivert as od
import pytest
from samples import tcp, udp
from standin import Network
from support import fed


def test_packets_of_open_connections_tell_their_process_or_none(network: Network) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        od.open("ip") as handle,
    ):
        datagrams.bind(("127.0.0.1", 0))
        ours, theirs = client.getsockname()[1], server.getsockname()[1]
        local = datagrams.getsockname()[1]
        fed(
            network,
            [
                tcp(b"x", src="127.0.0.1", dst="127.0.0.1", src_port=ours, dst_port=theirs),
                udp(b"x", src="127.0.0.1", dst="192.0.2.1", src_port=local, dst_port=53),
                tcp(b"x", src="127.0.0.1", dst="192.0.2.1", src_port=1, dst_port=2),
            ],
        )
        packets = [handle.recv(timeout=5) for _ in range(3)]
        found = [packet.process for packet in packets if packet is not None]
    # Wine 8 lists connections without their processes; docs/windows-checklist.md has the same on Windows.
    assert {process and process.pid for process in found} <= {os.getpid(), None}
    assert found[2] is None
    if found[0] is not None:
        assert found[0].name == os.path.basename(sys.executable)
        assert str(found[0].path).lower().endswith("python.exe")


def test_processes_are_not_tracked_yet_and_open_says_so(network: Network) -> None:
    with pytest.raises(od.DivertError, match=r"packet\.process") as caught:
        od.open("udp", processes=True)
    assert caught.value.code == 50
