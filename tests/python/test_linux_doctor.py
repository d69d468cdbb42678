"""`oxidivert doctor` on Linux."""

from __future__ import annotations

import json
import subprocess
import sys

from linux_support import in_namespace


def doctor(*prefix: str) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code, and what was found by name."""
    command = [*prefix, sys.executable, "-m", "oxidivert", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.returncode, {finding["name"]: finding for finding in json.loads(done.stdout)}


@in_namespace
def test_where_all_is_there_nothing_is_a_problem() -> None:
    code, found = doctor()
    assert code == 0
    assert [found[name]["state"] for name in ("CAP_NET_ADMIN", "handle on NETWORK", "handle on REFLECT")] == ["ok"] * 3
    assert found["open handles"]["text"] == "0 in this namespace"


@in_namespace
def test_missing_rights_are_a_problem_with_advice() -> None:
    code, found = doctor("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")
    assert code == 1
    assert found["CAP_NET_ADMIN"]["state"] == "problem"
    assert "run as root" in found["CAP_NET_ADMIN"]["advice"]
    assert "ERROR_ACCESS_DENIED" in found["handle on NETWORK"]["text"]


@in_namespace
def test_handles_of_other_programs_are_counted() -> None:
    import oxidivert as od

    with od.open("false"):
        _, found = doctor()
        assert found["open handles"]["text"] == "1 in this namespace"
