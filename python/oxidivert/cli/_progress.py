"""The progress bar of long work: on a terminal's stderr, by a thread that only reads counters."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import oxidivert as od

from ._render import has_rich

# Shorter work shows no bar at all.
_DELAY_SECONDS = 0.5
_REFRESH_SECONDS = 0.1


@contextmanager
def shown(replay: od.Replay, handle: od.Handle[od.Packet]) -> Iterator[None]:
    """Shows a bar while the block runs, if stderr is a terminal and rich is there."""
    if not (sys.stderr.isatty() and has_rich()):
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_show, args=(replay, handle, stop), name="oxidivert-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _show(replay: od.Replay, handle: od.Handle[od.Packet], stop: threading.Event) -> None:
    if sys.platform != "win32":
        # Ctrl-C is for the main thread, which may be waiting.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    started = time.perf_counter()
    if stop.wait(_DELAY_SECONDS):
        return
    try:
        _draw(replay, handle, stop, started)
    except OSError:
        # The terminal went away; the work goes on.
        return


def _draw(replay: od.Replay, handle: od.Handle[od.Packet], stop: threading.Event, started: float) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[packets]:,} packets"),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    # What the script prints goes above the bar if it goes to a terminal, and is left alone if it does not.
    progress = Progress(
        *columns,
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=True,
    )
    with progress:
        task = progress.add_task("replay", total=None, packets=0, rate=0.0)
        while True:
            done, total = replay.progress
            packets = handle.stats.seen
            rate = packets / (time.perf_counter() - started)
            progress.update(task, completed=done, total=total, packets=packets, rate=rate, refresh=True)
            if stop.wait(_REFRESH_SECONDS):
                return
