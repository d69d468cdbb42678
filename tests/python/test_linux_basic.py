"""Live on Linux: packets of this host and of another one through handles."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

import oxidivert as od
import pytest
from linux_support import in_namespace, nothing_comes, peer, port_of, running, tables, tcp_listener, udp_socket


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@in_namespace
def test_udp_is_received_sent_on_edited_and_dropped(address: str) -> None:
    bound, out = udp_socket(address), udp_socket(address)
    port = port_of(bound)
    with od.open(f"udp.DstPort == {port}", backend="nfqueue") as handle:
        assert handle.backend == "nfqueue"
        out.sendto(b"as it came", (address, port))
        packet = handle.recv(2)
        assert packet is not None
        assert bytes(packet.payload) == b"as it came"
        assert packet.address.outbound
        assert packet.address.loopback
        assert packet.address.ipv6 == (address == "::1")
        assert packet.address.network.interface_index == 1
        assert not packet.address.impostor
        assert abs(packet.time_ns / 1e9 - time.time()) < 2
        assert nothing_comes(bound)
        handle.send(packet)
        assert bound.recvfrom(100) == (b"as it came", out.getsockname())

        out.sendto(b"before", (address, port))
        packet = handle.recv(2)
        assert packet is not None
        packet.payload = b"longer than before"
        handle.send(packet)
        assert bound.recv(100) == b"longer than before"

        out.sendto(b"port", (address, port))
        other = udp_socket(address)
        packet = handle.recv(2)
        assert packet is not None
        packet.dst_port = port_of(other)
        handle.send(packet)
        assert other.recv(100) == b"port"

        out.sendto(b"dropped", (address, port))
        assert handle.recv(2) is not None
        assert nothing_comes(bound)
        assert handle.recv(0) is None
        stats = handle.stats
        assert (stats.received, stats.sent, stats.modified) == (4, 3, 2)
    assert tables() == 0


@in_namespace
def test_what_nobody_received_goes_on_when_the_handle_closes() -> None:
    bound, out = udp_socket(), udp_socket()
    with od.open(f"udp.DstPort == {port_of(bound)}", backend="nfqueue") as handle:
        for number in range(5):
            out.sendto(b"%d" % number, bound.getsockname())
        first = handle.recv(2)
        assert first is not None
    # What was received and not sent is dropped.
    assert [bound.recv(10) for _ in range(4)] == [b"1", b"2", b"3", b"4"]
    assert nothing_comes(bound)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@in_namespace
def test_run_edits_a_tcp_connection(address: str) -> None:
    listener = tcp_listener(address)
    port = listener.getsockname()[1]

    def edit(packet: od.Packet) -> None:
        packet.payload = bytes(packet.payload).replace(b"secret", b"******")

    text = f"tcp.DstPort == {port} and tcp.PayloadLength > 0"
    with od.open(text, backend="nfqueue") as handle, running(handle, edit):
        client = socket.create_connection((address, port), timeout=5)
        server, _ = listener.accept()
        server.settimeout(5)
        client.sendall(b"a secret, and another secret")
        assert server.recv(100) == b"a ******, and another ******"
        server.sendall(b"the secret goes back untouched")
        assert client.recv(100) == b"the secret goes back untouched"
        client.close()
        server.close()


@pytest.mark.parametrize("version", [4, 6])
@in_namespace
def test_ping_goes_both_ways_through_a_handle(version: int) -> None:
    seen: list[tuple[bool, bool]] = []

    def note(packet: od.Packet) -> bool:
        seen.append((packet.address.outbound, packet.address.loopback))
        return True

    text = "icmp or (icmpv6 and icmpv6.Type >= 128 and icmpv6.Type <= 129)"
    with peer() as other, od.open(text, backend="nfqueue") as handle, running(handle, note):
        remote, family, kind, request, wanted = {
            4: (other.remote, socket.AF_INET, socket.IPPROTO_ICMP, bytes([8, 0, 0xF7, 0xFD, 0, 1, 0, 1]), 0),
            6: (other.remote6, socket.AF_INET6, socket.IPPROTO_ICMPV6, bytes([128, 0, 0, 0, 0, 1, 0, 1]), 129),
        }[version]
        raw = socket.socket(family, socket.SOCK_RAW, kind)
        raw.settimeout(2)
        raw.sendto(request, (remote, 0))
        # Neighbours ask for each other's addresses beside it.
        while raw.recv(100)[-8] != wanted:
            pass
    assert seen == [(True, False), (False, False)]


@in_namespace
def test_priorities_order_handles_and_decide_who_sees_what_is_sent() -> None:
    bound, out = udp_socket(), udp_socket()
    text = f"udp.DstPort == {port_of(bound)}"
    with (
        od.open(text, priority=-10, backend="nfqueue") as low,
        od.open(text, priority=10, backend="nfqueue") as high,
        od.open(text, priority=0, backend="nfqueue") as middle,
    ):
        out.sendto(b"x", bound.getsockname())
        for handle, lower in ((high, (middle, low)), (middle, (low,)), (low, ())):
            packet = handle.recv(2)
            assert packet is not None
            assert all(other.recv(0.05) is None for other in lower)
            packet.payload = bytes(packet.payload) + b"x"
            handle.send(packet)
        assert bound.recv(10) == b"xxxx"
        # A new packet is seen below its sender only.
        middle.send(packet)
        assert high.recv(0.05) is None
        assert middle.recv(0) is None
        copy = low.recv(2)
        assert copy is not None
        low.send(copy)
        assert bound.recv(10) == b"xxxx"


# Rows 19, 20.
@in_namespace
def test_of_equal_priorities_the_later_one_comes_first() -> None:
    bound, out = udp_socket(), udp_socket()
    text = f"udp.DstPort == {port_of(bound)}"
    with od.open(text, backend="nfqueue") as first, od.open(text, backend="nfqueue") as second:
        out.sendto(b"x", bound.getsockname())
        packet = second.recv(2)
        assert packet is not None
        assert first.recv(0.05) is None
        second.send(packet)
        packet = first.recv(2)
        assert packet is not None
        first.send(packet)
        assert bound.recv(10) == b"x"
        # What the earlier one makes, the later one does not see; the other way round it does.
        first.send(packet)
        assert second.recv(0.05) is None
        assert bound.recv(10) == b"x"
        second.send(packet)
        again = first.recv(2)
        assert again is not None
        assert bytes(again.payload) == b"x"


@in_namespace
def test_without_rights_the_error_says_what_is_needed() -> None:
    code = (
        "import os, oxidivert as od\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try:\n    od.open('true', backend='nfqueue')\n"
        "except od.DivertError as error:\n    print(error.code, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("5 ")
    assert "CAP_NET_ADMIN" in done.stdout
