"""The handles that are open on this system, as layer REFLECT tells of them."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import oxidivert as od

from . import _input
from ._programs import UNKNOWN, Programs
from ._session import Session
from ._style import Style

#: The service that the driver is runs not.
NOT_RUNNING = 1060
WATCH_FLAGS = od.Flag.SNIFF | od.Flag.RECV_ONLY
_PRIORITY = -333
_COLOURS = {"OPEN": "green", "CLOSE": "red", "KILL": "red"}


def add_filter(parser: argparse.ArgumentParser) -> None:
    """Adds the filter of layer REFLECT."""
    _input.add_filter(parser, 'which handles, such as "layer == NETWORK and priority > 0" or "processId == 1234"')


@dataclass(frozen=True)
class Entry:
    """A handle of some program."""

    process_id: int
    opened_ticks: int
    layer: od.Layer
    priority: int
    flags: od.Flag
    filter: str | None
    version: str

    @staticmethod
    def of(event: od.ReflectEvent, version: tuple[int, int]) -> Entry:
        """The handle that an event tells of."""
        reflect = event.address.reflect
        return Entry(
            process_id=event.process_id,
            opened_ticks=reflect.timestamp if reflect else 0,
            layer=event.layer,
            priority=event.priority,
            flags=event.flags,
            filter=str(event.filter) if event.filter is not None else None,
            version=".".join(map(str, version)),
        )


def open_reflect(session: Session, filter: str, *, installs: bool = False) -> od.Handle[od.ReflectEvent] | None:
    """A handle that sees others; None if no driver is running and none is to be installed."""
    flags = WATCH_FLAGS if installs else WATCH_FLAGS | od.Flag.NO_INSTALL
    try:
        return session.open(filter, layer=od.Layer.REFLECT, flags=flags, priority=_PRIORITY)
    except od.DivertError as error:
        if error.code != NOT_RUNNING:
            raise
        return None


def snapshot(session: Session, filter: str) -> list[Entry] | None:
    """The handles that are open now; None if no driver is running."""
    handle = open_reflect(session, filter)
    if handle is None:
        return None
    # What is open is queued by then, and nothing more comes.
    handle.shutdown(od.Shutdown.BOTH)
    version = handle.version
    return [Entry.of(event, version) for event in handle if event.event == od.Event.REFLECT_OPEN]


class Printer:
    """Prints handles, one a line."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._programs = Programs()
        is_counter = sys.platform == "win32" and session.is_system
        self._seconds_ago = _counter_clock() if is_counter else _clock()

    def show(self, verb: str, entry: Entry) -> None:
        """Prints what happens with a handle: OPEN, CLOSE or KILL."""
        path = self._programs.path(entry.process_id)
        sum = self._programs.sha256(path) if path else None
        opened = self._seconds_ago(entry.opened_ticks)
        flags = [flag.name for flag in od.Flag if flag in entry.flags and flag.name]

        def record() -> dict[str, object]:
            return {
                "type": "handle",
                "event": verb.lower(),
                "opened_seconds": round(opened, 3),
                "process_id": entry.process_id,
                "program": path,
                "sha256": sum,
                "version": entry.version,
                "layer": entry.layer.name,
                "flags": flags,
                "priority": entry.priority,
                "filter": entry.filter,
            }

        self._session.emit(record, lambda: self._text(verb, entry, path, sum, opened, flags))

    def _text(self, verb: str, entry: Entry, path: str | None, sum: str | None, opened: float, flags: list[str]) -> str:
        style: Style = self._session.style
        pairs = style.pairs(
            time=f"{opened:.3f}s",
            pid=entry.process_id,
            exe=path or UNKNOWN,
            sha256=sum or UNKNOWN,
            version=entry.version,
            layer=entry.layer.name,
            flags="|".join(flags) or "0",
            priority=entry.priority,
            filter=f'"{entry.filter}"' if entry.filter is not None else UNKNOWN,
        )
        return f"{style.paint(_COLOURS[verb], verb)} {pairs}"


def _clock() -> Callable[[int], float]:
    """What turns ticks of 100 ns since the Unix epoch into seconds since now; what was before is negative."""
    start = time.time_ns() // 100
    return lambda ticks: (ticks - start) / 1e7


def _counter_clock() -> Callable[[int], float]:
    """The same for the driver of Windows, which counts as the performance counter does."""
    if sys.platform != "win32":
        return _clock()
    import ctypes

    now, frequency = ctypes.c_int64(), ctypes.c_int64()
    ctypes.windll.kernel32.QueryPerformanceCounter(ctypes.byref(now))
    ctypes.windll.kernel32.QueryPerformanceFrequency(ctypes.byref(frequency))
    return lambda ticks: (ticks - now.value) / frequency.value
