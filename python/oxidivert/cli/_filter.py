"""`oxidivert filter`: the commands for writing filters."""

from __future__ import annotations

from . import _filter_check, _filter_compile, _filter_explain, _filter_format, _filter_match

SUMMARY = "Check, explain, format, compile or try out a filter."

COMMANDS = {
    "check": _filter_check,
    "explain": _filter_explain,
    "format": _filter_format,
    "compile": _filter_compile,
    "match": _filter_match,
}
