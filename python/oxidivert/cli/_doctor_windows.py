"""What `oxidivert doctor` looks at on Windows.

That is rights, the package's files, the driver's service, who else uses the driver, and what of Windows it needs.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

import oxidivert as od

from .. import _native
from ._driver_uninstall import remove_service
from ._driver_users import users
from ._findings import Finding

_INTEGRITY = r"SYSTEM\CurrentControlSet\Control\DeviceGuard\Scenarios\HypervisorEnforcedCodeIntegrity"
_ARM64 = 0xAA64


def findings() -> Iterator[Finding]:
    """Everything that was looked at, in the order in which opening a handle meets it."""
    yield _processor()
    yield _rights()
    try:
        is_loaded, service, folder, files = _native._driver_inventory()
    except od.DivertError as error:
        yield Finding("driver", "problem", str(error.strerror))
        return
    for path, problem in files:
        if problem:
            yield Finding("files", "problem", problem, "reinstall the package: pip install --force-reinstall oxidivert")
        else:
            yield Finding("files", "ok", f"{path} is as it was shipped")
    yield _service(service, folder)
    yield _filtering_engine()
    yield _memory_integrity()
    yield from _users(is_loaded)


def repair() -> Iterator[str]:
    """Mends what can be mended without harm; what was done."""
    _, service, _, _ = _native._driver_inventory()
    if service is not None and _is_stale(service):
        remove_service()
        _native._driver_start()
        yield f"the service that named {service[1]} was replaced, and the driver started"


def _is_stale(service: tuple[bool, Path]) -> bool:
    is_running, path = service
    return not is_running and not path.exists()


def _processor() -> Finding:
    if _native_machine() == _ARM64:
        text = "this Windows runs on ARM64, for which there is no signed WinDivert driver"
        return Finding("processor", "problem", text, "captures and Engine work; live traffic needs Windows on x86-64")
    if sys.maxsize < 2**32:
        text = "this Python is a 32-bit program, for which the package has no driver"
        return Finding("processor", "problem", text, "install a 64-bit Python")
    return Finding("processor", "ok", "x86-64")


def _native_machine() -> int:
    if sys.platform != "win32":
        return 0
    machines = ctypes.c_ushort(), ctypes.c_ushort()
    kernel32 = ctypes.WinDLL("kernel32")
    try:
        ask = kernel32.IsWow64Process2
    except AttributeError:
        # Older than Windows 10, which has no ARM64.
        return 0
    ask.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    # The pseudo handle of this process.
    ask(ctypes.c_void_p(-1), ctypes.byref(machines[0]), ctypes.byref(machines[1]))
    return machines[1].value


def _rights() -> Finding:
    if sys.platform == "win32" and ctypes.windll.shell32.IsUserAnAdmin():
        return Finding("rights", "ok", "Administrator, elevated")
    text = "this program does not run as an elevated Administrator"
    return Finding("rights", "problem", text, "start the prompt by 'Run as administrator'")


def _service(service: tuple[bool, Path] | None, folder: Path) -> Finding:
    if service is None:
        return Finding("service", "ok", "none yet; the first open installs and starts the driver")
    is_running, path = service
    if _is_stale(service):
        text = f"the service WinDivert names {path}, which does not exist"
        return Finding("service", "problem", text, "run 'oxidivert doctor --repair'")
    state = "runs" if is_running else "is stopped"
    if folder in path.parents:
        return Finding("service", "ok", f"the driver {state}, from {path}")
    text = f"the driver {state}, from {path}, where another program put it; all programs share one driver"
    return Finding("service", "note", text)


def _filtering_engine() -> Finding:
    try:
        service = _native._service("BFE")
    except od.DivertError as error:
        return Finding("Base Filtering Engine", "note", str(error.strerror))
    if service is not None and service[0]:
        return Finding("Base Filtering Engine", "ok", "runs")
    text = "does not run" if service is not None else "is not installed"
    advice = "run 'sc config BFE start= auto' and 'sc start BFE' as Administrator"
    return Finding("Base Filtering Engine", "problem", text, advice)


def _memory_integrity() -> Finding:
    if sys.platform != "win32":
        return Finding("memory integrity", "ok", "off")
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _INTEGRITY) as key:
            is_on = bool(winreg.QueryValueEx(key, "Enabled")[0])
    except OSError:
        is_on = False
    if not is_on:
        return Finding("memory integrity", "ok", "off")
    text = "on: Windows loads only drivers that it trusts; WinDivert's signed one is among them"
    advice = "if opening fails with 577 or 1275, see Windows Security, Device security, Core isolation"
    return Finding("memory integrity", "note", text, advice)


def _users(is_loaded: bool) -> Iterator[Finding]:
    if not is_loaded:
        return
    try:
        found = users()
    except od.DivertError as error:
        yield Finding("handles", "note", f"who uses the driver is not known: {error.strerror}")
        return
    if not found:
        yield Finding("handles", "ok", "nobody has a handle open")
    for user in found:
        yield Finding("handles", "note", f"open: {user}")
