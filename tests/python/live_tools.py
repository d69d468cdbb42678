"""What the tests of live tools share: a tool that runs until Ctrl-C, a web server on another host, and curl."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from linux_support import Peer, tables, wait_until

#: How curl ends when its connection is refused.
CURL_REFUSED = 7


def has_opened(pid: int, handles: int) -> None:
    """Wait until a process has opened so many handles: each has a thread, once it is told of what happens."""
    # Names of threads end after 15 bytes.
    names = {name[:15] for name in ("oxidivert-keeper", "oxidivert-events")}

    def are_opened() -> bool:
        threads = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/comm")]
        return sum(thread.rstrip("\n") in names for thread in threads) >= handles

    wait_until(are_opened)


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
        if wait:
            # Its queue is bound once it has opened its handle.
            self._wait_until(lambda: tables() != before)
        time.sleep(0.2)

    def _wait_until(self, holds: Callable[[], bool]) -> None:
        def holds_while_it_runs() -> bool:
            assert self.process.poll() is None, self.text(self.err)
            return holds()

        wait_until(holds_while_it_runs)

    def ready(self, handles: int = 1) -> None:
        """Wait until it has opened so many handles."""
        has_opened(self.process.pid, handles)

    def shows(self, lines: int) -> None:
        """Wait until it has written so many lines."""
        # Its place in the file is the tool's own.
        self._wait_until(lambda: os.pread(self.out.fileno(), 1 << 20, 0).count(b"\n") >= lines)

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

    def answers() -> bool:
        assert server.poll() is None, server.communicate()
        return curl("http://10.9.0.2/").returncode == 0

    try:
        wait_until(answers)
        yield pages
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


def curl(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["curl", "--silent", "--show-error", "--max-time", "30", *options, url]
    return subprocess.run(command, capture_output=True, text=True, check=False)
