"""What the tests of the live backend on Linux share: a network namespace for each test, and a second host beside it.

A test that is marked with `in_namespace` runs in a process of its own, in a network namespace that is made for it and
has nothing but loopback. Traffic never leaves such namespaces.

Environment: `OXIDIVERT_EMULATED` (not empty) is for emulated machines, which need ten seconds to start Python: the
processes of tests are forked instead, and may take longer.
"""

from __future__ import annotations

import ctypes
import faulthandler
import functools
import importlib.util
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import oxidivert as od
import pytest
from oxidivert import build

#: Open flags of a handle that takes packets away.
DIVERT = od.Flag(0)
#: Whether this machine is emulated, and so ten to thirty times slower than others.
EMULATED = bool(os.environ.get("OXIDIVERT_EMULATED"))
#: How long a test may take, in seconds.
LIMIT = 500.0 if EMULATED else 120.0
#: How long packets and events wait in handles there, in milliseconds.
PATIENCE = 16_000


def missing() -> str | None:
    """Why no namespace can be made here, or None."""
    if sys.platform != "linux":
        return "the live backend nfqueue is for Linux"
    for tool in ("unshare", "ip", "nsenter"):
        if not shutil.which(tool):
            return f"the program {tool} is missing (packages util-linux and iproute2)"
    made = subprocess.run(
        ["unshare", "-n", "ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False
    )
    return None if made.returncode == 0 else f"no network namespace can be made: {made.stderr.strip()}"


def kernel() -> tuple[int, int]:
    """The kernel's version: two numbers, which tell what it has."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(itertools.takewhile(str.isdigit, minor)))


def in_namespace(function: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a process and a network namespace of its own; its arguments go there as JSON."""

    @functools.wraps(function)
    def run(**arguments: object) -> None:
        reason = missing()
        if reason:
            pytest.skip(f"on Windows: {reason}" if sys.platform == "win32" else reason)
        start = forked if EMULATED else started
        code, output = start(str(sys.modules[function.__module__].__file__), function.__name__, json.dumps(arguments))
        assert code == 0, output

    return run


def patient(open_: Callable[..., od.Handle]) -> Callable[..., od.Handle]:
    """What opens handles that keep what waits for the longest time: a program that a test starts needs seconds here."""

    @functools.wraps(open_)
    def run(*arguments: object, **options: object) -> od.Handle:
        handle = open_(*arguments, **options)
        handle.queue_time = PATIENCE
        return handle

    return run


def started(path: str, name: str, arguments: str) -> tuple[int | None, str]:
    """Run a test in a Python of its own; how it ended, and what it wrote."""
    command = ["unshare", "-n", sys.executable, "-X", "faulthandler", __file__, path, name, arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    return done.returncode, f"{done.stdout}\n{done.stderr}"


def forked(path: str, name: str, arguments: str) -> tuple[int | None, str]:
    """The same in a copy of this process."""
    with tempfile.TemporaryFile("w+") as output:

        def run() -> None:
            for number in (1, 2):
                os.dup2(output.fileno(), number)
            faulthandler.enable(2)
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
            # Those of pytest have warnings be errors.
            warnings.resetwarnings()
            od.open = patient(od.open)
            # CLONE_NEWNET
            assert ctypes.CDLL(None).unshare(0x40000000) == 0
            main(path, name, arguments)

        process = multiprocessing.get_context("fork").Process(target=run)
        process.start()
        try:
            process.join(LIMIT)
            if process.is_alive():
                # It tells where it is.
                os.kill(process.pid or 0, signal.SIGABRT)
                process.join(10)
        finally:
            process.kill()
            process.join()
        output.seek(0)
        return process.exitcode, output.read()


def ip(command: str) -> str:
    """Run `ip` with these arguments; what it wrote."""
    return subprocess.run(["ip", *command.split()], check=True, capture_output=True, text=True).stdout


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something holds; it must within so many seconds."""
    deadline = time.monotonic() + (10 * seconds if EMULATED else seconds)
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Peer:
    """Another host: a network namespace joined to this one by a veth pair, `inner` here and `outer` there.

    This side is 10.9.0.1 and fd09::1, the other 10.9.0.2 and fd09::2.
    """

    local = "10.9.0.1"
    remote = "10.9.0.2"
    local6 = "fd09::1"
    remote6 = "fd09::2"

    def __init__(self, holder: subprocess.Popen[bytes]) -> None:
        self.holder = holder

    def command(self, *command: str) -> list[str]:
        """The command that runs another one there."""
        return ["nsenter", "-t", str(self.holder.pid), "-n", *command]

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a program there."""
        return subprocess.Popen(self.command(*command), stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def python(self, code: str) -> subprocess.Popen[bytes]:
        """Start Python there, which says `ready` once it is, and wait for that."""
        started = self.start(sys.executable, "-u", "-c", code)
        assert started.stdout is not None
        assert started.stdout.readline() == b"ready\n", started.communicate(timeout=5)
        return started

    def run(self, *command: str, timeout: float = 60) -> str:
        """Run a program there to its end; what it wrote."""
        done = subprocess.run(self.command(*command), capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout


@contextmanager
def peer(mtu: int = 1500) -> Iterator[Peer]:
    """Another host for the time of the block."""
    holder = subprocess.Popen(["unshare", "-n", "sleep", "300"])
    try:
        own = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != own)
        other = Peer(holder)
        ip(f"link add inner mtu {mtu} type veth peer name outer mtu {mtu} netns {holder.pid}")
        for side in ("all", "default"):
            Path(f"/proc/sys/net/ipv6/conf/{side}/accept_dad").write_text("0")
            other.run("sh", "-c", f"echo 0 > /proc/sys/net/ipv6/conf/{side}/accept_dad")
        ip("addr add 10.9.0.1/24 dev inner")
        ip("addr add fd09::1/64 dev inner nodad")
        ip("link set inner up")
        other.run("ip", "addr", "add", "10.9.0.2/24", "dev", "outer")
        other.run("ip", "addr", "add", "fd09::2/64", "dev", "outer", "nodad")
        for device in ("outer", "lo"):
            other.run("ip", "link", "set", device, "up")
        wait_until(lambda: "NO-CARRIER" not in ip("link show inner"))
        yield other
    finally:
        holder.kill()
        holder.wait()


def family_of(address: str) -> socket.AddressFamily:
    """The family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def tcp_listener(address: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A TCP socket that listens."""
    return socket.create_server((address, port), family=family_of(address))


def udp_socket(address: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A bound UDP socket that waits two seconds at most."""
    bound = socket.socket(family_of(address), socket.SOCK_DGRAM)
    bound.bind((address, port))
    bound.settimeout(2)
    return bound


def port_of(bound: socket.socket) -> int:
    """The port of a socket."""
    port = bound.getsockname()[1]
    assert isinstance(port, int)
    return port


def nothing_comes(bound: socket.socket, seconds: float = 0.1) -> bool:
    """Whether a socket stays silent."""
    bound.settimeout(seconds)
    try:
        bound.recv(65535)
    except TimeoutError:
        bound.settimeout(2)
        return True
    return False


class Line:
    """Datagrams within this host: one program sends them, another receives them, and handles stand between."""

    def __init__(self) -> None:
        self.bound, self.out = udp_socket(), udp_socket()
        self.port = port_of(self.bound)

    def open(self, text: str = "true", priority: int = 0, flags: od.Flag = DIVERT) -> od.Handle[od.Packet]:
        """A handle that sees nothing but these datagrams."""
        text = f"udp.DstPort == {self.port} and ({text})"
        return od.open(text, priority=priority, flags=flags, backend="nfqueue")

    def feed(self, *payloads: bytes) -> None:
        """A program sends datagrams."""
        for payload in payloads:
            # A handle with DROP drops as a firewall does, which the sender is told.
            with suppress(PermissionError):
                self.out.sendto(payload, ("127.0.0.1", self.port))

    def packet(self, payload: bytes) -> od.Packet:
        """A new packet that looks like one of them."""
        return build.udp("127.0.0.1", "127.0.0.1", port_of(self.out), self.port, payload=payload)

    def arrived(self) -> list[bytes]:
        """What reached the program that receives."""
        self.bound.settimeout(0.05)
        arrived = []
        with suppress(TimeoutError):
            while True:
                arrived.append(self.bound.recv(65535))
        return arrived


def received(handle: od.Handle[od.Packet], timeout: float = 0.1) -> list[od.Packet]:
    """All packets that a handle has, until none comes for so many seconds."""
    packets = []
    while (packet := handle.recv(timeout)) is not None:
        packets.append(packet)
    return packets


def payloads(handle: od.Handle[od.Packet], timeout: float = 0.1) -> list[bytes]:
    """The payloads of all packets that a handle has, until none comes for so many seconds."""
    return [bytes(packet.payload) for packet in received(handle, timeout)]


@contextmanager
def running(handle: od.Handle[od.Packet], callback: Callable[[od.Packet], bool | None]) -> Iterator[None]:
    """Run a handle's loop in a thread for the time of the block; it must not fail."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            handle.run(callback)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        handle.shutdown(od.Shutdown.RECV)
        thread.join(10)
        assert not thread.is_alive()
    assert not failures, failures


def code_of(act: Callable[[], object]) -> int:
    """The code that something fails with; 0 if it does not."""
    try:
        act()
    except od.DivertError as error:
        return error.code
    return 0


def tables() -> int:
    """How many tables of ours nftables has in this namespace, by the queues that are bound."""
    path = Path("/proc/self/net/netfilter/nfnetlink_queue")
    numbers = [int(line.split()[0]) for line in path.read_text().splitlines()] if path.exists() else []
    # The queues for large packets are at 0x8000 and above, beside those that all handles have.
    return sum(number < 0x8000 for number in numbers)


def main(path: str, name: str, arguments: str) -> None:
    """Run one test here."""
    ip("link set lo up")
    spec = importlib.util.spec_from_file_location("test", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    getattr(module, name).__wrapped__(**json.loads(arguments))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main(*sys.argv[1:])
