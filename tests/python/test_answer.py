"""build.reset and build.unreachable: what a packet that is not let through is answered with, byte for byte."""

from __future__ import annotations

import ipaddress
import struct

import oxidivert as od
import pytest
from oxidivert import build
from samples import EACH_PROTOCOL, V6, icmp, icmpv6, internet_checksum, ip, tcp, udp

#: Ends of an answer over IPv6 to the packets of `V6`.
BACK6 = (ipaddress.ip_address(V6["dst"]).packed, ipaddress.ip_address(V6["src"]).packed)
BACK4 = (bytes([192, 0, 2, 7]), bytes([10, 0, 0, 1]))
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def packet(data: bytes, **fields: bool) -> od.Packet:
    address = od.Address(**fields)  # type: ignore[arg-type]
    address.ipv6 = data[0] >> 4 == 6
    assert address.network is not None
    address.network.interface_index = 7
    return od.Packet(data, address)


def ipv4_header(length: int, protocol: int) -> bytes:
    """The header of every answer over IPv4: no options, TOS 0, identification DE AD, no flags, 64 hops."""
    header = bytes.fromhex("4500") + struct.pack(">H", length) + bytes.fromhex("DEAD 0000 40") + bytes([protocol])
    header += bytes(2) + b"".join(BACK4)
    return header[:10] + struct.pack(">H", internet_checksum(header)) + header[12:]


def ipv6_header(length: int, protocol: int) -> bytes:
    """The header of every answer over IPv6: traffic class 0, flow label 0, 64 hops."""
    return bytes.fromhex("60000000") + struct.pack(">HBB", length, protocol, 64) + b"".join(BACK6)


def with_checksum(segment: bytes, at: int, pseudo: bytes) -> bytes:
    return segment[:at] + struct.pack(">H", internet_checksum(pseudo + segment)) + segment[at + 2 :]


def reset_segment(seq: int, ack_number: int, pseudo: bytes, ports: tuple[int, int] = (80, 40001)) -> bytes:
    """Five words, RST and ACK, window 0, urgent pointer 0."""
    segment = struct.pack(">HHIIBBHHH", *ports, seq, ack_number, 0x50, 0x14, 0, 0, 0)
    return with_checksum(segment, 16, pseudo)


def pseudo_header(ends: tuple[bytes, bytes], protocol: int, length: int) -> bytes:
    if len(ends[0]) == 4:
        return b"".join(ends) + struct.pack(">BBH", 0, protocol, length)
    return b"".join(ends) + struct.pack(">I3xB", length, protocol)


def test_a_reset_over_ipv4_is_these_40_bytes() -> None:
    answer = build.reset(packet(tcp(b"hello", seq=1000)))
    assert answer is not None
    # The segment acknowledges 2, and its five bytes end at 1005.
    assert bytes(answer) == ipv4_header(40, 6) + reset_segment(2, 1005, pseudo_header(BACK4, 6, 20))


def test_a_reset_over_ipv6_is_these_60_bytes() -> None:
    answer = build.reset(packet(tcp(b"hello", seq=1000, **V6)))
    assert answer is not None
    assert bytes(answer) == ipv6_header(20, 6) + reset_segment(2, 1005, pseudo_header(BACK6, 6, 20))


@pytest.mark.parametrize(
    ("flags", "payload", "seq", "ack_number"),
    [
        (SYN, b"", 0, 11),
        (SYN, b"data with it", 0, 23),
        (SYN | ACK, b"", 2, 11),
        (ACK, b"", 2, 10),
        (PSH | ACK, b"abc", 2, 13),
        (0, b"abc", 0, 13),
        (FIN | ACK, b"", 2, 11),
    ],
)
def test_a_reset_continues_where_the_receiver_would(flags: int, payload: bytes, seq: int, ack_number: int) -> None:
    answer = build.reset(packet(tcp(payload, flags=flags, seq=10)))
    assert answer is not None
    assert answer.tcp is not None
    assert (answer.tcp.seq, answer.tcp.ack_number) == (seq, ack_number)


def test_a_reset_s_acknowledgement_wraps_round() -> None:
    answer = build.reset(packet(tcp(b"abcd", seq=0xFFFF_FFFE)))
    assert answer is not None
    assert answer.tcp is not None
    assert answer.tcp.ack_number == 2


def test_an_unreachable_over_ipv4_quotes_the_header_and_eight_bytes() -> None:
    blocked = udp(b"a payload that is longer than what is quoted")
    answer = build.unreachable(packet(blocked))
    assert answer is not None
    message = with_checksum(bytes([3, 3, 0, 0, 0, 0, 0, 0]) + blocked[:28], 2, b"")
    assert bytes(answer) == ipv4_header(56, 1) + message


