"""The engine against a deliberately simple model of the chain, on random handles, packets and steps.

A packet is its number, which is its UDP source port; a filter is a bound that the number's last digit must lie below.
The model keeps handles in a list and queues as lists, and sorts the handles anew for every packet.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import oxidivert as od
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from samples import udp

Seen = tuple[int, bool]
"""A packet's number and whether it is outbound."""


def text_of(below: int, direction: str) -> str:
    """The filter of a bound and a direction, as the engine reads it; the digit is also the destination port."""
    return f"{direction} and udp.DstPort < {100 + below}"


def packet_of(number: int) -> bytes:
    return udp(src_port=number, dst_port=100 + number % 10)


@dataclass
class ModelHandle:
    """What the model knows of a handle."""

    priority: int
    opened: int
    mode: od.Flag
    below: int
    direction: str
    queue: list[Seen] = field(default_factory=list)
    captures: bool = True

    def matches(self, seen: Seen) -> bool:
        number, is_outbound = seen
        wants = {"outbound": is_outbound, "inbound": not is_outbound, "true": True}[self.direction]
        return self.captures and wants and number % 10 < self.below

    def rank(self) -> tuple[int, int]:
        """Higher comes first; of equal priorities the one that was opened later."""
        return (self.priority, self.opened)


@dataclass
class Model:
    """All handles, and what was delivered."""

    handles: list[ModelHandle] = field(default_factory=list)
    delivered: list[Seen] = field(default_factory=list)

    def walk(self, seen: Seen, sender: ModelHandle | None = None) -> None:
        """Let a packet go down: from the top, or from below the handle that sends it."""
        for handle in sorted(self.handles, key=ModelHandle.rank, reverse=True):
            if sender is not None and handle.rank() >= sender.rank():
                continue
            if not handle.matches(seen):
                continue
            if handle.mode == od.Flag.DROP:
                return
            handle.queue.append(seen)
            if handle.mode != od.Flag.SNIFF:
                return
        self.delivered.append(seen)

    def close(self, handle: ModelHandle) -> None:
        """What a diverting handle had queued goes on below it; copies are gone."""
        handle.captures = False
        if handle.mode != od.Flag.SNIFF:
            for seen in handle.queue:
                self.walk(seen, handle)
        self.handles.remove(handle)


def seen_of(packet: od.Packet) -> Seen:
    assert packet.src_port is not None
    return packet.src_port, packet.direction is od.Direction.OUTBOUND


HANDLES = st.integers(0, 1_000)
BELOW = st.integers(0, 10)
DIRECTIONS = st.sampled_from(["outbound", "inbound", "true"])
MODES = st.sampled_from([od.Flag(0), od.Flag(0), od.Flag.SNIFF, od.Flag.DROP])


class Pair(RuleBasedStateMachine):
    """Engine and model side by side: each rule is done to both."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = od.Engine()
        self.model = Model()
        self.handles: list[tuple[od.Handle[od.Packet], ModelHandle]] = []
        self.opened = 0
        self.number = 0

    def pick(self, index: int) -> tuple[od.Handle[od.Packet], ModelHandle]:
        return self.handles[index % len(self.handles)]

    def new_number(self) -> int:
        self.number += 1
        return self.number

    @rule(priority=st.integers(-2, 2), mode=MODES, below=BELOW, direction=DIRECTIONS)
    def open(self, priority: int, mode: od.Flag, below: int, direction: str) -> None:
        self.opened += 1
        handle = od.open(text_of(below, direction), priority=priority, flags=mode, backend=self.engine)
        modelled = ModelHandle(priority, self.opened, mode, below, direction)
        self.model.handles.append(modelled)
        self.handles.append((handle, modelled))

    @rule(directions=st.lists(st.booleans(), min_size=1, max_size=20))
    def inject(self, directions: list[bool]) -> None:
        for is_outbound in directions:
            number = self.new_number()
            self.engine.inject(packet_of(number), outbound=is_outbound)
            self.model.walk((number, is_outbound))

    @precondition(lambda self: bool(self.handles))
    @rule(index=HANDLES, limit=st.integers(1, 8), verdicts=st.lists(st.booleans(), min_size=8, max_size=8))
    def receive_and_send(self, index: int, limit: int, verdicts: list[bool]) -> None:
        handle, modelled = self.pick(index)
        expected, modelled.queue = modelled.queue[:limit], modelled.queue[limit:]
        for seen, is_sent in zip(expected, verdicts, strict=False):
            packet = handle.recv(timeout=0)
            assert packet is not None
            assert (seen_of(packet), packet.address.sniffed) == (seen, modelled.mode == od.Flag.SNIFF)
            if is_sent:
                handle.send(packet)
                self.model.walk(seen, modelled)

    @precondition(lambda self: bool(self.handles))
    @rule(index=HANDLES, is_outbound=st.booleans())
    def send_new(self, index: int, is_outbound: bool) -> None:
        handle, modelled = self.pick(index)
        number = self.new_number()
        handle.send(packet_of(number), od.Address(outbound=is_outbound))
        self.model.walk((number, is_outbound), modelled)

    @precondition(lambda self: bool(self.handles))
    @rule(index=HANDLES, below=BELOW, direction=DIRECTIONS)
    def swap_filter(self, index: int, below: int, direction: str) -> None:
        handle, modelled = self.pick(index)
        handle.set_filter(text_of(below, direction))
        modelled.below, modelled.direction = below, direction

    @precondition(lambda self: bool(self.handles))
    @rule(index=HANDLES)
    def shut_down(self, index: int) -> None:
        handle, modelled = self.pick(index)
        handle.shutdown(od.Shutdown.RECV)
        modelled.captures = False

    @precondition(lambda self: bool(self.handles))
    @rule(index=HANDLES)
    def close(self, index: int) -> None:
        handle, modelled = self.pick(index)
        handle.close()
        self.model.close(modelled)
        self.handles.remove((handle, modelled))

    @invariant()
    def the_same_was_delivered(self) -> None:
        assert [seen_of(packet) for packet in self.engine.delivered] == self.model.delivered

    def teardown(self) -> None:
        """What is still queued is the same; the copies are looked at here, the rest goes on when its handle closes."""
        try:
            for handle, modelled in self.handles:
                if modelled.mode == od.Flag.SNIFF:
                    copies = [handle.recv(timeout=0) for _ in modelled.queue]
                    assert [seen_of(packet) for packet in copies if packet is not None] == modelled.queue
                handle.close()
                self.model.close(modelled)
            self.the_same_was_delivered()
        finally:
            for handle, _ in self.handles:
                handle.close()


TestTheEngineDoesWhatTheModelDoes = Pair.TestCase
TestTheEngineDoesWhatTheModelDoes.settings = settings(stateful_step_count=30)
