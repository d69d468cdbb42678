"""`oxidivert driver`: the WinDivert driver's life on Windows."""

from __future__ import annotations

from . import _driver_status, _driver_stop, _driver_uninstall

SUMMARY = "Look at, stop or uninstall the WinDivert driver (Windows)."

COMMANDS = {
    "status": _driver_status,
    "stop": _driver_stop,
    "uninstall": _driver_uninstall,
}
