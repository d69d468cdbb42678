"""streamdump: the proxy over real sockets, and the data of captures. The reflection is tested by itself."""

from __future__ import annotations

import pathlib
import socket
import threading
from collections.abc import Iterator

import oxidivert as od
import pytest
from oxidivert.cli import cli
from oxidivert.cli._errors import CommandError
from oxidivert.cli._proxy import Chunk, Proxy
from oxidivert.cli._streamdump import parser, reflection_of
from samples import V6, pcap, tcp
from tools_support import objects


class Server:
    """A server that answers with what it was told, in capitals, once its client has finished."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            client.sendall(read_all(client).upper())


def read_all(end: socket.socket) -> bytes:
    data = b""
    while more := end.recv(65536):
        data += more
    return data


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.listener.close()


@pytest.fixture
def reflection(server: Server) -> od.Reflection:
    """A reflection whose ports are such that the proxy reaches the server without packets being rewritten."""
    return od.Reflection(1, proxy_port=free_port(), alt_port=server.port)


def connect(reflection: od.Reflection) -> socket.socket:
    return socket.create_connection(("127.0.0.1", reflection.proxy_port), timeout=10)


def test_the_proxy_copies_both_ways_and_shows_what_it_copies(reflection: od.Reflection) -> None:
    chunks: list[Chunk] = []
    with Proxy(reflection, chunks.append) as proxy, connect(reflection) as client:
        client.sendall(b"some words")
        # Half of the connection ends; the other half still has something to say.
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"SOME WORDS"
        assert proxy.connections == 1
    assert b"".join(chunk.data for chunk in chunks if chunk.from_client) == b"some words"
    assert b"".join(chunk.data for chunk in chunks if not chunk.from_client) == b"SOME WORDS"
    assert {(chunk.connection, chunk.server) for chunk in chunks} == {(1, "127.0.0.1")}


def test_megabytes_go_through_as_they_are(reflection: od.Reflection) -> None:
    data = bytes(range(256)) * 20_000
    with Proxy(reflection, lambda chunk: None), connect(reflection) as client:
        threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)), daemon=True).start()
        assert read_all(client) == data.upper()


def test_many_connections_are_served_at_once(reflection: od.Reflection) -> None:
    with Proxy(reflection, lambda chunk: None) as proxy:
        clients = [connect(reflection) for _ in range(40)]
        for number, client in enumerate(clients):
            client.sendall(b"client %d" % number)
            client.shutdown(socket.SHUT_WR)
        assert [read_all(client) for client in clients] == [b"CLIENT %d" % number for number in range(40)]
        assert proxy.connections == 40
        for client in clients:
            client.close()


def test_streams_are_saved(reflection: od.Reflection, tmp_path: pathlib.Path) -> None:
    with Proxy(reflection, lambda chunk: None, save=str(tmp_path / "streams")), connect(reflection) as client:
        client.sendall(b"words")
        client.shutdown(socket.SHUT_WR)
        read_all(client)
    files = {path.name: path.read_bytes() for path in (tmp_path / "streams").iterdir()}
    assert files == {"000001_127.0.0.1_client.bin": b"words", "000001_127.0.0.1_server.bin": b"WORDS"}


def test_streams_that_cannot_be_saved_are_told_and_end_the_connection(
    reflection: od.Reflection, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "000001_127.0.0.1_client.bin").mkdir()
    told: list[CommandError] = []
    proxy = Proxy(reflection, lambda chunk: None, save=str(tmp_path), fail=told.append)
    with proxy, connect(reflection) as client:
        assert is_ended(client)
    (error,) = told
    assert str(error).startswith(f"cannot write to {tmp_path}: ")


def is_ended(client: socket.socket) -> bool:
    """Whether the other end ends the connection, in order or by a reset."""
    client.settimeout(10)
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def test_a_server_that_is_not_there_ends_the_client_s_connection() -> None:
    reflection = od.Reflection(1, proxy_port=free_port(), alt_port=free_port())
    with Proxy(reflection, lambda chunk: None), connect(reflection) as client:
        assert is_ended(client)


def test_closing_ends_connections_that_are_under_way(reflection: od.Reflection) -> None:
    with Proxy(reflection, lambda chunk: None) as proxy, connect(reflection) as client:
        client.sendall(b"x")
        threading.Timer(0.1, proxy.close).start()
        assert is_ended(client)
    with pytest.raises(ConnectionError):
        connect(reflection)


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli("streamdump", "1", "--proxy-port", str(port)) == 2
    assert f"the proxy cannot listen on port {port}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "ports"),
    [
        (["80"], (80, 34010, 43010)),
        (["34010"], (34010, 34011, 43010)),
        (["43010"], (43010, 34010, 43011)),
        (["80", "--proxy-port", "1000", "--alt-port", "2000"], (80, 1000, 2000)),
    ],
)
def test_the_proxy_s_ports_make_way_for_the_server_s(arguments: list[str], ports: tuple[int, int, int]) -> None:
    reflection = reflection_of(parser("streamdump").parse_args(arguments))
    assert (reflection.port, reflection.proxy_port, reflection.alt_port) == ports


@pytest.mark.parametrize("arguments", [["0"], ["65536"], ["http"], ["80", "--alt-port", "80"]])
def test_ports_that_cannot_be_are_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("streamdump", *arguments) == 2
    assert "port" in capsys.readouterr().err.lower()


# Captures


def stream(*parts: tuple[bool, bytes, int], **ends: str) -> list[bytes]:
    """Segments of a connection: whether the client sends it, its data and its sequence number."""
    server = {"src": ends.get("dst", "192.0.2.7"), "dst": ends.get("src", "10.0.0.1")}
    return [
        tcp(data, seq=seq, **ends) if from_client else tcp(data, seq=seq, src_port=80, dst_port=40001, **server)
        for from_client, data, seq in parts
    ]


def dump(capsys: pytest.CaptureFixture[str], folder: pathlib.Path, packets: list[bytes], *more: str) -> str:
    (folder / "in.pcap").write_bytes(pcap(packets))
    assert cli("streamdump", "80", "--read", str(folder / "in.pcap"), *more) == 0
    return capsys.readouterr().out


def test_data_of_a_capture_is_shown_by_lines(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    packets = stream((True, b"GET / HTTP/1.1\r\n\r\n", 1), (False, b"x" * 65, 1), (False, b"y" * 66, 66))
    assert dump(capsys, tmp_path, packets).splitlines() == [
        "[0018] GET / HTTP/1.1....",
        "[0065] " + "x" * 65,
        "[0066] " + "y" * 65 + "...",
    ]


def test_data_that_was_sent_again_is_shown_once(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    packets = stream((True, b"one", 1), (True, b"one", 1), (False, b"three", 1), (True, b"two", 4), (True, b"one", 1))
    out = dump(capsys, tmp_path, packets)
    assert [line.split()[1] for line in out.splitlines()] == ["one", "three", "two"]


def test_objects_tell_connections_apart(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    packets = [*stream((True, b"one", 1)), *stream((True, b"two", 1), (False, b"three", 1), **V6)]
    shown = objects(dump(capsys, tmp_path, packets, "--json"))
    assert [(one["connection"], one["from"], one["server"], one["text"]) for one in shown] == [
        (1, "client", "192.0.2.7", "one"),
        (2, "client", "2001:db8::2", "two"),
        (2, "server", "2001:db8::2", "three"),
    ]
