"""Whether `oxidivert passthru` tells by itself the ratios that the benchmarks find: both, side by side, in one run.

    python benches/passthru.py [ROUNDS]

Each round measures every loop twice: as the benchmarks do, and by the command, of which the JSON object counts. The
figure of each is the least of all rounds, as in the benchmarks. Ends with 1 if a ratio differs by more than 20 %.
Live, against a plain C loop: benches/linux/passthru.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path += [str(Path(__file__).parent / "python"), str(Path(__file__).parent.parent / "tests" / "python")]

import bench_batch
import bench_loop
import oxidivert as od

#: By how much a ratio may differ.
TOLERANCE = 0.2
Work = Callable[[od.Handle[od.Packet]], int]


@dataclass(frozen=True)
class Loop:
    """A loop as a benchmark has it, which gives nanoseconds a packet, and the same by the command."""

    measure: Callable[[], float]
    arguments: str
    #: The capture that the command reads.
    packets: str


def run_nothing(handle: od.Handle[od.Packet], **more: int) -> int:
    """The loop in Rust around a callback that does nothing."""
    return handle.run(bench_loop.nothing, **more)


def plain_loop(handle: od.Handle[od.Packet]) -> int:
    """A plain for loop."""
    count = 0
    for packet in handle:
        handle.send(packet)
        count += 1
    return count


def engine(work: Work) -> Callable[[], float]:
    """What waits in an engine's queue."""
    return partial(bench_batch.on_engine, work)


def replay(work: Work) -> Callable[[], float]:
    """What is read within the time."""
    return partial(bench_batch.on_replay, work)


EDIT = "--ttl 63 --port 443 --batch 255"
LOOPS = {
    "batch/columns": Loop(engine(bench_batch.by_columns), f"--preload --way columns {EDIT}", "batch"),
    "batch/filter": Loop(engine(bench_batch.by_filter), f"--preload --way batch {EDIT}", "batch"),
    "batch/run": Loop(engine(bench_batch.run), f"--preload --way callback {EDIT}", "batch"),
    "batch/columns_replay": Loop(replay(bench_batch.by_columns), f"--way columns {EDIT}", "batch"),
    "batch/run_replay": Loop(replay(bench_batch.run), f"--way callback {EDIT}", "batch"),
    "run_callback/oxidivert": Loop(bench_loop.replay_with_callback, "--way callback --ttl 63", "loop"),
    "empty_callback/nothing": Loop(bench_loop.replay_with_nothing, "--way callback", "loop"),
    "empty_callback/rust": Loop(bench_loop.replay_in_rust, "--way rust", "loop"),
    "nothing, batch=255": Loop(
        engine(partial(run_nothing, batch=255)), "--preload --way callback --batch 255", "batch"
    ),
    "nothing, batch=1": Loop(engine(partial(run_nothing, batch=1)), "--preload --way callback --batch 1", "batch"),
    "nothing, plain loop": Loop(engine(plain_loop), "--preload --way loop", "batch"),
    "nothing, 2 workers": Loop(
        engine(partial(run_nothing, batch=255, workers=2)), "--preload --way callback --batch 255 --workers 2", "batch"
    ),
}
#: What is compared: the first is so many times as fast as the second.
PAIRS = [
    ("batch/columns", "batch/run"),
    ("batch/filter", "batch/run"),
    ("batch/columns_replay", "batch/run_replay"),
    ("empty_callback/nothing", "run_callback/oxidivert"),
    ("empty_callback/rust", "empty_callback/nothing"),
    ("nothing, batch=255", "nothing, batch=1"),
    ("nothing, batch=255", "nothing, plain loop"),
    ("nothing, batch=255", "nothing, 2 workers"),
]


def told(capture: Path, arguments: str) -> float:
    """The nanoseconds a packet that the command prints."""
    command = [sys.executable, "-m", "oxidivert", "passthru", "--read", str(capture), "--rounds", "5", "--json"]
    done = subprocess.run([*command, *arguments.split()], capture_output=True, text=True, check=True)
    figure: float = json.loads(done.stdout)["nanoseconds_per_packet"]
    return figure


def main(rounds: int = 7) -> int:
    """Measure and print; the exit code."""
    ours, theirs = dict.fromkeys(LOOPS, float("inf")), dict.fromkeys(LOOPS, float("inf"))
    with tempfile.TemporaryDirectory() as folder:
        captures = {"batch": Path(folder) / "batch.pcap", "loop": Path(folder) / "loop.pcap"}
        captures["batch"].write_bytes(bench_batch.CAPTURE)
        captures["loop"].write_bytes(bench_loop.CAPTURE)
        for _ in range(rounds):
            for name, loop in LOOPS.items():
                theirs[name] = min(theirs[name], loop.measure())
                ours[name] = min(ours[name], told(captures[loop.packets], loop.arguments))
    print(f"{'nanoseconds a packet':48} {'benchmark':>10} {'passthru':>10}")
    for name, loop in LOOPS.items():
        print(f"{name:48} {theirs[name]:10.1f} {ours[name]:10.1f}   passthru {loop.arguments}")
    print(f"\n{'times as fast':48} {'benchmark':>10} {'passthru':>10}")
    is_good = True
    for fast, slow in PAIRS:
        wanted, found = theirs[slow] / theirs[fast], ours[slow] / ours[fast]
        agrees = abs(found / wanted - 1) <= TOLERANCE
        is_good &= agrees
        answer = "agrees" if agrees else "differs"
        print(f"{f'{fast} : {slow}':48} {wanted:10.2f} {found:10.2f}   {found / wanted - 1:+.0%}: {answer}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
