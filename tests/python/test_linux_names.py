"""Live on Linux: events and packets name their programs, also those that were gone before anybody asked."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import oxidivert as od
import pytest
from linux_support import in_namespace, port_of, tcp_listener

LOOK = od.Flag.SNIFF | od.Flag.RECV_ONLY
#: The flag of unshare(2) for mounts.
NEW_MOUNTS = 0x0002_0000


class Shell:
    """A program of its own name, a copy of bash, which does what it is told line by line."""

    def __init__(self, name: str) -> None:
        bash = shutil.which("bash")
        if not bash:
            pytest.skip("the program bash is missing")
        self.folder = tempfile.mkdtemp()
        self.path = shutil.copy(os.path.realpath(bash), f"{self.folder}/{name}")
        self.process = subprocess.Popen([self.path, "--norc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid

    def tell(self, line: str) -> None:
        """Have it do something, and wait until it has."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{line}\necho done\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> None:
        """Wait for its end."""
        self.process.communicate()


@contextmanager
def shell(name: str) -> Iterator[Shell]:
    """A program of this name, which is not left behind."""
    started = Shell(name)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()
        shutil.rmtree(started.folder)


def hide_processes() -> None:
    """Take /proc away from this process and its children, so that nobody can be looked up any more."""
    assert ctypes.CDLL(None, use_errno=True).unshare(NEW_MOUNTS) == 0
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def cover() -> None:
    """Cover /proc, behind `hide_processes`."""
    subprocess.run(["mount", "-t", "tmpfs", "none", "/proc"], check=True)
    assert not Path("/proc/self/exe").exists()


def opened(kind: str, port: int) -> od.Handle[od.FlowEvent | od.SocketEvent | od.Packet]:
    """A handle of which everything tells of what goes to the port."""
    if kind == "packets":
        return od.open(f"tcp.DstPort == {port}", flags=od.Flag.SNIFF, backend="nfqueue", processes=True)
    layer = od.Layer.FLOW if kind == "flows" else od.Layer.SOCKET
    return od.open(f"remotePort == {port}", layer=layer, flags=LOOK, backend="nfqueue")


def named(one: od.FlowEvent | od.SocketEvent | od.Packet | None) -> tuple[int, str | None, str | None]:
    """Number, name and path of a process."""
    assert one is not None
    process = one.process
    assert process is not None
    return process.pid, process.name, process.path


@pytest.mark.parametrize("kind", ["flows", "sockets", "packets"])
@in_namespace
def test_a_program_that_nobody_could_look_up_is_named_by_its_event(kind: str) -> None:
    hide_processes()
    server = tcp_listener()
    with opened(kind, port_of(server)) as handle, shell("short-lived") as program:
        cover()
        program.tell(f"echo x > /dev/tcp/127.0.0.1/{port_of(server)}")
        program.end()
        # Nobody has received until now.
        assert named(handle.recv(5)) == (program.pid, "short-lived", None)


@pytest.mark.parametrize("kind", ["flows", "sockets", "packets"])
@in_namespace
def test_a_program_that_has_ended_since_keeps_name_and_path(kind: str) -> None:
    server = tcp_listener()
    with opened(kind, port_of(server)) as handle, shell("a-program-of-twenty5") as program:
        # Its file goes first, which is no part of its name.
        os.unlink(program.path)
        program.tell(f"echo x > /dev/tcp/127.0.0.1/{port_of(server)}")
        one = handle.recv(5)
        program.end()
        assert not Path(f"/proc/{program.pid}").exists()
        assert named(one) == (program.pid, "a-program-of-twenty5", program.path)


@in_namespace
def test_a_process_that_runs_another_program_is_named_anew() -> None:
    hide_processes()
    server = tcp_listener()
    with ExitStack() as stack:
        handle = stack.enter_context(opened("sockets", port_of(server)))
        program = stack.enter_context(shell("first-program"))
        second = shutil.copy(program.path, f"{program.folder}/second-program")
        cover()
        for name in ("first-program", "second-program"):
            program.tell(f"exec 3> /dev/tcp/127.0.0.1/{port_of(server)} 3>&-")
            event = handle.recv(5)
            assert event is not None
            assert event.event is od.Event.SOCKET_CONNECT
            assert named(event) == (program.pid, name, None)
            event = handle.recv(5)
            assert event is not None
            assert event.event is od.Event.SOCKET_CLOSE
            program.tell(f"exec {second} --norc")
        program.end()
