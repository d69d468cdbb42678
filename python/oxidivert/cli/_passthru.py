"""`oxidivert passthru`: divert and send on, unchanged; how fast that goes."""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable
from itertools import cycle, islice

import oxidivert as od

from ._errors import DONE, CommandError
from ._input import add_filter, bounded, open_replay
from ._output import write_line
from ._session import QUEUE_MAX, Session, add_session, tool_parser

#: What a packet takes of a queue's size besides its bytes, as with the driver.
_OVERHEAD = 63

SUMMARY = "Divert the packets that match and send them on unchanged: what diverting costs."

_ACCOUNT = """\
Ways through Python: "batch" takes and sends batches (the fastest), "callback" calls an empty function for each
packet from a loop in Rust, "loop" is a plain for loop. Their rates over one capture are the costs of each. The
figures go to stdout. With several workers packets may be reordered, with "callback" only between flows.
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
        help="with --read: have the packets in the queue of an engine first, repeated until it is full, so that the"
        " figures are without what reading takes",
    )
    parser.add_argument("--batch", metavar="N", type=bounded(1, 255), default=64, help="packets a batch (default: 64)")
    parser.add_argument("--workers", metavar="N", type=bounded(1, 64), default=1, help="threads (default: 1)")
    parser.add_argument("--way", choices=list(_WAYS), default="batch", help="how (default: batch)")
    parser.add_argument(
        "--ttl",
        metavar="N",
        type=bounded(0, 255),
        help="set the TTL or hop limit of each packet, to see what an edit costs",
    )
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    packets = _preloaded(options) if options.preload else []
    with Session(options) as session:
        handle = session.open(options.filter)
        if options.preload:
            _queue(handle, options.backend, packets)
        session.show_rates(handle)
        turns = Turns()
        started = time.perf_counter()
        _WAYS[options.way](session, handle, turns)
        seconds = time.perf_counter() - started
        stats = handle.stats
        _print(
            options,
            {
                "type": "throughput",
                "way": options.way,
                "batch": options.batch,
                "workers": options.workers,
                "packets": stats.received,
                "sent": stats.sent,
                "errors": stats.errors,
                "seconds": round(seconds, 6),
                "packets_per_second": round(stats.received / seconds) if seconds else 0,
                "nanoseconds_per_packet": round(seconds / stats.received * 1e9, 1) if stats.received else None,
                "packets_per_batch": round(stats.received / turns.count, 2) if turns.count else None,
            },
        )
    return session.code or DONE


def _preloaded(options: argparse.Namespace) -> list[od.Packet]:
    """The packets of the capture, as many as a queue takes; from here on the backend is an engine."""
    if options.read is None or options.write is not None:
        raise CommandError("--preload goes with --read, and without --write")
    with od.open("true", flags=od.Flag.SNIFF, backend=open_replay(options.read, local=options.local)) as capture:
        packets = list(islice(capture, QUEUE_MAX[0]))
    options.read, options.backend = None, od.Engine()
    return packets


def _queue(handle: od.Handle[od.Packet], engine: od.Engine, packets: list[od.Packet]) -> None:
    """Has the packets wait for the handle, again and again until its queue is full, and nothing come after them."""
    handle.queue_length, handle.queue_time, handle.queue_size = length, _, size = QUEUE_MAX
    for packet in islice(cycle(packets), length):
        size -= len(packet) + _OVERHEAD
        if size < 0:
            break
        engine.inject(packet, outbound=packet.address.outbound)
    handle.shutdown(od.Shutdown.RECV)


class Turns:
    """How often the loop went round, over all workers."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Adds what one worker has counted."""
        with self._lock:
            self.count += count


def _by_batches(session: Session, handle: od.Handle[od.Packet], turns: Turns) -> None:
    ttl: int | None = session.options.ttl

    def work() -> None:
        count = 0
        try:
            while True:
                batch = handle.recv_batch(_limit(session))
                count += 1
                if ttl is not None:
                    batch.set_column("ip.TTL", ttl, batch.matches("ip"))
                    batch.set_column("ipv6.HopLimit", ttl, batch.matches("ipv6"))
                _send(session, handle, batch)
                if session.options.limit:
                    for _ in range(len(batch)):
                        session.count()
        except (od.HandleShutdownError, od.HandleClosedError):
            pass
        finally:
            turns.add(count)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(session.options.workers - 1)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()


def _limit(session: Session) -> int:
    batch: int = session.options.batch
    limit: int | None = session.options.limit
    return batch if limit is None else max(1, min(batch, limit - session.handled))


def _send(session: Session, handle: od.Handle[od.Packet], batch: od.Batch) -> None:
    try:
        handle.send_batch(batch)
    except (od.HandleShutdownError, od.HandleClosedError):
        raise
    except od.DivertError as error:
        session.warn(f"not sent: {error.strerror}")


def _by_callback(session: Session, handle: od.Handle[od.Packet], _turns: Turns) -> None:
    handle.run(_visit(session), batch=session.options.batch, workers=session.options.workers)


def _by_loop(session: Session, handle: od.Handle[od.Packet], _turns: Turns) -> None:
    visit = _visit(session)
    for packet in handle:
        visit(packet)
        handle.send(packet)


def _visit(session: Session) -> Callable[[od.Packet], None]:
    """What is done with each packet: nothing at all, unless more was asked for."""
    ttl: int | None = session.options.ttl

    def nothing(_packet: od.Packet) -> None:
        pass

    def edit(packet: od.Packet) -> None:
        if ttl is not None:
            if packet.ipv4 is not None:
                packet.ipv4.ttl = ttl
            elif packet.ipv6 is not None:
                packet.ipv6.hop_limit = ttl
        if session.options.limit:
            session.count()

    return nothing if ttl is None and session.options.limit is None else edit


_WAYS: dict[str, Callable[[Session, od.Handle[od.Packet], Turns], None]] = {
    "batch": _by_batches,
    "callback": _by_callback,
    "loop": _by_loop,
}


def _print(options: argparse.Namespace, figures: dict[str, object]) -> None:
    if options.json:
        write_line(json.dumps(figures))
        return
    for name, value in figures.items():
        if name != "type" and value is not None:
            shown = f"{value:,}" if isinstance(value, int | float) else str(value)
            write_line(f"{name.replace('_', ' '):23} {shown:>15}")
