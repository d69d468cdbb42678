"""The exceptions.

DivertError (OSError)        a handle's operation failed; ``code`` is the Windows number on every system
├── HandleClosedError        the handle is closed
└── HandleShutdownError      receiving or sending was shut down, or a replay ended (code 232)
FilterError (ValueError)     a filter does not compile
FilterWarning (UserWarning)  a part of a filter can never hold, or always does
OverloadWarning (UserWarning)  packets grow old in a handle's queue
PacketError (ValueError)     bytes are no packet, or an edit does not fit the packet
"""

from __future__ import annotations

import sys
from typing import Any


class DivertError(OSError):
    """A handle's operation failed.

    ``code`` is the Windows error number on every backend, ``symbol`` its name in Windows' headers, ``errno`` this
    system's own number; on Windows ``winerror`` is ``code``, as a signed number of 32 bits. After a failed
    ``send_batch``, ``sent`` tells how many packets went out.
    """

    code: int
    symbol: str
    sent: int

    def __init__(self, code: int, message: str, *, symbol: str = "", errno: int = 0, sent: int = 0) -> None:
        if sys.platform == "win32":
            # Python itself finds the errno that belongs to a Windows number, and takes signed ones only.
            super().__init__(errno, message, None, code - (1 << 32) if code >> 31 else code)
        else:
            super().__init__(errno, message)
        self.code = code
        self.symbol = symbol
        self.sent = sent

    def __str__(self) -> str:
        return f"[{self.symbol} {self.code}] {self.strerror}" if self.symbol else str(self.strerror)

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"symbol": self.symbol, "errno": self.errno, "sent": self.sent}
        return _restore, (type(self), self.code, self.strerror, state)


class HandleClosedError(DivertError):
    """The handle is closed."""


class HandleShutdownError(DivertError):
    """Receiving or sending was shut down, or a replay ended, and nothing is left (code 232, ERROR_NO_DATA)."""


class FilterError(ValueError):
    """A filter does not compile.

    ``message`` and ``position`` (a byte offset into the filter) are WinDivert's own; ``text`` is the filter. ``str()``
    is a fuller account with the text and a caret under the spot.
    """

    message: str
    position: int
    text: str

    def __init__(self, message: str, position: int, text: str, account: str | None = None) -> None:
        super().__init__(account or message)
        self.message = message
        self.position = position
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.position, self.text, self.args[0])


class FilterWarning(UserWarning):
    """A part of a filter can never hold, or always does, though it does not look like it.

    ``message`` says why; the part lies from ``start`` to ``end`` (byte offsets) in ``text``, the filter. ``str()`` is a
    fuller account with the text and a line under the part.
    """

    message: str
    start: int
    end: int
    text: str

    def __init__(self, message: str, start: int, end: int, text: str, account: str | None = None) -> None:
        super().__init__(account or message)
        self.message = message
        self.start = start
        self.end = end
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.start, self.end, self.text, self.args[0])


class OverloadWarning(UserWarning):
    """Packets wait for more than half of the queue time: soon some are lost. Told once a handle."""


class PacketError(ValueError):
    """Bytes are no packet, or an edit does not fit the packet."""


def _restore(kind: type[DivertError], code: int, message: str, state: dict[str, Any]) -> DivertError:
    return kind(code, message, **state)
