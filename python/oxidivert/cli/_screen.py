"""A line of figures at the foot of a terminal, drawn by a thread of its own."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: How often what is live is drawn anew.
REFRESH_SECONDS = 0.25
_ERASE = "\r\x1b[K"


class StatusLine:
    """A line on stderr, a terminal, that makes way for what is printed."""

    def __init__(self, text: Callable[[], str]) -> None:
        self._text = text
        self._lock = threading.Lock()
        self._shown = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._draw, name="oxidivert-status", daemon=True)
        self._thread.start()

    @contextmanager
    def erased(self) -> Iterator[None]:
        """Takes the line away for as long as the block prints; it comes back with the next refresh."""
        with self._lock:
            self._erase()
            yield

    def close(self) -> None:
        """Takes the line away for good."""
        self._stop.set()
        self._thread.join()
        with self._lock:
            self._erase()

    def _erase(self) -> None:
        if self._shown:
            self._shown = False
            _write(_ERASE)

    def _draw(self) -> None:
        leave_signals_to_main()
        while not self._stop.wait(REFRESH_SECONDS):
            line = self._text()[: shutil.get_terminal_size().columns - 1]
            with self._lock:
                self._shown = _write(_ERASE + line)
            if not self._shown:
                return


def leave_signals_to_main() -> None:
    """Keeps Ctrl-C away from this thread: it is for the main thread, which may be waiting."""
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})


def _write(text: str) -> bool:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        # The terminal went away; the work goes on.
        return False
    return True
