"""`ctl` live on Linux: handles of other processes are listed, watched and ended."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import oxidivert as od
import pytest
from linux_support import in_namespace, peer, tables
from live_tools import CURL_REFUSED, curl, nginx, running
from tools_support import objects

for tool in ("curl", "nginx"):
    if sys.platform == "linux" and not shutil.which(tool):
        pytest.skip(f"the program {tool} is missing", allow_module_level=True)


@in_namespace
def test_ctl_lists_handles_of_other_processes() -> None:
    with running("netfilter", "udp.DstPort == 9", "--priority", "77") as tool:
        time.sleep(0.3)
        done = subprocess.run(
            [sys.executable, "-m", "oxidivert", "ctl", "list", "--json"], capture_output=True, text=True
        )
        (shown,) = objects(done.stdout)
    assert done.returncode == 0
    assert shown["process_id"] == tool.process.pid
    assert (shown["layer"], shown["priority"], shown["flags"]) == ("NETWORK", 77, [])
    assert shown["filter"] == str(od.Filter("udp.DstPort == 9"))
    assert shown["program"] == os.path.realpath(sys.executable)
    assert shown["sha256"] == hashlib.sha256(Path(sys.executable).read_bytes()).hexdigest()
    assert -30 < shown["opened_seconds"] < -0.3


@in_namespace
def test_ctl_watch_tells_of_handles_as_they_come_and_go() -> None:
    with running("ctl", "watch", "--json", wait=False) as tool:
        time.sleep(1)
        with running("netfilter", "udp.DstPort == 9"):
            time.sleep(0.5)
        time.sleep(0.8)
        out, _ = tool.end()
    assert [(one["event"], one["layer"]) for one in objects(out)] == [("open", "NETWORK"), ("close", "NETWORK")]


@in_namespace
def test_ctl_kill_ends_another_process_and_its_traffic_flows_again() -> None:
    with peer() as other, nginx(other), running("netfilter", "outbound and tcp.DstPort == 80") as tool:
        assert curl("http://10.9.0.2/").returncode == CURL_REFUSED
        command = [sys.executable, "-m", "oxidivert", "ctl", "kill", "layer == NETWORK", "--yes", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (shown,) = objects(done.stdout)
        assert (shown["event"], shown["process_id"]) == ("kill", tool.process.pid)
        assert objects(done.stderr)[0]["left"] == 0
        assert tool.process.wait(5) == -signal.SIGKILL
        assert curl("http://10.9.0.2/").stdout == "<p>the true page</p>\n"
        assert tables() == 0


@in_namespace
def test_ctl_uninstall_leaves_nothing() -> None:
    with running("passthru", "tcp"), running("netfilter", "udp"):
        command = [sys.executable, "-m", "oxidivert", "ctl", "uninstall", "--yes"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["KILL", "KILL"]
        assert tables() == 0
