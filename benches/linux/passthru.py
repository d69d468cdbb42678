"""Whether `oxidivert passthru`, live, tells by itself the shares of a plain C loop that `race.py` finds.

    python benches/linux/passthru.py [ROUNDS] [SECONDS]

Needs what race.py needs. Each round floods the loops as race.py does, and the command, whose own JSON object counts.
Prints medians of the rounds; ends with 1 if a ratio differs by more than 20 %.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "python"))

from linux_support import tables
from race import PORT, compiled, flood, peers
from rounds import enter_namespace, measured, ratio

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


def main(rounds: int = 5, seconds: str = "2") -> int:
    """Measure and print; the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        loop, sender = compiled("loop", folder), compiled("sender", folder)
        race = peers(loop, sender, seconds)
        wanted = {YARDSTICK, *filter(None, WAYS.values())}
        runs = {name: run for name, run in race.items() if name in wanted}
        runs |= {f"passthru --way {way}": partial(told, sender, seconds, way) for way in WAYS}
        found = measured(runs, rounds)
    rates = {name: statistics.median(figures) for name, figures in found.items()}
    for name, rate in rates.items():
        print(f"{name:24} {rate:10,.0f} packets/s   {rate / rates[YARDSTICK]:6.1%} of the {YARDSTICK}")
    print(f"\n{'ratio':40} {'race':>8} {'passthru':>8}")
    is_good = True
    for title, one, other in (
        ("in Rust : C loop", "rust", None),
        ("callback : C loop", "callback", None),
        ("callback : in Rust", "callback", "rust"),
    ):
        theirs = ratio(found[str(WAYS[one])], found[str(WAYS[other]) if other else YARDSTICK])
        ours = ratio(found[f"passthru --way {one}"], found[f"passthru --way {other}" if other else YARDSTICK])
        agrees = abs(ours / theirs - 1) <= TOLERANCE
        is_good &= agrees
        print(f"{title:40} {theirs:8.2f} {ours:8.2f}   {ours / theirs - 1:+.0%}: {'agrees' if agrees else 'differs'}")
    return 0 if is_good else 1


if __name__ == "__main__":
    enter_namespace()
    sys.exit(main(*(kind(text) for kind, text in zip((int, str), sys.argv[1:], strict=False))))
