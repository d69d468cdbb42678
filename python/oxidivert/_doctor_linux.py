"""What this machine has of what live handles on Linux need: each check by itself, with advice.

`python -m oxidivert._doctor_linux` prints them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ._enums import Flag, Layer
from ._exceptions import DivertError
from ._native import open as open_handle

#: The bits of capabilities that matter, by their names.
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21, "CAP_BPF": 39}
QUEUES = Path("/proc/self/net/netfilter/nfnetlink_queue")
#: Queues of handles have these numbers.
OWN_QUEUES = range(0x4000, 0xC000)


@dataclass(frozen=True)
class Finding:
    """What a check found: its name, whether all is well (None: it does not matter), what is so, and what to do."""

    name: str
    is_well: bool | None
    text: str
    advice: str = ""

    def __str__(self) -> str:
        mark = {True: "ok", False: "FAIL", None: "--"}[self.is_well]
        advice = f"\n     {self.advice}" if self.advice else ""
        return f"{mark:4} {self.name}: {self.text}{advice}"


def _capabilities() -> int:
    """The effective capabilities of this process, as bits."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def check_system() -> Iterator[Finding]:
    """The kernel's version and the namespace."""
    release = os.uname()
    yield Finding("system", None, f"{release.sysname} {release.release} {release.machine}")
    yield Finding("network namespace", None, os.readlink("/proc/self/ns/net"))


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
            "CAP_SYS_ADMIN": "only needed for FLOW and SOCKET where no cgroup2 is mounted",
        }[name]
        yield Finding(name, has or (False if needed else None), "there" if has else "missing", "" if has else advice)


def _open(name: str, layer: Layer = Layer.NETWORK, flags: int = 0) -> Finding:
    """Whether a handle opens."""
    try:
        with open_handle("false", backend="nfqueue", layer=int(layer), flags=flags):
            return Finding(name, True, "opens")
    except DivertError as error:
        return Finding(name, False, f"{error.symbol}: {error}")


def check_handles() -> Iterator[Finding]:
    """Whether handles of each kind open; each matches nothing."""
    look = Flag.SNIFF | Flag.RECV_ONLY
    yield _open("handle on NETWORK")
    yield _open("handle on NETWORK_FORWARD", layer=Layer.NETWORK_FORWARD)
    yield _open("handle with SNIFF", flags=Flag.SNIFF)
    yield _open("handle on FLOW", layer=Layer.FLOW, flags=look)
    yield _open("handle on SOCKET", layer=Layer.SOCKET, flags=look)
    yield _open("handle on REFLECT", layer=Layer.REFLECT, flags=look)


def check_filter() -> Iterator[Finding]:
    """Whether the kernel asks filters itself."""
    import warnings

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            open_handle("udp.DstPort == 1 and udp.SrcPort == 1", backend="nfqueue").close()
    except DivertError as error:
        yield Finding("filters in the kernel", False, str(error))
        return
    told = "; ".join(str(warning.message) for warning in caught)
    yield Finding("filters in the kernel", not caught, told or "asked by eBPF programs")


def check_device() -> Iterator[Finding]:
    """The TAP device that new inbound packets come by."""
    there = os.access("/dev/net/tun", os.R_OK | os.W_OK)
    advice = "" if there else "new inbound and forwarded packets need it: `modprobe tun`, or --device /dev/net/tun"
    yield Finding("/dev/net/tun", there or None, "there" if there else "missing or not accessible", advice)


def check_others() -> Iterator[Finding]:
    """Who else has queues here, and handles that are open."""
    queues: list[tuple[int, int]] = []
    if QUEUES.exists():
        for line in QUEUES.read_text(encoding="ascii").splitlines():
            number, owner = (int(word) for word in line.split()[:2])
            queues.append((number, owner))
    own = [number for number, _ in queues if number in OWN_QUEUES]
    other = [number for number, _ in queues if number not in OWN_QUEUES]
    yield Finding("open handles", None, f"{len(own)} in this namespace")
    if other:
        numbers = ", ".join(map(str, other))
        yield Finding("other programs' queues", None, numbers, "handles stand beside them by their chains' priorities")
    tracking = Path("/proc/sys/net/netfilter/nf_conntrack_max").exists()
    advice = "handles above priority 200 see packets before they are tracked" if tracking else ""
    yield Finding("connection tracking", None, "in use" if tracking else "not in use", advice)


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


def main() -> int:
    """Print what all checks find; 1 if something that is needed is missing."""
    found = list(findings())
    for finding in found:
        print(finding)
    return 1 if any(finding.is_well is False for finding in found) else 0


if __name__ == "__main__":
    sys.exit(main())
