"""WinDivert's own C helpers, as the pydivert wheel ships them for Linux, called through ctypes.

The library exports no header; the signatures were found by calling the functions, and they agree with the recorded
answers of WinDivert. What is particular: TRUE is 0 and FALSE is -EINVAL, except for `eval_filter` (1, 0, -EINVAL) and
`hash_packet` (the hash); `compile_filter` throws the program away, so an object string cannot be had from it.

    python benches/python/windivert_c.py      prints the library's path, for the Rust benches
"""

from __future__ import annotations

import ctypes
import importlib.util
import pathlib
import sys

ADDRESS_LEN = 80

_POINTER = ctypes.c_void_p
_SIGNATURES = {
    # packet, length, address or NULL, flags
    "calc_checksums": (ctypes.c_int, [_POINTER, ctypes.c_uint32, _POINTER, ctypes.c_uint64]),
    # filter text, packet, length, address
    "eval_filter": (ctypes.c_int, [ctypes.c_char_p, _POINTER, ctypes.c_uint32, _POINTER]),
    # filter text, layer, error text out, error position out
    "compile_filter": (
        ctypes.c_int,
        [ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(ctypes.c_char_p), ctypes.POINTER(ctypes.c_uint32)],
    ),
    # filter text, layer, buffer, buffer length
    "format_filter": (ctypes.c_int, [ctypes.c_char_p, ctypes.c_int, _POINTER, ctypes.c_uint32]),
    # packet, length, seed
    "hash_packet": (ctypes.c_uint64, [_POINTER, ctypes.c_uint32, ctypes.c_uint64]),
}


def library_path() -> pathlib.Path | None:
    """Return where the installed pydivert keeps the library, or None without pydivert or on another system."""
    spec = importlib.util.find_spec("pydivert")
    if spec is None or spec.origin is None:
        return None
    path = pathlib.Path(spec.origin).parent / "bpf" / "libebpfdivert.so"
    return path if path.is_file() else None


class WinDivertC:
    """The five helpers over plain bytes."""

    def __init__(self, path: pathlib.Path) -> None:
        """Load the library and declare the signatures; OSError if it is not for this machine."""
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, f"ebpfdivert_helper_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, f"_{name}", function)

    def calc_checksums(self, data: bytearray, flags: int = 0) -> bool:
        """Compute every checksum of the packet in place."""
        buffer = (ctypes.c_char * len(data)).from_buffer(data)
        return self._calc_checksums(buffer, len(data), None, flags) == 0

    def eval_filter(self, text: str, data: bytes, address: bytes) -> bool:
        """Compile the filter and tell whether it matches; ValueError for a bad filter or packet."""
        answer = self._eval_filter(text.encode(), data, len(data), address)
        if answer < 0:
            raise ValueError(f"WinDivert reports an error for {text!r}")
        return answer == 1

    def compile_filter(self, text: str, layer: int = 0) -> tuple[str, int] | None:
        """Compile the filter; the answer is None, or the message and position of the error."""
        message, position = ctypes.c_char_p(), ctypes.c_uint32()
        if self._compile_filter(text.encode(), layer, ctypes.byref(message), ctypes.byref(position)) == 0:
            return None
        return (message.value or b"").decode(), position.value

    def format_filter(self, text: str, layer: int = 0) -> str:
        """Return the filter's normal form; ValueError for a bad filter."""
        buffer = ctypes.create_string_buffer(65536)
        if self._format_filter(text.encode(), layer, buffer, len(buffer)) != 0:
            raise ValueError(f"WinDivert reports an error for {text!r}")
        return buffer.value.decode()

    def hash_packet(self, data: bytes, seed: int = 0) -> int:
        """Return the packet's hash, 0 for one that does not parse."""
        return int(self._hash_packet(data, len(data), seed))


if __name__ == "__main__":
    found = library_path()
    if found is None:
        sys.exit("pydivert with its library for this system is not installed")
    print(found)
