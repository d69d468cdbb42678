"""What `oxidivert doctor` looks at on Linux: rights, parts of the kernel, and who else diverts packets."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import oxidivert as od

from ._findings import Finding

#: The bits of capabilities that matter, by their names.
CAPABILITIES = {
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
QUEUES = Path("/proc/self/net/netfilter/nfnetlink_queue")
#: Each handle has a queue with a number of the first range; for large packets it may have one of the second.
OWN_QUEUES = range(0x4000, 0x8000)
LARGE_QUEUES = range(0x8000, 0xC000)


def _capabilities() -> int:
    """The effective capabilities of this process, as bits."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def check_system() -> Iterator[Finding]:
    """The kernel's version and the namespace."""
    release = os.uname()
    yield Finding("system", "note", f"{release.sysname} {release.release} {release.machine}")
    yield Finding("network namespace", "note", os.readlink("/proc/self/ns/net"))


def check_rights() -> Iterator[Finding]:
    """The capabilities."""
    bits = _capabilities()
    for name, bit in CAPABILITIES.items():
        has = bool(bits >> bit & 1)
        needed = name in ("CAP_NET_ADMIN", "CAP_NET_RAW")
        advice = {
            "CAP_NET_ADMIN": "without it no handle opens: run as root or give this capability, CAP_NET_RAW and CAP_BPF",
            "CAP_NET_RAW": "without it no new packets can be sent",
            "CAP_BPF": "without it filters are matched in the process, and FLOW and SOCKET do not open",
            "CAP_SYS_PTRACE": "without it packet.process does not find other users' programs",
            "CAP_PERFMON": "without it recent kernels do not name programs that end at once",
            "CAP_SYS_ADMIN": "only needed for FLOW and SOCKET where no cgroup2 is mounted",
        }[name]
        state: Literal["ok", "note", "problem"] = "ok" if has else ("problem" if needed else "note")
        yield Finding(name, state, "there" if has else "missing", "" if has else advice)


def _open(name: str, layer: od.Layer = od.Layer.NETWORK, flags: int = 0) -> Finding:
    """Whether a handle opens."""
    try:
        with od.open("false", backend="nfqueue", layer=layer, flags=flags):
            return Finding(name, "ok", "opens")
    except od.DivertError as error:
        return Finding(name, "problem", str(error))


def check_handles() -> Iterator[Finding]:
    """Whether handles of each kind open; each matches nothing."""
    look = od.Flag.SNIFF | od.Flag.RECV_ONLY
    yield _open("handle on NETWORK")
    yield _open("handle on NETWORK_FORWARD", layer=od.Layer.NETWORK_FORWARD)
    yield _open("handle with SNIFF", flags=od.Flag.SNIFF)
    yield _open("handle on FLOW", layer=od.Layer.FLOW, flags=look)
    yield _open("handle on SOCKET", layer=od.Layer.SOCKET, flags=look)
    yield _open("handle on REFLECT", layer=od.Layer.REFLECT, flags=look)


def check_filter() -> Iterator[Finding]:
    """Whether the kernel asks filters itself."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            od.open("udp.DstPort == 1 and udp.SrcPort == 1", backend="nfqueue").close()
    except od.DivertError as error:
        yield Finding("filters in the kernel", "problem", str(error))
        return
    told = "; ".join(str(warning.message) for warning in caught)
    # Without it handles work all the same, but slower.
    yield Finding("filters in the kernel", "note" if caught else "ok", told or "asked by eBPF programs")


def check_device() -> Iterator[Finding]:
    """The TAP device that new inbound packets come by."""
    there = os.access("/dev/net/tun", os.R_OK | os.W_OK)
    advice = "" if there else "new inbound and forwarded packets need it: `modprobe tun`, or --device /dev/net/tun"
    yield Finding("/dev/net/tun", "ok" if there else "note", "there" if there else "missing or not accessible", advice)


def check_others() -> Iterator[Finding]:
    """Who else has queues here, and handles that are open."""
    queues: list[tuple[int, int]] = []
    if QUEUES.exists():
        for line in QUEUES.read_text(encoding="ascii").splitlines():
            number, owner = (int(word) for word in line.split()[:2])
            queues.append((number, owner))
    own = [number for number, _ in queues if number in OWN_QUEUES]
    other = [number for number, _ in queues if number not in OWN_QUEUES and number not in LARGE_QUEUES]
    yield Finding("open handles", "note", f"{len(own)} in this namespace")
    if other:
        numbers = ", ".join(map(str, other))
        yield Finding(
            "other programs' queues", "note", numbers, "handles stand beside them by their chains' priorities"
        )
    tracking = Path("/proc/sys/net/netfilter/nf_conntrack_max").exists()
    advice = "handles above priority 200 see packets before they are tracked" if tracking else ""
    yield Finding("connection tracking", "note", "in use" if tracking else "not in use", advice)


#: Every check, in the order in which they are told.
CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_system,
    check_rights,
    check_device,
    check_handles,
    check_filter,
    check_others,
)


def findings() -> Iterator[Finding]:
    """What all checks find."""
    for check in CHECKS:
        yield from check()


def repair() -> Iterator[str]:
    """Mends what can be mended without harm: nothing, since the kernel takes away what ended programs had."""
    yield from ()
