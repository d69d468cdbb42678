"""Live on Linux, by the rows of the table of behaviours: flows, sockets and handles."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys

import oxidivert as od
import pytest
from linux_support import code_of, in_namespace, port_of, tcp_listener, udp_socket
from oxidivert import helpers

LOOK = od.Flag.SNIFF | od.Flag.RECV_ONLY
ESTABLISHED, DELETED = od.Event.FLOW_ESTABLISHED, od.Event.FLOW_DELETED


def flows(text: str = "true") -> od.Handle[od.FlowEvent]:
    """A handle that is told of flows."""
    return od.open(text, layer=od.Layer.FLOW, flags=LOOK, backend="nfqueue")


def sockets(text: str, flags: od.Flag = LOOK) -> od.Handle[od.SocketEvent]:
    """A handle that is told of sockets."""
    return od.open(text, layer=od.Layer.SOCKET, flags=flags, backend="nfqueue")


def handles(text: str = "true") -> od.Handle[od.ReflectEvent]:
    """A handle that is told of handles."""
    return od.open(text, layer=od.Layer.REFLECT, flags=LOOK, backend="nfqueue")


def told(handle: od.Handle) -> list[od.FlowEvent | od.SocketEvent | od.ReflectEvent]:
    """All events, until none comes."""
    events = []
    while (event := handle.recv(0.2)) is not None:
        events.append(event)
    return events


class Connection:
    """A TCP connection within this host, with its listener."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.listener = tcp_listener(address)
        self.port = port_of(self.listener)
        self.client = socket.create_connection((address, self.port))
        self.server, _ = self.listener.accept()

    def close(self) -> None:
        """Close all three."""
        for end in (self.client, self.server, self.listener):
            end.close()


# Row 76.
@in_namespace
def test_live_the_end_of_a_flow_is_told_to_those_that_were_there_at_its_beginning() -> None:
    with flows() as early:
        connection = Connection()
        assert [event.event for event in told(early)] == [ESTABLISHED] * 2
        with flows() as late:
            connection.close()
            assert [event.event for event in told(early)] == [DELETED] * 2
            assert told(late) == []


# Row 77.
@in_namespace
def test_live_the_end_of_a_flow_tells_what_its_beginning_told() -> None:
    with flows() as both, flows("event == DELETED") as end:
        connection = Connection()
        began = told(both)
        assert told(end) == []
        connection.close()
        ended = told(both)
        assert [event.event for event in ended] == [DELETED] * 2

        def facts(event: od.FlowEvent | od.SocketEvent | od.ReflectEvent) -> tuple[object, ...]:
            assert isinstance(event, od.FlowEvent)
            record = event.address
            ends = (str(event.local_addr), event.local_port, str(event.remote_addr), event.remote_port)
            ids = (event.process_id, event.endpoint_id, event.parent_endpoint_id, event.protocol)
            return (*ends, *ids, record.outbound, record.loopback, record.sniffed, record.ipv6)

        assert sorted(map(facts, ended)) == sorted(map(facts, began)) == sorted(map(facts, told(end)))
        assert {facts(event)[4] for event in ended} == {os.getpid()}


# Row 78.
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@in_namespace
def test_live_an_operation_that_matches_is_refused_and_told_but_a_close_never_refused(address: str) -> None:
    listener = tcp_listener(address)
    text = f"remotePort == {port_of(listener)} and (event == CONNECT or event == CLOSE)"
    with sockets(text, od.Flag.RECV_ONLY) as handle:
        with pytest.raises(PermissionError):
            socket.create_connection((address, port_of(listener)))
        connect, close = told(handle)
        assert (connect.event, connect.address.sniffed) == (od.Event.SOCKET_CONNECT, False)
        assert (close.event, close.address.sniffed) == (od.Event.SOCKET_CLOSE, True)


# Row 79.
@in_namespace
def test_live_a_dropping_handle_refuses_operations_and_tells_nothing() -> None:
    text = "(event == CONNECT or event == BIND) and protocol == 6"
    listener = tcp_listener()
    with sockets(text, od.Flag.DROP | od.Flag.RECV_ONLY) as handle:
        with pytest.raises(PermissionError):
            socket.create_connection(("127.0.0.1", port_of(listener)))
        with pytest.raises(PermissionError):
            socket.create_server(("127.0.0.1", 0))
        # What does not match is not refused.
        udp_socket().connect(("127.0.0.1", 9))
        assert told(handle) == []
    socket.create_connection(("127.0.0.1", port_of(listener))).close()


