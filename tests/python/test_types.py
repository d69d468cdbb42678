"""The types that users' code sees: `type_tests/*.py` pass the strictest type check."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

FILES = sorted(pathlib.Path(__file__).with_name("type_tests").glob("*.py"))


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows: mypy tells the same as on Linux")
@pytest.mark.timeout(240)
def test_the_type_tests_pass_the_type_checker(tmp_path: pathlib.Path) -> None:
    assert FILES
    options = ["--strict", "--config-file=", f"--cache-dir={tmp_path}", "--no-error-summary"]
    command = [sys.executable, "-m", "mypy", *options, *map(str, FILES)]
    # Elsewhere than in the project, so that the package is the installed one.
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
