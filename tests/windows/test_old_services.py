"""`ctl uninstall`: the services of WinDivert 1.x, and that of 2.x, are stopped and deleted."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import oxidivert as od
import pytest
from oxidivert import _native
from oxidivert.cli import _services, cli
from oxidivert.cli._ctl_uninstall import SERVICES
from tools_support import objects

OLD = ["WinDivert1.0", "WinDivert1.1", "WinDivert1.2", "WinDivert1.3", "WinDivert1.4"]
DRIVERS = r"C:\windows\system32\drivers"
#: Drivers of Wine's own: one that can be started and stopped by any name, and one that cannot be stopped.
STOPPABLE, UNSTOPPABLE = rf"{DRIVERS}\winehid.sys", rf"{DRIVERS}\tdi.sys"
GONE = rf"{DRIVERS}\WinDivert-of-a-program-that-is-gone.sys"
_ALL_ACCESS, _ABSENT, _RUNNING = 0xF01FF, 1060, 4

_advapi32 = ctypes.WinDLL("advapi32", use_last_error=True)
_advapi32.OpenSCManagerW.restype = _advapi32.CreateServiceW.restype = ctypes.c_void_p
_advapi32.OpenServiceW.restype = ctypes.c_void_p


@contextmanager
def service(name: str, path: str | None = None, *, starts: bool = False) -> Iterator[ctypes.c_void_p]:
    """A service of this name; with a path, it is created as an old program has done it."""
    manager = ctypes.c_void_p(_advapi32.OpenSCManagerW(None, None, 0xF003F))
    if path is None:
        opened = _advapi32.OpenServiceW(manager, name, _ALL_ACCESS)
    else:
        none = [None] * 5
        opened = _advapi32.CreateServiceW(manager, name, name, _ALL_ACCESS, 1, 3, 1, path, *none)
    assert opened, ctypes.WinError(ctypes.get_last_error())
    found = ctypes.c_void_p(opened)
    try:
        if starts:
            assert _advapi32.StartServiceW(found, 0, None), ctypes.WinError(ctypes.get_last_error())
            assert state(found) == _RUNNING
        yield found
    finally:
        for handle in (found, manager):
            _advapi32.CloseServiceHandle(handle)


def state(found: ctypes.c_void_p) -> int:
    """What the service manager says that a service does."""
    status = (ctypes.c_uint32 * 7)()
    assert _advapi32.QueryServiceStatus(found, status)
    return status[1]


def create(name: str, path: str = GONE, *, starts: bool = False) -> None:
    """A service as an old program has left it."""
    with service(name, path, starts=starts):
        pass


def is_there(name: str) -> bool:
    """Whether there is a service of this name."""
    manager = ctypes.c_void_p(_advapi32.OpenSCManagerW(None, None, 0xF003F))
    found = _advapi32.OpenServiceW(manager, name, 0x0004)
    code = ctypes.get_last_error()
    if found:
        _advapi32.CloseServiceHandle(ctypes.c_void_p(found))
    _advapi32.CloseServiceHandle(manager)
    assert found or code == _ABSENT
    return bool(found)


@pytest.fixture(autouse=True)
def clean(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """No service and no driver, before and after."""
    nothing_is_left(capsys)
    yield
    nothing_is_left(capsys)


def nothing_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    """Uninstalls, and sees to it that this has done all."""
    assert cli("ctl", "uninstall", "--yes") == 0
    assert not any(map(is_there, SERVICES))
    assert not _native._driver_inventory()[0]
    capsys.readouterr()


def uninstalled(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The services that the command tells of."""
    assert cli("ctl", "uninstall", "--yes", "--json", "--quiet") == 0
    told = objects(capsys.readouterr().out)
    return [one["service"] for one in told if one["type"] == "uninstall"]


def test_where_nothing_is_installed_nothing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("ctl", "uninstall") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", [*OLD, "WinDivert"])
def test_a_service_that_an_old_program_has_left_is_removed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    create(name)
    assert is_there(name)
    assert uninstalled(capsys) == [name]
    assert not is_there(name)


def test_what_is_running_is_stopped_first(capsys: pytest.CaptureFixture[str]) -> None:
    with service("WinDivert1.3", STOPPABLE, starts=True) as running:
        assert cli("ctl", "uninstall", "--yes") == 0
        assert capsys.readouterr().out == "UNINSTALL WinDivert1.3\n"
        assert state(running) == 1
    assert not is_there("WinDivert1.3")


def test_all_versions_go_and_the_driver_that_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    for name in OLD:
        create(name)
    od.open("false").close()
    assert _native._driver_inventory()[0]
    assert uninstalled(capsys) == [*OLD, "WinDivert"]
    assert not any(map(is_there, SERVICES))
    assert not _native._driver_inventory()[0]
    # And again from nothing.
    with od.open("false"):
        assert _native._driver_inventory()[0]


def test_a_service_that_is_to_be_deleted_already_counts_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    with service("WinDivert1.2", GONE) as found:
        assert _advapi32.DeleteService(found)
        assert cli("ctl", "uninstall", "--yes") == 0
        assert capsys.readouterr().out in ("", "UNINSTALL WinDivert1.2\n")
    assert not is_there("WinDivert1.2")


def test_what_does_not_stop_is_told_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_services, "_STOP_SECONDS", 0.3)
    name = "oxidivert-cannot-be-stopped"
    with service(name, UNSTOPPABLE, starts=True) as running:
        with pytest.raises(_services.CommandError, match=f"the service {name} does not stop: close the programs"):
            _services.remove(name)
        assert state(running) == _RUNNING
        assert _advapi32.DeleteService(running)


def test_nothing_is_removed_while_another_program_installs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_services, "_LOCK_SECONDS", 0.3)
    create("WinDivert1.4")
    script = (
        "import ctypes; k = ctypes.WinDLL('kernel32'); k.CreateMutexW.restype = ctypes.c_void_p\n"
        "k.CreateMutexW(None, True, 'WinDivertDriverInstallMutex'); print('ready', flush=True); input()"
    )
    program = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    assert cli("ctl", "uninstall", "--yes") == 2
    message = "another program is installing WinDivert; try again when it is done"
    assert capsys.readouterr().err == f"oxidivert ctl uninstall: error: {message}\n"
    assert is_there("WinDivert1.4")
    # The lock of a program that has ended is free.
    program.communicate("\n", timeout=10)
    assert uninstalled(capsys) == ["WinDivert1.4"]
