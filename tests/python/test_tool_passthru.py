"""passthru: every packet goes on, byte for byte, in whatever way; and the figures are those of what was done."""

from __future__ import annotations

import json
import pathlib
import time
from typing import Any

import oxidivert as od
import pytest
from oxidivert.cli import cli
from samples import EACH_PROTOCOL, V6, icmp, pcap, read_pcap, tcp, udp
from tools_support import Bench, bench, inject, objects

__all__ = ["bench"]

PACKETS = [tcp(bytes([index % 256]), src_port=1 + index % 50) for index in range(600)]


WAYS = ["batch", "callback", "loop", "rust"]


@pytest.mark.parametrize("way", WAYS)
def test_a_capture_comes_out_as_it_went_in(
    way: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in.pcap", tmp_path / "out.pcap"
    source.write_bytes(pcap([*PACKETS, *EACH_PROTOCOL.values()]))
    assert cli("passthru", "--way", way, "--read", str(source), "--write", str(out), "--json") == 0
    assert out.read_bytes() == source.read_bytes()
    (figures,) = objects(capsys.readouterr().out)
    assert (figures["packets"], figures["sent"], figures["errors"]) == (606, 606, 0)
    assert figures["packets_per_second"] == pytest.approx(606 / figures["seconds"], rel=0.01)
    assert figures["nanoseconds_per_packet"] == pytest.approx(figures["seconds"] * 1e9 / 606, rel=0.01)
    assert (figures["way"], figures["lost"]) == (way, 0)


@pytest.mark.parametrize(("workers", "way"), [(1, "batch"), (4, "batch"), (1, "loop"), (3, "callback")])
def test_packets_of_an_engine_go_on(workers: int, way: str, bench: Bench) -> None:
    arguments = ["--way", way, "--workers", str(workers), "--batch", "7", "--limit", "600", "--json"]
    done = bench.during(inject(*PACKETS), "passthru", *arguments)
    assert done.code == 0
    delivered = [bytes(packet) for packet in bench.engine.delivered]
    assert sorted(delivered) == sorted(PACKETS)
    if workers == 1:
        assert delivered == PACKETS
    if way == "callback":
        # Between the packets of a flow the order is kept.
        for port in range(1, 51):
            flow = port.to_bytes(2)
            assert [one for one in delivered if one[20:22] == flow] == [one for one in PACKETS if one[20:22] == flow]
    (figures,) = done.objects
    assert (figures["packets"], figures["workers"], figures["batch"]) == (600, workers, 7)


def test_a_batch_holds_no_more_than_asked_for(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.pcap"
    source.write_bytes(pcap(PACKETS))
    fills = {}
    for batch in (1, 10, 255):
        assert cli("passthru", "--read", str(source), "--batch", str(batch), "--json") == 0
        fills[batch] = json.loads(capsys.readouterr().out)["packets_per_batch"]
    assert (fills[1], fills[10]) == (1, 10)
    assert 10 < fills[255] <= 255


def edited(source: pathlib.Path, *arguments: str) -> list[tuple[bytes, int]]:
    """The packets that come out with another TTL or hop limit, as they were before, and which that is."""
    out = source.with_name("out.pcap")
    assert cli("passthru", *arguments, "--read", str(source), "--write", str(out), "--quiet") == 0
    changed = []
    for before, after in zip(read_pcap(source.read_bytes()), read_pcap(out.read_bytes()), strict=True):
        packet = od.Packet(after)
        header = packet.ipv4 or packet.ipv6
        assert header is not None
        assert packet.checksums_valid
        if before != after:
            changed.append((before, packet.ipv4.ttl if packet.ipv4 else packet.ipv6.hop_limit))  # type: ignore[union-attr]
            # Nothing else is another.
            if packet.ipv4:
                packet.ipv4.ttl = od.Packet(before).ipv4.ttl  # type: ignore[union-attr]
            elif packet.ipv6:
                packet.ipv6.hop_limit = od.Packet(before).ipv6.hop_limit  # type: ignore[union-attr]
            assert bytes(packet) == before
    return changed


@pytest.mark.parametrize("way", ["batch", "callback", "loop"])
def test_an_edit_is_the_same_each_way(way: str, tmp_path: pathlib.Path) -> None:
    source = tmp_path / "in.pcap"
    source.write_bytes(pcap(list(EACH_PROTOCOL.values())))
    assert edited(source, "--way", way, "--ttl", "9") == [(packet, 9) for packet in EACH_PROTOCOL.values()]


@pytest.mark.parametrize("way", ["batch", "columns", "callback", "loop"])
@pytest.mark.parametrize("is_mixed", [False, True])
def test_an_edit_may_be_for_packets_to_a_port(way: str, is_mixed: bool, tmp_path: pathlib.Path) -> None:
    chosen = [tcp(dst_port=443), udp(dst_port=443), *([tcp(dst_port=443, **V6)] if is_mixed else [])]
    others = [tcp(dst_port=80), udp(src_port=443, dst_port=80), icmp()]
    source = tmp_path / "in.pcap"
    source.write_bytes(pcap([*others, *chosen, *others]))
    assert edited(source, "--way", way, "--ttl", "9", "--port", "443") == [(packet, 9) for packet in chosen]


@pytest.mark.parametrize("way", ["batch", "columns", "callback", "loop"])
def test_an_edit_may_be_for_packets_to_any_port(way: str, tmp_path: pathlib.Path) -> None:
    chosen = [tcp(), udp(), tcp(**V6)]
    source = tmp_path / "in.pcap"
    source.write_bytes(pcap([icmp(), *chosen, icmp()]))
    assert edited(source, "--way", way, "--ttl", "9", "--port", "any") == [(packet, 9) for packet in chosen]


@pytest.mark.parametrize("way", ["batch", "columns", "callback", "loop"])
@pytest.mark.parametrize("ttl", [None, 9])
def test_only_packets_to_a_port_may_go_on(
    way: str, ttl: int | None, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in.pcap", tmp_path / "out.pcap"
    source.write_bytes(pcap([tcp(), tcp(dst_port=443), udp(dst_port=443), icmp(), tcp(dst_port=443, **V6), udp()]))
    arguments = ["--port", "443", "--only", *(["--ttl", str(ttl)] if ttl else [])]
    assert cli("passthru", "--way", way, "--read", str(source), "--write", str(out), "--json", *arguments) == 0
    (figures,) = objects(capsys.readouterr().out)
    assert (figures["packets"], figures["sent"]) == (6, 3)
    more = {"ttl": ttl} if ttl else {}
    wanted = [tcp(dst_port=443, **more), udp(dst_port=443, **more), tcp(dst_port=443, **V6)]
    if ttl:
        packet = od.Packet(wanted[2])
        assert packet.ipv6 is not None
        packet.ipv6.hop_limit = ttl
        wanted[2] = bytes(packet)
    assert read_pcap(out.read_bytes()) == wanted


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--port", "80"], "--port says which packets --ttl or --only is for; add one"),
        (["--only"], "--only drops what does not go to a port; add --port"),
        (["--way", "rust", "--ttl", "9"], "leave --ttl, --only and --limit out"),
        (["--way", "rust", "--only", "--port", "80"], "leave --ttl, --only and --limit out"),
        (["--way", "rust", "--limit", "9"], "leave --ttl, --only and --limit out"),
        (["--way", "columns", "--ttl", "9"], "add --port, and --ttl or --only"),
        (["--way", "loop", "--workers", "2"], "leave --workers out"),
        (["--rounds", "2"], "--rounds goes with --read"),
        (["--rounds", "2", "--read", "in.pcap", "--write", "out.pcap"], "without --write"),
    ],
)
def test_what_does_not_go_together_is_told(arguments: list[str], advice: str, bench: Bench) -> None:
    done = bench.run("passthru", *arguments)
    assert done.code == 2
    assert advice in done.err
    assert done.err.count("\n") == 1


def test_live_the_time_is_that_from_the_first_packet_to_the_last(bench: Bench) -> None:
    def act(engine: od.Engine) -> None:
        time.sleep(0.5)
        for packet in PACKETS[:300]:
            engine.inject(packet)
        time.sleep(0.3)
        for packet in PACKETS[300:]:
            engine.inject(packet)

    done = bench.during(act, "passthru", "--duration", "1.5", "--json")
    (figures,) = done.objects
    assert (figures["packets"], figures["sent"]) == (600, 600)
    assert 0.3 <= figures["seconds"] < 0.5
    assert figures["packets_per_second"] == pytest.approx(600 / figures["seconds"], rel=0.01)


def test_live_without_packets_there_is_no_rate(bench: Bench) -> None:
    (figures,) = bench.run("passthru", "--duration", "0.1", "--json").objects
    assert (figures["packets"], figures["packets_per_second"], figures["seconds"]) == (0, 0, 0)
    assert figures["nanoseconds_per_packet"] is None


def test_the_queue_can_be_made_longer(bench: Bench) -> None:
    def act(engine: od.Engine) -> None:
        # It is set after the handle was opened.
        deadline = time.monotonic() + 5
        while opened[-1].queue_length != 9000:
            assert time.monotonic() < deadline

    opened: list[od.Handle[od.Packet]] = []
    true_open = od.open

    def noting(*arguments: object, **more: object) -> od.Handle[od.Packet]:
        opened.append(true_open(*arguments, **more))  # type: ignore[call-overload]
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(od, "open", noting)
        assert bench.during(act, "passthru", "--queue-length", "9000", "--duration", "1").code == 0


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--workers", "0", "1 to 64"),
        ("--workers", "65", "1 to 64"),
        ("--batch", "0", "1 to 255"),
        ("--batch", "256", "1 to 255"),
        ("--batch", "x", "1 to 255"),
        ("--port", "0", "1 to 65535"),
        ("--queue-length", "31", "32 to 16384"),
        ("--queue-length", "16385", "32 to 16384"),
    ],
)
def test_numbers_out_of_range_are_told(
    option: str, value: str, allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("passthru", option, value) == 2
    assert f"argument {option}: '{value}' is no number from {allowed}" in capsys.readouterr().err


@pytest.mark.parametrize(("priority", "code"), [("-30000", 0), ("30000", 0), ("30001", 2), ("-30001", 2)])
def test_priorities_reach_from_minus_30000_to_30000(priority: str, code: int, bench: Bench) -> None:
    if code == 0:
        done = bench.during(inject(tcp()), "passthru", "--limit", "1", "--priority", priority)
        assert done.opened is not None
        assert done.opened.priority == int(priority)
    else:
        done = bench.run("passthru", "--priority", priority)
        assert "priority" in done.err
    assert done.code == code


def test_what_does_not_match_is_not_counted(bench: Bench) -> None:
    done = bench.during(inject(*EACH_PROTOCOL.values()), "passthru", "tcp", "--limit", "2", "--json")
    assert done.objects[0]["packets"] == 2
    assert sorted(map(bytes, bench.engine.delivered)) == sorted(EACH_PROTOCOL.values())


def test_figures_are_readable(bench: Bench) -> None:
    done = bench.during(inject(*PACKETS), "passthru", "--limit", "600")
    figures = dict(line.rsplit(maxsplit=1) for line in done.lines)
    assert figures["packets"] == "600"
    assert {name.strip() for name in figures} >= {"way", "packets per second", "packets per batch"}


def test_a_failure_to_send_is_told_and_the_loop_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        """A handle of which every first batch cannot be sent."""

        def __init__(self, handle: od.Handle[od.Packet]) -> None:
            self._handle = handle
            self._refused = False

        def __getattr__(self, name: str) -> object:
            return getattr(self._handle, name)

        def __enter__(self) -> object:
            return self

        def __exit__(self, *_: object) -> None:
            self._handle.close()

        def send_batch(self, batch: od.Batch, mask: od.Mask | None = None) -> int:
            if not self._refused:
                self._refused = True
                raise od.DivertError(1232, "the host cannot be reached")
            return self._handle.send_batch(batch, mask)

    from oxidivert.cli import _session

    true_open = _session.Session.open
    monkeypatch.setattr(_session.Session, "open", lambda self, *a, **o: Refusing(true_open(self, *a, **o)))
    done = bench.during(inject(*PACKETS[:20]), "passthru", "--limit", "20", "--batch", "10")
    assert done.code == 0
    assert done.err.startswith("oxidivert passthru: warning: not sent: the host cannot be reached")
    delivered = [bytes(packet) for packet in bench.engine.delivered]
    assert 10 <= len(delivered) < 20
    assert delivered == PACKETS[20 - len(delivered) : 20]


@pytest.mark.parametrize("way", WAYS)
def test_preloaded_packets_fill_the_queue_and_all_pass(
    way: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.pcap"
    source.write_bytes(pcap(PACKETS))
    assert cli("passthru", "tcp", "--preload", "--read", str(source), "--way", way, "--json") == 0
    (figures,) = objects(capsys.readouterr().out)
    assert (figures["packets"], figures["sent"]) == (16_384, 16_384)
    assert cli("passthru", "--preload", "--queue-length", "1000", "--read", str(source), "--way", way, "--json") == 0
    (figures,) = objects(capsys.readouterr().out)
    assert (figures["packets"], figures["sent"]) == (1_000, 1_000)


@pytest.mark.parametrize("more", [[], ["--preload"]])
def test_of_several_rounds_the_fastest_is_told(
    more: list[str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from oxidivert.cli import _passthru

    taken: list[float] = []
    true_measured = _passthru._measured

    def measured(*arguments: Any) -> tuple[float, dict[str, object]]:
        # The second one is the fastest.
        _, figures = true_measured(*arguments)
        taken.append([0.5, 0.25, 0.75][len(taken)])
        return taken[-1], figures | {"seconds": taken[-1]}

    monkeypatch.setattr(_passthru, "_measured", measured)
    (tmp_path / "in.pcap").write_bytes(pcap(PACKETS))
    arguments = ["--read", str(tmp_path / "in.pcap"), "--rounds", "3", "--json", *more]
    assert cli("passthru", *arguments) == 0
    (figures,) = objects(capsys.readouterr().out)
    assert taken == [0.5, 0.25, 0.75]
    assert figures["seconds"] == 0.25
    assert figures["packets"] == figures["sent"] == (16_384 if more else 600)


def test_preload_goes_with_a_capture_that_is_read_only(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("passthru", "--preload") == 2
    assert "--preload goes with --read" in capsys.readouterr().err
