"""Prints one table: every benchmark beside its peer of the same run, and whether the ratio meets its target.

    python benches/report.py build/bench.json [target/criterion]

The first file is pytest-benchmark's; the folder holds criterion's estimates.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from dataclasses import dataclass

Times = dict[str, float]


@dataclass(frozen=True)
class Pair:
    """A benchmark and its peer, by the names under which they were measured, and what is wanted of them."""

    ours: str
    peer: str
    at_least: float | None = None
    """How many times faster than the peer."""
    at_most: float | None = None
    """How many times the peer's time."""

    def ratio(self, times: Times) -> float:
        """Return the peer's time in ours, or where the target is an upper bound, ours in the peer's."""
        ours, peer = times[self.ours], times[self.peer]
        return ours / peer if self.at_least is None else peer / ours


PAIRS = [
    Pair("parse_read_port/oxidivert", "parse_read_port/pydivert", at_least=40),
    Pair("parse_read_port/oxidivert", "parse_read_port/dpkt", at_least=20),
    Pair("set_port/oxidivert", "set_port/pydivert", at_least=55),
    Pair("checksum_1500/oxidivert", "checksum_1500/windivert_c", at_least=5),
    Pair("checksum_64/oxidivert", "checksum_64/windivert_c", at_least=2),
    Pair("hash/oxidivert", "hash/windivert_c", at_least=1.4),
    Pair("parse/oxidivert", "parse/etherparse_lax", at_least=2),
    Pair("filter_eval/oxidivert", "filter_eval/libpcap", at_least=2),
    Pair("filter_eval/oxidivert", "filter_eval/windivert_c", at_least=100),
    Pair("filter_batch/oxidivert", "filter_batch/libpcap", at_least=4),
    Pair("filter_set/prefixes_10000", "filter_set/address", at_most=5),
    Pair("filter_compile/oxidivert", "filter_compile/windivert_c", at_least=1),
    Pair("run_callback/oxidivert", "run_callback/dpkt", at_least=15),
    Pair("engine_run/further_handle", "engine_run/1_handle", at_most=0.25),
    Pair("batch/chosen", "batch/run_set_all", at_least=5),
    # The same work on both sides.
    Pair("batch/chosen", "batch/run_chosen", at_least=4),
    Pair("batch/set_all", "batch/run_set_all", at_least=4),
    Pair("empty_callback/callback", "empty_callback/empty_call", at_most=4),
    Pair("empty_callback/callback_kept", "empty_callback/empty_call", at_most=9),
]


def criterion_times(folder: pathlib.Path) -> Times:
    """Return the median nanoseconds, per element, of each `group/function` that criterion measured last."""
    times = {}
    for path in folder.glob("**/new/estimates.json"):
        benchmark = json.loads((path.parent / "benchmark.json").read_text(encoding="utf-8"))
        estimates = json.loads(path.read_text(encoding="utf-8"))
        elements = (benchmark["throughput"] or {}).get("Elements", 1)
        times[benchmark["full_id"]] = float(estimates["median"]["point_estimate"]) / elements
    return times


def python_times(file: pathlib.Path) -> Times:
    """Return the nanoseconds of each contender, as the benchmarks left them in their extra information."""
    times = {}
    for benchmark in json.loads(file.read_text(encoding="utf-8"))["benchmarks"]:
        group = benchmark["name"].removeprefix("bench_")
        for name, value in benchmark["extra_info"].get("ns", {}).items():
            times[f"{group}/{name}"] = float(value)
    return times


def row(pair: Pair, times: Times) -> list[str]:
    """Return the table's row for a pair."""
    target = f"≥ {pair.at_least:g}" if pair.at_least is not None else f"≤ {pair.at_most:g}"
    figures = [f"{times[name]:.1f}" if name in times else "-" for name in (pair.ours, pair.peer)]
    name, peer = pair.ours, pair.peer.rpartition("/")[2]
    if pair.ours not in times or pair.peer not in times:
        return [name, figures[0], peer, figures[1], "-", target, "not measured"]
    ratio = pair.ratio(times)
    met = ratio >= pair.at_least if pair.at_least is not None else ratio <= (pair.at_most or 0)
    return [name, figures[0], peer, figures[1], f"{ratio:.2f}", target, "ok" if met else "missed"]


def render(rows: list[list[str]]) -> str:
    """Lay the rows out in columns; the first is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = {1, 3, 4, 5}
    lines = [
        "  ".join(
            cell.rjust(width) if index in numbers else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Print the table; the answer is the exit code."""
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    folder = pathlib.Path(arguments[1]) if len(arguments) == 2 else target / "criterion"
    times = criterion_times(folder) | python_times(pathlib.Path(arguments[0]))
    heading = ["benchmark", "ns", "peer", "peer ns", "ratio", "target", "result"]
    print(render([heading, *(row(pair, times) for pair in PAIRS)]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
