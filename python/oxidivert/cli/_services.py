"""Services of Windows, drivers among them, by their names: stopping one and deleting it."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ._errors import CommandError

#: The lock under which WinDivert's own library installs, and so does everybody who wants nobody to do so meanwhile.
_LOCK = "WinDivertDriverInstallMutex"
_LOCK_SECONDS = 10.0
#: How long a service may take to stop.
_STOP_SECONDS = 5.0
#: What counts as done: it is not active, is to be deleted already, is not there.
_NOT_ACTIVE, _MARKED_FOR_DELETE, _ABSENT = 1062, 1072, 1060

if sys.platform == "win32":
    from ctypes import wintypes

    _advapi32 = ctypes.WinDLL("advapi32", use_last_error=True)
    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _advapi32.OpenSCManagerW.restype = _advapi32.OpenServiceW.restype = wintypes.HANDLE
    _kernel32.CreateMutexW.restype = wintypes.HANDLE
    _CONNECT = 0x0001
    _QUERY_STATUS, _STOP, _DELETE = 0x0004, 0x0020, 0x10000
    _CONTROL_STOP = 1
    _STOPPED = 1
    _TIMED_OUT = 0x102

    class _Status(ctypes.Structure):
        """SERVICE_STATUS."""

        _fields_ = [
            (name, wintypes.DWORD)
            for name in ("type", "state", "accepted", "exit_code", "specific_exit_code", "check_point", "wait_hint")
        ]

    @contextmanager
    def installing_is_locked() -> Iterator[None]:
        """Keeps every program from installing a driver of WinDivert for as long as the block lasts."""
        mutex = wintypes.HANDLE(_kernel32.CreateMutexW(None, False, _LOCK))
        try:
            # That of a program which died with it counts as taken, too.
            if _kernel32.WaitForSingleObject(mutex, int(_LOCK_SECONDS * 1000)) == _TIMED_OUT:
                raise CommandError("another program is installing WinDivert; try again when it is done")
            try:
                yield
            finally:
                _kernel32.ReleaseMutex(mutex)
        finally:
            _kernel32.CloseHandle(mutex)

    def remove(name: str) -> bool:
        """Stops and deletes a service; whether there was one."""
        with _opened(name) as service:
            if service is None:
                return False
            status = _Status()
            if not _advapi32.ControlService(service, _CONTROL_STOP, ctypes.byref(status)):
                _expect(_NOT_ACTIVE, f"the service {name} cannot be stopped")
            deadline = time.monotonic() + _STOP_SECONDS
            while _advapi32.QueryServiceStatus(service, ctypes.byref(status)) and status.state != _STOPPED:
                if time.monotonic() >= deadline:
                    raise CommandError(f"the service {name} does not stop: close the programs that use it")
                time.sleep(0.05)
            if not _advapi32.DeleteService(service):
                _expect(_MARKED_FOR_DELETE, f"the service {name} cannot be deleted")
        return True

    @contextmanager
    def _opened(name: str) -> Iterator[wintypes.HANDLE | None]:
        """The service, to be stopped and deleted; None if there is none."""
        manager = wintypes.HANDLE(_advapi32.OpenSCManagerW(None, None, _CONNECT))
        if not manager:
            _expect(0, "the service manager does not answer")
        service = wintypes.HANDLE(_advapi32.OpenServiceW(manager, name, _QUERY_STATUS | _STOP | _DELETE))
        try:
            if not service:
                _expect(_ABSENT, f"the service {name} cannot be opened")
            yield service if service else None
        finally:
            for handle in (service, manager):
                if handle:
                    _advapi32.CloseServiceHandle(handle)

    def _expect(code: int, message: str) -> None:
        """Ends the command, unless the last call failed for this reason."""
        error = ctypes.WinError(ctypes.get_last_error())
        if error.winerror != code:
            raise CommandError(f"{message}: {error.strerror} (error {error.winerror})")
