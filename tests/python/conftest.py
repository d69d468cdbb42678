"""How the tests run: hypothesis profiles, and what a skipped test means.

Environment: `OXIDIVERT_CI` (not empty) makes every skip a failure, for machines that must have all that the tests want;
`OXIDIVERT_HYPOTHESIS=slow` asks for many examples.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator

import hypothesis
import pytest

#: The fixture `engine`, as users have it.
pytest_plugins = ["oxidivert.testing"]

# A shell that starts something in the background has it ignore Ctrl-C, and with it all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("fast", max_examples=100, deadline=None)
hypothesis.settings.register_profile("slow", max_examples=5000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("OXIDIVERT_HYPOTHESIS", "fast"))


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure, where nothing may be skipped. An expected failure is none of its business.

    On Windows those that say why they cannot run there may be skipped.
    """
    if os.environ.get("OXIDIVERT_CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        if sys.platform == "win32" and str(reason).startswith("Skipped: on Windows: "):
            return
        report.outcome = "failed"
        report.longrepr = f"OXIDIVERT_CI forbids to skip: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    refuse_skip(report)
    return report
