"""A plugin for pytest that tells each failure at once: a machine may be ended before its tests are."""

from __future__ import annotations

import pytest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        print(f"\n{report.longreprtext}\n", flush=True)
