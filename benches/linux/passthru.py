"""Whether `oxidivert passthru`, live, tells by itself the shares of a plain C loop that `race.py` finds.

    python benches/linux/passthru.py [ROUNDS] [SECONDS]

Needs what race.py needs. Each round floods the loops as race.py does, and the command, whose own JSON object counts.
Prints the median of the rounds of each; ends with 1 if a ratio differs by more than 20 %.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "python"))

from linux_support import tables
from race import PORT, compiled, flood, peers

#: By how much a ratio may differ.
TOLERANCE = 0.2
#: The ways of the command, and what of the race is the same; the others are only told.
WAYS = {"rust": "ours, in Rust", "callback": "ours, callback", "batch": None, "loop": None}
YARDSTICK = "C loop"


def told(sender: str, seconds: str, way: str) -> float:
    """The packets a second that the command prints after a flood."""
    command = [sys.executable, "-m", "oxidivert", "passthru", f"udp.DstPort == {PORT}", "--way", way, "--json"]
    # A runner in the background may have left Ctrl-C ignored, which children inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tool = subprocess.Popen([*command, "--queue-length", "16384"], stdout=subprocess.PIPE, text=True)
    try:
        while not tables():
            assert tool.poll() is None
            time.sleep(0.01)
        flood(sender, seconds, None, False)
        tool.send_signal(signal.SIGINT)
        out, _ = tool.communicate(timeout=10)
    finally:
        tool.kill()
        tool.wait()
    figures = json.loads(out)
    assert figures["packets"] == figures["sent"] > 0
    return float(figures["packets_per_second"])


def main(rounds: int, seconds: str) -> int:
    """Measure and print; the exit code."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        loop, sender = compiled("loop", folder), compiled("sender", folder)
        race = peers(loop, sender, seconds)
        wanted = {YARDSTICK, *filter(None, WAYS.values())}
        runs: dict[str, Callable[[], float]] = {name: run for name, run in race.items() if name in wanted}
        runs |= {f"passthru --way {way}": lambda way=way: told(sender, seconds, way) for way in WAYS}
        rates: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                rates[name].append(run())
    rate = {name: statistics.median(found) for name, found in rates.items()}
    for name, value in rate.items():
        print(f"{name:24} {value:10,.0f} packets/s   {value / rate[YARDSTICK]:6.1%} of the {YARDSTICK}")
    print(f"\n{'ratio':40} {'race':>8} {'passthru':>8}")
    is_good = True
    for title, one, other in (
        ("in Rust : C loop", "rust", None),
        ("callback : C loop", "callback", None),
        ("callback : in Rust", "callback", "rust"),
    ):
        theirs = rate[str(WAYS[one])] / rate[str(WAYS[other]) if other else YARDSTICK]
        ours = rate[f"passthru --way {one}"] / rate[f"passthru --way {other}" if other else YARDSTICK]
        agrees = abs(ours / theirs - 1) <= TOLERANCE
        is_good &= agrees
        print(f"{title:40} {theirs:8.2f} {ours:8.2f}   {ours / theirs - 1:+.0%}: {'agrees' if agrees else 'differs'}")
    return 0 if is_good else 1


if __name__ == "__main__":
    if os.environ.get("OXIDIVERT_RACE") != "inside":
        os.environ["OXIDIVERT_RACE"] = "inside"
        os.execvp("unshare", ["unshare", "-n", sys.executable, *sys.argv])
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, sys.argv[2] if len(sys.argv) > 2 else "2"))
