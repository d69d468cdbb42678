"""`oxidivert flowtrack`: who talks with whom, which program that is, and how fast."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from contextlib import suppress

import oxidivert as od

from ._errors import CommandError
from ._flow_owners import Owners
from ._flow_screen import FlowScreen, line_of
from ._input import add_filter
from ._names import protocol_name
from ._programs import Programs
from ._render import has_rich
from ._session import Session, add_session, tool_parser

SUMMARY = "Show the flows that are under way: program, bytes and rate of each, as a live table."

_ACCOUNT = """\
Packets tell how much and how fast, events of layer FLOW which program and when a flow ends, where the system has
them. With --json an object tells of each flow when it ends, and at the end of those that are left; without a
terminal the table is printed once, at the end. Flows older than this command count from their next packet.
"""

_BATCH = 255
# Where no event tells of an end, silence does.
_IDLE_SECONDS = 60.0
_PRUNE_SECONDS = 1.0
_NOT_SUPPORTED = 50
_SORTS = ("rate", "bytes", "packets", "newest")


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    examples = '"tcp.DstPort == 443 or tcp.SrcPort == 443"', "--sort bytes --read in.pcap --json"
    parser = tool_parser(prog, SUMMARY, _ACCOUNT, examples)
    add_filter(parser)
    add_session(parser, priority=776, limit="flows that ended", capture="read")
    parser.add_argument("--sort", choices=_SORTS, default="rate", help="which come first (default: rate)")
    parser.add_argument(
        "--interval", metavar="S", type=float, default=0.25, help="draw so often, in seconds (default: 0.25)"
    )
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    if not 0.05 <= options.interval <= 3600:
        raise CommandError("--interval takes 0.05 to 3600 seconds")
    is_screen = sys.stdout.isatty() and not options.json and options.read is None
    if is_screen and not has_rich():
        raise CommandError("the live table needs rich: install oxidivert[cli], or use --json")
    with Session(options) as session:
        tracker = Tracker(session)
        if is_screen:
            screen = FlowScreen(
                tracker.table,
                tracker.programs,
                sort=options.sort,
                interval=options.interval,
                silent=tracker.shows_silent,
            )
            with screen:
                tracker.run()
        else:
            tracker.run()
        tracker.finish(prints_rows=not is_screen)
        session.summary = {"flows": tracker.table.begun, "packets": tracker.packets}
        if tracker.table.overflowed:
            session.summary["not_counted"] = tracker.table.overflowed
    return session.code


class Tracker:
    """Feeds a table with packets and events."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.table = od.FlowTable()
        self.programs = Programs()
        self.packets = 0
        #: Whether flows without packets belong to what is asked for: a filter is one of packets.
        self.shows_silent = session.options.filter.strip() == "true"
        self._pruned = 0.0

    def run(self) -> None:
        """Feeds the table until the session ends."""
        watcher = self._start_watching()
        flags = od.Flag.SNIFF | od.Flag.RECV_ONLY
        handle = self.session.open(self.session.options.filter, flags=flags)
        with suppress(od.HandleShutdownError), Owners(self.table, self.programs) as owners:
            while not (self.session.is_live and self.session.stopping.is_set()):
                batch = handle.recv_batch(_BATCH, timeout=_PRUNE_SECONDS)
                self.packets += len(batch)
                new = self.table.add_batch(batch)
                if self.session.is_live:
                    owners.note(batch, new)
                    self._prune()
        if watcher:
            watcher.join()

    def finish(self, *, prints_rows: bool) -> None:
        """Tells of the flows that are left."""
        if prints_rows:
            for row in self.table.rows(sort=self.session.options.sort, silent=self.shows_silent):
                self._print(row)

    def _start_watching(self) -> threading.Thread | None:
        """Takes events in on a thread of its own; None where the system has none."""
        if not self.session.is_live:
            return None
        flags = od.Flag.SNIFF | od.Flag.RECV_ONLY
        try:
            # Every flow's events are wanted: the packets' filter may be one that events have no fields for.
            handle = self.session.open("true", layer=od.Layer.FLOW, flags=flags)
        except od.DivertError as error:
            if error.code != _NOT_SUPPORTED:
                raise
            return None
        thread = threading.Thread(target=self._watch, args=(handle,), name="oxidivert-flows", daemon=True)
        thread.start()
        return thread

    def _watch(self, handle: od.Handle[od.FlowEvent]) -> None:
        with suppress(od.HandleClosedError):
            for event in handle:
                if event.event == od.Event.FLOW_ESTABLISHED:
                    # Before the flow is shown.
                    self.programs.note(event.process)
                self.table.add_event(event)

    def _prune(self) -> None:
        now = time.monotonic()
        if now - self._pruned < _PRUNE_SECONDS:
            return
        self._pruned = now
        for row in self.table.prune(time.time_ns(), _IDLE_SECONDS):
            if self.shows_silent or row.packets_sent or row.packets_received:
                if self.session.options.json:
                    self._print(row)
                self.session.count()

    def _print(self, row: od.FlowRow) -> None:
        self.session.emit(lambda: self._record(row), lambda: line_of(row, self.programs, self.session.style))

    def _record(self, row: od.FlowRow) -> dict[str, object]:
        return {
            "type": "flow",
            "ended": row.ended,
            "protocol": row.protocol,
            "protocol_name": protocol_name(row.protocol),
            "direction": "outbound" if row.outbound else "inbound",
            "local_addr": str(row.local_addr),
            "local_port": row.local_port,
            "remote_addr": str(row.remote_addr),
            "remote_port": row.remote_port,
            "process_id": row.process_id,
            "program": self.programs.path(row.process_id) if row.process_id else None,
            "endpoint_id": str(row.endpoint_id),
            "packets_sent": row.packets_sent,
            "packets_received": row.packets_received,
            "bytes_sent": row.bytes_sent,
            "bytes_received": row.bytes_received,
            "bytes_per_second": round(row.bytes_per_second, 1),
            "packets_per_second": round(row.packets_per_second, 1),
            "started_ns": row.started_ns,
            "last_ns": row.last_ns,
        }
