"""A UDP flood on loopback through a packet queue: a plain C loop, NetfilterQueue, and this package, side by side.

    python benches/linux/race.py [ROUNDS] [SECONDS]

Needs root, gcc, iptables and unshare, and for one of the peers the package NetfilterQueue. Runs in a network namespace
of its own. Prints the packets per second that arrived, the median of the rounds, and the share of the C loop.
"""

from __future__ import annotations

import importlib.util
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
SNIFF = (
    "import oxidivert as od\nfrom oxidivert import _native\n"
    f"handle = od.open('udp.DstPort == {PORT}', flags=od.Flag.SNIFF, backend='nfqueue')\nhandle.queue_length = 16384\n"
    "print('ready', flush=True)\n"
)


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
        done = subprocess.run([sender, str(PORT), seconds], capture_output=True, text=True, check=True)
    finally:
        if rule:
            subprocess.run(["iptables", "-D", "OUTPUT", *target], check=False)
        if started:
            started.kill()
            started.wait()
    _, arrived, time = done.stdout.split()
    return int(arrived) / float(time)


def peers(loop: str, sender: str, seconds: str) -> dict[str, Callable[[], float]]:
    """What gives packets per second, by what is at the queue."""
    python = [sys.executable, "-c"]
    found: dict[str, Callable[[], float]] = {
        "no queue": lambda: flood(sender, seconds, None, False),
        "C loop": lambda: flood(sender, seconds, [loop, str(QUEUE)], True),
        "NetfilterQueue": lambda: flood(sender, seconds, [*python, NETFILTERQUEUE], True),
        "ours, in Rust": lambda: flood(sender, seconds, [*python, OURS + "_native._run_passthrough(handle)"], False),
        "ours, callback": lambda: flood(sender, seconds, [*python, OURS + "handle.run(lambda packet: None)"], False),
        "ours, SNIFF": lambda: flood(sender, seconds, [*python, SNIFF + "handle.run(lambda packet: None)"], False),
    }
    if importlib.util.find_spec("netfilterqueue") is None:
        del found["NetfilterQueue"]
        print("NetfilterQueue is left out: pip install NetfilterQueue (needs libnetfilter-queue-dev)", file=sys.stderr)
    return found


def main(rounds: int = 5, seconds: str = "2") -> None:
    """Run the race."""
    with tempfile.TemporaryDirectory() as folder:
        rates = medians(peers(compiled("loop", folder), compiled("sender", folder), seconds), rounds)
    for name, rate in rates.items():
        print(f"{name:16} {rate:10,.0f} packets/s   {rate / rates['C loop']:6.1%} of the C loop")


if __name__ == "__main__":
    enter_namespace()
    main(*(kind(text) for kind, text in zip((int, str), sys.argv[1:], strict=False)))