# Rows 80, 81.
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@in_namespace
def test_live_socket_events_tell_what_belongs_to_them(address: str) -> None:
    with sockets("tcp") as handle:
        connection = Connection(address)
        ends = (port_of(connection.client), connection.port)
        connection.close()
        events = told(handle)
    packed = socket.inet_pton(socket.AF_INET6, address if ":" in address else f"::ffff:{address}")
    # Words of 32 bits, the last of the address first; IPv4 is mapped into IPv6.
    words = struct.unpack(">4I", packed)[::-1]
    if ":" not in address:
        assert words == (0x7F000001, 0xFFFF, 0, 0)
    names = [event.event.name.removeprefix("SOCKET_") for event in events]
    assert sorted(names[:4]) == ["ACCEPT", "BIND", "CONNECT", "LISTEN"]
    assert names[4:] == ["CLOSE"] * 3
    listening = next(event for event, name in zip(events, names, strict=True) if name == "LISTEN")
    assert isinstance(listening, od.SocketEvent)
    for event, name in zip(events, names, strict=True):
        assert isinstance(event, od.SocketEvent)
        record = bytes(event.address)[16:]
        local, remote = struct.unpack_from("<4I", record, 20), struct.unpack_from("<4I", record, 36)
        ports = (event.local_port, event.remote_port)
        has_remote = name in ("CONNECT", "ACCEPT") or (name == "CLOSE" and event.endpoint_id != listening.endpoint_id)
        assert local == words, name
        assert remote == (words if has_remote else (0, 0, 0, 0)), name
        assert ports in ((ends, ends[::-1]) if has_remote else ((ends[1], 0),)), name
        assert event.protocol == 6
        assert event.process_id == os.getpid()
        assert event.address.ipv6 == (":" in address)
        if name != "CLOSE":
            assert event.address.outbound == (name != "ACCEPT")
            assert event.parent_endpoint_id == (listening.endpoint_id if name == "ACCEPT" else 0)


# Row 82.
@in_namespace
def test_live_an_observer_is_told_of_all_open_handles_in_order_and_not_of_observers() -> None:
    with (
        od.open("tcp", priority=7, backend="nfqueue"),
        handles() as other_observer,
        flows(),
        od.open("false", layer=od.Layer.NETWORK_FORWARD, priority=-7, flags=od.Flag.SNIFF, backend="nfqueue"),
        handles() as observer,
    ):
        seen = told(observer)
        layers = [od.Layer.NETWORK, od.Layer.FLOW, od.Layer.NETWORK_FORWARD]
        assert [(event.event, event.layer) for event in seen if isinstance(event, od.ReflectEvent)] == [
            (od.Event.REFLECT_OPEN, layer) for layer in layers
        ]
        assert len(told(other_observer)) == 3


# Rows 83, 85.
@in_namespace
def test_live_an_observer_is_told_when_handles_open_and_close_with_their_filter() -> None:
    text = "tcp.DstPort == 81 and (inbound or ip.TTL < 5)"
    with handles() as observer:
        with od.open(text, priority=-3, flags=od.Flag.RECV_ONLY, backend="nfqueue"):
            (opened,) = told(observer)
        (closed,) = told(observer)
    for event, name in ((opened, od.Event.REFLECT_OPEN), (closed, od.Event.REFLECT_CLOSE)):
        assert isinstance(event, od.ReflectEvent)
        assert event.event == name
        assert (event.process_id, event.layer, event.priority) == (os.getpid(), od.Layer.NETWORK, -3)
        assert event.flags == od.Flag.RECV_ONLY
        # The object as the handle was opened with, and a filter that means the same.
        assert event.filter
        assert event.filter.object == helpers.compile_filter(text)
        assert str(event.filter) == helpers.format_filter(text)


# Row 84.
@in_namespace
def test_live_an_observer_that_is_shut_down_at_once_has_the_whole_list() -> None:
    opened = [od.open("false", priority=number, backend="nfqueue") for number in range(5)]
    with handles() as observer:
        observer.shutdown(od.Shutdown.BOTH)
        assert [observer.recv().priority for _ in range(5)] == [0, 1, 2, 3, 4]  # type: ignore[union-attr]
        assert [code_of(observer.recv) for _ in range(2)] == [232, 232]
    for handle in opened:
        handle.close()


# Row 86.
@in_namespace
def test_live_an_observer_is_told_of_what_its_filter_matches() -> None:
    code = (
        "import oxidivert as od\nhandle = od.open('false', priority=5, backend='nfqueue')\n"
        "print('ready', flush=True)\ninput()\n"
    )
    there = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert there.stdout
    assert there.stdout.readline() == "ready\n"
    own = os.getpid()
    with od.open("false", priority=6, backend="nfqueue"), flows():
        for text, expected in (
            ("priority == 5", [(there.pid, 0, 5)]),
            ("layer == FLOW", [(own, 2, 0)]),
            (f"processId == {own} and layer == NETWORK", [(own, 0, 6)]),
            ("event == CLOSE", []),
        ):
            with handles(text) as observer:
                events = told(observer)
                found = [(event.process_id, event.layer, event.priority) for event in events]  # type: ignore[union-attr]
                assert found == expected, text
    there.communicate("\n")
