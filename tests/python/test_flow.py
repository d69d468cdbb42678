"""`packet.flow`: what it is of, and its bypass."""

from __future__ import annotations

import pathlib
from ipaddress import ip_address

import oxidivert as od
import pytest
from samples import pcap, read_pcap, tcp, udp

HERE, THERE = "10.0.0.1", "10.0.0.2"


def there(payload: bytes = b"", port: int = 5000) -> bytes:
    return udp(payload, src=HERE, dst=THERE, src_port=port, dst_port=53)


def back(payload: bytes = b"", port: int = 5000) -> bytes:
    return udp(payload, src=THERE, dst=HERE, src_port=53, dst_port=port)


def test_both_directions_are_of_one_flow_and_other_ports_of_another() -> None:
    flows = [od.Packet(data).flow for data in (there(), back(), there(port=5001))]
    assert flows[0] == flows[1] != flows[2]
    assert len(set(flows)) == 2
    assert flows[0] is not None
    assert flows[0].protocol == 17
    assert flows[0].ends == ((ip_address(HERE), 5000), (ip_address(THERE), 53))
    assert repr(flows[0]) == "<Flow protocol 17, 10.0.0.1 port 5000 and 10.0.0.2 port 53>"


def test_fragments_and_what_is_no_packet_are_of_none() -> None:
    fragment = od.Packet(there())
    fragment.ipv4.more_fragments = True  # type: ignore[union-attr]
    assert fragment.flow is None
    assert od.Packet(b"no packet").flow is None


def test_a_flow_that_bypasses_goes_on_unseen_both_directions(engine: od.Engine) -> None:
    with od.open("udp", backend=engine) as handle:
        for data in (there(b"1"), there(b"2", port=5001), back(b"3")):
            engine.inject(data)
        packet = handle.recv()
        assert packet is not None
        handle.send(packet)
        assert packet.flow is not None
        assert packet.flow.bypass()
        engine.inject(back(b"4"), outbound=False)
        assert [bytes(packet.payload) for packet in engine.delivered] == [b"1", b"3", b"4"]
        other = handle.recv(timeout=0)
        assert other is not None
        assert other.src_port == 5001
        assert handle.recv(timeout=0) is None


def test_the_callback_of_a_run_may_bypass(engine: od.Engine) -> None:
    seen = []

    def decide(packet: od.Packet) -> None:
        seen.append(bytes(packet.payload))
        if packet.flow is not None:
            assert packet.flow.bypass()
        if len(seen) == 1:
            engine.inject(there(b"2"))
            engine.inject(there(b"other", port=5001))
        else:
            handle.shutdown(od.Shutdown.RECV)

    with od.open("udp", backend=engine) as handle:
        engine.inject(there(b"1"))
        handle.run(decide)
    assert seen == [b"1", b"other"]
    assert sorted(bytes(packet.payload) for packet in engine.delivered) == [b"1", b"2", b"other"]


def test_a_tcp_connection_that_bypassed_is_seen_again_when_it_opens_anew(engine: od.Engine) -> None:
    def segment(**flags: bool) -> bytes:
        packet = od.Packet(tcp(b"", src=HERE, dst=THERE))
        for name in ("syn", "ack", "fin", "rst"):
            setattr(packet.tcp, name, flags.get(name, False))
        return bytes(packet)

    with od.open("tcp", backend=engine) as handle:
        engine.inject(segment(syn=True))
        packet = handle.recv()
        assert packet is not None
        assert packet.flow is not None
        assert packet.flow.bypass()
        for flags in ({"ack": True}, {"rst": True}):
            engine.inject(segment(**flags))
        assert handle.recv(timeout=0) is None
        engine.inject(segment(syn=True))
        assert handle.recv(timeout=0) is not None


def test_without_an_open_handle_there_is_nothing_to_bypass(engine: od.Engine) -> None:
    flow = od.Packet(there()).flow
    assert flow is not None
    with pytest.raises(od.HandleClosedError, match="no open handle"):
        flow.bypass()
    with od.open("udp", backend=engine) as handle:
        engine.inject(there())
        packet = handle.recv()
    assert packet is not None
    assert packet.flow is not None
    with pytest.raises(od.HandleClosedError):
        packet.flow.bypass()


def test_the_rest_of_a_flow_in_a_capture_passes_in_its_place(tmp_path: pathlib.Path) -> None:
    packets = [there(b"1"), there(b"2", port=5001), back(b"3"), there(b"4"), back(b"5", port=5001)]
    seen = []

    def decide(packet: od.Packet) -> bool:
        seen.append(bytes(packet.payload))
        if len(seen) == 1:
            assert packet.flow is not None
            assert packet.flow.bypass()
        return packet.payload != b"5"

    with od.open("udp", backend=od.Replay(pcap(packets), out=tmp_path / "out.pcap")) as handle:
        handle.run(decide, batch=1)
    assert seen == [b"1", b"2", b"5"]
    assert read_pcap((tmp_path / "out.pcap").read_bytes()) == packets[:4]


def test_a_packet_sent_through_another_handle_is_a_copy(engine: od.Engine) -> None:
    with od.open("udp", backend=engine, priority=1) as upper, od.open("false", backend=engine) as lower:
        engine.inject(there(b"1"))
        engine.inject(there(b"2"))
        packet = upper.recv()
        batch = upper.recv_batch()
        assert packet is not None
        lower.send(packet)
        assert lower.send_batch(batch) == 1
        upper.send(packet)
        assert upper.send_batch(batch) == 1
        assert [bytes(packet.payload) for packet in engine.delivered] == [b"1", b"2", b"1", b"2"]
        assert (upper.stats.dropped, lower.stats.dropped) == (0, 0)
