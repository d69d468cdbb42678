"""What `oxidivert doctor` finds."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "note", "problem"]
    text: str
    #: What to do about it; empty if nothing.
    advice: str = ""

    def __str__(self) -> str:
        advice = f"\n         {self.advice}" if self.advice else ""
        return f"{self.state:7}  {self.name}: {self.text}{advice}"
