"""A UDP flood on loopback through a packet queue: a plain C loop, NetfilterQueue, and this package, side by side.

    python benches/linux/race.py [ROUNDS] [SECONDS]

Needs root, gcc, iptables and unshare, and for one of the peers the package NetfilterQueue. Runs in a network namespace
of its own. Prints the packets per second that arrived, the median of the rounds, and the shares of the C loop and of
the flood that nobody observes, and what a packet cost its sender in processor time, which other programs on the machine
disturb less than rates; of SNIFF also the share of what was sent that reached the program.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rounds import enter_namespace, medians

PORT = 7000
QUEUE = 9
HERE = Path(__file__).parent

NETFILTERQUEUE = (
    "from netfilterqueue import NetfilterQueue\nqueue = NetfilterQueue()\n"
    f"queue.bind({QUEUE}, lambda packet: packet.accept(), max_len=81920)\nprint('ready', flush=True)\nqueue.run()\n"
)
OURS = (
    "import oxidivert as od\nfrom oxidivert import _native\n"
    f"handle = od.open('udp.DstPort == {PORT}', backend='nfqueue')\nhandle.queue_length = 16384\n"
    "print('ready', flush=True)\n"
)
#: Tells how many copies it had when it is asked to end.
SNIFF = (
    "import signal\nimport oxidivert as od\n"
    f"handle = od.open('udp.DstPort == {PORT}', flags=od.Flag.SNIFF, backend='nfqueue')\nhandle.queue_length = 16384\n"
    "signal.signal(signal.SIGTERM, lambda *_: handle.shutdown(od.Shutdown.RECV))\nprint('ready', flush=True)\n"
    "handle.run(lambda packet: None)\nprint(handle.stats.received, handle.stats.overflowed)\n"
)
#: The share of the packets that were sent which a looker-on had, by how copies are made.
COPIED: dict[str, list[float]] = {"": [], "log": []}


#: The processor time that each flood cost its sender, in nanoseconds a packet, in the order of the runs.
COSTS: list[float] = []


def flooded(sender: str, seconds: str) -> tuple[int, int, float]:
    """Run the sender; how many packets it sent, how many arrived, and in what time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sender, str(PORT), seconds], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    sent, arrived, time = done.stdout.split()
    cost = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    COSTS.append(cost * 1e9 / int(sent))
    return int(sent), int(arrived), float(time)


def compiled(name: str, folder: str) -> str:
    """A program of this folder."""
    program = f"{folder}/{name}"
    subprocess.run(["gcc", "-O2", "-o", program, str(HERE / f"{name}.c")], check=True)
    return program


def flood(sender: str, seconds: str, peer: list[str] | None, rule: bool) -> float:
    """Packets per second that arrive while `peer` is at the queue."""
    target = ["-p", "udp", "--dport", str(PORT), "-j", "NFQUEUE", "--queue-num", str(QUEUE)]
    started = None
    try:
        if peer:
            started = subprocess.Popen(peer, stdout=subprocess.PIPE)
            assert started.stdout is not None
            assert started.stdout.readline() == b"ready\n"
        if rule:
            subprocess.run(["iptables", "-A", "OUTPUT", *target], check=True)
        _, arrived, time = flooded(sender, seconds)
    finally:
        if rule:
            subprocess.run(["iptables", "-D", "OUTPUT", *target], check=False)
        if started:
            started.kill()
            started.wait()
    return arrived / time


def observed(sender: str, seconds: str, way: str) -> float:
    """Packets per second that arrive while a program looks on; its copies are made this way."""
    environment = os.environ | {"OXIDIVERT_SNIFF": way}
    with subprocess.Popen([sys.executable, "-c", SNIFF], stdout=subprocess.PIPE, text=True, env=environment) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        sent, arrived, time = flooded(sender, seconds)
        started.terminate()
        received, _lost = started.communicate(timeout=10)[0].split()
    COPIED[way].append(int(received) / sent)
    return arrived / time


def peers(loop: str, sender: str, seconds: str) -> dict[str, Callable[[], float]]:
    """What gives packets per second, by what is at the queue."""
    python = [sys.executable, "-c"]
    found: dict[str, Callable[[], float]] = {
        "no queue": lambda: flood(sender, seconds, None, False),
        "C loop": lambda: flood(sender, seconds, [loop, str(QUEUE)], True),
        "NetfilterQueue": lambda: flood(sender, seconds, [*python, NETFILTERQUEUE], True),
        "ours, in Rust": lambda: flood(sender, seconds, [*python, OURS + "_native._run_passthrough(handle)"], False),
        "ours, callback": lambda: flood(sender, seconds, [*python, OURS + "handle.run(lambda packet: None)"], False),
        "ours, SNIFF": lambda: observed(sender, seconds, ""),
        "SNIFF by the log": lambda: observed(sender, seconds, "log"),
    }
    if importlib.util.find_spec("netfilterqueue") is None:
        del found["NetfilterQueue"]
        print("NetfilterQueue is left out: pip install NetfilterQueue (needs libnetfilter-queue-dev)", file=sys.stderr)
    return found


def main(rounds: int = 5, seconds: str = "2") -> None:
    """Run the race."""
    with tempfile.TemporaryDirectory() as folder:
        rates = medians(peers(compiled("loop", folder), compiled("sender", folder), seconds), rounds)
    for at, (name, rate) in enumerate(rates.items()):
        cost = statistics.median(COSTS[at :: len(rates)])
        shares = f"{rate / rates['C loop']:7.1%} of the C loop {rate / rates['no queue']:7.1%} of no queue"
        print(f"{name:16} {rate:10,.0f} packets/s  {shares}   sender's CPU {cost:6,.0f} ns a packet")
    for way, shares_copied in COPIED.items():
        copied = statistics.median(shares_copied)
        print(f"copies {'by the log' if way else 'by our program'}: {copied:.1%} of what was sent reached the program")


if __name__ == "__main__":
    enter_namespace()
    main(*(kind(text) for kind, text in zip((int, str), sys.argv[1:], strict=False)))
