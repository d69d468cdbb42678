"""The ways in which `passthru` sends packets on, and what each does with those that it edits."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec

import oxidivert as od

from .. import _native
from ._errors import CommandError
from ._session import Session

_IPV4, _IPV6 = od.Filter("ip"), od.Filter("ipv6")
_ENDED = od.HandleShutdownError, od.HandleClosedError


class Turns:
    """How often the loop went round, over all workers."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Adds what one worker has counted."""
        with self._lock:
            self.count += count


def check(options: argparse.Namespace) -> None:
    """Refuses what does not go together, before anything is opened."""
    if options.rounds > 1 and (options.read is None or options.write is not None):
        raise CommandError("--rounds goes with --read, and without --write")
    if options.port is not None and options.ttl is None:
        raise CommandError("--port says which packets --ttl is for; add --ttl")
    if options.way == "rust" and (options.ttl is not None or options.limit is not None):
        raise CommandError("--way rust only sends on: leave --ttl and --limit out")
    if options.way == "columns":
        if options.port is None:
            raise CommandError("--way columns edits packets by their ports: add --ttl and --port")
        if find_spec("numpy") is None:
            raise CommandError("--way columns needs numpy: pip install numpy")
    if options.way == "loop" and options.workers > 1:
        raise CommandError("--way loop is one loop: leave --workers out")


def _by_batches(session: Session, handle: od.Handle[od.Packet], turns: Turns) -> Callable[[], object]:
    edit = _edit_of_batches(session)
    is_limited = session.options.limit is not None

    def work() -> None:
        count = 0
        try:
            while True:
                batch = handle.recv_batch(_limit(session))
                count += 1
                if edit:
                    edit(batch)
                _send(session, handle, batch)
                if is_limited:
                    for _ in range(len(batch)):
                        session.count()
        except _ENDED:
            pass
        finally:
            turns.add(count)

    return partial(_by_workers, session.options.workers, work)


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
    batch: int = session.options.batch
    limit: int | None = session.options.limit
    return batch if limit is None else max(1, min(batch, limit - session.handled))


def _send(session: Session, handle: od.Handle[od.Packet], batch: od.Batch) -> None:
    try:
        handle.send_batch(batch)
    except _ENDED:
        raise
    except od.DivertError as error:
        session.warn(f"not sent: {error.strerror}")


def _by_callback(session: Session, handle: od.Handle[od.Packet], _turns: Turns) -> Callable[[], object]:
    return partial(handle.run, _visit(session), batch=session.options.batch, workers=session.options.workers)


def _by_loop(session: Session, handle: od.Handle[od.Packet], _turns: Turns) -> Callable[[], object]:
    visit = _visit(session)

    def work() -> None:
        for packet in handle:
            visit(packet)
            handle.send(packet)

    return work


def _edit_of_batches(session: Session) -> Callable[[od.Batch], None] | None:
    """What is done with each batch; None if nothing is."""
    ttl: int | None = session.options.ttl
    port: int | None = session.options.port
    if ttl is None:
        return None
    if session.options.way == "columns":
        import numpy

        return lambda batch: _set_ttl(batch, ttl, numpy.asarray(batch.column("dst_port")) == port)
    if port is None:
        return lambda batch: _set_ttl(batch, ttl, None)
    chosen = od.Filter(f"tcp.DstPort == {port} or udp.DstPort == {port}")
    return lambda batch: _set_ttl(batch, ttl, batch.matches(chosen))


def _set_ttl(batch: od.Batch, ttl: int, mask: od.Mask | Iterable[bool] | None) -> None:
    try:
        batch.set_column("ip.TTL", ttl, mask)
    except od.PacketError:
        # There are packets of IPv6 among them.
        chosen = od.Mask([True] * len(batch) if mask is None else mask)
        batch.set_column("ip.TTL", ttl, chosen & batch.matches(_IPV4))
        batch.set_column("ipv6.HopLimit", ttl, chosen & batch.matches(_IPV6))


def _visit(session: Session) -> Callable[[od.Packet], None]:
    """What is done with each packet: nothing at all, unless more was asked for."""
    edit = _edit_of_packets(session)
    if session.options.limit is None:
        return edit

    def count(packet: od.Packet) -> None:
        edit(packet)
        session.count()

    return count


def _edit_of_packets(session: Session) -> Callable[[od.Packet], None]:
    ttl: int = session.options.ttl
    port: int | None = session.options.port

    def nothing(_packet: od.Packet) -> None:
        pass

    def all_of_them(packet: od.Packet) -> None:
        if (ipv4 := packet.ipv4) is not None:
            ipv4.ttl = ttl
        elif (ipv6 := packet.ipv6) is not None:
            ipv6.hop_limit = ttl

    def those_to_port(packet: od.Packet) -> None:
        if packet.dst_port == port:
            all_of_them(packet)

    if session.options.ttl is None:
        return nothing
    return all_of_them if port is None else those_to_port


#: Each makes ready all that it needs, and gives what is to be called.
WAYS: dict[str, Callable[[Session, od.Handle[od.Packet], Turns], Callable[[], object]]] = {
    "batch": _by_batches,
    "columns": _by_batches,
    "callback": _by_callback,
    "loop": _by_loop,
    "rust": _by_rust,
}
