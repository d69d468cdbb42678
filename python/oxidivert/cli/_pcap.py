"""Writing packets to a capture: pcap of raw IP, in nanoseconds."""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
from types import TracebackType
from typing import Self

import oxidivert as od

from ._errors import CommandError

_MAGIC_NANOSECONDS = 0xA1B23C4D
_LINK_TYPE_RAW_IP = 101
_LENGTH_MAX = 262_144


class PcapWriter:
    """A capture that appears under its name when the block ends without an exception, and only then."""

    def __init__(self, path: str) -> None:
        self._path = path
        folder = os.path.dirname(os.path.abspath(path))
        try:
            number, self._unfinished = tempfile.mkstemp(prefix=os.path.basename(path) + ".", dir=folder)
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error.strerror}") from None
        self._file = os.fdopen(number, "wb")

    def __enter__(self) -> Self:
        self._write(struct.pack("<IHHiIII", _MAGIC_NANOSECONDS, 2, 4, 0, 0, _LENGTH_MAX, _LINK_TYPE_RAW_IP))
        return self

    def write(self, packet: od.Packet) -> None:
        """Appends a packet."""
        data = bytes(packet)
        seconds, nanoseconds = divmod(max(packet.time_ns, 0), 1_000_000_000)
        self._write(struct.pack("<IIII", seconds & 0xFFFF_FFFF, nanoseconds, len(data), len(data)) + data)

    def __exit__(
        self, kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
            if kind is None:
                # As a file that is made anew has it, not as a temporary one.
                mask = os.umask(0)
                os.umask(mask)
                os.chmod(self._unfinished, 0o666 & ~mask)
                os.replace(self._unfinished, self._path)
        except OSError as error:
            raise CommandError(f"cannot write {self._path}: {error.strerror}") from None
        finally:
            with contextlib.suppress(OSError):
                os.unlink(self._unfinished)

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise CommandError(f"cannot write {self._path}: {error.strerror}") from None
