"""oxidivert.build: what is built parses to the same fields, with right checksums."""

from __future__ import annotations

import oxidivert as od
import pytest
from oxidivert import build
from samples import icmp, icmpv6, tcp, udp


def test_built_packets_are_those_made_by_hand() -> None:
    kinds = {"id": 7}
    arguments = {"seq": 1, "ack_number": 2, "psh": True, "ack": True, "window": 8192}
    assert bytes(build.tcp("10.0.0.1", "192.0.2.7", 40001, 80, payload=b"x", **arguments, **kinds)) == tcp(b"x")  # type: ignore[arg-type]
    assert bytes(build.udp("10.0.0.1", "192.0.2.7", 12345, 53, payload=b"x", **kinds)) == udp(b"x")
    echo = {"identifier": 1, "sequence": 2, "payload": b"ping"}
    assert bytes(build.icmp_echo("10.0.0.1", "192.0.2.7", **echo, **kinds)) == icmp()  # type: ignore[arg-type]
    assert bytes(build.icmp_echo("2001:db8::1", "2001:db8::2", **echo)) == icmpv6()  # type: ignore[arg-type]
    assert bytes(build.icmp("10.0.0.1", "192.0.2.7", 8, body=0x10002, payload=b"ping", **kinds)) == icmp()


def test_tcp_options_lie_in_order_and_fill_whole_words() -> None:
    packet = build.tcp(
        "10.0.0.1", "192.0.2.7", 1, 2, syn=True, mss=1460, window_scale=7, sack_permitted=True, timestamps=(1, 2)
    )
    assert packet.tcp is not None
    assert packet.tcp.data_offset == 10
    assert bytes(packet)[40:] == bytes.fromhex("020405b4 030307 0402 080a 00000001 00000002 00".replace(" ", ""))
    assert packet.checksums_valid
    with pytest.raises(od.PacketError, match="at most 40"):
        build.tcp("10.0.0.1", "192.0.2.7", 1, 2, options=bytes(41))


@pytest.mark.parametrize(("src", "dst"), [("10.0.0.1", "192.0.2.7"), ("2001:db8::1", "2001:db8::2")])
def test_unreachable_quotes_the_packet(src: str, dst: str) -> None:
    quoted = build.udp(src, dst, 1, 2, payload=bytes(2000))
    answer = build.icmp_unreachable(dst, src, quoted, code=3)
    assert answer.checksums_valid
    assert bytes(quoted).startswith(bytes(answer.payload))
    assert len(answer) <= (1280 if answer.ipv6 else 576)
    header = answer.icmp or answer.icmpv6
    assert header is not None
    assert (header.type, header.code) == ((1, 3) if answer.ipv6 else (3, 3))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="one IP version"):
        build.udp("10.0.0.1", "2001:db8::1", 1, 2)
    with pytest.raises(od.PacketError, match="at most 65535"):
        build.udp("10.0.0.1", "10.0.0.2", 1, 2, payload=bytes(65535))
    with pytest.raises(od.PacketError, match="flow_label"):
        build.udp("10.0.0.1", "10.0.0.2", 1, 2, flow_label=1)
    with pytest.raises(OverflowError):
        build.udp("10.0.0.1", "10.0.0.2", 1, 65536)


def test_built_checksums_count_as_final() -> None:
    address = build.udp("10.0.0.1", "10.0.0.2", 1, 2).address
    assert address.udp_checksum
    assert address.outbound
    assert not address.ipv6
