"""Runs the live tests for Linux under other kernels, each in an emulated machine.

    python tests/kernels/run.py [--smoke] [release ...] [-- pytest's arguments]

Kernels are named by the release of Debian that has them; without any, all that are listed here run. The Python that
runs this runs the tests as well: `make test-kernels` makes one where oxidivert and what its tests need is there. The
machines see this machine's files and cannot change them. All that is made lies in `build/kernels`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

from machine import lines  # noqa: E402
from packages import Kernel  # noqa: E402

BUILD = ROOT / "build/kernels"
#: Debian packages that this needs, beside those that the tests need.
PACKAGES = ("busybox-static", "cpio", "debian-archive-keyring", "kmod", "qemu-system-x86", "xz-utils", "zstd")
#: Tests of what an emulated machine cannot do in time.
TOO_FAST = (
    # A thousand connections, and a screen four times a second.
    "tests/python/test_linux_flows.py",
    # Three programs that end within the time for which closed sockets are remembered.
    "tests/python/test_linux_processes.py::test_a_program_that_is_gone_is_known",
)
#: Every other live test.
ALL = (
    *(f"tests/python/{path.name}" for path in sorted((ROOT / "tests/python").glob("test_linux_*.py"))),
    *(f"--deselect={test}" for test in TOO_FAST),
)


#: What shows in some minutes that a kernel does what the backend asks of it: queues, filters by programs, new packets
#: both ways, both kinds of copies, events of flows and sockets.
SMOKE = tuple(
    f"tests/python/test_linux_{name}"
    for name in (
        "kernels.py",
        "basic.py::test_udp_is_received_sent_on_edited_and_dropped[127.0.0.1]",
        "basic.py::test_run_edits_a_tcp_connection[::1]",
        "basic.py::test_priorities_order_handles_and_decide_who_sees_what_is_sent",
        "filter.py::test_set_filter_changes_what_the_kernel_asks",
        "filter.py::test_drop_drops_what_matches_and_counts_it",
        "inject.py::test_a_new_inbound_packet_comes_from_the_interface_that_it_names[4]",
        "inject.py::test_a_new_outbound_packet_reaches_another_host[6]",
        "inject.py::test_forwarded_packets_are_seen_edited_and_made[4]",
        "copies.py::test_both_ways_copy_the_same[127.0.0.1]",
        "events.py::test_a_tcp_connection_is_told_with_its_process[127.0.0.1]",
        "events.py::test_flows_begin_and_end_with_their_process",
        "events.py::test_flows_of_connected_sockets_begin_with_their_first_datagram[127.0.0.1]",
        "events.py::test_binds_and_connects_that_match_are_refused[127.0.0.1]",
        "events.py::test_reflect_tells_of_handles_in_every_process",
        "fragments.py::test_live_with_fragments_each_is_seen_and_not_the_reassembled_packet[6]",
    )
)
#: The releases of Debian whose newest kernel is tried, and the tests that run under it.
KERNELS = {
    # 5.10: no tables that go with their owner, so that no handle opens.
    "bullseye": ("tests/python/test_linux_kernels.py",),
    # 6.1
    "bookworm": ALL,
    # 6.12
    "trixie": ALL,
    # 7.3
    "trixie-backports": ALL,
}


def install() -> None:
    """Install the Debian packages that are missing."""
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *PACKAGES]
    there = subprocess.run(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    missing = [name for name in PACKAGES if f"{name} installed" not in there.splitlines()]
    if missing:
        as_root = [] if os.geteuid() == 0 else ["sudo"]
        command = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
        subprocess.run([*command, "update"], check=True)
        subprocess.run([*command, "install", "--no-install-recommends", *missing], check=True)


def script(arguments: list[str]) -> str:
    """The shell script that runs pytest in the machine."""
    # Through a pipe, behind which pytest does not paint its progress.
    command = ["-u", "-m", "pytest", "-p", "no:cacheprovider", "-p", "at_once", "-v", "--color=no", "--tb=short"]
    return "\n".join(
        (
            (HERE / "start.sh").read_text(),
            f"cd {shlex.quote(str(ROOT))}",
            f"export OXIDIVERT_EMULATED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={shlex.quote(str(HERE))}",
            f"{shlex.join([sys.executable, *command, '--timeout=600', *arguments])} | cat",
            "finish ${PIPESTATUS[0]}",
            "",
        )
    )


def run(name: str, arguments: list[str], limit: int) -> bool:
    """Run tests under a kernel, and tell how they ended; whether they passed."""
    folder = BUILD / name
    kernel = Kernel.newest(folder, name)
    begun = time.monotonic()
    told = ""
    code: str | int = 255
    with (folder / "output.log").open("w") as log:
        for code in lines(kernel, folder / "machine", script(arguments), limit):
            if isinstance(code, str):
                told = code or told
                print(f"{name}: {code}", file=log, flush=True)
                print(f"{name}: {code}", flush=True)
    seconds = time.monotonic() - begun
    print(f"{name}: {kernel.version}: exit {code} after {seconds:.0f} s: {told.strip('= ')}", flush=True)
    return code == 0


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=7200, help="seconds that a machine may run (7200)")
    parser.add_argument("--smoke", action="store_true", help="only what shows in some minutes that the backend works")
    parser.add_argument(
        "releases", nargs="*", metavar="release", help=f"of {', '.join(KERNELS)}; all, if there is none"
    )
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options, arguments = parser.parse_args(sys.argv[1:at]), sys.argv[at + 1 :]
    install()
    passed = []
    for name in options.releases or list(KERNELS):
        tests = SMOKE if options.smoke and KERNELS[name] is ALL else KERNELS[name]
        passed.append(run(name, arguments or list(tests), options.limit))
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
