"""Many real flows between two network namespaces, and `flowtrack` on a terminal of its own while they are under way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from typing import Self

import oxidivert as od
from linux_support import Peer

PORT = 7000
#: What the peer runs: a server that takes in all that comes and answers nothing.
_SERVER = f"""
import resource, select, socket
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
listener = socket.create_server(("10.9.0.2", {PORT}), backlog=4096)
poll, clients = select.epoll(), {{}}
poll.register(listener, select.EPOLLIN)
print("ready", flush=True)
while True:
    for number, _ in poll.poll():
        if number == listener.fileno():
            client, _ = listener.accept()
            clients[client.fileno()] = client
            poll.register(client, select.EPOLLIN)
        elif not clients[number].recv(65536):
            poll.unregister(number)
            clients.pop(number).close()
"""
#: What this side runs: connections that stay, and then data on each in turn, at a steady rate.
_CLIENT = f"""
import socket, sys, time
count, rate = int(sys.argv[1]), int(sys.argv[2])
started = time.monotonic()
flows = [socket.create_connection(("10.9.0.2", {PORT})) for _ in range(count)]
print(time.monotonic() - started, flush=True)
until, sent, block = float(input()), 0, bytes({{length}})
started = time.monotonic()
while (now := time.monotonic() - started) < until:
    for _ in range(rate // 100):
        flows[sent % count].send(block)
        sent += 1
    time.sleep(max(0, sent / rate - now))
print(sent, flush=True)
input()
"""
#: Bytes of each piece of data.
LENGTH = 500


class Load:
    """Connections to the peer, and what goes through them."""

    def __init__(self, other: Peer, flows: int, rate: int) -> None:
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        # The server inherits it: each namespace has a process with as many sockets.
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(most, flows + 1000), max(most, flows + 1000)))
        self._server = other.python(_SERVER)
        command = [sys.executable, "-c", _CLIENT.format(length=LENGTH), str(flows), str(rate)]
        self.client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        #: How long it took until all connections were there, in seconds.
        self.connecting = float(self._answer())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.client, self._server):
            process.kill()
            process.communicate()

    def send(self, seconds: float) -> int:
        """Sends for so long; how many pieces of data that were."""
        self._tell(str(seconds))
        return int(self._answer())

    def close(self) -> None:
        """Ends all connections."""
        self._tell("")
        assert self.client.wait(30) == 0

    def _tell(self, line: str) -> None:
        assert self.client.stdin is not None
        self.client.stdin.write(f"{line}\n")
        self.client.stdin.flush()

    def _answer(self) -> str:
        assert self.client.stdout is not None
        return self.client.stdout.readline()


class Counters:
    """What the kernel counts of the connections' packets at the hooks where handles are, by counters of nftables."""

    def __init__(self) -> None:
        rules = (
            "table inet counted {\n"
            f"chain out {{ type filter hook output priority 0; tcp dport {PORT} counter; }}\n"
            f"chain in {{ type filter hook input priority 0; tcp sport {PORT} counter; }}\n}}\n"
        )
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    def packets(self) -> int:
        """The packets of both ways until now."""
        command = ["nft", "-j", "list", "table", "inet", "counted"]
        told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        rules = [one["rule"]["expr"] for one in told["nftables"] if "rule" in one]
        return sum(part["counter"]["packets"] for rule in rules for part in rule if "counter" in part)


class Flowtrack:
    """`flowtrack` as a process, ready: with its screen on a pseudo-terminal of 120 by 40, or with objects on a file."""

    def __init__(self, *arguments: str) -> None:
        import fcntl
        import pty
        import termios

        self._end, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        #: When each screen began to be drawn, and the bytes of the last ones.
        self.frames: list[float] = []
        self.shown = b""
        keep = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        watch = od.Flag.SNIFF | od.Flag.RECV_ONLY
        with od.open(layer=od.Layer.REFLECT, flags=watch, backend="nfqueue") as watcher:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "oxidivert", "flowtrack", *arguments],
                stdin=other,
                stdout=other,
                stderr=subprocess.PIPE,
                env=keep | {"TERM": "xterm-256color"},
                text=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
            os.close(other)
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()
            for _ in range(2):
                event = watcher.recv(20)
                assert event is not None, "flowtrack does not open its handles"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self._reader.join(5)
        os.close(self._end)

    def end(self) -> str:
        """Presses Ctrl-C; the summary."""
        self.process.send_signal(signal.SIGINT)
        _, told = self.process.communicate(timeout=30)
        assert self.process.returncode == 130, told
        self._reader.join(5)
        return told

    def seconds_of_processor(self) -> float:
        """The time that it has worked until now."""
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as file:
            user, system = file.read().rpartition(") ")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def memory(self, name: str = "VmRSS") -> int:
        """Bytes that it has in memory now; `VmHWM`: the most that it had."""
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

    def _read(self) -> None:
        # Its end is the end of the program.
        with contextlib.suppress(OSError):
            while data := os.read(self._end, 1 << 20):
                # Each screen begins at the top left.
                self.frames += [time.monotonic()] * data.count(b"\x1b[H")
                self.shown = (self.shown + data)[-(1 << 20) :]
