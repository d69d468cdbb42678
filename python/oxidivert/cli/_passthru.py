"""`oxidivert passthru`: divert and send on, unchanged; how fast that goes."""

from __future__ import annotations

import argparse
import json
import time
from contextlib import ExitStack
from itertools import cycle, islice

import oxidivert as od

from ._background import Background
from ._errors import CommandError
from ._input import add_filter, bounded, open_replay
from ._output import write_line
from ._passthru_ways import WAYS, Turns, check
from ._session import QUEUE_MAX, Session, add_session, tool_parser

#: What a packet takes of a queue's size besides its bytes, as with the driver.
_OVERHEAD = 63
_LOOK_SECONDS = 0.01

SUMMARY = "Divert the packets that match and send them on unchanged: what diverting costs."

_ACCOUNT = """\
Ways: "batch" takes and sends batches and chooses packets by a filter, "columns" by a column, "callback" calls a
function for each packet from a loop in Rust, "loop" is a plain for loop, and "rust" is the loop without Python.
Their rates over one capture are the costs of each. The figures go to stdout. Live, seconds are those from the first
packet to the last. With several workers packets may be reordered, with "callback" only between flows.
"""


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    examples = '"tcp.DstPort == 5201" --batch 64 --duration 10', "--read in.pcap --way callback --json"
    parser = tool_parser(prog, SUMMARY, _ACCOUNT, examples)
    add_filter(parser)
    add_session(parser, capture="read and write")
    parser.add_argument(
        "--preload",
        action="store_true",
        help="with --read: have the packets in the queue of an engine first, repeated until it is full (16384, or"
        " --queue-length), so that the figures are without what reading takes; what is sent is dropped",
    )
    parser.add_argument(
        "--rounds",
        metavar="N",
        type=bounded(1, 1000),
        default=1,
        help="with --read: go over it so many times, and tell of the fastest",
    )
    parser.add_argument("--batch", metavar="N", type=bounded(1, 255), default=64, help="packets a batch (default: 64)")
    parser.add_argument("--workers", metavar="N", type=bounded(1, 64), default=1, help="threads (default: 1)")
    parser.add_argument("--way", choices=list(WAYS), default="batch", help="how (default: batch)")
    parser.add_argument(
        "--ttl",
        metavar="N",
        type=bounded(0, 255),
        help="set the TTL or hop limit of each packet, to see what an edit costs",
    )
    parser.add_argument(
        "--port",
        metavar="N",
        type=_port,
        help="with --ttl or --only: look at ports, TCP's and UDP's, and take packets to this one, or to any",
    )
    parser.add_argument(
        "--only", action="store_true", help="with --port: let only these packets go on, drop the others"
    )
    parser.add_argument(
        "--queue-length",
        metavar="N",
        type=bounded(32, QUEUE_MAX[0]),
        help="so many packets may wait; further ones push out the oldest (default: 4096)",
    )
    return parser


def _port(text: str) -> int:
    """A port; 0 for any."""
    return 0 if text == "any" else bounded(1, 65535)(text)


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    check(options)
    packets = _preloaded(options) if options.preload else []
    with Session(options) as session:
        seconds, figures = _measured(session, packets)
        for _ in range(1, options.rounds):
            again, others = _measured(session, packets)
            if session.stopping.is_set():
                break
            if again < seconds:
                seconds, figures = again, others
    _print(options, figures)
    return session.code


def _measured(session: Session, packets: list[od.Packet]) -> tuple[float, dict[str, object]]:
    """Sends packets on until there are no more or the session ends; how long that took, and all figures."""
    options = session.options
    with ExitStack() as stack:
        handle = stack.enter_context(session.open(options.filter))
        turns = Turns()
        work = WAYS[options.way](session, handle, turns)
        if options.preload:
            # Below it, for what an engine records of deliveries would cost more than all else.
            stack.enter_context(session.open("true", flags=od.Flag.DROP, priority=-30000))
            _queue(options, handle, packets)
        elif options.queue_length is not None:
            handle.queue_length = options.queue_length
        session.show_rates(handle)
        if session.is_live and not options.preload:
            with Meter(handle) as meter:
                work()
            seconds = meter.seconds
        else:
            started = time.perf_counter()
            work()
            # That there are no more packets takes time to tell, but none of theirs.
            seconds = (turns.ended or time.perf_counter()) - started
        return seconds, _figures(options, handle.stats, turns.count, seconds)


def _figures(options: argparse.Namespace, stats: od.Statistics, turns: int, seconds: float) -> dict[str, object]:
    return {
        "type": "throughput",
        "way": options.way,
        "batch": options.batch,
        "workers": options.workers,
        "packets": stats.received,
        "sent": stats.sent,
        "errors": stats.errors,
        "lost": stats.overflowed + stats.expired,
        "seconds": round(seconds, 6),
        "packets_per_second": round(stats.received / seconds) if seconds else 0,
        "nanoseconds_per_packet": round(seconds / stats.received * 1e9, 1) if stats.received else None,
        "packets_per_batch": round(stats.received / turns, 2) if turns else None,
    }


def _preloaded(options: argparse.Namespace) -> list[od.Packet]:
    """The packets of the capture, as many as a queue takes; from here on the backend is an engine."""
    if options.read is None or options.write is not None:
        raise CommandError("--preload goes with --read, and without --write")
    with od.open("true", flags=od.Flag.SNIFF, backend=open_replay(options.read, local=options.local)) as capture:
        packets = list(islice(capture, QUEUE_MAX[0]))
    options.read, options.backend = None, od.Engine()
    return packets


def _queue(options: argparse.Namespace, handle: od.Handle[od.Packet], packets: list[od.Packet]) -> None:
    """Has the packets wait for the handle, again and again until its queue is full, and nothing come after them."""
    engine: od.Engine = options.backend
    handle.queue_length, handle.queue_time, handle.queue_size = length, _, size = QUEUE_MAX
    length = options.queue_length or length
    for packet in islice(cycle(packets), length):
        size -= len(packet) + _OVERHEAD
        if size < 0:
            break
        engine.inject(packet, outbound=packet.address.outbound)
    handle.shutdown(od.Shutdown.RECV)


class Meter(Background):
    """Tells how long it was from the first packet to the last one, as near as looking now and then tells."""

    def __init__(self, handle: od.Handle[od.Packet]) -> None:
        super().__init__("meter")
        self.seconds = 0.0
        self._handle = handle

    def _work(self) -> None:
        count, first, before = 0, 0.0, time.perf_counter()
        while True:
            is_over = self._stop.wait(_LOOK_SECONDS)
            now, received = time.perf_counter(), self._handle.stats.received
            if received != count:
                first = first or before
                count, self.seconds = received, now - first
            if is_over:
                return
            before = now


def _print(options: argparse.Namespace, figures: dict[str, object]) -> None:
    if options.json:
        write_line(json.dumps(figures))
        return
    for name, value in figures.items():
        if name != "type" and value is not None:
            shown = f"{value:,}" if isinstance(value, int | float) else str(value)
            write_line(f"{name.replace('_', ' '):23} {shown:>15}")
