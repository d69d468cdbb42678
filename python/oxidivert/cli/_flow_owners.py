"""The programs of flows that no event told of, such as those that are older than the command."""

from __future__ import annotations

import time
from queue import SimpleQueue

import oxidivert as od

from ._background import Background
from ._programs import Programs

#: An event may come later than its flow's first packet.
_PATIENCE_SECONDS = 0.5
#: Flows that wait to be asked about; what begins beyond is shown without a program.
_WAITING_MAX = 1024
#: Each question reads through what processes have open: so many times as long nothing is asked.
_REST = 4


class Owners(Background):
    """Asks the system on a thread of its own, for receiving does not wait for that; while the block lasts."""

    def __init__(self, table: od.FlowTable, programs: Programs) -> None:
        super().__init__("owners")
        self._table = table
        self._programs = programs
        self._waiting: SimpleQueue[tuple[float, od.Packet] | None] = SimpleQueue()

    def note(self, batch: od.Batch, new: list[int]) -> None:
        """Takes in the packets of a batch that flows began with, by their positions."""
        due = time.monotonic() + _PATIENCE_SECONDS
        for position in new[: max(0, _WAITING_MAX - self._waiting.qsize())]:
            self._waiting.put((due, batch[position]))

    def _wake(self) -> None:
        self._waiting.put(None)

    def _work(self) -> None:
        rest = 0.0
        while (waiting := self._waiting.get()) is not None:
            due, packet = waiting
            if self._stop.wait(max(rest, due - time.monotonic())):
                return
            started = time.monotonic()
            self._ask(packet)
            rest = _REST * (time.monotonic() - started)

    def _ask(self, packet: od.Packet) -> None:
        flow = packet.flow
        if flow is None or self._table.process_of(flow) != 0:
            return
        process = packet.process
        if process is not None:
            self._programs.note(process)
            self._table.set_process(flow, process.pid)
