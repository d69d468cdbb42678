"""Which program a process runs, and what that program's file is, as far as the system tells."""

from __future__ import annotations

import hashlib
import os
import sys
import time

import oxidivert as od

#: What is shown where the system does not tell.
UNKNOWN = "???"
#: The process that Windows itself runs as.
_WINDOWS_SYSTEM = 4
#: A number is used again after its process has ended; for so long a name is taken to be right.
_TRUSTED_SECONDS = 10.0
_NAMES_MAX = 4096


class Programs:
    """Answers for many processes, and asks the system seldom."""

    def __init__(self) -> None:
        self._told: dict[int, str] = {}
        self._paths: dict[int, tuple[float, str | None]] = {}
        self._sums: dict[tuple[str, int, int], str] = {}

    def note(self, process: od.Process | None) -> None:
        """Takes in what an event or a packet tells of its process, which may be gone when it is asked about."""
        if process is None:
            return
        told = process.path or process.name
        if told is None:
            # Asked now, while it may live.
            self.path(process.pid)
            return
        if process.pid not in self._told and len(self._told) >= _NAMES_MAX:
            self._told.pop(next(iter(self._told)), None)
        self._told[process.pid] = told

    def path(self, pid: int) -> str | None:
        """The program's file, or its name where only that was told; None if the system does not tell."""
        told = self._told.get(pid)
        if told is not None:
            return told
        now = time.monotonic()
        known = self._paths.get(pid)
        # The last answer is better than none: the process may have ended since.
        if known and now - known[0] < _TRUSTED_SECONDS:
            return known[1]
        path = _path(pid) or (known[1] if known else None)
        if len(self._paths) >= _NAMES_MAX:
            self._paths.clear()
        self._paths[pid] = now, path
        return path

    def name(self, pid: int) -> str:
        """The program's name without folders, "Windows" for the system itself, ??? if unknown."""
        if sys.platform == "win32" and pid == _WINDOWS_SYSTEM:
            return "Windows"
        path = self.path(pid) if pid else None
        return os.path.basename(path) if path else UNKNOWN

    def sha256(self, path: str) -> str | None:
        """The SHA-256 of a program's file, as 64 lower-case hexadecimal digits; None if it cannot be read."""
        try:
            status = os.stat(path)
            key = path, status.st_mtime_ns, status.st_size
            if key not in self._sums:
                with open(path, "rb") as file:
                    self._sums[key] = hashlib.file_digest(file, "sha256").hexdigest()
            return self._sums[key]
        except OSError:
            return None


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel32.OpenProcess.restype = wintypes.HANDLE
    _QUERY_LIMITED_INFORMATION = 0x1000

    def _path(pid: int) -> str | None:
        process = _kernel32.OpenProcess(_QUERY_LIMITED_INFORMATION, False, pid)
        if not process:
            return None
        try:
            length = wintypes.DWORD(32768)
            buffer = ctypes.create_unicode_buffer(length.value)
            found = _kernel32.QueryFullProcessImageNameW(wintypes.HANDLE(process), 0, buffer, ctypes.byref(length))
            return buffer.value if found else None
        finally:
            _kernel32.CloseHandle(wintypes.HANDLE(process))

else:

    def _path(pid: int) -> str | None:
        try:
            return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
        except OSError:
            pass
        try:
            # What belongs to another user tells its name only.
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                return file.read().rstrip("\n") or None
        except OSError:
            return None
