"""Live on Linux: packets that a program lets go are dropped in the kernel as well, so that no sender waits for them."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import oxidivert as od
from linux_support import Line, in_namespace


def kept() -> int:
    """How many packets the kernel keeps for the one handle that is open."""
    lines = Path("/proc/self/net/netfilter/nfnetlink_queue").read_text().splitlines()
    return sum(int(line.split()[2]) for line in lines)


@in_namespace
def test_packets_that_are_let_go_do_not_stay_in_the_kernel() -> None:
    line = Line()
    with line.open() as handle:
        # More than the sender's buffer holds, if they stayed.
        for number in range(2000):
            line.feed(b"%d" % number)
            packet = handle.recv(2)
            assert packet is not None
            assert bytes(packet.payload) == b"%d" % number
        assert kept() <= 33
        line.feed(b"kept")
        kept_on = handle.recv(2)
        del packet
        time.sleep(0.25)
        assert kept() == 1
        assert kept_on is not None
        handle.send(kept_on)
        assert line.arrived() == [b"kept"]
        assert (handle.stats.sent, handle.stats.dropped, handle.stats.received) == (1, 2000, 2001)


@in_namespace
def test_batches_that_are_let_go_leave_the_packets_that_were_taken_out() -> None:
    line = Line()
    with line.open() as handle:
        line.feed(*(b"%d" % number for number in range(20)))
        batch = handle.recv_batch(20, 2)
        assert len(batch) == 20
        taken, view = batch[3], batch.select([number > 17 for number in range(20)])
        assert handle.send_batch(batch, [number == 5 for number in range(20)]) == 1
        del batch
        gc.collect()
        time.sleep(0.25)
        # What was selected keeps all of them.
        assert kept() == 19
        assert handle.send_batch(view) == 2
        del view
        gc.collect()
        time.sleep(0.25)
        assert kept() == 1
        assert isinstance(taken, od.Packet)
        handle.send(taken)
        assert line.arrived() == [b"5", b"18", b"19", b"3"]
        assert (handle.stats.sent, handle.stats.dropped) == (4, 16)


@in_namespace
def test_what_a_callback_decides_is_not_decided_again() -> None:
    line = Line()
    held = []
    with line.open() as handle:
        line.feed(*(b"%d" % number for number in range(100)))

        def callback(packet: od.Packet) -> bool:
            held.append(packet)
            if len(held) == 100:
                handle.shutdown(od.Shutdown.RECV)
            return len(held) % 2 == 0

        assert handle.run(callback) == 100
        held.clear()
        time.sleep(0.25)
        assert kept() == 0
        assert (handle.stats.sent, handle.stats.dropped, handle.stats.errors) == (50, 50, 0)
        assert len(line.arrived()) == 50
