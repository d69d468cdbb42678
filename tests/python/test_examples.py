"""The example scripts over the shipped capture, as the README runs them, and the result as another program reads it."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys

import oxidivert as od
import pytest
from samples import PROJECT

EXAMPLES = PROJECT / "examples"
CAPTURE = EXAMPLES / "traffic.pcapng"


def run(script: str, filter_text: str, out: pathlib.Path) -> dict[str, int]:
    command = [sys.executable, "-m", "oxidivert", "run", str(EXAMPLES / script), filter_text]
    done = subprocess.run(
        [*command, "--read", str(CAPTURE), "--write", str(out), "--json"], capture_output=True, text=True, check=True
    )
    summary: dict[str, int] = json.loads(done.stdout)
    return summary


def payloads(capture: pathlib.Path, filter_text: str) -> list[bytes]:
    with od.open(filter_text, flags=od.Flag.SNIFF, backend=od.Replay(capture)) as handle:
        return [bytes(packet.payload) for packet in handle]


def tshark(capture: pathlib.Path, *arguments: str) -> list[str]:
    if shutil.which("tshark") is None:
        where = "on Windows: " if sys.platform == "win32" else ""
        pytest.skip(f"{where}tshark is not installed; it reads the output as another program would")
    checks = [option for protocol in ("ip", "tcp", "udp") for option in ("-o", f"{protocol}.check_checksum:TRUE")]
    command = ["tshark", "-n", "-r", str(capture), *checks, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


WRONG = " or ".join(f"{protocol}.checksum.status == 0" for protocol in ("ip", "tcp", "udp", "icmp", "icmpv6"))


def test_no_token_is_left_after_masking_and_all_checksums_are_right(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "masked.pcapng"
    before = payloads(CAPTURE, "tcp.PayloadLength > 0")
    assert sum(b"Bearer " in payload or b"token=" in payload for payload in before) > 20
    summary = run("mask_token.py", "tcp.PayloadLength > 0", out)
    assert summary["matched"] == len(before)
    assert summary["modified"] > 20
    assert summary["dropped"] == 0
    after = payloads(out, "tcp.PayloadLength > 0")
    assert [len(payload) for payload in after] == [len(payload) for payload in before]
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == summary["modified"]
    assert all(b"*" in new for _, new in changed)
    assert tshark(out, "-Y", WRONG) == []
    assert len(tshark(out)) == len(tshark(CAPTURE)) > 600


def test_a_redirected_port_is_gone_and_all_checksums_are_right(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "redirected.pcapng"
    assert payloads(CAPTURE, "tcp.DstPort == 8080 or tcp.SrcPort == 8080") != []
    summary = run("redirect_port.py", "tcp", out)
    assert summary["modified"] > 0
    assert payloads(out, "tcp.DstPort == 8080 or tcp.SrcPort == 8080") == []
    assert tshark(out, "-Y", WRONG) == []


def test_what_no_filter_matches_is_byte_identical(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "same.pcapng"
    with od.open("false", backend=od.Replay(CAPTURE, out=out)) as handle:
        assert handle.run(lambda packet: None) == 0
    assert out.read_bytes() == CAPTURE.read_bytes()
