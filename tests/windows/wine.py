"""What Wine lacks of Windows, for the tests that need it."""

from __future__ import annotations

import contextlib
import ctypes
import struct
from collections.abc import Iterator
from ctypes import wintypes

kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
kernel32.GetModuleHandleW.restype = kernel32.GetProcAddress.restype = ctypes.c_void_p
kernel32.GetProcAddress.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
kernel32.VirtualAlloc.restype = ctypes.c_void_p
kernel32.VirtualAlloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t, wintypes.DWORD, wintypes.DWORD]
kernel32.VirtualProtect.argtypes = [
    *(ctypes.c_void_p, ctypes.c_size_t, wintypes.DWORD),
    ctypes.POINTER(wintypes.DWORD),
]

EXECUTABLE, COMMITTED = 0x40, 0x3000

#: Where the kernel's numbers of the Windows Filtering Platform and Windows' own for them differ.
PLATFORM_STATUS, PLATFORM_CODE = 0xC0220000, 0x80320000


def translated(status: int) -> int:
    """Which number of Windows belongs to one of the kernel."""
    translate = ctypes.WinDLL("ntdll").RtlNtStatusToDosError
    translate.restype = ctypes.c_uint32
    return int(translate(ctypes.c_uint32(status)))


def places(module: str, target: int) -> list[int]:
    """Where a loaded module keeps the address of a function that it imports."""
    base = kernel32.GetModuleHandleW(module)
    header = base + struct.unpack("<I", ctypes.string_at(base + 0x3C, 4))[0]
    (table,) = struct.unpack("<I", ctypes.string_at(header + 24 + 112 + 8, 4))
    found = []
    for at in range(base + table, base + table + 200 * 20, 20):
        name, first = struct.unpack("<II", ctypes.string_at(at + 12, 8))
        if name == 0:
            break
        place = base + first
        while address := struct.unpack("<Q", ctypes.string_at(place, 8))[0]:
            if address == target:
                found.append(place)
            place += 8
    return found


def write(place: int, address: int) -> None:
    """Write an address where the system keeps it from being written to."""
    before = wintypes.DWORD()
    assert kernel32.VirtualProtect(place, 8, EXECUTABLE, ctypes.byref(before))
    ctypes.memmove(place, struct.pack("<Q", address), 8)
    assert kernel32.VirtualProtect(place, 8, before.value, ctypes.byref(before))


@contextlib.contextmanager
def platform_codes() -> Iterator[None]:
    """Have this process told the numbers of the Windows Filtering Platform.

    Windows makes 0x8032xxxx of the kernel's 0xC022xxxx; Wine 8 has no entry for those and makes 317 of each. What
    follows is put before its table, for the library through which programs are told numbers.
    """
    if translated(PLATFORM_STATUS | 9) == PLATFORM_CODE | 9:
        yield
        return
    original = kernel32.GetProcAddress(kernel32.GetModuleHandleW("ntdll.dll"), b"RtlNtStatusToDosError")
    code = (
        b"\x89\xc8\xc1\xe8\x10"  # eax = the upper half of the argument
        + b"\x3d"
        + struct.pack("<I", PLATFORM_STATUS >> 16)
        + b"\x75\x09"  # another: go on behind the return
        + b"\x0f\xb7\xc1\x0d"
        + struct.pack("<I", PLATFORM_CODE)
        + b"\xc3"  # return the lower half with the other number's upper one
        + b"\x48\xb8"
        + struct.pack("<Q", original)
        + b"\xff\xe0"  # go to the original
    )
    page = kernel32.VirtualAlloc(None, len(code), COMMITTED, EXECUTABLE)
    ctypes.memmove(page, code, len(code))
    found = places("kernelbase.dll", original)
    assert len(found) == 1
    write(found[0], page)
    try:
        yield
    finally:
        write(found[0], original)
