"""The code of the README and of the documentation runs as it stands."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from samples import PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [README, *(path.read_text(encoding="utf-8") for path in sorted((PROJECT / "docs").glob("*.md")))]
EXAMPLES = [code for text in DOCUMENTS for code in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)]
CAPTURE = PROJECT / "examples" / "traffic.pcapng"


def test_the_first_screen_has_an_example_within_forty_lines() -> None:
    first_screen = "\n".join(README.splitlines()[:40])
    assert EXAMPLES[0] in first_screen
    assert "make demo" in first_screen
    assert "make test" in first_screen
    assert len(EXAMPLES[0].splitlines()) <= 10


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_example_runs(number: int, tmp_path: pathlib.Path) -> None:
    if not CAPTURE.exists():
        pytest.skip("examples/traffic.pcapng is missing")
    if sys.platform == "win32" and "numpy" in EXAMPLES[number] and importlib.util.find_spec("numpy") is None:
        pytest.skip("on Windows: numpy does not load under Wine")
    (tmp_path / "examples").mkdir()
    (tmp_path / "build").mkdir()
    shutil.copy(CAPTURE, tmp_path / "examples")
    script = tmp_path / "example.py"
    script.write_text(EXAMPLES[number], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    if "build/out.pcapng" in EXAMPLES[number]:
        assert (tmp_path / "build" / "out.pcapng").stat().st_size > 0


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)\)", README))
def test_the_link_leads_somewhere(target: str) -> None:
    assert (PROJECT / target).exists()
