"""What the packet tools share: their options, when they end, what they show of their work, and that all is put back.

A tool opens its handles through a `Session` and takes its packets or events from it. The session ends them after
`--limit` or `--duration`, at Ctrl-C or SIGTERM; closing a handle lets go on what nobody has received. A second Ctrl-C
ends at once.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import FrameType, TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import oxidivert as od

from ._errors import DONE, INTERRUPTED, CommandError
from ._input import add_limit, add_local, compile_filter, open_replay
from ._output import BrokenStdout, flush_stdout, write_line
from ._screen import StatusLine
from ._style import Style, style_of

_Item = TypeVar("_Item")

_NO_FLAGS = od.Flag(0)
_HELP_WIDTH = 78
#: What a driver's queue takes at most: packets, milliseconds, bytes.
QUEUE_MAX = (16384, 16000, 33_554_432)


def tool_parser(prog: str, summary: str, account: str, examples: tuple[str, str]) -> argparse.ArgumentParser:
    """A parser whose help ends with what there is to know of the tool, and two examples."""
    # Examples keep their lines, so that all lines are broken here.
    examples_shown = [f"  {prog} {example}".rstrip() for example in examples]
    lines = [textwrap.fill(account, _HELP_WIDTH), "", "examples:", *examples_shown]
    parser = argparse.ArgumentParser(
        prog=prog,
        description=textwrap.fill(summary, _HELP_WIDTH),
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(prog=prog)
    return parser


def add_session(
    parser: argparse.ArgumentParser,
    *,
    priority: int | None = 0,
    limit: str = "packets",
    capture: Literal["none", "read", "read and write"] = "none",
) -> None:
    """Adds the options that all tools have, and of the others those that fit this one."""
    if capture != "none":
        parser.add_argument(
            "--read", metavar="IN", help="take the packets of a capture instead: pcap or pcapng, plain or gzip'd"
        )
        if capture == "read and write":
            parser.add_argument(
                "--write", metavar="OUT", help="with --read: the capture to write; it appears when all is done"
            )
        add_local(parser)
    if priority is not None:
        parser.add_argument(
            "--priority",
            metavar="N",
            type=int,
            default=priority,
            help="the place among handles, -30000 to 30000, high ones first (default: %(default)s)",
        )
    parser.add_argument("--json", action="store_true", help="print a JSON object a line")
    parser.add_argument("--quiet", action="store_true", help="show neither rates nor a summary")
    add_limit(parser, limit)
    parser.add_argument("--duration", metavar="S", type=_seconds, help="end after S seconds")


class Session:
    """One run of a tool: a context manager, whose `code` is the exit code once it has ended."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.code = DONE
        self.started = time.monotonic()
        #: What the summary tells, by name; none is told of a run that failed.
        self.summary: dict[str, object] = {}
        self.stopping = threading.Event()
        self.handled = 0
        self.style: Style = style_of(sys.stdout)
        self._capture: str | None = getattr(options, "read", None)
        self._out: str | None = getattr(options, "write", None)
        self._engine: od.Engine | None = getattr(options, "backend", None)
        self._handles: list[od.Handle[Any]] = []
        self._ends_with_stop: list[od.Handle[Any]] = []
        self._stack = ExitStack()
        self._interrupted = False
        self._is_asking = False
        self._failure: BrokenStdout | CommandError | None = None
        self._status: StatusLine | None = None
        if self._out and not self._capture:
            raise CommandError("--write goes with --read: what is live goes on by itself")

    # Life

    def __enter__(self) -> Self:
        self._take_signals()
        duration = getattr(self.options, "duration", None)
        if duration is not None:
            timer = threading.Timer(duration, self.stop)
            timer.daemon = True
            timer.start()
            self._stack.callback(timer.cancel)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.close()
        self._stack.__exit__(kind, value, trace)
        if kind is not None:
            return
        if self._failure is not None:
            raise self._failure
        flush_stdout()
        if self._interrupted:
            self.code = INTERRUPTED
        self._tell_summary()

    def stop(self) -> None:
        """Ends the session soon: no more is received."""
        self.stopping.set()
        for handle in self._ends_with_stop:
            if not handle.closed:
                handle.shutdown(od.Shutdown.RECV)

    def count(self) -> None:
        """Counts one of what `--limit` is about, and ends the session after the last."""
        self.handled += 1
        if self.handled == self.options.limit:
            self.stop()

    # Handles

    @overload
    def open(
        self,
        filter: str,
        *,
        layer: Literal[od.Layer.NETWORK, od.Layer.NETWORK_FORWARD] = ...,
        flags: od.Flag = ...,
        priority: int | None = ...,
        outlives_stop: bool = ...,
    ) -> od.Handle[od.Packet]: ...
    @overload
    def open(
        self,
        filter: str,
        *,
        layer: Literal[od.Layer.FLOW],
        flags: od.Flag = ...,
        priority: int | None = ...,
        outlives_stop: bool = ...,
    ) -> od.Handle[od.FlowEvent]: ...
    @overload
    def open(
        self,
        filter: str,
        *,
        layer: Literal[od.Layer.SOCKET],
        flags: od.Flag = ...,
        priority: int | None = ...,
        outlives_stop: bool = ...,
    ) -> od.Handle[od.SocketEvent]: ...
    @overload
    def open(
        self,
        filter: str,
        *,
        layer: Literal[od.Layer.REFLECT],
        flags: od.Flag = ...,
        priority: int | None = ...,
        outlives_stop: bool = ...,
    ) -> od.Handle[od.ReflectEvent]: ...
    def open(
        self,
        filter: str,
        *,
        layer: od.Layer = od.Layer.NETWORK,
        flags: od.Flag = _NO_FLAGS,
        priority: int | None = None,
        outlives_stop: bool = False,
    ) -> od.Handle[Any]:
        """Opens a handle on the capture, if one is given, or else live; it is closed when the session ends.

        `outlives_stop`: it goes on receiving until then.
        """
        compiled = compile_filter(filter, layer)
        if priority is None:
            priority = getattr(self.options, "priority", 0)
        opened: od.Handle[Any] = od.open(compiled, layer=layer, flags=flags, priority=priority, backend=self._backend())
        handle = self._stack.enter_context(opened)
        if od.Flag.SNIFF in flags:
            # Watching holds nobody up, so that a burst may wait as long as it can.
            handle.queue_length, handle.queue_time, handle.queue_size = QUEUE_MAX
        self._handles.append(handle)
        if not outlives_stop:
            self._ends_with_stop.append(handle)
            if self.stopping.is_set():
                handle.shutdown(od.Shutdown.RECV)
        return handle

    def wait(self) -> None:
        """Waits until the session is to end."""
        # In slices: on Windows a wait without end takes no notice of Ctrl-C.
        while not self.stopping.wait(0.1):
            pass

    def items(self, handle: od.Handle[_Item]) -> Iterator[_Item]:
        """What the handle receives until the session ends, and shows how much that is."""
        self.show_rates(handle)
        received = iter(handle)
        while not self.stopping.is_set():
            item = next(received, None)
            if item is None:
                return
            yield item

    @property
    def is_live(self) -> bool:
        """Whether the packets are not those of a capture."""
        return self._capture is None

    @property
    def is_system(self) -> bool:
        """Whether it is this system's packets that the session is about."""
        return self.is_live and self._engine is None

    def _backend(self) -> od.Replay | od.Engine | Literal["auto"]:
        if self._capture is not None:
            return open_replay(self._capture, out=self._out, local=self.options.local)
        return self._engine or "auto"

    # What is shown

    def emit_beside(self, record: Callable[[], dict[str, object]], text: Callable[[], str]) -> None:
        """Prints one result from another thread than the main one: there a failure to print ends the session."""
        if self._failure is None:
            try:
                self.emit(record, text)
            except (BrokenStdout, CommandError) as error:
                self.fail(error)

    def fail(self, error: BrokenStdout | CommandError) -> None:
        """Ends the session soon, and the command with this, which happened on another thread than the main one."""
        self._failure = self._failure or error
        self.stop()

    def emit(self, record: Callable[[], dict[str, object]], text: Callable[[], str]) -> None:
        """Prints one result: as an object or as text. A terminal's reader sees it at once, and so does a program."""
        line = json.dumps(record()) if self.options.json else text()
        if self._status is None:
            write_line(line)
        else:
            with self._status.erased():
                write_line(line)
        if self.is_live:
            flush_stdout()

    def ask(self, question: str) -> bool:
        """Asks the user on the terminal; whether the answer is yes. Ctrl-C ends the command at once."""
        self._is_asking = True
        try:
            print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
            return sys.stdin.readline().strip().lower() in ("y", "yes")
        except KeyboardInterrupt:
            print(file=sys.stderr)
            raise
        finally:
            self._is_asking = False

    def warn(self, message: str) -> None:
        """Tells of something that went wrong and that the tool goes on after."""
        self.note(f"{self.options.prog}: warning: {message}")

    def note(self, line: str) -> None:
        """Tells something that is no result."""
        if self._status is None:
            print(line, file=sys.stderr)
        else:
            with self._status.erased():
                print(line, file=sys.stderr)

    def show_rates(self, handle: od.Handle[Any], text: Callable[[], str] | None = None) -> None:
        """Shows on a terminal, below the results, how much the handle received and how fast."""
        if self._status is None and not self.options.quiet and sys.stderr.isatty():
            self._status = StatusLine(text or _rates_of(handle))

    def _tell_summary(self) -> None:
        if self.options.quiet or not self.summary:
            return
        seconds = time.monotonic() - self.started
        lost = sum(_lost(handle) for handle in self._handles)
        facts = self.summary | ({"lost": lost} if lost else {})
        if self.options.json:
            print(json.dumps({"type": "summary", **facts, "seconds": round(seconds, 3)}), file=sys.stderr)
            return
        told = ", ".join(f"{_number(value)} {_counted(name, value)}" for name, value in facts.items())
        print(f"{told} in {seconds:.1f} s", file=sys.stderr)

    # Signals

    def _take_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.signal(number, self._on_signal)
            self._stack.callback(signal.signal, number, before)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._interrupted or self._is_asking or not self.is_live:
            # A capture's output is not wanted by halves, and a question by nobody any more.
            raise KeyboardInterrupt
        self._interrupted = True
        self.stop()


def _lost(handle: od.Handle[Any]) -> int:
    stats = handle.stats
    return stats.overflowed + stats.expired


def _rates_of(handle: od.Handle[Any]) -> Callable[[], str]:
    before, moment = 0, time.monotonic()

    def text() -> str:
        nonlocal before, moment
        received, now = handle.stats.received, time.monotonic()
        rate = (received - before) / max(now - moment, 1e-9)
        before, moment = received, now
        lost = _lost(handle)
        return f"{received:,} received, {rate:,.0f}/s" + (f", {lost:,} lost" if lost else "")

    return text


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _counted(name: str, value: object) -> str:
    """The name of what is counted, in the singular for one."""
    if value == 1:
        name = name.removesuffix("es") if name.endswith("sses") else name.removesuffix("s")
    return name.replace("_", " ")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; give seconds, such as 10 or 0.5")
    return seconds
