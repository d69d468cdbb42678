"""Live on Linux: new packets, in both directions and through this host, and what closes behind them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import oxidivert as od
import pytest
from linux_support import in_namespace, ip, peer, port_of, udp_socket
from oxidivert import build

#: Options of sockets that Python has no names for: buffers beyond the system's limit.
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33


def address(**fields: object) -> od.Address:
    """An address record with these fields."""
    made = od.Address()
    network = made.network
    assert network is not None
    for name, value in fields.items():
        setattr(network if name == "interface_index" else made, name, value)
    return made


def udp_bytes(src: str, dst: str, src_port: int, dst_port: int, payload: bytes) -> bytes:
    """A UDP packet without checksums."""
    return bytes(build.udp(src, dst, src_port, dst_port, payload=payload))


def index_of(name: str) -> int:
    """The number of an interface."""
    return socket.if_nametoindex(name)


@pytest.mark.parametrize("version", [4, 6])
@in_namespace
def test_a_new_inbound_packet_comes_from_the_interface_that_it_names(version: int) -> None:
    with peer() as other, od.open("false", backend="nfqueue", priority=5) as injector:
        local, remote = (other.local, other.remote) if version == 4 else (other.local6, other.remote6)
        bound = udp_socket(local)
        with (
            od.open("inbound and udp", backend="nfqueue") as lower,
            od.open("inbound and udp", backend="nfqueue", priority=9, flags=od.Flag.SNIFF) as higher,
        ):
            packet = udp_bytes(remote, local, 4000, port_of(bound), b"out of nothing")
            injector.send(packet, address(outbound=False, interface_index=index_of("inner")))
            seen = lower.recv(2)
            assert seen is not None
            assert not seen.address.outbound
            assert seen.address.network.interface_index == index_of("inner")
            assert bytes(seen.payload) == b"out of nothing"
            assert higher.recv(0.1) is None
            lower.send(seen)
            data, sender = bound.recvfrom(100)
            assert (data, sender[:2]) == (b"out of nothing", (remote, 4000))
        # The interface of a received packet turns round with its direction.
        with pytest.raises(od.DivertError) as caught:
            injector.send(packet, address(outbound=False, interface_index=99))
        assert caught.value.code == 87


@pytest.mark.parametrize("version", [4, 6])
@in_namespace
def test_a_new_outbound_packet_reaches_another_host(version: int) -> None:
    with peer() as other, od.open("false", backend="nfqueue") as injector:
        local, remote = (other.local, other.remote) if version == 4 else (other.local6, other.remote6)
        receiver = other.python(
            "import socket\n"
            f"s = socket.socket(socket.AF_INET{'6' if version == 6 else ''}, socket.SOCK_DGRAM)\n"
            f"s.bind(({remote!r}, 7000))\nprint('ready', flush=True)\n"
            "for _ in range(2):\n    data, peer = s.recvfrom(2000)\n    print(len(data), peer[:2], flush=True)\n"
        )
        injector.send(udp_bytes(local, remote, 1234, 7000, b"x" * 1400), address(outbound=True))
        assert receiver.stdout is not None
        assert receiver.stdout.readline().decode() == f"1400 ({local!r}, 1234)\n"
        # From an address that is not this host's.
        source = "10.9.0.77" if version == 4 else "fd09::77"
        injector.send(udp_bytes(source, remote, 1234, 7000, b"y"), address(outbound=True))
        assert receiver.stdout.readline().decode() == f"1 ({source!r}, 1234)\n"
        receiver.communicate(timeout=5)


@in_namespace
def test_many_large_new_packets_go_at_once() -> None:
    bound = udp_socket()
    bound.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 25)
    payloads = [bytes([number]) * 60_000 for number in range(60)]
    with od.open(f"udp.DstPort == {port_of(bound)}", backend="nfqueue") as handle:
        with socket.socket(type=socket.SOCK_DGRAM) as out:
            out.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 25)
            for payload in payloads:
                out.sendto(payload, bound.getsockname())
        batch = handle.recv_batch(60, 2)
        assert len(batch) == 60
        # What is sent again is new.
        for _ in range(2):
            assert handle.send_batch(batch) == 60
            assert [bound.recv(1 << 16) for _ in payloads] == payloads
        assert handle.stats.errors == 0


@in_namespace
def test_a_refused_packet_is_told_and_the_rest_of_the_batch_goes_on() -> None:
    bound = udp_socket()
    with od.open("false", backend="nfqueue") as injector:
        good = od.Packet(udp_bytes("127.0.0.1", "127.0.0.1", 9, port_of(bound), b"good"))
        lost = od.Packet(udp_bytes("127.0.0.1", "192.0.2.1", 9, 9, b"no way to go"))
        with pytest.raises(od.DivertError) as caught:
            injector.send(lost)
        assert (caught.value.code, caught.value.errno) == (592, 101)
        injector.send(good)
        assert bound.recv(100) == b"good"
        assert (injector.stats.sent, injector.stats.errors) == (1, 1)


@in_namespace
def test_an_impostor_loses_a_hop_and_dies_at_the_last() -> None:
    bound = udp_socket()
    text = f"udp.DstPort == {port_of(bound)}"
    with od.open("false", backend="nfqueue", priority=1) as injector, od.open(text, backend="nfqueue") as lower:
        packet = od.Packet(udp_bytes("127.0.0.1", "127.0.0.1", 9, port_of(bound), b"hop"))
        assert packet.ipv4 is not None
        packet.ipv4.ttl = 64
        packet.address.impostor = True
        injector.send(packet)
        seen = lower.recv(2)
        assert seen is not None
        assert seen.ipv4 is not None
        assert seen.ipv4.ttl == 63
        assert seen.checksums_valid
        packet.ipv4.ttl = 1
        with pytest.raises(od.DivertError) as caught:
            injector.send(packet)
        assert caught.value.code == 1232
        assert lower.recv(0.05) is None


@in_namespace
def test_a_received_packet_can_turn_round() -> None:
    with peer() as other:
        receiver = other.python(
            "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('10.9.0.2', 7000))\n"
            "print('ready', flush=True)\nprint(s.recvfrom(100), flush=True)\n"
        )
        bound = udp_socket(other.local)
        with od.open(f"outbound and udp.SrcPort == {port_of(bound)}", backend="nfqueue") as handle:
            bound.sendto(b"echo", (other.remote, 7000))
            packet = handle.recv(2)
            assert packet is not None
            # Back to its sender, as if the other side had answered.
            packet.src_addr, packet.dst_addr = other.remote, other.local
            packet.src_port, packet.dst_port = 7000, port_of(bound)
            packet.direction = od.Direction.INBOUND
            handle.send(packet)
            assert bound.recvfrom(100) == (b"echo", (other.remote, 7000))
        receiver.kill()
        assert receiver.communicate()[0] == b""


# Row 29.
@pytest.mark.parametrize("version", [4, 6])
@in_namespace
def test_forwarded_packets_are_seen_edited_and_made(version: int) -> None:
    with peer() as left:
        # A third host: left - here - right.
        holder = subprocess.Popen(["unshare", "-n", "sleep", "300"])
        try:
            own = os.readlink("/proc/self/ns/net")
            while os.readlink(f"/proc/{holder.pid}/ns/net") == own:
                time.sleep(0.005)
            right = type(left)(holder)
            ip(f"link add second type veth peer name third netns {holder.pid}")
            ip("addr add 10.8.0.1/24 dev second")
            ip("addr add fd08::1/64 dev second nodad")
            ip("link set second up")
            right.run("ip", "addr", "add", "10.8.0.2/24", "dev", "third")
            right.run("ip", "addr", "add", "fd08::2/64", "dev", "third", "nodad")
            right.run("ip", "link", "set", "third", "up")
            right.run("ip", "route", "add", "default", "via", "10.8.0.1")
            right.run("ip", "-6", "route", "add", "default", "via", "fd08::1")
            left.run("ip", "route", "add", "default", "via", "10.9.0.1")
            left.run("ip", "-6", "route", "add", "default", "via", "fd09::1")
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
            time.sleep(0.2)
            there, back, family = {
                4: ("10.8.0.2", "10.9.0.2", "AF_INET"),
                6: ("fd08::2", "fd09::2", "AF_INET6"),
            }[version]
            receiver = right.python(
                f"import socket\ns = socket.socket(socket.{family}, socket.SOCK_DGRAM)\ns.bind(({there!r}, 7000))\n"
                "print('ready', flush=True)\nwhile True:\n    print(s.recvfrom(100)[0], flush=True)\n"
            )
            assert receiver.stdout is not None
            with (
                od.open("udp", layer=od.Layer.NETWORK_FORWARD, backend="nfqueue") as handle,
                od.open("udp", backend="nfqueue", flags=od.Flag.SNIFF) as own_traffic,
            ):
                left.run(
                    sys.executable,
                    "-c",
                    f"import socket\ns = socket.socket(socket.{family}, socket.SOCK_DGRAM)\n"
                    f"s.sendto(b'through', ({there!r}, 7000))",
                )
                packet = handle.recv(2)
                assert packet is not None
                assert packet.address.layer == od.Layer.NETWORK_FORWARD
                assert packet.address.outbound
                assert not packet.address.loopback
                network = packet.address.network
                assert network is not None
                assert (network.interface_index, network.subinterface_index) == (index_of("second"), 0)
                assert str(packet.src_addr) == back
                packet.payload = b"through, edited"
                handle.send(packet)
                assert receiver.stdout.readline() == b"b'through, edited'\n"
                handle.send(packet)
                assert receiver.stdout.readline() == b"b'through, edited'\n"
                assert own_traffic.recv(0.1) is None
            receiver.kill()
            receiver.communicate()
        finally:
            holder.kill()
            holder.wait()


@in_namespace
def test_nothing_is_left_of_the_way_in() -> None:
    before = set(os.listdir("/sys/class/net"))
    with peer() as other, od.open("false", backend="nfqueue") as injector:
        packet = udp_bytes(other.remote, other.local, 1, 1, b"")
        injector.send(packet, address(outbound=False, interface_index=index_of("inner")))
        assert injector.stats.sent == 1
    time.sleep(0.05)
    names = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert "oxd" not in names
    assert before
