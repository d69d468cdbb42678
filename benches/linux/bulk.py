"""Bulk TCP to another network namespace: no handle, a handle that sends everything on, one that edits every payload.

    python benches/linux/bulk.py [ROUNDS] [SECONDS]

Needs root, ip, unshare and nsenter. The receiver compares every byte with what it must be. Prints the rate of each, the
median of the rounds, and the share of the one without a handle.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import oxidivert as od
from oxidivert import _native

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "python"))

from linux_support import Peer, peer
from rounds import enter_namespace, medians

#: What is sent, again and again, and how it is edited.
BLOCK = bytes(range(256)) * 4096
TURN = bytes(byte ^ 0x55 for byte in range(256))
RECEIVER = """
import socket, sys
turn = {turn}
block = bytes(b ^ 0x55 if turn else b for b in range(256)) * 8192
listener = socket.create_server(("10.9.0.2", 7000))
print("ready", flush=True)
client, _ = listener.accept()
count = 0
room = bytearray(1 << 20)
while n := client.recv_into(room):
    at = count % 256
    if memoryview(room)[:n] != memoryview(block)[at:at + n]:
        sys.exit("bytes differ")
    count += n
print(count, flush=True)
"""


def transfer(other: Peer, seconds: float, edited: bool) -> float:
    """Send for some time; gigabits per second that arrived as they must."""
    there = other.python(RECEIVER.format(turn=edited))
    assert there.stdout is not None
    client = socket.create_connection(("10.9.0.2", 7000))
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        client.sendall(BLOCK)
    client.close()
    line = there.stdout.readline()
    taken = time.monotonic() - started
    assert line, there.communicate()
    there.wait()
    return int(line) * 8 / taken / 1e9


def through(other: Peer, seconds: float, run: Callable[[od.Handle[od.Packet]], object], edited: bool) -> float:
    """The same with a handle in the way."""
    with od.open("outbound and tcp.DstPort == 7000 and tcp.PayloadLength > 0", backend="nfqueue") as handle:
        runner = threading.Thread(target=run, args=(handle,))
        runner.start()
        try:
            return transfer(other, seconds, edited)
        finally:
            handle.shutdown(od.Shutdown.RECV)
            runner.join()


def edit(packet: od.Packet) -> None:
    """Turn some bits of every byte."""
    packet.payload = bytes(packet.payload).translate(TURN)


def main(rounds: int = 5, seconds: float = 2) -> None:
    """Run the race."""
    with peer() as other:
        ways: dict[str, Callable[[], float]] = {
            "no handle": lambda: transfer(other, seconds, False),
            "sent on, in Rust": lambda: through(other, seconds, _native._run_passthrough, False),
            "sent on, callback": lambda: through(other, seconds, lambda handle: handle.run(lambda _: None), False),
            "edited, callback": lambda: through(other, seconds, lambda handle: handle.run(edit), True),
        }
        rates = medians(ways, rounds)
    for name, rate in rates.items():
        print(f"{name:18} {rate:6.2f} Gbit/s   {rate / rates['no handle']:6.1%}")


if __name__ == "__main__":
    enter_namespace()
    main(*(kind(text) for kind, text in zip((int, float), sys.argv[1:], strict=False)))
