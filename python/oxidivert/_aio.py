"""Handles for asyncio: coroutines over the same calls.

What is there at once is taken at once. Whoever must wait is served by one thread a handle, which lives while somebody
waits and for a moment longer, and hands over through ``call_soon_threadsafe``; so any event loop will do, and several.
A packet that comes for somebody who gave up goes to the next who waits, or back to the head of the queue.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast
from weakref import WeakKeyDictionary

from ._exceptions import DivertError
from ._native import Batch, Handle

T = TypeVar("T")

#: How long somebody who gave up waits at most until the thread receives for others, in seconds.
_PATIENCE = 0.1
#: How long the thread stays when nobody waits, in seconds.
_LINGER = 1.0
#: How a receive fails when the handle is closed, was closed meanwhile, or is shut down.
_ENDS = (6, 995, 232)
#: So many packets are taken at once before other tasks have their turn.
_TURN = 64


class _Waiter:
    """Somebody who waits for a batch."""

    def __init__(self, handle: Handle[Any], limit: int) -> None:
        self.handle = handle
        self.limit = limit
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Batch | None] = self.loop.create_future()

    def finish(self, batch: Batch | None, error: BaseException | None) -> None:
        """Hand over, in the waiter's own loop; what a waiter that gave up does not take goes back."""
        if self.future.done():
            if batch is not None:
                self.handle._give_back(batch)
        elif error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(batch)

    def take_back(self) -> None:
        """Put back what was handed over and never seen."""
        if self.future.done() and not self.future.cancelled() and self.future.exception() is None:
            batch = self.future.result()
            if batch is not None:
                self.handle._give_back(batch)


class _Receiver:
    """Those who wait for one handle, in order, and the thread that serves them."""

    def __init__(self) -> None:
        self.waiters: deque[_Waiter] = deque()
        self.taken_at_once = 0
        lock = threading.Lock()
        self._wanted = threading.Condition(lock)
        self._served = threading.Condition(lock)
        self._serving: _Waiter | None = None
        self._has_thread = False

    def add(self, waiter: _Waiter) -> None:
        with self._wanted:
            self.waiters.append(waiter)
            self._wanted.notify()
            if not self._has_thread:
                threading.Thread(target=self._work, name="oxidivert-asyncio", daemon=True).start()
                self._has_thread = True

    def remove(self, waiter: _Waiter) -> bool:
        """Whether the waiter was still waiting."""
        with self._wanted:
            if waiter in self.waiters:
                self.waiters.remove(waiter)
                return True
            return False

    def give_up(self, waiter: _Waiter) -> bool:
        """Wait no longer: the thread receives nothing more for the waiter. False if something is already on its way."""
        if not self.remove(waiter):
            return False
        with self._wanted:
            if self._serving is waiter:
                waiter.handle._wake()
                self._served.wait_for(lambda: self._serving is not waiter, _PATIENCE)
        return True

    def _work(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while (waiter := self._next()) is not None:
            self._serve(waiter)
            with self._wanted:
                self._serving = None
                self._served.notify_all()
            # Else the handle could not be collected while the thread lingers.
            del waiter

    def _next(self) -> _Waiter | None:
        with self._wanted:
            if not self._wanted.wait_for(lambda: self.waiters, _LINGER):
                self._has_thread = False
                return None
            self._serving = self.waiters[0]
            return self._serving

    def _serve(self, waiter: _Waiter) -> None:
        batch: Batch | None = None
        error: BaseException | None = None
        try:
            batch = waiter.handle._recv_slice(waiter.limit)
        except Exception as caught:
            error = caught
        if error is None and not batch:
            return
        if not self.remove(waiter):
            if batch is not None:
                waiter.handle._give_back(batch)
            return
        try:
            waiter.loop.call_soon_threadsafe(waiter.finish, batch, error)
        except RuntimeError:
            # The loop is closed, and nobody waits there any more.
            if batch is not None:
                waiter.handle._give_back(batch)


_receivers: WeakKeyDictionary[Handle[Any], _Receiver] = WeakKeyDictionary()
_receivers_lock = threading.Lock()


def _receiver(handle: Handle[Any]) -> _Receiver:
    with _receivers_lock:
        if (receiver := _receivers.get(handle)) is None:
            receiver = _receivers[handle] = _Receiver()
        return receiver


async def recv_batch(handle: Handle[Any], limit: int, timeout: float | None) -> Batch:
    """Wait for at least one packet, and take up to `limit`; an empty batch when the time is out."""
    receiver = _receiver(handle)
    receiver.taken_at_once += 1
    if receiver.taken_at_once % _TURN == 0:
        await asyncio.sleep(0)
    if not receiver.waiters:
        batch = handle.recv_batch(limit, 0)
        if batch or timeout == 0:
            return batch
    waiter = _Waiter(handle, limit)
    timer = waiter.loop.call_later(timeout, waiter.finish, None, None) if timeout is not None else None
    receiver.add(waiter)
    try:
        waited = await waiter.future
    except asyncio.CancelledError:
        waiter.take_back()
        raise
    finally:
        gave_up = receiver.give_up(waiter)
        if timer is not None:
            timer.cancel()
    if waited is not None:
        return waited
    if not gave_up:
        # What comes too late goes back to the queue first.
        await asyncio.sleep(0)
    return handle.recv_batch(limit, 0)


async def recv(handle: Handle[T], timeout: float | None) -> T | None:
    """Wait for a packet; None when the time is out."""
    batch = await recv_batch(handle, 1, timeout)
    return cast(T, batch[0]) if batch else None


async def next_item(handle: Handle[T]) -> T:
    """The next packet of an iteration, which ends when the handle is closed or shut down."""
    try:
        item = await recv(handle, None)
    except DivertError as error:
        if error.code not in _ENDS:
            raise
        raise StopAsyncIteration from None
    if item is None:
        raise StopAsyncIteration
    return item


async def call(handle: Handle[Any], name: Literal["send", "send_batch"], *arguments: object) -> int | None:
    """Send, in a thread where the system may take its time."""
    method: Callable[..., int | None] = getattr(handle, name)
    if handle._waits_to_send:
        return await asyncio.to_thread(method, *arguments)
    return method(*arguments)


async def enter(handle: Handle[T]) -> Handle[T]:
    """Enter the block that closes the handle."""
    return handle.__enter__()


async def leave(
    handle: Handle[Any], kind: type[BaseException] | None, value: BaseException | None, traceback: object
) -> None:
    """Close the handle in a thread, since a capture's output or a driver may take its time."""
    await asyncio.shield(asyncio.to_thread(handle.__exit__, kind, value, traceback))
