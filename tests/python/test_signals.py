"""Ctrl-C ends every loop and wait soon, as KeyboardInterrupt."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from samples import pcap, udp

# Without a console of its own a program gets no Ctrl-C on Windows; what Python does of one is done by a thread there.
SENDS_SIGNALS = sys.platform != "win32"
INTERRUPT = "" if SENDS_SIGNALS else "import _thread, threading; threading.Timer(0.05, _thread.interrupt_main).start()"

LOOPS = {
    "run with a callback": "handle.run(lambda packet: None, batch=255)",
    "run in Rust alone": "import oxidivert._native as n; n._run_passthrough(handle, 255)",
    "iteration": "[handle.send(packet) for packet in handle]",
    "run that logs errors": "handle.run(lambda packet: 1 / 0, on_error='drop')",
}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_ctrl_c_ends_a_busy_loop(loop: str, tmp_path: pathlib.Path) -> None:
    capture = tmp_path / "in.pcap"
    one = pcap([udp(bytes(64))])
    capture.write_bytes(one[:24] + one[24:] * 2_000_000)
    script = f"""
        import logging, sys, oxidivert as od
        logging.getLogger("oxidivert").addHandler(logging.NullHandler())
        logging.getLogger("oxidivert").propagate = False
        try:
            with od.open(backend=od.Replay({str(capture)!r}, out={str(tmp_path / "out.pcap")!r})) as handle:
                print("ready", flush=True)
                {INTERRUPT}
                {loop}
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        else:
            print("finished", flush=True)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    if SENDS_SIGNALS:
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
    started = time.monotonic()
    rest = process.communicate(timeout=30)[0]
    assert rest == "interrupted\n"
    assert time.monotonic() - started < 2
    assert not (tmp_path / "out.pcap").exists()
