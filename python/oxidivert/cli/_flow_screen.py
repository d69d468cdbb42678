"""The live table of flows on a terminal, drawn by a thread of its own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import oxidivert as od

from ._background import Background
from ._names import PROTOCOL_COLOURS, end_text, protocol_name
from ._programs import Programs
from ._style import Style

if TYPE_CHECKING:
    from rich.table import Table

_UNITS = ("", "k", "M", "G", "T", "P")
#: Wide terminals have room for long arrows and names.
_WIDE = 100


class FlowScreen(Background):
    """Shows the rows of a table, as many as fit, for as long as the block lasts; then the terminal is as it was."""

    def __init__(
        self,
        table: od.FlowTable,
        programs: Programs,
        *,
        sort: Literal["rate", "bytes", "packets", "newest"] = "rate",
        interval: float = 0.25,
        silent: bool = True,
    ) -> None:
        super().__init__("screen")
        self._table = table
        self._programs = programs
        self._sort = sort
        self._interval = interval
        self._silent = silent

    def _work(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(highlight=False)
        try:
            with Live(console=console, screen=True, auto_refresh=False) as live:
                due = time.monotonic()
                while True:
                    now_ns = time.time_ns()
                    rows = self._table.rows(console.height, sort=self._sort, now_ns=now_ns, silent=self._silent)
                    live.update(screen_of(rows, self._programs, console.width, console.height), refresh=True)
                    # What drawing takes counts, so that the interval is kept.
                    due = max(due + self._interval, time.monotonic())
                    if self._stop.wait(due - time.monotonic()):
                        return
        except OSError:
            # The terminal went away; the work goes on.
            return


def screen_of(rows: list[od.FlowRow], programs: Programs, width: int, height: int) -> Table:
    """The table for a terminal of this size: a heading, and as many rows as fit; `...` for those that do not."""
    from rich.table import Table
    from rich.text import Text

    is_wide = width >= _WIDE
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, width=width, header_style="reverse", expand=True)
    table.add_column("PID", justify="right", width=10 if is_wide else 7, no_wrap=True)
    table.add_column("PROGRAM", width=20 if is_wide else 10, no_wrap=True, style="yellow")
    table.add_column("PROT", width=6, no_wrap=True)
    table.add_column("FLOW", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("BYTES", justify="right", width=7, no_wrap=True)
    table.add_column("BYTES/S", justify="right", width=7, no_wrap=True)
    fitting = rows if len(rows) < height else rows[: height - 2]
    for row in fitting:
        protocol = Text(protocol_name(row.protocol), style=PROTOCOL_COLOURS.get(row.protocol, ""))
        table.add_row(
            str(row.process_id) if row.process_id else "",
            Text(programs.name(row.process_id)[:20]),
            protocol,
            Text(_flow(row, is_wide=is_wide)),
            scaled(row.bytes_sent + row.bytes_received),
            scaled(row.bytes_per_second),
        )
    if len(fitting) < len(rows):
        table.add_row("...")
    return table


def line_of(row: od.FlowRow, programs: Programs, style: Style) -> str:
    """A flow as a line."""
    protocol = style.paint(PROTOCOL_COLOURS.get(row.protocol, "cyan"), f"{protocol_name(row.protocol):6}")
    return (
        f"{row.process_id or '':>10} {style.paint('yellow', f'{programs.name(row.process_id):20.20}')} {protocol} "
        f"{_flow(row, is_wide=True)}  {scaled(row.bytes_sent)} sent, {scaled(row.bytes_received)} received"
    )


def scaled(number: float) -> str:
    """A number in at most six characters, by thousands."""
    for unit in _UNITS[:-1]:
        if number < 999.5:
            return f"{number:.0f}{unit}" if not unit or number >= 99.95 else f"{number:.1f}{unit}"
        number /= 1000
    return f"{number:.0f}{_UNITS[-1]}"


def _flow(row: od.FlowRow, *, is_wide: bool) -> str:
    arrows = ("---->", "<----") if is_wide else ("->", "<-")
    local, remote = end_text(row.local_addr, row.local_port), end_text(row.remote_addr, row.remote_port)
    return f"{local} {arrows[not row.outbound]} {remote}"
