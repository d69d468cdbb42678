"""Screens of the tools as a real terminal shows them, at 80 and 120 columns: text and colours.

`python tests/python/test_tools_screen.py` records them anew, into tests/data/screens/.
"""

from __future__ import annotations

import os
import pathlib
import re
import sys
import time

import pytest
from samples import PROJECT
from screen_child import SCENES

SCREENS = PROJECT / "tests" / "data" / "screens"
SIZES = [(80, 16), (120, 24)]
CHILD = pathlib.Path(__file__).with_name("screen_child.py")

if sys.platform == "win32":
    pytestmark = pytest.mark.skip(reason="on Windows: there are no pseudo-terminals of this kind")


class Terminal:
    """A program on a pseudo-terminal of its own, and what is to be seen there."""

    def __init__(self, name: str, columns: int, rows: int, folder: pathlib.Path) -> None:
        import fcntl
        import pty
        import struct
        import termios

        import pyte

        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.pid, self._end = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            keep = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
            # The size of the terminal is set by its other end, and not before this one runs.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            environment = keep | {"TERM": "xterm-256color"}
            os.execve(sys.executable, [sys.executable, str(CHILD), name], environment)

    def read(self, seconds: float) -> bool:
        """Takes in what comes within a time; whether anything did."""
        import select

        if not select.select([self._end], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._end, 65536)
        except OSError:
            # The program has ended.
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)

    def settle(self, wanted: str) -> str:
        """The screen once it shows something and then stays the same for a while."""
        deadline = time.monotonic() + 20
        last, since = "", time.monotonic()
        while time.monotonic() < deadline:
            self.read(0.1)
            now = self.shown()
            if now != last:
                last, since = now, time.monotonic()
            elif re.search(wanted, now) and time.monotonic() - since > 0.8:
                break
        return last

    def press_ctrl_c(self) -> None:
        """Does that."""
        os.write(self._end, b"\x03")

    def wait(self) -> int:
        """The exit code."""
        while self.read(5):
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self._end)
        return os.waitstatus_to_exitcode(status)

    def shown(self) -> str:
        """The screen as text; what is coloured or in inverse video stands in braces behind its colour's name."""
        lines = []
        for row in range(self.screen.lines):
            line, style = "", ""
            for column in range(self.screen.columns):
                character = self.screen.buffer[row][column]
                now = "reverse" if character.reverse else character.fg if character.fg != "default" else ""
                if now != style:
                    line += ("}" if style else "") + (f"{now}{{" if now else "")
                    style = now
                line += character.data
            lines.append((line + ("}" if style else "")).rstrip())
        return "\n".join(lines).rstrip() + "\n"


#: What is seen of each scene once all of it is there.
WANTED = {
    "flowtrack": "952k",
    "flowtrack_full": r"\.\.\.",
    "netdump": "2001:db8.*\n(.*\n)*4 received, 0/s",
    "netfilter": "2001:db8.*\n(.*\n)*3 received, 0/s",
    "webfilter": "example.org.*\n(.*\n)*2 received, 0/s",
    "socketdump": "CLOSE.*\n(.*\n)*2 received, 0/s",
    "ctl_list": "1 handle ",
    "ctl_watch": "CLOSE.*\n(.*\n)*3 received, 0/s",
    "netdump_headers": r"[0-9A-F]{20}",
    "passthru": "4 received, 0/s",
    "streamdump": " s\n$",
}


def record(name: str, columns: int, rows: int, folder: pathlib.Path) -> tuple[str, int, bytes]:
    """The screen of a scene, the exit code, and all that was written to the terminal."""
    terminal = Terminal(name, columns, rows, folder)
    shown = terminal.settle(WANTED[name])
    if SCENES[name].is_endless:
        terminal.press_ctrl_c()
    code = terminal.wait()
    return re.sub(r"in \d+\.\d s", "in 0.0 s", shown), code, terminal.raw


@pytest.mark.parametrize("size", SIZES, ids=[str(columns) for columns, _ in SIZES])
@pytest.mark.parametrize("name", SCENES)
def test_the_screen_is_the_golden(name: str, size: tuple[int, int], tmp_path: pathlib.Path) -> None:
    shown, code, raw = record(name, *size, tmp_path)
    assert shown == (SCREENS / f"{name}_{size[0]}.txt").read_text(encoding="utf-8")
    assert code == (130 if SCENES[name].is_endless else 0)
    if name.startswith("flowtrack"):
        # The other screen is left and the cursor is back.
        assert raw.index(b"\x1b[?1049h") < raw.rindex(b"\x1b[?1049l")
        assert raw.rindex(b"\x1b[?25l") < raw.rindex(b"\x1b[?25h")
    elif SCENES[name].is_endless:
        # The line of rates is taken away before the summary, or the figures.
        last = raw.rpartition(b"\r\x1b[K")[2]
        assert re.search(rb"\r\npackets +4\r\n" if name == "passthru" else rb" in \d+\.\d s\r\n", last)
        assert b"received" not in last


def main() -> None:
    import tempfile

    SCREENS.mkdir(exist_ok=True)
    for name in SCENES:
        for columns, rows in SIZES:
            with tempfile.TemporaryDirectory() as folder:
                shown, code, _ = record(name, columns, rows, pathlib.Path(folder))
            (SCREENS / f"{name}_{columns}.txt").write_text(shown, encoding="utf-8")
            print(name, columns, code)


if __name__ == "__main__":
    main()
