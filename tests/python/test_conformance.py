"""The helpers, question by question, against the recorded answers of WinDivert 2.2.2's own library.

The vectors' meaning: `tests/data/vectors/README.md`. Each test fails with the first wrong answers.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

import oxidivert as od
import pytest
from samples import PROJECT

helpers = od.helpers
Record = dict[str, Any]


class Skipped(Exception):
    """A question that only a C buffer that is too short, or a null pointer, could ask."""


def records(name: str) -> Iterator[Record]:
    with gzip.open(PROJECT / "tests/data/vectors" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def compile_filter(record: Record) -> tuple[object, object]:
    short = record["objlen"] is not None and record["objlen"] < 16384
    if short or (record["obj"] or "").startswith("@WinDiv_WW"):  # 256 tests, which the library itself refuses to open
        raise Skipped
    try:
        answer: object = ("ok", helpers.compile_filter(record["filter"], record["layer"]))
    except od.FilterError as error:
        return ("error", error.message, error.position), ("error", record["err"], record["pos"])
    if record["ok"] and record["obj"] is None:
        return "ok", "ok"
    return answer, ("ok", record["obj"]) if record["ok"] else ("error", record["err"], record["pos"])


def format_filter(record: Record) -> tuple[object, object]:
    if record["gle"] == 122 or record["buflen"] < 65536:
        raise Skipped
    try:
        answer = helpers.format_filter(record["filter"], record["layer"])
    except od.FilterError:
        answer = None
    return answer, record["text"] if record["ok"] else None


def eval_filter(record: Record) -> tuple[object, object]:
    if record["addr"] is None or bytes.fromhex(record["addr"])[9] > 9:
        raise Skipped
    packet = None if record["packet"] is None else bytes.fromhex(record["packet"])
    try:
        address = od.Address.from_bytes(bytes.fromhex(record["addr"]))
        answer: object = helpers.eval_filter(record["filter"], packet, address)
    except ValueError:
        answer = "error"
    return answer, "error" if record["gle"] else record["result"]


def calc_checksums(record: Record) -> tuple[object, object]:
    if record["packet"] is None:
        raise Skipped
    packet, address, flag_bits = bytearray.fromhex(record["packet"]), None, None
    if record["addr"] is not None:
        raw = bytes.fromhex(record["addr"])
        if raw[8] > 4 or raw[9] > 9:
            raise Skipped
        address, flag_bits = od.Address.from_bytes(raw), bytes.fromhex(record["addr_out"])[10]
    ok = helpers.calc_checksums(packet, address, record["flags"])
    after = None if address is None else bytes(address)[10]
    return (ok, packet.hex(), after), (record["ok"], record["packet_out"], flag_bits)


def hash_packet(record: Record) -> tuple[object, object]:
    if record["packet"] is None:
        raise Skipped
    answer = helpers.hash_packet(bytes.fromhex(record["packet"]), int(record["seed"], 16))
    return f"{answer:016x}", record["hash"]


def parse_packet(record: Record) -> tuple[object, object]:
    if record["packet"] is None:
        raise Skipped
    packet = bytes.fromhex(record["packet"])
    names = ("ipv4", "ipv6", "icmp", "icmpv6", "tcp", "udp", "payload", "next")
    keys = ("ip", "ipv6", "icmp", "icmpv6", "tcp", "udp", "data", "next")
    answers = []
    for step in record["steps"]:
        at = step["at"]
        parsed = helpers.parse_packet(packet[at:])
        answer: Record = {"at": at, "ok": parsed is not None}
        if parsed is not None:
            for name, key in zip(names, keys, strict=True):
                offset = getattr(parsed, name)
                answer[key] = None if offset is None else offset + at
            answer |= {"proto": parsed.protocol, "dlen": parsed.payload_len, "nlen": parsed.next_len}
        answers.append(answer)
    return answers, [step if step["ok"] else {"at": step["at"], "ok": False} for step in record["steps"]]


def decrement_ttl(record: Record) -> tuple[object, object]:
    if record["packet"] is None:
        raise Skipped
    packet = bytearray.fromhex(record["packet"])
    ok = helpers.decrement_ttl(packet)
    return (ok, packet.hex()), (record["ok"], record["packet_out"])


def text_address(record: Record) -> tuple[object, object]:
    op = record["op"]
    if op.startswith("format") and (record["buflen"] < 64 or not record["ok"]):
        raise Skipped
    calls: dict[str, Callable[[], object]] = {
        "parse4": lambda: helpers.parse_ipv4_address(record["in"]),
        "parse6": lambda: list(helpers.parse_ipv6_address(record["in"])),
        "format4": lambda: helpers.format_ipv4_address(record["addr"]),
        "format6": lambda: helpers.format_ipv6_address(record["addr"]),
    }
    try:
        answer = calls[op]()
    except ValueError:
        answer = None
    return answer, (record["addr"] if op.startswith("parse") else record["text"]) if record["ok"] else None


CHECKS = {
    "address": text_address,
    "checksum": calc_checksums,
    "compile": compile_filter,
    "eval": eval_filter,
    "format": format_filter,
    "hash": hash_packet,
    "parse": parse_packet,
    "ttl": decrement_ttl,
}


@pytest.mark.parametrize("name", CHECKS)
def test_every_recorded_answer_is_ours_too(name: str) -> None:
    asked, wrong = 0, []
    for record in records(name):
        try:
            answer, recorded = CHECKS[name](record)
        except Skipped:
            continue
        asked += 1
        if answer != recorded:
            wrong.append((record, "ours", answer, "recorded", recorded))
    assert asked > 300
    assert wrong[:3] == [], f"{len(wrong)} of {asked} answers differ"
