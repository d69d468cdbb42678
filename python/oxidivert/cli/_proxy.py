"""The proxy that reflected connections come to: two loops of copying for each."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self

import oxidivert as od

from ._errors import CommandError
from ._screen import leave_signals_to_main

_CHUNK_MAX = 65_536
_BACKLOG = 128
#: How long connections may take to end when the proxy does.
_CLOSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a connection's data, as it was read."""

    connection: int
    from_client: bool
    data: bytes
    server: str


class Proxy:
    """Accepts what a reflection bends here, connects onward, copies both ways and shows what it copies.

    `fail` is told if the data cannot be saved.
    """

    def __init__(
        self,
        reflection: od.Reflection,
        show: Callable[[Chunk], None],
        *,
        save: str | None = None,
        fail: Callable[[CommandError], None] = lambda error: None,
    ) -> None:
        self.connections = 0
        self._reflection = reflection
        self._show = show
        self._save = save
        self._fail = fail
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closing = False
        if save:
            _make_folder(save)
        self._listener = _listener(reflection.proxy_port)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="oxidivert-proxy", daemon=True).start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all connections. A second call does nothing."""
        with self._lock:
            self._closing = True
            ends = list(self._open)
        _shut(self._listener)
        self._listener.close()
        for end in ends:
            _shut(end)
        for thread in self._threads:
            thread.join(_CLOSE_SECONDS)

    def _accept(self) -> None:
        leave_signals_to_main()
        while True:
            try:
                client, peer = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._closing:
                    client.close()
                    return
                self.connections += 1
                number = self.connections
                self._open.add(client)
            thread = threading.Thread(target=self._serve, args=(number, client, peer), daemon=True)
            self._threads = [*(other for other in self._threads if other.is_alive()), thread]
            thread.start()

    def _serve(self, number: int, client: socket.socket, peer: tuple[str, int]) -> None:
        leave_signals_to_main()
        server_name = str(self._reflection.original_dst(peer)[0])
        with contextlib.ExitStack() as stack:
            stack.callback(self._forget, client)
            try:
                server = socket.create_connection(self._reflection.upstream(peer))
            except OSError:
                # The client learns by the reset that follows from closing with nothing sent.
                _reset(client)
                return
            with self._lock:
                self._open.add(server)
            stack.callback(self._forget, server)
            back = threading.Thread(target=self._copy, args=(server, client, number, False, server_name), daemon=True)
            back.start()
            self._copy(client, server, number, True, server_name)
            back.join()

    def _copy(self, source: socket.socket, target: socket.socket, number: int, from_client: bool, server: str) -> None:
        leave_signals_to_main()
        try:
            with self._stream(number, from_client, server) as file:
                for data in _received(source, target):
                    self._show(Chunk(number, from_client, data, server))
                    if file:
                        file.write(data)
                        file.flush()
                    if not _is_sent(target, data):
                        _shut(source)
                        break
        except OSError as error:
            self._fail(CommandError(f"cannot write to {self._save}: {error.strerror}"))
            _shut(source)
        # The other way may still have something to say.
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _stream(
        self, number: int, from_client: bool, server: str
    ) -> contextlib.AbstractContextManager[BinaryIO | None]:
        if not self._save:
            return contextlib.nullcontext()
        side = "client" if from_client else "server"
        name = f"{number:06}_{server.replace(':', '-')}_{side}.bin"
        return open(os.path.join(self._save, name), "wb")

    def _forget(self, end: socket.socket) -> None:
        with self._lock:
            self._open.discard(end)
        end.close()


def _listener(port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG)
        return socket.create_server(("", port), backlog=_BACKLOG)
    except OSError as error:
        raise CommandError(
            f"the proxy cannot listen on port {port}: {error.strerror}; choose another --proxy-port"
        ) from None


def _make_folder(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot write to {path}: {error.strerror}") from None


def _received(source: socket.socket, target: socket.socket) -> Iterator[bytes]:
    """What comes until the other side has no more to say; if the connection breaks, that to the target ends too."""
    try:
        while data := source.recv(_CHUNK_MAX):
            yield data
    except OSError:
        _shut(target)


def _is_sent(target: socket.socket, data: bytes) -> bool:
    try:
        target.sendall(data)
    except OSError:
        return False
    return True


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def _reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0" if os.name != "nt" else b"\1\0\0\0")
