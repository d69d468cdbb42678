"""The summary of a run: as a table and as JSON."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import asdict, dataclass

from ._errors import CommandError
from ._output import to_stdout


@dataclass(frozen=True)
class Summary:
    """What a run did."""

    output: str | None
    seen: int
    matched: int
    sent: int
    modified: int
    dropped: int
    failed: int
    errors: int
    checksums_computed: int
    seconds: float

    @property
    def packets_per_second(self) -> float:
        """The rate over all packets of the capture."""
        return self.seen / self.seconds if self.seconds > 0 else 0.0

    def as_dict(self) -> dict[str, object]:
        """The numbers under stable names."""
        rounded = {"seconds": round(self.seconds, 6), "packets_per_second": round(self.packets_per_second)}
        return asdict(self) | rounded

    def rows(self) -> list[tuple[str, str]]:
        """The numbers as a reader wants them; what went wrong only if something did."""
        rows = [
            ("seen", f"{self.seen:,}"),
            ("matched", f"{self.matched:,}"),
            ("modified", f"{self.modified:,}"),
            ("dropped", f"{self.dropped:,}"),
            ("checksums computed (left open in the capture)", f"{self.checksums_computed:,}"),
        ]
        if self.failed:
            rows.append(("failures of the callback", f"{self.failed:,}"))
        if self.errors:
            rows.append(("not sent or not read", f"{self.errors:,}"))
        rows.append(("packets per second", f"{self.packets_per_second:,.0f}"))
        if self.output is not None:
            rows.append(("written to", self.output))
        return rows


def require_rich() -> None:
    """Ends the command before its work is done in vain."""
    if not has_rich():
        raise CommandError("the summary table needs rich: install oxidivert[cli], or use --json")


def has_rich() -> bool:
    """Whether rich is installed."""
    return importlib.util.find_spec("rich") is not None


def print_summary(summary: Summary) -> None:
    """Prints the table to stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right", overflow="fold")
    for label, value in summary.rows():
        table.add_row(label, Text(value))
    with to_stdout():
        Console(file=sys.stdout, highlight=False).print(table)
