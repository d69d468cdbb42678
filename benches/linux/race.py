"""64-byte UDP packets on loopback through a packet queue: a C loop, NetfilterQueue, and this package, side by side.

    python benches/linux/race.py [ROUNDS] [SECONDS]

Needs root, gcc, iptables and unshare, and for one of the peers the package NetfilterQueue. Runs in a network namespace
of its own. Each program at the queue is measured in three ways:

- with bursts that gathered while it was stopped, so that nothing but the program sets the pace;
- in a flood, whose sender has the kernel do much of the work and shares the processors with the program: where there
  are two, the sender reaches its end first, and the programs come out closer to each other than they are;
- in turns: the sender sends eight packets, and eight more when all of them have arrived, as the other ends of
  connections do. Whoever lets packets gather, for the flood's sake, must not do so here.

Prints the packets per second that arrived, the median of the rounds, and ratios, which are medians of the rounds' own:
what slows a round down slows all of it. What a packet cost in processor time, of the program in bursts and of the
sender in floods, is disturbed less by others on the machine. Of SNIFF the share of what was sent that was copied.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rounds import enter_namespace, measured, ratio

PORT = 7000
QUEUE = 9
#: Packets of a turn.
TURN = 8
HERE = Path(__file__).parent

NETFILTERQUEUE = (
    "from netfilterqueue import NetfilterQueue\nqueue = NetfilterQueue()\n"
    f"queue.bind({QUEUE}, lambda packet: packet.accept(), max_len=81920)\nprint('ready', flush=True)\nqueue.run()\n"
)
#: The same packets as the others' rule takes: those that leave.
OURS = (
    "import oxidivert as od\nfrom oxidivert import _native\n"
    f"handle = od.open('outbound and udp.DstPort == {PORT}', backend='nfqueue')\nhandle.queue_length = 16384\n"
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
#: The share of the packets that arrived, of all runs with a program at the queue.
ARRIVED: list[float] = []
#: Processor time in nanoseconds a packet, by the run: the program's own in bursts, the sender's in floods.
COSTS: dict[str, list[float]] = {}

YARDSTICK = "C loop"
PEER = "NetfilterQueue"


def spent(process: int) -> int:
    """The processor time that a process has had, in nanoseconds."""
    tasks = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


def sent(sender: str, *arguments: str) -> tuple[int, int, float, float]:
    """Run the sender: how many packets it sent, how many arrived, in what time, and its processor time in seconds."""
    before = os.times()
    done = subprocess.run([sender, str(PORT), *arguments], capture_output=True, text=True, check=True)
    after = os.times()
    packets, arrived, time = done.stdout.split()
    cost = after.children_user + after.children_system - before.children_user - before.children_system
    return int(packets), int(arrived), float(time), cost


def compiled(name: str, folder: str) -> str:
    """A program of this folder."""
    program = f"{folder}/{name}"
    subprocess.run(["gcc", "-O2", "-o", program, str(HERE / f"{name}.c")], check=True)
    return program


@contextmanager
def at_queue(peer: list[str] | None, rule: bool) -> Iterator[int | None]:
    """A program at the queue, and a rule that hands it what leaves; its process id."""
    target = ["-p", "udp", "--dport", str(PORT), "-j", "NFQUEUE", "--queue-num", str(QUEUE)]
    started = None
    try:
        if peer:
            started = subprocess.Popen(peer, stdout=subprocess.PIPE)
            assert started.stdout is not None
            assert started.stdout.readline() == b"ready\n"
        if rule:
            subprocess.run(["iptables", "-A", "OUTPUT", *target], check=True)
        yield started.pid if started else None
    finally:
        if rule:
            subprocess.run(["iptables", "-D", "OUTPUT", *target], check=False)
        if started:
            started.kill()
            started.wait()


def flood(sender: str, seconds: str, peer: list[str] | None, rule: bool, name: str = "") -> float:
    """Packets per second that arrive while `peer` is at the queue."""
    with at_queue(peer, rule) as process:
        packets, arrived, time, cost = sent(sender, seconds)
    COSTS.setdefault(f"{name}, flood", []).append(cost * 1e9 / packets)
    if process:
        ARRIVED.append(arrived / packets)
    return arrived / time


def bursts(sender: str, seconds: str, peer: list[str], rule: bool, name: str) -> float:
    """Packets per second that `peer` handles when bursts have gathered for it."""
    with at_queue(peer, rule) as process:
        assert process
        before = spent(process)
        packets, arrived, time, _ = sent(sender, seconds, "bursts", str(process))
        COSTS.setdefault(name, []).append((spent(process) - before) / packets)
    ARRIVED.append(arrived / packets)
    return arrived / time


def turns(sender: str, seconds: str, peer: list[str], rule: bool) -> float:
    """Packets per second that arrive while each eight of them wait for those before."""
    with at_queue(peer, rule):
        packets, arrived, time, _ = sent(sender, seconds, "turns", str(TURN))
    ARRIVED.append(arrived / packets)
    return arrived / time


def observed(sender: str, seconds: str, way: str) -> float:
    """Packets per second that arrive while a program looks on; its copies are made this way."""
    environment = os.environ | {"OXIDIVERT_SNIFF": way}
    with subprocess.Popen([sys.executable, "-c", SNIFF], stdout=subprocess.PIPE, text=True, env=environment) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        packets, arrived, time, _ = sent(sender, seconds)
        started.terminate()
        received, _lost = started.communicate(timeout=10)[0].split()
    COPIED[way].append(int(received) / packets)
    return arrived / time


def programs(loop: str) -> dict[str, tuple[list[str], bool]]:
    """What can be at the queue: the command, and whether it needs a rule."""
    python = [sys.executable, "-c"]
    found = {
        YARDSTICK: ([loop, str(QUEUE)], True),
        PEER: ([*python, NETFILTERQUEUE], True),
        "ours, in Rust": ([*python, OURS + "_native._run_passthrough(handle)"], False),
        "ours, callback": ([*python, OURS + "handle.run(lambda packet: None)"], False),
    }
    if importlib.util.find_spec("netfilterqueue") is None:
        del found[PEER]
        print("NetfilterQueue is left out: pip install NetfilterQueue (needs libnetfilter-queue-dev)", file=sys.stderr)
    return found


def peers(loop: str, sender: str, seconds: str) -> dict[str, Callable[[], float]]:
    """What gives the packets per second of a flood, by what is at the queue."""
    return {
        name: partial(flood, sender, seconds, command, rule, name) for name, (command, rule) in programs(loop).items()
    }


def report(title: str, found: dict[str, list[float]], suffix: str, whose: str) -> None:
    """Print the figures of one kind of run."""
    print(f"\n{title}")
    for name in found:
        rate = statistics.median(found[name])
        line = f"{name.removesuffix(suffix):16} {rate:10,.0f} packets/s"
        for other in (YARDSTICK + suffix, PEER + suffix, "no queue"):
            if other in found:
                line += f"   {ratio(found[name], found[other]):5.2f} of {other.removesuffix(suffix)}"
        cost = COSTS.get(name if suffix else f"{name}, flood")
        print(line + (f"   {whose} {statistics.median(cost):6,.0f} ns a packet" if cost else ""))


def main(rounds: int = 9, seconds: str = "0.5") -> None:
    """Run the race."""
    burst, turn = ", bursts", ", turns"
    with tempfile.TemporaryDirectory() as folder:
        loop, sender = compiled("loop", folder), compiled("sender", folder)
        runs: dict[str, Callable[[], float]] = {
            name + burst: partial(bursts, sender, seconds, command, rule, name + burst)
            for name, (command, rule) in programs(loop).items()
        }
        runs |= {
            name + turn: partial(turns, sender, seconds, command, rule)
            for name, (command, rule) in programs(loop).items()
        }
        runs |= {"no queue": partial(flood, sender, seconds, None, False, "no queue")}
        runs |= peers(loop, sender, seconds)
        runs |= {"ours, SNIFF": partial(observed, sender, seconds, "")}
        runs |= {"SNIFF by the log": partial(observed, sender, seconds, "log")}
        found = measured(runs, rounds)
    for title, suffix, whose in (("bursts that gathered", burst, "its CPU"), (f"turns of {TURN}", turn, "")):
        report(title, {name: found[name] for name in found if name.endswith(suffix)}, suffix, whose)
    report("flood", {name: found[name] for name in found if not name.endswith((burst, turn))}, "", "sender's CPU")
    print(f"\nof what was sent {min(ARRIVED):.1%} arrived in the worst run with a program at the queue")
    for way, shares_copied in COPIED.items():
        copied = statistics.median(shares_copied)
        print(f"copies {'by the log' if way else 'by our program'}: {copied:.1%} of what was sent reached the program")


if __name__ == "__main__":
    enter_namespace()
    main(*(kind(text) for kind, text in zip((int, str), sys.argv[1:], strict=False)))
