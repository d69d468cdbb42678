"""`flowtrack` while 10,000 TCP connections of this system are under way: what it costs, and whether it misses anything.

    python benches/linux/flows.py [FLOWS] [SECONDS] [PACKETS_PER_SECOND]

Needs root, ip, unshare, nsenter and nft. The connections are real ones, between two network namespaces; data goes
through all of them in turn. The tool runs by itself with its screen on a pseudo-terminal. nftables counts the same
packets at the same hooks, and what the two have counted must be equal.
"""

from __future__ import annotations

import re
import sys
import time
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "python"))

from flow_load import Counters, Flowtrack, Load
from linux_support import peer
from rounds import enter_namespace


def measure(flows: int, seconds: float, rate: int) -> dict[str, float]:
    """The figures, by what they are."""
    counters = Counters()
    with peer() as other, Flowtrack("tcp") as tool:
        before = tool.memory()
        with Load(other, flows, rate) as load:
            time.sleep(2)
            worked, started = tool.seconds_of_processor(), time.monotonic()
            sent = load.send(seconds)
            elapsed, worked = time.monotonic() - started, tool.seconds_of_processor() - worked
            frames = [moment for moment in tool.frames if started <= moment < started + elapsed]
            # What is delayed comes, too.
            time.sleep(1)
            memory, most, packets = tool.memory(), tool.memory("VmHWM"), counters.packets()
            told = tool.end()
    begun, counted = (int(number.replace(",", "")) for number in re.findall(r"([\d,]+) (?:flows|packets)", told))
    lost = re.search(r"([\d,]+) lost", told)
    return {
        "connections a second, while they were made": flows / load.connecting,
        "flows that were told of": begun,
        "pieces of data a second": sent / elapsed,
        "packets that the kernel counted": packets,
        "packets that flowtrack counted": counted,
        "packets that its handles lost": int(lost[1].replace(",", "")) if lost else 0,
        "screens a second": len(frames) / elapsed,
        "longest time between two screens, ms": max(b - a for a, b in pairwise(frames)) * 1e3,
        "% of a processor": worked / elapsed * 100,
        "MB of memory": memory / 1e6,
        "MB of memory at most": most / 1e6,
        "MB of memory before there were flows": before / 1e6,
    }


def main(flows: int = 10_000, seconds: float = 10.0, rate: int = 10_000) -> None:
    """Measure and print."""
    print(f"flowtrack, {flows:,} TCP connections of this system, {seconds:g} s")
    figures = measure(flows, seconds, rate)
    for name, value in figures.items():
        print(f"  {name:52} {value:12,.1f}")
    if figures["packets that flowtrack counted"] != figures["packets that the kernel counted"]:
        sys.exit("flowtrack has missed packets")


if __name__ == "__main__":
    enter_namespace()
    main(*(kind(text) for kind, text in zip((int, float, int), sys.argv[1:], strict=False)))
