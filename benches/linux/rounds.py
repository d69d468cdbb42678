"""What the benchmarks of this folder share: a network namespace of their own, and rounds of which the medians count."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

_INSIDE = "OXIDIVERT_BENCH_NAMESPACE"


def enter_namespace() -> None:
    """Start this program anew in a network namespace where there is nothing but loopback; there, go on."""
    if _INSIDE not in os.environ:
        os.environ[_INSIDE] = "1"
        os.execvp("unshare", ["unshare", "-n", sys.executable, *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def measured(runs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run each in turn, so many times; the figures of each, by rounds."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            found[name].append(run())
    return found


def medians(runs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Run each in turn, so many times; the median of each."""
    return {name: statistics.median(figures) for name, figures in measured(runs, rounds).items()}


def ratio(figures: Sequence[float], others: Sequence[float]) -> float:
    """How the figures compare to others of the same rounds: what slows a round down slows both."""
    return statistics.median(one / other for one, other in zip(figures, others, strict=True))
