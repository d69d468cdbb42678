"""Live on Linux: a handle's chains stand where its filter may match, and where its new packets enter."""

from __future__ import annotations

import json
import subprocess

import oxidivert as od
import pytest
from linux_support import in_namespace, peer, port_of, received, udp_socket
from oxidivert import build


def chains() -> dict[str, str]:
    """The chains that packets of this namespace pass, with their hooks."""
    listed = subprocess.run(["nft", "-j", "list", "chains"], capture_output=True, text=True, check=True).stdout
    found = [one["chain"] for one in json.loads(listed)["nftables"] if "chain" in one]
    # Those that keep connection tracking away stand or not as it is in use.
    return {one["name"]: one["hook"] for one in found if "hook" in one and not one["name"].startswith("untracked")}


BOTH = {"output": "output", "input": "input"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("outbound and udp", {"output": "output"}),
        ("inbound and tcp.DstPort == 80", {"input": "input"}),
        ("udp.DstPort == 53", BOTH),
        ("false", BOTH),
    ],
)
@in_namespace
def test_chains_stand_where_the_filter_may_match(text: str, expected: dict[str, str]) -> None:
    with od.open(text, backend="nfqueue"):
        assert chains() == expected
    assert chains() == {}


@in_namespace
def test_what_waits_keeps_its_place_while_a_new_packet_enters_elsewhere() -> None:
    with peer() as other:
        bound, out = udp_socket(other.local), udp_socket(other.local)
        with od.open(f"outbound and udp.DstPort == {port_of(bound)}", backend="nfqueue") as handle:
            out.sendto(b"held", bound.getsockname())
            held = handle.recv(2)
            assert held is not None
            out.sendto(b"in the queue", bound.getsockname())
            packet = build.udp(other.remote, other.local, 4000, port_of(bound), payload=b"came in")
            packet.address.outbound = False
            assert packet.address.network is not None
            packet.address.network.interface_index = 2
            for _ in range(2):
                handle.send(packet)
                assert bound.recvfrom(100) == (b"came in", (other.remote, 4000))
            assert chains() == BOTH
            handle.send(held)
            assert bound.recv(100) == b"held"
            (waiting,) = received(handle)
            handle.send(waiting)
            assert bound.recvfrom(100) == (b"in the queue", out.getsockname())
            # Nothing was seen twice, as it is where the kernel has moved what waits.
            assert received(handle) == []
            assert (handle.stats.received, handle.stats.errors) == (2, 0)


@in_namespace
def test_a_filter_that_is_put_in_brings_its_chain() -> None:
    bound, out = udp_socket(), udp_socket()
    with peer() as other, od.open("inbound and udp", backend="nfqueue") as handle:
        assert chains() == {"input": "input"}
        out.sendto(b"unseen", bound.getsockname())
        assert bound.recv(100) == b"unseen"
        handle.set_filter(f"outbound and udp.DstPort == {port_of(bound)}")
        assert chains() == BOTH
        out.sendto(b"seen", bound.getsockname())
        packet = handle.recv(2)
        assert packet is not None
        # Also from here on a packet enters either way.
        there = other.python(
            "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            f"s.bind(({other.remote!r}, 7000))\nprint('ready', flush=True)\nprint(s.recv(100).decode(), flush=True)\n"
        )
        handle.send(build.udp(other.local, other.remote, 9, 7000, payload=b"new"))
        assert there.stdout is not None
        assert there.stdout.readline() == b"new\n"
        there.communicate(timeout=5)
        handle.send(packet)
        assert bound.recv(100) == b"seen"


@in_namespace
def test_another_handle_s_chain_at_the_same_hook_moves_what_waits_and_elsewhere_does_not() -> None:
    bound, out = udp_socket(), udp_socket()
    with od.open(f"outbound and udp.DstPort == {port_of(bound)}", backend="nfqueue") as handle:
        for text in ("inbound and tcp", "outbound and tcp"):
            out.sendto(text.encode(), bound.getsockname())
            packet = handle.recv(2)
            assert packet is not None
            with od.open(text, backend="nfqueue", priority=7):
                handle.send(packet)
                assert bound.recv(100) == text.encode()
                assert handle.recv(0.05) is None
        assert (handle.stats.received, handle.stats.errors) == (2, 0)
