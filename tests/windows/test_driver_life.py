"""Installing, starting, stopping and removing the driver, and what the commands `driver` and `doctor` tell of it."""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import oxidivert as od
import pytest
from oxidivert import _native
from oxidivert.cli import cli
from samples import udp
from standin import Network
from support import fed, received

PROGRAM_DATA = pathlib.Path(os.environ["PROGRAMDATA"])


@pytest.fixture
def stopped() -> Iterator[None]:
    """No driver, no service; and none afterwards."""
    cli("driver", "uninstall")
    yield
    cli("driver", "uninstall")


def create_service(path: str) -> None:
    """A service WinDivert as another program has left it."""
    advapi32 = ctypes.WinDLL("advapi32")
    advapi32.OpenSCManagerW.restype = advapi32.CreateServiceW.restype = ctypes.c_void_p
    manager = advapi32.OpenSCManagerW(None, None, 0xF003F)
    arguments = [ctypes.c_void_p(manager), "WinDivert", "WinDivert", 0xF01FF, 1, 3, 1, path]
    service = advapi32.CreateServiceW(*arguments, None, None, None, None, None)
    assert service
    for handle in (service, manager):
        advapi32.CloseServiceHandle(ctypes.c_void_p(handle))


def findings(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, tuple[str, str, str]]:
    """What the doctor finds, by name: state, text, advice."""
    capsys.readouterr()
    cli("doctor", "--json", *arguments)
    found = json.loads(capsys.readouterr().out)
    return {one["name"]: (one["state"], one["text"], one["advice"]) for one in found}


def test_the_driver_runs_from_a_protected_copy_and_locks_no_file_of_the_package(
    stopped: None, capsys: pytest.CaptureFixture[str]
) -> None:
    package = pathlib.Path(od.__file__).parent / "_windivert" / "WinDivert64.sys"
    with od.open("false"):
        is_loaded, _, folder, _ = _native._driver_inventory()
        assert is_loaded
        assert folder.parent == PROGRAM_DATA / "oxidivert"
        assert re.fullmatch(r"WinDivert-2\.2\.2-[0-9a-f]{8}", folder.name)
        assert (folder / "WinDivert64.sys").read_bytes() == package.read_bytes()
        renamed = package.with_name("moved.sys")
        package.rename(renamed)
        renamed.rename(package)
    capsys.readouterr()
    assert cli("driver", "uninstall") == 0
    assert capsys.readouterr().out == "the driver is uninstalled\n"
    assert not folder.exists()
    assert not _native._driver_inventory()[0]
    # And again from nothing.
    od.open("false").close()
    assert (folder / "WinDivert64.sys").exists()


def test_status_and_stop_tell_what_is_so(stopped: None, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli("driver", "status") == 0
    out = capsys.readouterr().out
    assert out.startswith("driver   not loaded; the first open starts it\nservice  none\n")
    assert out.count("as it was shipped") == 2
    assert cli("driver", "stop") == 0
    assert capsys.readouterr().out == "the driver does not run\n"
    od.open("false").close()
    assert cli("driver", "status", "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert status["loaded"]
    assert [one["problem"] for one in status["files"]] == [None, None]
    assert cli("driver", "stop") == 0
    assert capsys.readouterr().out == "the driver is stopped\n"


def test_a_stale_service_is_told_by_open_and_doctor_and_mended(
    stopped: None, capsys: pytest.CaptureFixture[str]
) -> None:
    create_service(r"C:\gone\WinDivert64.sys")
    with pytest.raises(od.DivertError, match=re.escape(r"(its service names C:\gone\WinDivert64.sys)")) as caught:
        od.open("udp")
    assert caught.value.code == 2
    assert "oxidivert doctor --repair" in str(caught.value)
    state, text, advice = findings(capsys)["service"]
    assert (state, advice) == ("problem", "run 'oxidivert doctor --repair'")
    assert r"C:\gone\WinDivert64.sys" in text
    assert findings(capsys, "--repair")["service"][0] == "ok"
    od.open("udp").close()


def test_what_the_service_manager_says_is_told(stopped: None) -> None:
    for code, text in ((1060, "there is no such service"), (1062, "the service does not run")):
        with pytest.raises(od.DivertError) as caught:
            _native._driver_stop()
        assert caught.value.code == code
        assert str(caught.value).endswith(f"the service manager refuses: {text} (WinDivert)")
        if code == 1060:
            create_service(r"C:\gone\WinDivert64.sys")


def test_another_program_s_driver_is_used_as_it_is(
    stopped: None, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    theirs = tmp_path / "WinDivert64.sys"
    theirs.write_bytes((pathlib.Path(od.__file__).parent / "_windivert" / "WinDivert64.sys").read_bytes())
    create_service(str(theirs))
    with od.open("udp"):
        assert not (_native._driver_inventory()[2] / "WinDivert64.sys").exists()
        state, text, _ = findings(capsys)["service"]
        assert state == "note"
        assert str(theirs) in text
    assert findings(capsys)["rights"][0] == "ok"
    assert findings(capsys)["processor"] == ("ok", "x86-64", "")


def test_a_killed_program_leaves_the_driver_serving_another(network: Network) -> None:
    script = "import oxidivert as od; h = od.open('udp'); h.recv(timeout=0); print('ready', flush=True); h.recv()"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    theirs = [seen for seen in network.handles() if seen.process_id not in (os.getpid(), 0)]
    assert any(seen.pending for seen in theirs)
    child.kill()
    child.wait(timeout=30)
    child.stdout.close()
    numbers = {seen.number for seen in theirs}
    end = time.monotonic() + 10
    while numbers & {seen.number for seen in network.handles()} and time.monotonic() < end:
        time.sleep(0.05)
    assert not numbers & {seen.number for seen in network.handles()}
    with od.open("udp") as handle:
        fed(network, [udp(b"one")])
        assert received(handle, 1) == [udp(b"one")]
