"""What the tests of live tools share: a tool that runs until Ctrl-C, a web server on another host, and curl."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import oxidivert as od
from linux_support import Peer, tables

#: How curl ends when its connection is refused.
CURL_REFUSED = 7


def has_opened(pid: int, handles: int) -> None:
    """Wait until a process has opened so many handles, also such as have no queue."""
    look = od.Flag.SNIFF | od.Flag.RECV_ONLY
    with od.open(f"processId == {pid}", layer=od.Layer.REFLECT, flags=look, backend="nfqueue") as handle:
        for _ in range(handles):
            event = handle.recv(20)
            assert event is not None
            assert event.event is od.Event.REFLECT_OPEN


class Tool:
    """A tool that runs until Ctrl-C."""

    def __init__(self, *arguments: str, wait: bool = True) -> None:
        def take_signals() -> None:
            # A runner in the background may have left Ctrl-C ignored, which children inherit.
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        command = [sys.executable, "-u", "-m", "oxidivert", *arguments]
        before = tables()
        self.out = tempfile.TemporaryFile("w+")  # noqa: SIM115 # read at the tool's end
        self.err = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(command, stdout=self.out, stderr=self.err, preexec_fn=take_signals)
        deadline = time.monotonic() + 20
        # Its queue is bound once it has opened its handle.
        while wait and tables() == before:
            assert self.process.poll() is None, self.text(self.err)
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.2)

    def ready(self, handles: int = 1) -> None:
        """Wait until it has opened so many handles."""
        has_opened(self.process.pid, handles)

    def shows(self, lines: int) -> None:
        """Wait until it has written so many lines."""
        deadline = time.monotonic() + 20
        # Its place in the file is the tool's own.
        while os.pread(self.out.fileno(), 1 << 20, 0).count(b"\n") < lines:
            assert self.process.poll() is None, self.text(self.err)
            assert time.monotonic() < deadline
            time.sleep(0.01)

    @staticmethod
    def text(file: object) -> str:
        file.seek(0)  # type: ignore[attr-defined]
        return str(file.read())  # type: ignore[attr-defined]

    def end(self, number: int = signal.SIGINT, *, code: int = 130) -> tuple[str, str]:
        """Ends it, and gives what it has written."""
        self.process.send_signal(number)
        ended = self.process.wait(20)
        out, err = self.text(self.out), self.text(self.err)
        assert ended == code, err
        return out, err


@contextmanager
def running(*arguments: str, wait: bool = True) -> Iterator[Tool]:
    """A tool, which is not left behind."""
    tool = Tool(*arguments, wait=wait)
    try:
        yield tool
    finally:
        tool.process.kill()
        tool.process.wait()


@contextmanager
def nginx(other: Peer) -> Iterator[Path]:
    """A web server on the other host; the folder of its pages."""
    folder = Path(tempfile.mkdtemp(prefix="oxidivert-nginx-"))
    pages = folder / "pages"
    pages.mkdir()
    for path in (folder, pages):
        path.chmod(0o755)
    (pages / "index.html").write_text("<p>the true page</p>\n")
    (folder / "nginx.conf").write_text(
        f"""
        daemon off; pid {folder}/pid; error_log {folder}/error.log; user root;
        events {{}}
        http {{
            access_log {folder}/access.log; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
            server {{ listen 80; listen [::]:80; root {pages}; }}
        }}
        """
    )
    server = other.start("nginx", "-c", f"{folder}/nginx.conf", "-p", str(folder))
    try:
        deadline = time.monotonic() + 10
        while curl("http://10.9.0.2/").returncode:
            assert server.poll() is None, server.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield pages
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


def curl(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["curl", "--silent", "--show-error", "--max-time", "30", *options, url]
    return subprocess.run(command, capture_output=True, text=True, check=False)
