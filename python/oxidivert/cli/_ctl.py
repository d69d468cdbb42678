"""`oxidivert ctl`: who has handles open, and ending that."""

from __future__ import annotations

from . import _ctl_kill, _ctl_list, _ctl_uninstall, _ctl_watch

SUMMARY = "List, watch and end the programs that divert packets, and uninstall what diverts."

COMMANDS = {"list": _ctl_list, "watch": _ctl_watch, "kill": _ctl_kill, "uninstall": _ctl_uninstall}
