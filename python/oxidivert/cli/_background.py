"""Work that goes on beside the main thread for as long as a block lasts."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from ._screen import leave_signals_to_main


class Background(ABC):
    """A thread, from the block's beginning to its end; what it does ends soon after `_stop` is set."""

    def __init__(self, name: str) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"oxidivert-{name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._wake()
        self._thread.join()

    def _run(self) -> None:
        leave_signals_to_main()
        self._work()

    @abstractmethod
    def _work(self) -> None:
        """What the thread does."""

    def _wake(self) -> None:  # noqa: B027 # most wait for the end only
        """Ends whatever else the thread waits for."""
