"""The process that a packet belongs to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Process:
    """A process: its number, and its name and path where the system tells them."""

    pid: int
    name: str | None = None
    path: str | None = None
