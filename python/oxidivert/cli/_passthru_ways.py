"""The ways in which `passthru` sends packets on, and what each does with those that it edits."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import oxidivert as od

from .. import _native
from ._errors import CommandError
from ._session import Session

_IPV4, _IPV6 = od.Filter("ip"), od.Filter("ipv6")
_ENDED = od.HandleShutdownError, od.HandleClosedError


class Turns:
    """How often the loop went round, over all workers, and when it had sent its last packets."""

    def __init__(self) -> None:
        self.count = 0
        #: By the performance counter; None if the loop does not tell.
        self.ended: float | None = None
        self._lock = threading.Lock()

    def add(self, count: int, ended: float) -> None:
        """Adds what one worker has counted."""
        with self._lock:
            self.count += count
            self.ended = max(self.ended or ended, ended)


def check(options: argparse.Namespace) -> None:
    """Refuses what does not go together, before anything is opened."""
    is_edit = options.ttl is not None
    if options.rounds > 1 and (options.read is None or options.write is not None):
        raise CommandError("--rounds goes with --read, and without --write")
    if options.port is not None and not (is_edit or options.only):
        raise CommandError("--port says which packets --ttl or --only is for; add one")
    if options.only and options.port is None:
        raise CommandError("--only drops what does not go to a port; add --port")
    if options.way == "rust" and (is_edit or options.only or options.limit is not None):
        raise CommandError("--way rust only sends on: leave --ttl, --only and --limit out")
    if options.way == "columns" and options.port is None:
        raise CommandError("--way columns looks at ports: add --port, and --ttl or --only")
    if options.way == "loop" and options.workers > 1:
        raise CommandError("--way loop is one loop: leave --workers out")


def _by_batches(session: Session, handle: od.Handle[od.Packet], turns: Turns) -> Callable[[], object]:
    options = session.options
    at_once: int = options.batch
    ttl: int | None = options.ttl
    only: bool = options.only
    is_limited = options.limit is not None
    choose = _choice(options)

    def work() -> None:
        count, ended = 0, time.perf_counter()
        try:
            while True:
                batch = handle.recv_batch(_limit(session) if is_limited else at_once)
                count += 1
                mask = choose(batch) if choose else None
                if ttl is not None:
                    _set_ttl(batch, ttl, mask)
                try:
                    handle.send_batch(batch, mask if only else None)
                except od.DivertError as error:
                    if isinstance(error, _ENDED):
                        raise
                    session.warn(f"not sent: {error.strerror}")
                ended = time.perf_counter()
                if is_limited:
                    for _ in range(len(batch)):
                        session.count()
        except _ENDED:
            pass
        finally:
            turns.add(count, ended)

    return partial(_by_workers, options.workers, work)


def _choice(options: argparse.Namespace) -> Callable[[od.Batch], od.Mask] | None:
    """What tells the packets of a batch that go to the port; None if all are meant."""
    port: int | None = options.port
    if port is None:
        return None
    if options.way == "columns":
        return lambda batch: batch.column("dst_port") == port if port else batch.column("dst_port") > 0
    test = f"== {port}" if port else "> 0"
    chosen = od.Filter(f"tcp.DstPort {test} or udp.DstPort {test}")
    return lambda batch: batch.matches(chosen)


def _set_ttl(batch: od.Batch, ttl: int, mask: od.Mask | None) -> None:
    try:
        batch.set_column("ip.TTL", ttl, mask)
    except od.PacketError:
        # There are packets of IPv6 among them.
        chosen = od.Mask([True] * len(batch)) if mask is None else mask
        batch.set_column("ip.TTL", ttl, chosen & batch.matches(_IPV4))
        batch.set_column("ipv6.HopLimit", ttl, chosen & batch.matches(_IPV6))


def _by_rust(session: Session, handle: od.Handle[od.Packet], _turns: Turns) -> Callable[[], object]:
    batch: int = session.options.batch

    def work() -> None:
        with suppress(*_ENDED):
            _native._run_passthrough(handle, batch)

    return partial(_by_workers, session.options.workers, work)


def _by_workers(workers: int, work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers - 1)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()


def _limit(session: Session) -> int:
    limit: int = session.options.limit
    batch: int = session.options.batch
    return max(1, min(batch, limit - session.handled))


def _by_callback(session: Session, handle: od.Handle[od.Packet], _turns: Turns) -> Callable[[], object]:
    return partial(handle.run, _visit(session), batch=session.options.batch, workers=session.options.workers)


def _by_loop(session: Session, handle: od.Handle[od.Packet], _turns: Turns) -> Callable[[], object]:
    visit = _visit(session)

    def work() -> None:
        for packet in handle:
            if visit(packet) is not False:
                handle.send(packet)

    return work


def _visit(session: Session) -> Callable[[od.Packet], bool | None]:
    """What is done with each packet: nothing at all, unless more was asked for. False: it is dropped."""
    edit = _edit(session.options)
    if session.options.limit is None:
        return edit

    def count(packet: od.Packet) -> bool | None:
        answer = edit(packet)
        session.count()
        return answer

    return count


def _edit(options: argparse.Namespace) -> Callable[[od.Packet], bool | None]:
    ttl: int = options.ttl
    port: int | None = options.port
    only: bool = options.only

    def nothing(_packet: od.Packet) -> None:
        pass

    def choose(packet: od.Packet) -> bool:
        return packet.dst_port == port if port else bool(packet.dst_port)

    def edit(packet: od.Packet) -> bool:
        # In one function: a call would cost as much as the edit.
        if port is not None:
            number = packet.dst_port
            if number != port and (port or not number):
                return not only
        if (ipv4 := packet.ipv4) is not None:
            ipv4.ttl = ttl
        elif (ipv6 := packet.ipv6) is not None:
            ipv6.hop_limit = ttl
        return True

    if options.ttl is not None:
        return edit
    return choose if only else nothing


#: Each makes ready all that it needs, and gives what is to be called.
WAYS: dict[str, Callable[[Session, od.Handle[od.Packet], Turns], Callable[[], object]]] = {
    "batch": _by_batches,
    "columns": _by_batches,
    "callback": _by_callback,
    "loop": _by_loop,
    "rust": _by_rust,
}
