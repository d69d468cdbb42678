"""Whether `oxidivert passthru` tells by itself the ratios that the benchmarks find: both, side by side, in one run.

    python benches/passthru.py [ROUNDS]

Each round measures every loop in two ways: as the benchmarks do, and by the command, of which the JSON object counts.
Ends with 1 if a ratio differs by more than 20 %.
Live, against a plain C loop: benches/linux/passthru.py.
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path += [str(Path(__file__).parent / "python"), str(Path(__file__).parent.parent / "tests" / "python")]

import bench_batch
import bench_loop
import oxidivert as od
from oxidivert.cli import cli

#: By how much a ratio may differ.
TOLERANCE = 0.2
#: How often a full queue is worked off within a round.
REPEATS = 4
Work = Callable[[od.Handle[od.Packet]], int]


@dataclass(frozen=True)
class Loop:
    """A loop as a benchmark has it, which gives nanoseconds a packet, and the same by the command."""

    measure: Callable[[], float]
    arguments: str
    #: The capture that the command reads.
    packets: str


def plain_loop(handle: od.Handle[od.Packet]) -> int:
    """A plain for loop around a function that does nothing."""
    count = 0
    for packet in handle:
        bench_loop.nothing(packet)
        handle.send(packet)
        count += 1
    return count


def shallow(work: Work, arguments: str) -> Loop:
    """What waits for a program that keeps up."""
    more = f"--preload --queue-length {bench_batch.SHALLOW} --rounds 16 --batch {bench_batch.BATCH}"
    return Loop(bench_batch.shallow(work), f"{arguments} {more}", "batch")


def deep(arguments: str, work: Work | None = None, **more: int) -> Loop:
    """A full queue; without other work, a callback that does nothing."""
    measure = bench_batch.deep(work or (lambda handle: handle.run(bench_loop.nothing, **more)))
    arguments += f" --preload --queue-length {bench_batch.DEEP} --rounds {REPEATS}"
    return Loop(lambda: min(measure() for _ in range(REPEATS)), arguments, "batch")


ALL = f"--ttl {bench_batch.TTL} --port any"
CHOSEN = f"--ttl {bench_batch.TTL} --port {bench_batch.PORT}"
ONLY = f"--only --port {bench_batch.PORT}"
LOOPS = {
    "batch/chosen": shallow(bench_batch.by_batch(bench_batch.send_chosen), f"--way columns {ONLY}"),
    "batch/run_chosen": shallow(bench_batch.run(bench_batch.choose), f"--way callback {ONLY}"),
    "batch/set_all": shallow(bench_batch.by_batch(bench_batch.set_all), f"--way columns {ALL}"),
    "batch/run_set_all": shallow(bench_batch.run(bench_batch.mark_all), f"--way callback {ALL}"),
    "batch/set_chosen": shallow(bench_batch.by_batch(bench_batch.set_chosen), f"--way columns {CHOSEN}"),
    "batch/set_matching": shallow(bench_batch.by_batch(bench_batch.set_matching), f"--way batch {CHOSEN}"),
    "batch/run_set_chosen": shallow(bench_batch.run(bench_batch.mark_chosen), f"--way callback {CHOSEN}"),
    "run_callback/oxidivert": Loop(bench_loop.replay_with_callback, "--way callback --ttl 63", "loop"),
    "empty_callback/nothing": Loop(bench_loop.replay_with_nothing, "--way callback", "loop"),
    "empty_callback/rust": Loop(bench_loop.replay_in_rust, "--way rust", "loop"),
    "nothing, batch=255": deep("--way callback --batch 255", batch=255),
    "nothing, batch=1": deep("--way callback --batch 1", batch=1),
    "nothing, plain loop": deep("--way loop", plain_loop),
    "nothing, 2 workers": deep("--way callback --batch 255 --workers 2", batch=255, workers=2),
}
#: What is compared: the first is so many times as fast as the second. The first three are what the benchmarks claim.
PAIRS = [
    ("batch/chosen", "batch/run_set_all"),
    ("batch/chosen", "batch/run_chosen"),
    ("batch/set_all", "batch/run_set_all"),
    ("batch/set_chosen", "batch/run_set_chosen"),
    ("batch/set_matching", "batch/run_set_chosen"),
    ("empty_callback/nothing", "run_callback/oxidivert"),
    ("empty_callback/rust", "empty_callback/nothing"),
    ("nothing, batch=255", "nothing, batch=1"),
    ("nothing, batch=255", "nothing, plain loop"),
    ("nothing, batch=255", "nothing, 2 workers"),
]


def told(capture: Path, arguments: str) -> float:
    """The nanoseconds a packet that the command prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli("passthru", "--read", str(capture), "--json", *arguments.split()) == 0
    figure: float = json.loads(out.getvalue())["nanoseconds_per_packet"]
    return figure


def ratio(figures: dict[str, list[float]], fast: str, slow: str) -> float:
    """How many times as fast one is as another: the median of the rounds, for what slows a round down slows both."""
    return statistics.median(b / a for a, b in zip(figures[fast], figures[slow], strict=True))


def main(rounds: int = 15) -> int:
    """Measure and print; the exit code."""
    theirs: dict[str, list[float]] = {name: [] for name in LOOPS}
    ours: dict[str, list[float]] = {name: [] for name in LOOPS}
    with tempfile.TemporaryDirectory() as folder:
        captures = {"batch": Path(folder) / "batch.pcap", "loop": Path(folder) / "loop.pcap"}
        captures["batch"].write_bytes(bench_batch.CAPTURE)
        captures["loop"].write_bytes(bench_loop.CAPTURE)
        for _ in range(rounds):
            for name, loop in LOOPS.items():
                theirs[name].append(loop.measure())
                ours[name].append(told(captures[loop.packets], loop.arguments))
    print(f"{'nanoseconds a packet, the least':48} {'benchmark':>10} {'passthru':>10}")
    for name, loop in LOOPS.items():
        print(f"{name:48} {min(theirs[name]):10.1f} {min(ours[name]):10.1f}   passthru {loop.arguments}")
    print(f"\n{'times as fast':48} {'benchmark':>10} {'passthru':>10}")
    is_good = True
    for fast, slow in PAIRS:
        wanted, found = ratio(theirs, fast, slow), ratio(ours, fast, slow)
        agrees = abs(found / wanted - 1) <= TOLERANCE
        is_good &= agrees
        answer = "agrees" if agrees else "differs"
        print(f"{f'{fast} : {slow}':48} {wanted:10.2f} {found:10.2f}   {found / wanted - 1:+.0%}: {answer}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
