"""Live on Linux: flows, sockets, handles and processes."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys

import oxidivert as od
import pytest
from linux_support import family_of, in_namespace, kernel, peer, port_of, running, tcp_listener, udp_socket

LOOK = od.Flag.SNIFF | od.Flag.RECV_ONLY


def take(handle: od.Handle, count: int) -> list[od.SocketEvent]:
    """So many events, and no more."""
    events = []
    while len(events) < count:
        event = handle.recv(2)
        assert event is not None, events
        events.append(event)
    assert handle.recv(0.05) is None
    return events


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@in_namespace
def test_a_tcp_connection_is_told_with_its_process(address: str) -> None:
    with od.open("tcp", layer=od.Layer.SOCKET, flags=LOOK, backend="nfqueue") as handle:
        listener = tcp_listener(address)
        port = listener.getsockname()[1]
        code = (
            f"import socket\nclient = socket.create_connection(({address!r}, {port}))\n"
            "print(client.getsockname()[1], flush=True)\ninput()\n"
        )
        client = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert client.stdout is not None
        other = int(client.stdout.readline())
        server, _ = listener.accept()
        bound, listening, connecting, accepted = take(handle, 4)
        names = [event.event for event in (bound, listening, connecting, accepted)]
        assert names == [od.Event.SOCKET_BIND, od.Event.SOCKET_LISTEN, od.Event.SOCKET_CONNECT, od.Event.SOCKET_ACCEPT]
        own = os.getpid()
        assert [event.process_id for event in (bound, listening, connecting, accepted)] == [own, own, client.pid, own]
        assert (bound.local_port, listening.local_port, listening.remote_port) == (port, port, 0)
        assert (connecting.local_port, connecting.remote_port) == (other, port)
        assert (accepted.local_port, accepted.remote_port) == (port, other)
        assert str(connecting.remote_addr) in (address, f"::ffff:{address}")
        assert accepted.parent_endpoint_id == listening.endpoint_id != 0
        assert connecting.address.outbound
        assert not accepted.address.outbound
        assert connecting.address.loopback
        client.communicate("\n")
        server.close()
        listener.close()
        closed = take(handle, 3)
        assert {event.event for event in closed} == {od.Event.SOCKET_CLOSE}
        assert {event.endpoint_id for event in closed} == {
            event.endpoint_id for event in (listening, connecting, accepted)
        }


@in_namespace
def test_flows_begin_and_end_with_their_process() -> None:
    with od.open("true", layer=od.Layer.FLOW, flags=LOOK, backend="nfqueue") as handle:
        listener = tcp_listener()
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        began = take(handle, 2)
        assert [event.event for event in began] == [od.Event.FLOW_ESTABLISHED] * 2
        assert {event.process_id for event in began} == {os.getpid()}
        assert {event.address.outbound for event in began} == {True, False}
        client.close()
        server.close()
        ended = take(handle, 2)
        assert [event.event for event in ended] == [od.Event.FLOW_DELETED] * 2
        assert {event.endpoint_id for event in ended} == {event.endpoint_id for event in began}
        # A connection that is refused is no flow.
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(listener.getsockname() if listener.fileno() >= 0 else ("127.0.0.1", 1))
        assert handle.recv(0.1) is None
        bound, out = udp_socket(), udp_socket()
        for _ in range(3):
            out.sendto(b"x", bound.getsockname())
            bound.recvfrom(10)
        sent, received = take(handle, 2)
        assert (sent.protocol, sent.local_port, sent.remote_port) == (17, port_of(out), port_of(bound))
        assert (received.local_port, received.remote_port) == (port_of(bound), port_of(out))
        out.close()
        bound.close()
        assert len(take(handle, 2)) == 2


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@in_namespace
def test_flows_of_connected_sockets_begin_with_their_first_datagram(address: str) -> None:
    bound = udp_socket(address)
    with od.open("true", layer=od.Layer.FLOW, flags=LOOK, backend="nfqueue") as handle:
        if kernel() < (6, 15):
            # Of sockets that are older than the handle those kernels tell calls only.
            bound = udp_socket(address)
        out = socket.socket(family_of(address), socket.SOCK_DGRAM)
        out.connect((address, port_of(bound)))
        assert handle.recv(0.1) is None
        for _ in range(3):
            out.send(b"x")
        sent, received = take(handle, 2)
        ends = (port_of(out), port_of(bound))
        assert (sent.local_port, sent.remote_port) == ends
        assert (received.local_port, received.remote_port) == ends[::-1]
        assert [event.address.outbound for event in (sent, received)] == [True, False]
        assert {event.process_id for event in (sent, received)} == {os.getpid()}
        assert {str(event.local_addr) for event in (sent, received)} <= {address, f"::ffff:{address}"}
        # The answer belongs to both.
        bound.sendto(b"answer", out.getsockname())
        assert out.recv(10) == b"answer"
        assert handle.recv(0.1) is None
        out.close()
        bound.close()
        ended = take(handle, 2)
        assert [event.event for event in ended] == [od.Event.FLOW_DELETED] * 2
        assert {event.endpoint_id for event in ended} == {sent.endpoint_id, received.endpoint_id}


@in_namespace
def test_events_of_other_namespaces_are_not_told() -> None:
    with peer() as other, od.open("true", layer=od.Layer.SOCKET, flags=LOOK, backend="nfqueue") as handle:
        other.run(sys.executable, "-c", "import socket; socket.create_server(('10.9.0.2', 0)).close()")
        assert handle.recv(0.2) is None


@in_namespace
def test_filters_of_events_apply() -> None:
    text = f"event == LISTEN and processId == {os.getpid()} and localPort == 7777"
    with od.open(text, layer=od.Layer.SOCKET, flags=LOOK, backend="nfqueue") as handle:
        for port in (7776, 7777):
            socket.create_server(("127.0.0.1", port)).close()
        (event,) = take(handle, 1)
        assert event.local_port == 7777


@in_namespace
def test_reflect_tells_of_handles_in_every_process() -> None:
    code = (
        "import oxidivert as od\n"
        "handle = od.open('tcp.DstPort == 81 or udp', priority=-7, flags=od.Flag.SNIFF, backend='nfqueue')\n"
        "print('ready', flush=True)\ninput()\n"
    )
    there = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert there.stdout is not None
    assert there.stdout.readline() == "ready\n"
    with (
        od.open("true", priority=3, backend="nfqueue"),
        od.open("true", layer=od.Layer.REFLECT, flags=LOOK, backend="nfqueue") as handle,
    ):
        first, second = take(handle, 2)
        assert (first.event, first.process_id, first.priority) == (od.Event.REFLECT_OPEN, there.pid, -7)
        assert first.layer == od.Layer.NETWORK
        assert first.flags == od.Flag.SNIFF
        assert str(first.filter) == "tcp.DstPort = 81 or udp"
        assert (second.process_id, second.priority, str(second.filter)) == (os.getpid(), 3, "true")
        with od.open("false", layer=od.Layer.NETWORK_FORWARD, backend="nfqueue"):
            (opened,) = take(handle, 1)
            assert (opened.event, opened.layer) == (od.Event.REFLECT_OPEN, od.Layer.NETWORK_FORWARD)
        (closed,) = take(handle, 1)
        assert (closed.event, closed.layer) == (od.Event.REFLECT_CLOSE, od.Layer.NETWORK_FORWARD)
        there.kill()
        there.wait()
        (killed,) = take(handle, 1)
        assert (killed.event, killed.process_id) == (od.Event.REFLECT_CLOSE, there.pid)


@in_namespace
def test_the_snapshot_of_open_handles_is_whole() -> None:
    handles = [od.open("false", priority=number, backend="nfqueue") for number in range(5)]
    with od.open("true", layer=od.Layer.REFLECT, flags=LOOK | od.Flag.NO_INSTALL, backend="nfqueue") as handle:
        handle.shutdown(od.Shutdown.BOTH)
        assert [event.priority for event in handle] == [0, 1, 2, 3, 4]
    for other in handles:
        other.close()


@pytest.mark.parametrize("track", [False, True])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@in_namespace
def test_a_packet_tells_its_process(address: str, track: bool) -> None:
    bound = udp_socket(address)
    family = "AF_INET6" if ":" in address else "AF_INET"
    code = (
        f"import socket\ns = socket.socket(socket.{family}, socket.SOCK_DGRAM)\n"
        f"s.sendto(b'x', ({address!r}, {port_of(bound)}))\ninput()\n"
    )
    with od.open(f"udp.DstPort == {port_of(bound)}", backend="nfqueue", processes=track) as handle:
        there = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
        packet = handle.recv(5)
        assert packet is not None
        process = packet.process
        assert process is not None
        assert process.pid == there.pid
        assert process.path == os.path.realpath(f"/proc/{there.pid}/exe")
        assert process.name == os.path.basename(process.path)
        handle.send(packet)
        there.communicate(b"\n")


@in_namespace
def test_a_tcp_packet_tells_its_process_from_either_side() -> None:
    with peer() as other:
        server = other.python(
            "import socket\ns = socket.create_server(('10.9.0.2', 7000))\nprint('ready', flush=True)\n"
            "c, _ = s.accept()\nc.sendall(b'hello')\nc.recv(1)\n"
        )
        seen: list[tuple[bool, int | None]] = []

        def note(packet: od.Packet) -> None:
            process = packet.process
            seen.append((packet.address.outbound, process and process.pid))

        with od.open("tcp.PayloadLength > 0", backend="nfqueue") as handle, running(handle, note):
            client = socket.create_connection(("10.9.0.2", 7000))
            assert client.recv(10) == b"hello"
            client.sendall(b"x")
            server.communicate(timeout=5)
        # TCP sends again what has waited for long.
        once = [one for one, _ in itertools.groupby(seen)]
        assert once == [(False, os.getpid()), (True, os.getpid())], seen


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@in_namespace
def test_binds_and_connects_that_match_are_refused(address: str) -> None:
    listener = tcp_listener(address)
    port = listener.getsockname()[1]
    connects = f"event == CONNECT and remotePort == {port} and remoteAddr == {address}"
    text = f"({connects}) or (event == BIND and localPort == 7001)"
    with od.open(text, layer=od.Layer.SOCKET, flags=od.Flag.RECV_ONLY, backend="nfqueue") as handle:
        with pytest.raises(PermissionError):
            socket.create_connection((address, port))
        with pytest.raises(PermissionError):
            udp_socket(address, 7001)
        free = tcp_listener(address, 7002)
        allowed = socket.create_connection((address, 7002))
        connect, bind = take(handle, 2)
        assert (connect.event, connect.process_id, connect.remote_port) == (od.Event.SOCKET_CONNECT, os.getpid(), port)
        assert not connect.address.sniffed
        assert (bind.event, bind.protocol, bind.local_port) == (od.Event.SOCKET_BIND, 17, 7001)
        allowed.close()
        free.close()
    with od.open(text, layer=od.Layer.SOCKET, flags=od.Flag.RECV_ONLY | od.Flag.DROP, backend="nfqueue") as handle:
        with pytest.raises(PermissionError):
            socket.create_connection((address, port))
        assert handle.recv(0.1) is None
    socket.create_connection((address, port)).close()


@in_namespace
def test_a_refusal_meets_only_this_network_namespace() -> None:
    code = "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(('0.0.0.0', 7001))\n"
    text = "event == BIND and localPort == 7001"
    with od.open(text, layer=od.Layer.SOCKET, flags=od.Flag.RECV_ONLY, backend="nfqueue") as handle:
        for before, expected in (([], 1), (["unshare", "-n"], 0)):
            command = [*before, sys.executable, "-c", code]
            assert subprocess.run(command, capture_output=True, check=False).returncode == expected
        assert take(handle, 1)[0].local_port == 7001
        assert handle.recv(0.1) is None


@in_namespace
def test_a_refusal_by_process_meets_only_that_process() -> None:
    listener = tcp_listener()
    port = listener.getsockname()[1]
    code = f"import socket\nsocket.create_connection(('127.0.0.1', {port}))\n"
    text = f"tcp and event == CONNECT and processId == {os.getpid()}"
    with od.open(text, layer=od.Layer.SOCKET, flags=od.Flag.RECV_ONLY, backend="nfqueue"):
        with pytest.raises(PermissionError):
            socket.create_connection(("127.0.0.1", port))
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("flags", [od.Flag.RECV_ONLY, od.Flag.RECV_ONLY | od.Flag.DROP])
@in_namespace
def test_a_refusal_that_the_kernel_knows_no_place_for_is_an_error(flags: od.Flag) -> None:
    def open_with(text: str) -> None:
        od.open(text, layer=od.Layer.SOCKET, flags=flags, backend="nfqueue").close()

    for text in (
        "true",
        "tcp",
        "localPort == 80",
        "event == LISTEN",
        "event != BIND",
        "inbound",
        "event == ACCEPT or udp",
    ):
        with pytest.raises(od.DivertError, match="event == BIND or event == CONNECT") as caught:
            open_with(text)
        assert caught.value.code == 50
    allowed = [
        "event == CONNECT",
        "tcp and (event == BIND or event == CONNECT or event == CLOSE)",
        "event < LISTEN and localPort == 80",
        "not (event == LISTEN or event == ACCEPT)",
        "false",
    ]
    for text in allowed:
        open_with(text)


@in_namespace
def test_a_refusal_that_the_kernel_cannot_decide_is_an_error() -> None:
    with pytest.raises(od.DivertError, match="timestamp") as caught:
        od.open("event == BIND and timestamp > 5", layer=od.Layer.SOCKET, flags=od.Flag.RECV_ONLY, backend="nfqueue")
    assert caught.value.code == 50