def test_an_unreachable_quotes_all_options_of_an_ipv4_header() -> None:
    plain = udp(b"abcdefgh")
    blocked = bytes([0x47]) + plain[1:2] + struct.pack(">H", len(plain) + 8) + plain[4:20] + bytes([1] * 8) + plain[20:]
    answer = build.unreachable(packet(blocked))
    assert answer is not None
    assert len(answer) == 20 + 8 + 28 + 8
    assert bytes(answer)[28:] == blocked[:36]
    assert answer.checksums_valid


def test_an_unreachable_over_ipv6_has_the_length_that_it_claims() -> None:
    blocked = udp(b"x" * 32, **V6)
    answer = build.unreachable(packet(blocked))
    assert answer is not None
    message = bytes([1, 4, 0, 0, 0, 0, 0, 0]) + blocked
    message = with_checksum(message, 2, pseudo_header(BACK6, 58, len(message)))
    assert bytes(answer) == ipv6_header(8 + len(blocked), 58) + message


def test_an_unreachable_over_ipv6_fits_the_smallest_mtu() -> None:
    blocked = udp(b"x" * 2000, **V6)
    answer = build.unreachable(packet(blocked))
    assert answer is not None
    assert len(answer) == 1280
    assert bytes(answer)[48:] == blocked[:1232]
    assert answer.checksums_valid


def test_an_unreachable_quotes_no_more_than_there_is() -> None:
    """Nothing behind the packet's own end is quoted, and nothing that is not there."""
    short = ip("10.0.0.1", "192.0.2.7", 50, b"abc")
    answer = build.unreachable(packet(short + b"not of the packet"))
    assert answer is not None
    assert bytes(answer)[28:] == short


def test_an_unreachable_says_why() -> None:
    for data, default in ((udp(), 3), (udp(**V6), 4)):
        for code, wanted in ((None, default), (0, 0), (10, 10)):
            answer = build.unreachable(packet(data), code=code)
            assert answer is not None
            header = answer.icmp or answer.icmpv6
            assert header is not None
            assert (header.code, header.body) == (wanted, 0)


@pytest.mark.parametrize("name", EACH_PROTOCOL)
def test_an_answer_goes_back_the_way_that_the_packet_came(name: str) -> None:
    for outbound in (True, False):
        blocked = packet(EACH_PROTOCOL[name], outbound=outbound, sniffed=True)
        for answer in (build.unreachable(blocked), build.reset(blocked)):
            if answer is None:
                continue
            assert answer.address.outbound is not outbound
            assert answer.address.network is not None
            assert answer.address.network.interface_index == 7
            assert not answer.address.sniffed
            assert (answer.src_addr, answer.dst_addr) == (blocked.dst_addr, blocked.src_addr)
            assert answer.checksums_valid
            assert answer.address.ip_checksum
            assert answer.address.tcp_checksum
            assert blocked.address.outbound is outbound


def test_within_a_host_an_answer_is_outbound_as_everything_there() -> None:
    answer = build.reset(packet(tcp(src="127.0.0.1", dst="127.0.0.1"), outbound=True, loopback=True))
    assert answer is not None
    assert answer.address.outbound


def later_fragment() -> bytes:
    return ip("10.0.0.1", "192.0.2.7", 17, b"the rest", fragment=3)


@pytest.mark.parametrize(
    "data",
    [
        icmp()[:20] + bytes([3, 3]) + icmp()[22:],
        icmp()[:20] + bytes([11, 0]) + icmp()[22:],
        icmpv6()[:40] + bytes([1, 4]) + icmpv6()[42:],
        udp(dst="224.0.0.251"),
        udp(dst="255.255.255.255"),
        udp(src="0.0.0.0"),
        udp(src="255.255.255.255"),
        udp(src="239.1.2.3"),
        udp(src="2001:db8::1", dst="ff02::fb"),
        udp(src="::", dst="2001:db8::2"),
        later_fragment(),
        tcp(flags=RST),
        tcp(flags=RST | ACK),
        b"no packet",
        b"",
    ],
)
def test_what_must_not_be_answered_is_not(data: bytes) -> None:
    assert build.unreachable(od.Packet(data)) is None
    assert build.reset(od.Packet(data)) is None


def test_a_reset_answers_tcp_only() -> None:
    assert build.reset(packet(udp())) is None
    assert build.reset(packet(icmp())) is None


def test_the_first_fragment_is_answered() -> None:
    first = udp(b"x" * 16)
    first = first[:6] + bytes([0x20, 0]) + first[8:]
    assert build.unreachable(packet(first)) is not None
