"""The stand-in driver as tests see it: they play the network, look at what was sent, and let requests fail.

The numbers and structures are those of driver/standin.h and driver/control.c.
"""

from __future__ import annotations

import ctypes
import dataclasses
import itertools
import os
import struct
from collections.abc import Iterable
from ctypes import wintypes

kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
kernel32.CreateFileW.restype = wintypes.HANDLE
kernel32.CreateFileW.argtypes = [
    *(wintypes.LPCWSTR, wintypes.DWORD, wintypes.DWORD, ctypes.c_void_p),
    *(wintypes.DWORD, wintypes.DWORD, wintypes.HANDLE),
]
kernel32.DeviceIoControl.argtypes = [
    *(wintypes.HANDLE, wintypes.DWORD, ctypes.c_char_p, wintypes.DWORD, ctypes.c_char_p, wintypes.DWORD),
    *(ctypes.POINTER(wintypes.DWORD), ctypes.c_void_p),
]
kernel32.CloseHandle.argtypes = [wintypes.HANDLE]

RECORD = struct.Struct("<QII80s")
LISTING = struct.Struct("<QQQQQIIIIII")
TARGET = struct.Struct("<QI")
ROOM = 1 << 20

#: The library's requests, for `fail`.
INITIALIZE, STARTUP, RECEIVE, SEND, SET_PARAM, GET_PARAM, SHUTDOWN = range(0x921, 0x928)

#: How a handle behaves.
ECHO, NO_LOG, HOLD_CANCELS = 1, 2, 4

#: What the kernel answers if Windows is to tell the number that is added.
STATUS = 0xC0070000


@dataclasses.dataclass(frozen=True)
class Seen:
    """One handle, as the driver sees it."""

    number: int
    process_id: int
    flags: int
    sent: int
    received: int
    layer: int
    raw_priority: int
    queued: int
    pending: int
    startup_size: int
    initialize_size: int

    @property
    def priority(self) -> int:
        """The priority as users give it; the library adds the lowest one's distance from 0."""
        return self.raw_priority - 30000


class Network:
    """The network that the stand-in driver has its packets from."""

    def __init__(self) -> None:
        access, shared = 0xC0000000, 7
        self._handle = kernel32.CreateFileW(r"\\.\WinDivert", access, shared, None, 3, 0, None)
        if self._handle in (None, wintypes.HANDLE(-1).value):
            raise ctypes.WinError(ctypes.get_last_error())

    def close(self) -> None:
        """Close the device."""
        kernel32.CloseHandle(self._handle)

    def _ask(self, number: int, argument: bytes, room: int = 0) -> bytes:
        # Direct requests of a network device that may read and write, with buffers of their own.
        code = 0x12 << 16 | 3 << 14 | number << 2
        answer = ctypes.create_string_buffer(max(room, 1))
        size = wintypes.DWORD()
        done = kernel32.DeviceIoControl(
            self._handle, code, argument, len(argument), answer, room, ctypes.byref(size), None
        )
        if not done:
            raise ctypes.WinError(ctypes.get_last_error())
        return answer.raw[: size.value]

    def handles(self) -> list[Seen]:
        """All open handles, in the order in which they were opened."""
        return [Seen(*fields) for fields in LISTING.iter_unpack(self._ask(0x9F1, b"", ROOM))]

    def mine(self) -> list[Seen]:
        """This process's handles."""
        return [handle for handle in self.handles() if handle.process_id == os.getpid()]

    def latest(self) -> Seen:
        """This process's handle that was opened last."""
        return self.mine()[-1]

    def feed(self, handle: int, items: Iterable[tuple[bytes, bytes]], *, repeat: int = 1) -> None:
        """Queue bytes with their address records on a handle, each `repeat` times; a stamp of 0 becomes now."""
        parts = iter(RECORD.pack(handle, len(data), repeat, address) + data for data, address in items)
        while chunk := b"".join(itertools.islice(parts, 256)):
            self._ask(0x9F0, chunk)

    def sent(self, handle: int) -> list[tuple[bytes, bytes]]:
        """What was sent on a handle since the last call: bytes and address record."""
        return self._log(0x9F3, TARGET.pack(handle, 0))

    def returned(self) -> list[tuple[bytes, bytes]]:
        """What handles had queued when they were closed, and the driver gave back, since the last call."""
        return self._log(0x9F7, b"")

    def _log(self, number: int, argument: bytes) -> list[tuple[bytes, bytes]]:
        found = []
        while log := self._ask(number, argument, ROOM):
            offset = 0
            while offset < len(log):
                _, size, _, address = RECORD.unpack_from(log, offset)
                offset += RECORD.size
                found.append((log[offset : offset + size], address))
                offset += size
        return found

    def startup(self, handle: int) -> bytes:
        """The bytes by which a handle was started: arguments and filter program."""
        return self._ask(0x9F2, TARGET.pack(handle, 0), ROOM)

    def initialize(self, handle: int) -> bytes:
        """The bytes by which a handle was made: layer, priority, flags, version."""
        return self._ask(0x9F2, TARGET.pack(handle, 1), ROOM)

    def fail(self, request: int, code: int, count: int = 1) -> None:
        """Let the next requests of this kind fail so that Windows tells this number."""
        self.answer(request, STATUS | code, count)

    def answer(self, request: int, status: int, count: int = 1) -> None:
        """Let the next requests of this kind end with this status of the kernel; 0 lets them be."""
        self._ask(0x9F4, struct.pack("<III", request, status, count))

    def options(self, handle: int, options: int) -> None:
        """Set how a handle behaves; of handle 0, all that will be opened."""
        self._ask(0x9F6, TARGET.pack(handle, options))

    def release_cancelled(self, handle: int, *, with_data: bool) -> None:
        """End reads whose cancelling was held up, as cancelled or with what is queued."""
        self._ask(0x9F5, TARGET.pack(handle, with_data))

    def reset(self) -> None:
        """Forget planned failures, returned packets and options."""
        self._ask(0x9F8, b"")
