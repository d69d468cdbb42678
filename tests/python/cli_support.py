"""What the tests of the command line share: a folder of its own for each, with a capture, and running commands."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys

import pytest
from samples import icmp, pcap, tcp, udp

DATA = pathlib.Path(__file__).parent.parent / "data" / "cli"
EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "examples"
PACKETS = [tcp(b"one"), udp(b"two"), tcp(b"three", dst_port=443), icmp(b"four"), tcp(b"five")]

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="on Windows: no such signal, shell or terminal")


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An empty current folder with the capture in.pcap."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "in.pcap").write_bytes(pcap(PACKETS))
    return tmp_path


@pytest.fixture
def script(folder: pathlib.Path) -> pathlib.Path:
    """A script that changes a packet to port 80, drops one to port 443 and passes the others."""
    return write_script(
        folder,
        "def handle(packet):",
        "    if packet.dst_port == 80:",
        "        packet.ipv4.ttl = 9",
        "    return packet.dst_port != 443",
    )


def write_script(folder: pathlib.Path, *lines: str) -> pathlib.Path:
    path = folder / "script.py"
    path.write_text("\n".join(lines) + "\n")
    return path


def names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def spawn(*arguments: str, **more: object) -> subprocess.Popen[str]:
    def take_signals() -> None:
        # A runner in the background may have left Ctrl-C ignored, which children inherit.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more
    if sys.platform != "win32":
        options["preexec_fn"] = take_signals
    return subprocess.Popen([sys.executable, "-m", "oxidivert", *arguments], **options)  # type: ignore[call-overload]
