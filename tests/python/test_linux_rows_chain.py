"""Live on Linux, by the rows of the table of behaviours: which handles meet a packet, and in which order."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

import oxidivert as od
from linux_support import Line, Peer, in_namespace, payloads, peer, port_of, received, udp_socket
from oxidivert import build

SNIFF = od.Flag.SNIFF


# Row 7.
@in_namespace
def test_live_wrong_arguments_are_told_before_missing_rights() -> None:
    code = (
        "import os, oxidivert as od\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "for text, options in (('true', {'flags': 0x40}), ('true', {'priority': 30001}), ('nonsense', {}),\n"
        "    ('true', {'layer': 2, 'priority': 30001}), ('true', {'layer': 2}), ('true', {})):\n"
        "    try:\n        od.open(text, backend='nfqueue', **options)\n"
        "    except od.FilterError:\n        print('filter')\n"
        "    except od.DivertError as error:\n        print(error.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["87", "87", "filter", "87", "87", "5"]


# Row 10.
@in_namespace
def test_live_a_filter_that_never_matches_captures_nothing_and_sends() -> None:
    line = Line()
    with od.open("false", priority=10, backend="nfqueue") as injector, line.open() as low:
        with line.open("false", priority=5):
            line.feed(b"fed")
        assert payloads(low) == [b"fed"]
        assert payloads(injector) == []
        injector.send(line.packet(b"new"))
        assert payloads(low) == [b"new"]
        assert (injector.stats.seen, injector.stats.sent) == (0, 1)


# Row 11.
@in_namespace
def test_live_a_diverting_handle_takes_the_packet_away_and_gives_it_unmarked() -> None:
    line = Line()
    with line.open() as handle:
        line.feed(b"P")
        (packet,) = received(handle)
        assert (bytes(packet.payload), packet.address.sniffed) == (b"P", False)
        assert line.arrived() == []


# Row 12.
@in_namespace
def test_live_a_sniffing_handle_gets_a_marked_copy_and_the_packet_goes_on() -> None:
    line = Line()
    with line.open(flags=SNIFF) as handle:
        line.feed(b"P")
        assert line.arrived() == [b"P"]
        (packet,) = received(handle)
        assert (bytes(packet.payload), packet.address.sniffed) == (b"P", True)


# Row 13.
@in_namespace
def test_live_a_dropping_handle_makes_the_packet_vanish_and_queues_nothing() -> None:
    line = Line()
    with line.open(flags=od.Flag.DROP) as handle:
        line.feed(b"P")
        assert line.arrived() == []
        assert handle.recv(0.05) is None
        assert handle.stats.dropped == 1


# Row 14.
@in_namespace
def test_live_what_does_not_match_flows_on_untouched() -> None:
    line = Line()
    with line.open("udp.PayloadLength > 3") as handle:
        line.feed(b"abc", b"abcd")
        assert line.arrived() == [b"abc"]
        assert payloads(handle) == [b"abcd"]


# Row 15.
@in_namespace
def test_live_the_higher_priority_has_a_packet_until_it_sends_it() -> None:
    line = Line()
    with line.open(priority=0) as low, line.open(priority=10) as high:
        line.feed(b"P")
        (packet,) = received(high)
        assert payloads(low) == []
        high.send(packet)
        assert payloads(low) == [b"P"]


# Rows 16, 24.
@in_namespace
def test_live_a_sent_packet_reaches_lower_handles_only() -> None:
    line = Line()
    with line.open(priority=10) as high, line.open(priority=0) as low:
        line.feed(b"P")
        (packet,) = received(high)
        # The packet itself, the packet again, which is a new one, and one made here.
        for sent in (packet, packet, line.packet(b"P")):
            high.send(sent)
            assert payloads(high) == []
            assert payloads(low) == [b"P"]
        assert line.arrived() == []


# Row 17.
@in_namespace
def test_live_a_higher_sniffer_does_not_see_what_a_lower_handle_sends() -> None:
    line = Line()
    with line.open(priority=100, flags=SNIFF) as sniffer, line.open() as handle:
        line.feed(b"P")
        (packet,) = received(handle)
        assert payloads(sniffer) == [b"P"]
        handle.send(packet)
        handle.send(packet)
        assert payloads(sniffer) == []
        assert line.arrived() == [b"P", b"P"]


# Row 18.
@in_namespace
def test_live_a_lower_sniffer_sees_what_is_sent_and_not_what_is_dropped() -> None:
    line = Line()
    with line.open() as handle, line.open(priority=-1, flags=SNIFF) as sniffer:
        line.feed(b"dropped", b"sent")
        _, packet = received(handle)
        assert payloads(sniffer) == []
        handle.send(packet)
        assert payloads(sniffer) == [b"sent"]
        assert line.arrived() == [b"sent"]


# Row 21.
@in_namespace
def test_live_a_dropping_handle_hides_packets_from_those_below() -> None:
    line = Line()
    with (
        line.open("udp.PayloadLength > 3", priority=5, flags=od.Flag.DROP),
        line.open() as low,
        line.open(priority=-1, flags=SNIFF) as sniffer,
    ):
        line.feed(b"long", b"abc")
        assert payloads(low) == [b"abc"]
        assert payloads(sniffer) == []


# Row 22.
@in_namespace
def test_live_a_dropping_handle_may_send() -> None:
    line = Line()
    with line.open(priority=5, flags=od.Flag.DROP) as dropping, line.open() as low:
        dropping.send(line.packet(b"N"))
        (packet,) = received(low)
        low.send(packet)
        assert line.arrived() == [b"N"]


# Row 23.
@in_namespace
def test_live_sniffers_take_nothing_from_those_below() -> None:
    line = Line()
    with line.open(priority=3, flags=SNIFF) as first, line.open(priority=2, flags=SNIFF) as second, line.open() as last:
        line.feed(b"P")
        assert [payloads(handle) for handle in (first, second, last)] == [[b"P"]] * 3
        assert line.arrived() == []


# Row 25.
@in_namespace
def test_live_a_packet_sent_to_this_host_does_not_come_back_inbound() -> None:
    line = Line()
    with od.open("false", priority=1, backend="nfqueue") as injector, line.open("inbound") as inbound:
        injector.send(line.packet(b"N"))
        line.feed(b"fed")
        assert line.arrived() == [b"N", b"fed"]
        assert payloads(inbound) == []
        assert inbound.stats.seen == 0


# Row 26.
@in_namespace
def test_live_a_packet_within_this_host_is_captured_once_outbound() -> None:
    with peer():
        # Also between addresses that are not loopback's own.
        for local, other in (("127.0.0.1", "127.0.0.1"), (Peer.local, Peer.local), (Peer.local6, "::1")):
            bound, out = udp_socket(local), udp_socket(other)
            with od.open(f"udp.DstPort == {port_of(bound)}", backend="nfqueue") as handle:
                out.sendto(b"P", (local, port_of(bound)))
                (packet,) = received(handle)
                assert (packet.address.outbound, packet.address.loopback) == (True, True)
                handle.send(packet)
                assert bound.recv(10) == b"P"
                assert received(handle) == []


# Row 27.
@in_namespace
def test_live_the_direction_comes_from_the_path() -> None:
    with peer():
        # A broadcast is one of the few packets that may go either way.
        data = bytes(build.udp(Peer.remote, "10.9.0.255", 7000, 7000, payload=b"either way"))
        index = socket.if_nametoindex("inner")
        with (
            od.open("false", priority=1, backend="nfqueue") as injector,
            od.open("udp.DstPort == 7000", backend="nfqueue") as handle,
        ):
            seen = []
            for outbound in (True, False):
                address = od.Address()
                address.outbound = outbound
                assert address.network is not None
                address.network.interface_index = index
                injector.send(data, address)
                (packet,) = received(handle)
                found = packet.address
                assert found.network is not None
                seen.append((bytes(packet), found.outbound, found.loopback, found.network.interface_index))
        assert seen[0] == (seen[1][0], True, False, index)
        assert seen[1][1:] == (False, False, index)


# Row 28.
@in_namespace
def test_live_a_sent_packet_goes_the_way_that_its_address_says() -> None:
    with peer() as other, od.open("false", backend="nfqueue") as injector:
        receiver = other.python(
            "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('10.9.0.2', 7000))\n"
            "print('ready', flush=True)\nprint(s.recvfrom(100), flush=True)\n"
        )
        bound = udp_socket(Peer.local, 7000)
        ends = {True: (Peer.local, Peer.remote), False: (Peer.remote, Peer.local)}
        for outbound, (source, destination) in ends.items():
            packet = build.udp(source, destination, 7000, 7000, payload=b"one way")
            packet.address.outbound = outbound
            assert packet.address.network is not None
            packet.address.network.interface_index = socket.if_nametoindex("inner")
            injector.send(packet)
        assert bound.recvfrom(100) == (b"one way", (Peer.remote, 7000))
        assert receiver.communicate(timeout=5)[0] == b"(b'one way', ('10.9.0.1', 7000))\n"


# Row 34.
@in_namespace
def test_live_a_packet_of_another_length_than_it_says_passes_untouched() -> None:
    # Only IPv6 packets of raw sockets leave with a length that is not theirs: the stack writes it into all others,
    # trims what comes in, and drops what is too short.
    bound = udp_socket("::1")
    packet = bytearray(bytes(build.udp("::1", "::1", 9, port_of(bound), payload=b"length")))
    raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with (
        od.open(f"ipv6.DstAddr == ::1 and udp.DstPort == {port_of(bound)}", backend="nfqueue") as handle,
        od.open("true", priority=1, flags=SNIFF, backend="nfqueue") as sniffer,
        od.open("ipv6 and random8 >= 0", priority=2, backend="nfqueue") as matched_here,
    ):
        raw.sendto(bytes(packet) + b"more", ("::1", 0))
        assert bound.recv(100) == b"length"
        assert [received(each) for each in (handle, sniffer, matched_here)] == [[], [], []]
        raw.sendto(bytes(packet), ("::1", 0))
        (whole,) = received(matched_here)
        matched_here.send(whole)
        assert payloads(handle) == [b"length"]


# Row 75.
@in_namespace
def test_live_of_several_readers_each_packet_goes_to_one() -> None:
    line = Line()
    with line.open() as handle:
        read: list[list[int]] = [[] for _ in range(4)]

        def reader(into: list[int]) -> None:
            for packet in handle:
                into.append(int(bytes(packet.payload)))

        threads = [threading.Thread(target=reader, args=(into,)) for into in read]
        for thread in threads:
            thread.start()
        line.feed(*(b"%d" % number for number in range(1000)))
        handle.shutdown(od.Shutdown.RECV)
        for thread in threads:
            thread.join(10)
        assert sorted(number for into in read for number in into) == list(range(1000))
        assert all(into == sorted(into) for into in read)
