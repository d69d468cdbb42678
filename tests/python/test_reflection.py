"""Reflection: each rule of the table, and connections that are put together from them."""

from __future__ import annotations

import ipaddress

import oxidivert as od
import pytest
from samples import tcp, udp

CLIENT, SERVER = "10.0.0.1", "192.0.2.7"
CLIENT6, SERVER6 = "2001:db8::1", "2001:db8::2"
PROXY, ALT = 34010, 43010


def rewritten(data: bytes, *, outbound: bool) -> tuple[str, int | None, str, int | None, str]:
    packet = od.Packet(data, od.Address(outbound=outbound))
    od.Reflection(80).rewrite(packet)
    assert packet.checksums_valid
    return str(packet.src_addr), packet.src_port, str(packet.dst_addr), packet.dst_port, packet.direction.value


@pytest.mark.parametrize(("client", "server"), [(CLIENT, SERVER), (CLIENT6, SERVER6)])
def test_client_to_server_comes_back_in_as_the_server_to_the_proxy(client: str, server: str) -> None:
    data = tcp(b"x", src=client, dst=server, src_port=5000, dst_port=80)
    assert rewritten(data, outbound=True) == (server, 5000, client, PROXY, "inbound")


@pytest.mark.parametrize(("client", "server"), [(CLIENT, SERVER), (CLIENT6, SERVER6)])
def test_proxy_to_client_comes_back_in_as_the_server_s_answer(client: str, server: str) -> None:
    data = tcp(b"x", src=client, dst=server, src_port=PROXY, dst_port=5000)
    assert rewritten(data, outbound=True) == (server, 80, client, 5000, "inbound")


@pytest.mark.parametrize(("client", "server"), [(CLIENT, SERVER), (CLIENT6, SERVER6)])
def test_proxy_to_server_leaves_with_the_true_port(client: str, server: str) -> None:
    data = tcp(b"x", src=client, dst=server, src_port=6000, dst_port=ALT)
    assert rewritten(data, outbound=True) == (client, 6000, server, 80, "outbound")


@pytest.mark.parametrize(("client", "server"), [(CLIENT, SERVER), (CLIENT6, SERVER6)])
def test_server_to_proxy_comes_in_from_the_other_port(client: str, server: str) -> None:
    data = tcp(b"x", src=server, dst=client, src_port=80, dst_port=6000)
    assert rewritten(data, outbound=False) == (server, ALT, client, 6000, "inbound")


@pytest.mark.parametrize(
    ("data", "outbound"),
    [
        (tcp(b"x", dst_port=443), True),
        (tcp(b"x", src_port=80, dst_port=5000), True),
        (tcp(b"x", dst_port=80), False),
        (tcp(b"x", src_port=PROXY), False),
        (tcp(b"x", dst_port=ALT), False),
        (udp(b"x", dst_port=80), True),
        (b"no packet", True),
    ],
)
def test_other_packets_are_left_as_they_are(data: bytes, outbound: bool) -> None:
    packet = od.Packet(data, od.Address(outbound=outbound))
    od.Reflection(80).rewrite(packet)
    assert bytes(packet) == data
    assert packet.address == od.Address(outbound=outbound)


def test_packets_within_the_machine_are_left_as_they_are() -> None:
    data = tcp(b"x", src="127.0.0.1", dst="127.0.0.1", dst_port=80)
    packet = od.Packet(data, od.Address(loopback=True))
    od.Reflection(80).rewrite(packet)
    assert bytes(packet) == data
    assert not od.Filter(od.Reflection(80).filter, dialect="extended").matches(packet)


def test_the_filter_matches_each_of_the_three_ports_at_either_end() -> None:
    filter = od.Filter(od.Reflection(8080, proxy_port=1, alt_port=2).filter, dialect="extended")
    for port in (8080, 1, 2):
        assert filter.matches(od.Packet(tcp(src_port=port, dst_port=9)))
        assert filter.matches(od.Packet(tcp(src_port=9, dst_port=port)))
        assert not filter.matches(od.Packet(udp(src_port=9, dst_port=port)))
    assert not filter.matches(od.Packet(tcp(src_port=9, dst_port=10)))


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ((SERVER, 5000), SERVER),
        (("::ffff:192.0.2.7", 5000, 0, 0), SERVER),
        ((SERVER6, 5000, 0, 0), SERVER6),
        (("fe80::1%eth0", 5000, 0, 2), "fe80::1"),
    ],
)
def test_the_peer_of_an_accepted_connection_is_the_original_destination(peer: tuple[str, int], address: str) -> None:
    reflection = od.Reflection(80)
    assert reflection.original_dst(peer) == (ipaddress.ip_address(address), 80)
    assert reflection.upstream(peer) == (address, ALT)


def test_what_goes_through_the_rules_both_ways_is_one_connection() -> None:
    """The handshake of client and proxy, and that of proxy and server, end by end through an engine."""
    engine, reflection = od.Engine(), od.Reflection(80)
    with od.open(reflection.filter, backend=engine) as handle:

        def through(data: bytes, *, outbound: bool) -> od.Packet:
            engine.inject(data, outbound=outbound)
            packet = handle.recv(timeout=1)
            assert packet is not None
            reflection.rewrite(packet)
            handle.send(packet)
            return engine.delivered.pop()

        # What is delivered is what the other end answers: to where it seems to come from.
        for client, server in ((CLIENT, SERVER), (CLIENT6, SERVER6)):
            syn = through(tcp(src=client, dst=server, src_port=5000, dst_port=80, flags=2), outbound=True)
            assert reflection.original_dst((str(syn.src_addr), 5000)) == (ipaddress.ip_address(server), 80)
            answer = tcp(
                src=str(syn.dst_addr), dst=str(syn.src_addr), src_port=PROXY, dst_port=syn.src_port or 0, flags=18
            )
            back = through(answer, outbound=True)
            assert (str(back.src_addr), back.src_port, str(back.dst_addr), back.dst_port) == (server, 80, client, 5000)
            out = through(tcp(src=client, dst=server, src_port=6000, dst_port=ALT, flags=2), outbound=True)
            assert (out.dst_port, out.direction) == (80, od.Direction.OUTBOUND)
            back = through(tcp(src=server, dst=client, src_port=80, dst_port=6000, flags=18), outbound=False)
            assert (back.src_port, back.direction) == (ALT, od.Direction.INBOUND)


@pytest.mark.parametrize("ports", [(80, 80, 2), (80, 1, 80), (80, 1, 1), (0, 1, 2), (80, 65536, 2), (80, 1, -1)])
def test_ports_are_three_different_ones(ports: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="port"):
        od.Reflection(ports[0], proxy_port=ports[1], alt_port=ports[2])
