"""Live on Linux: what kernels have or lack is used or told. Meant for kernels of all kinds: see `tests/kernels`."""

from __future__ import annotations

import subprocess
import warnings

import oxidivert as od
import pytest
from linux_support import Line, code_of, in_namespace, kernel

#: Tables that go with their owner.
OWNERS = (5, 12)


def nft(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["nft", *arguments], capture_output=True, text=True, check=False)


@in_namespace
def test_a_kernel_that_is_too_old_is_told_so() -> None:
    if kernel() >= OWNERS:
        with od.open("false", backend="nfqueue") as handle:
            assert handle.backend == "nfqueue"
        return
    for layer, needed in (
        (od.Layer.NETWORK, r"Linux 5\.12"),
        (od.Layer.FLOW, r"Linux 5\.15"),
        (od.Layer.SOCKET, r"Linux 5\.15"),
    ):
        with pytest.raises(od.DivertError, match=needed) as caught:
            od.open("true", layer=layer, flags=od.Flag.SNIFF | od.Flag.RECV_ONLY, backend="nfqueue")
        assert caught.value.code == 50
    assert nft("list", "tables").stdout == ""


@in_namespace
def test_packets_are_queued_by_the_expression_where_the_kernel_has_it() -> None:
    if kernel() < OWNERS:
        assert code_of(lambda: od.open("true", backend="nfqueue")) == 50
        return
    table = "add table inet own; add chain inet own it; add rule inet own it queue num 1; delete table inet own"
    has_expression = nft(table).returncode == 0
    line = Line()
    # What no other program has used yet must be there as well: programs in rules come with a module.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        handle = line.open()
        line.feed(b"x")
        packet = handle.recv(5)
    assert packet is not None
    assert bytes(packet.payload) == b"x"
    listed = nft("--debug=netlink", "list", "ruleset").stdout
    assert ("[ queue num" in listed, "[ target name NFQUEUE" in listed) == (has_expression, not has_expression), listed
    handle.send(packet)
    assert line.bound.recv(10) == b"x"
    line.out.sendto(b"other", ("127.0.0.1", 9))
    assert handle.recv(0.1) is None
    assert handle.stats.unmatched == 0
    handle.close()
