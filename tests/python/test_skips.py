"""A skip is a failure where nothing may be skipped: `.ci/run` relies on it."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

SKIPPING = """
import pytest

@pytest.mark.skip(reason="by mark")
def test_mark(): pass

def test_body(): pytest.skip("in the body")

@pytest.fixture
def missing(): pytest.skip("in a fixture")

def test_fixture(missing): pass

@pytest.mark.xfail(reason="expected")
def test_expected_failure(): assert False
"""


@pytest.mark.parametrize(("value", "summary"), [("", "3 skipped, 1 xfailed"), ("1", "1 failed, 1 xfailed, 2 errors")])
def test_the_environment_decides_what_a_skip_means(value: str, summary: str, tmp_path: pathlib.Path) -> None:
    # Skipped while it is set up, a test becomes an error; skipped in its body, a failure.
    shutil.copy(pathlib.Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    done = subprocess.run(
        command, env={**os.environ, "OXIDIVERT_CI": value}, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert summary in done.stdout
    if value:
        for reason in ("by mark", "in the body", "in a fixture"):
            assert f"OXIDIVERT_CI forbids to skip: Skipped: {reason}" in done.stdout
