"""Threads that do everything at once to one engine through the bindings: each packet is accounted for, none gets stuck.

Runs for 2 seconds, or ``OXIDIVERT_STRESS_SECONDS``.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import oxidivert as od
import pytest
from samples import udp

SECONDS = float(os.environ.get("OXIDIVERT_STRESS_SECONDS", "2"))
THREADS = 8
PLACES = 4


def number_of(packet: od.Packet) -> int:
    return int.from_bytes(packet.payload, "big")


class Stress:
    """An engine with handles in some places, and the books: which numbers were kept, and how many were lost."""

    def __init__(self) -> None:
        self.engine = od.Engine("real")
        self.lock = threading.Lock()
        self.numbers = 0
        self.ends: Counter[int] = Counter()
        self.delivered = 0
        self.lost = 0
        self.handles = [self.open(random.Random(place)) for place in range(PLACES)]
        self.errors: list[BaseException] = []

    def open(self, dice: random.Random) -> od.Handle[od.Packet]:
        text = f"udp.DstPort > {dice.randrange(4)} and udp.DstPort < {dice.randrange(6, 11)}"
        handle = od.open(text, backend=self.engine, priority=dice.randrange(-2, 3))
        handle.queue_length = dice.choice([32, 4096])
        return handle

    def pick(self, dice: random.Random) -> od.Handle[od.Packet]:
        with self.lock:
            return dice.choice(self.handles)

    def new_packet(self) -> tuple[int, bytes]:
        with self.lock:
            self.numbers += 1
            number = self.numbers
        return number, udp(number.to_bytes(8, "big"), dst_port=number % 10)

    def keep(self, number: int) -> None:
        with self.lock:
            self.ends[number] += 1

    def take_delivered(self, dice: random.Random) -> None:
        with self.lock:
            delivered = self.engine.delivered
            self.delivered += len(delivered)
            self.ends.update(map(number_of, delivered))
            delivered.clear()

    def inject(self, dice: random.Random) -> None:
        for _ in range(dice.randrange(1, 40)):
            self.engine.inject(self.new_packet()[1])

    def receive(self, dice: random.Random) -> None:
        handle = self.pick(dice)
        packet = handle.recv(timeout=0.001)
        if packet is not None:
            number = number_of(packet)
            try:
                if dice.random() < 0.9:
                    handle.send(packet)
                    return
            except (od.HandleClosedError, od.HandleShutdownError):
                pass
            self.keep(number)

    def receive_batch(self, dice: random.Random) -> None:
        handle = self.pick(dice)
        batch = handle.recv_batch(limit=dice.randrange(1, 64), timeout=0)
        mask = [dice.random() < 0.9 for _ in batch]
        numbers = [number_of(packet) for packet in batch]
        try:
            handle.send_batch(batch, mask)
        except (od.HandleClosedError, od.HandleShutdownError):
            mask = [False] * len(mask)
        for number, is_sent in zip(numbers, mask, strict=True):
            if not is_sent:
                self.keep(number)

    def send(self, dice: random.Random) -> None:
        number, data = self.new_packet()
        try:
            self.pick(dice).send(data, od.Address(outbound=True))
        except (od.HandleClosedError, od.HandleShutdownError):
            self.keep(number)

    def change(self, dice: random.Random) -> None:
        handle = self.pick(dice)
        handle.queue_length = dice.choice([32, 64, 4096])
        handle.set_filter(f"udp.DstPort < {dice.randrange(1, 11)}")

    def shut_down(self, dice: random.Random) -> None:
        self.pick(dice).shutdown(dice.choice([od.Shutdown.RECV, od.Shutdown.BOTH]))

    def reopen(self, dice: random.Random) -> None:
        new = self.open(dice)
        with self.lock:
            place = dice.randrange(PLACES)
            old, self.handles[place] = self.handles[place], new
        self.close(old)

    def close(self, handle: od.Handle[od.Packet]) -> None:
        handle.close()
        counts = handle.stats
        with self.lock:
            self.lost += counts.overflowed + counts.expired

    def work(self, seed: int, end: float) -> None:
        dice = random.Random(seed)
        steps: list[Callable[[random.Random], None]] = [
            *[self.inject] * 3,
            *[self.receive] * 12,
            *[self.receive_batch] * 12,
            *[self.send] * 3,
            *[self.change] * 2,
            self.shut_down,
            self.take_delivered,
            *[self.reopen] * 2,
        ]
        try:
            while time.monotonic() < end and not self.errors:
                try:
                    dice.choice(steps)(dice)
                except (od.HandleClosedError, od.HandleShutdownError):
                    pass
                except od.DivertError as error:
                    # Closed by another thread while it waited.
                    if error.code != 995:
                        raise
        except BaseException as error:
            self.errors.append(error)


@pytest.mark.timeout(SECONDS + 120)
def test_every_packet_is_accounted_for_whatever_the_threads_do() -> None:
    stress = Stress()
    end = time.monotonic() + SECONDS
    threads = [threading.Thread(target=stress.work, args=(seed, end), daemon=True) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS + 60)
        assert not thread.is_alive(), "a thread is stuck"
    assert stress.errors == []
    for handle in stress.handles:
        stress.close(handle)
    stress.take_delivered(random.Random())
    assert [number for number, count in stress.ends.items() if count > 1] == []
    assert all(1 <= number <= stress.numbers for number in stress.ends)
    assert len(stress.ends) + stress.lost == stress.numbers
    assert 0 < stress.delivered < len(stress.ends)
