"""Ours against WinDivert 2.2.2's own library, in one process: the same random questions, and no answer differs.

The library's own crashes are not asked for: a conditional whose condition is broken, and objects that were tampered
with. `OXIDIVERT_DIFFERENTIAL_SEED` repeats a run.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import re
import time
from collections.abc import Iterator

import oxidivert as od
import pytest
import test_conformance as conformance
from samples import EACH_PROTOCOL
from standin import Network
from support import WATCH
from windivert_dll import Library, Record

#: The filters of which the library makes another program than of its own object for them, and those that the driver
#: takes in neither form; `OXIDIVERT_WRITE_OBJECTS=1` writes the list anew, to be read before it is kept.
OBJECTS = pathlib.Path(__file__).parent.parent / "data" / "windows" / "objects.txt"
SEED = int(os.environ.get("OXIDIVERT_DIFFERENTIAL_SEED", time.time_ns() % 1_000_000))
#: How many questions of each kind.
COUNTS = {
    "compile": 20_000,
    "format": 8_000,
    "eval": 12_000,
    "checksum": 5_000,
    "hash": 5_000,
    "parse": 5_000,
    "ttl": 3_000,
    "address": 4_000,
}
TOKEN = re.compile(r"[A-Za-z_][\w.]*|0x[0-9a-fA-F]+|[\d.]+|[=!<>]=?|&&|\|\||\S")


class Questions:
    """Random questions, made of the recorded ones."""

    def __init__(self, library: Library, seed: int) -> None:
        self.library, self.random = library, random.Random(seed)
        self.texts = sorted(
            {record["filter"] for record in conformance.records("compile") if "\0" not in record["filter"]}
        )
        self.plain = [text for text in self.texts if not text.startswith("@") and text.isascii() and len(text) < 400]
        self.packets = [*EACH_PROTOCOL.values()]
        self.packets += [
            bytes.fromhex(record["packet"])
            for name in ("parse", "checksum")
            for record in conformance.records(name)
            if record["packet"] and len(record["packet"]) < 4000
        ]

    def filter(self) -> str:
        """A recorded filter, several joined, or one with tokens changed, doubled, left out or exchanged."""
        pick = self.random.choice
        kind = self.random.random()
        if kind < 0.15:
            return pick(self.texts)
        if kind < 0.45:
            return f"({pick(self.plain)}) {pick(['and', 'or', '&&', '||'])} ({pick(self.plain)})"
        if kind < 0.55:
            return f"({pick(self.plain)}? {pick(self.plain)}: {pick(self.plain)})"
        tokens = TOKEN.findall(pick(self.plain))
        others = TOKEN.findall(pick(self.plain))
        for _ in range(self.random.randint(1, 3)):
            if not tokens:
                break
            at = self.random.randrange(len(tokens))
            match self.random.randrange(4):
                case 0:
                    del tokens[at]
                case 1:
                    tokens.insert(at, tokens[self.random.randrange(len(tokens))])
                case 2 if others:
                    tokens[at] = pick(others)
                case _:
                    tokens[at] = pick(
                        ["and", "or", "not", "!", "(", ")", "true", "0", "-1", "65536", "0x1F", "=", "<="]
                    )
        return " ".join(tokens)

    def layer(self) -> int:
        """A layer, most often one with packets."""
        return self.random.choice([0, 0, 0, 1, 2, 3, 4])

    def packet(self) -> bytes:
        """A recorded packet, whole or with bytes changed, cut or appended."""
        data = bytearray(self.random.choice(self.packets))
        for _ in range(self.random.choice([0, 0, 1, 2, 5])):
            if data:
                at = self.random.randrange(min(len(data), self.random.choice([4, 24, 64, 2000])))
                data[at] = self.random.choice([0, 1, 6, 17, 58, 255, self.random.randrange(256)])
        kind = self.random.random()
        if kind < 0.1:
            del data[self.random.randrange(len(data) + 1) :]
        elif kind < 0.2:
            data += self.random.randbytes(self.random.randrange(60))
        return bytes(data)

    def address(self, layer: int = 0) -> bytes:
        """Any address record on a layer."""
        record = bytearray(self.random.randbytes(80))
        record[8], record[9] = layer, self.random.choice([0, *range(10)])
        return bytes(record)

    def ip_text(self, version: int) -> str:
        """The text of an address, right or nearly so."""
        if version == 4:
            text = ".".join(
                str(self.random.choice([0, 1, 10, 127, 255, 256, 7]))
                for _ in range(self.random.choice([4, 4, 4, 3, 5]))
            )
        else:
            groups = [f"{self.random.choice([0, 0, 1, 0xFFFF, self.random.getrandbits(16)]):x}" for _ in range(8)]
            text = ":".join(groups)
            text = re.sub(r"(^|:)0(:0)+", self.random.choice(["::", r"\g<0>"]), text, count=1)
        if self.random.random() < 0.2:
            at = self.random.randrange(len(text) + 1)
            text = text[:at] + self.random.choice("0:.g% ff") + text[at + self.random.randint(0, 1) :]
        return text

    def ask(self, kind: str) -> Record | None:
        """A question and the library's answer; None if it would crash it."""
        match kind:
            case "compile" | "format" | "eval":
                layer = self.layer()
                text = self.filter()
                if is_fatal(text, layer):
                    return None
                if kind == "compile":
                    return self.library.compile(text, layer)
                if kind == "format":
                    return self.library.format(text, layer)
                return self.library.evaluate(text, self.packet() if layer < 2 else b"", self.address(layer))
            case "checksum":
                return self.library.checksums(self.packet(), self.address(), self.random.randrange(32))
            case "hash":
                return self.library.hash(self.packet(), self.random.getrandbits(64))
            case "parse":
                return self.library.parse(self.packet())
            case "ttl":
                return self.library.decrement_ttl(self.packet())
        version = self.random.choice([4, 6])
        if self.random.random() < 0.5:
            return self.library.parse_address(self.ip_text(version), version)
        words = [self.random.choice([0, 0, 0xFFFF, self.random.getrandbits(32)]) for _ in range(4)]
        return self.library.format_address(words, version)


def is_fatal(text: str, layer: int) -> bool:
    """Whether the library may crash: a broken filter with a conditional, or an object that is none."""
    if "?" not in text and not text.startswith("@"):
        return False
    try:
        od.helpers.compile_filter(text, layer)
    except od.FilterError:
        return True
    return False


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", COUNTS)
def test_no_answer_differs_from_the_library_s(kind: str) -> None:
    questions = Questions(Library(), SEED)
    asked, wrong = 0, []
    while asked < COUNTS[kind]:
        record = questions.ask(kind)
        if record is None:
            continue
        try:
            answer, expected = conformance.CHECKS[kind](record)
        except conformance.Skipped:
            continue
        asked += 1
        if answer != expected:
            wrong.append((record, "ours", answer, "the library's", expected))
    assert wrong[:3] == [], f"{len(wrong)} of {asked} differ; OXIDIVERT_DIFFERENTIAL_SEED={SEED}"


def test_there_are_fifty_thousand_questions() -> None:
    assert sum(COUNTS.values()) >= 50_000


def corpus() -> Iterator[tuple[str, int]]:
    """Every recorded filter that can be opened, with its layer, once."""
    seen = set()
    for record in conformance.records("compile"):
        text, layer = record["filter"], record["layer"]
        if record["ok"] and (text, layer) not in seen and layer <= 4 and text.isascii() and "\0" not in text:
            seen.add((text, layer))
            yield text, layer


@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore::oxidivert.FilterWarning")
def test_our_object_starts_the_driver_with_the_bytes_of_the_text(network: Network) -> None:
    library = Library()
    equal, others = 0, []

    def started(text: str, layer: int) -> bytes | None:
        handle = library.open(text, layer, int(WATCH))
        if handle is None:
            return None
        program = network.startup(network.latest().number)
        library.close(handle)
        return program

    for text, layer in corpus():
        by_text = started(text, layer)
        try:
            handle = od.open(text, layer=od.Layer(layer), flags=WATCH, dialect="windivert")
        except od.FilterError:
            # 256 tests, which the library compiles and the driver refuses.
            others.append(("refused", layer, text))
            continue
        ours = network.startup(network.latest().number)
        handle.close()
        if ours == by_text:
            equal += 1
            continue
        own = library.compile(text, layer)["obj"]
        assert own is not None
        assert ours == started(own, layer), (text, layer)
        others.append(("as the library's own object", layer, text))
    print(f"{equal} equal, {len(others)} listed")
    assert equal > 3000
    listed = "".join(f"{how}: {layer} {json.dumps(text)}\n" for how, layer, text in sorted(others))
    if os.environ.get("OXIDIVERT_WRITE_OBJECTS"):
        OBJECTS.write_text(listed, encoding="utf-8", newline="\n")
    assert listed == OBJECTS.read_text(encoding="utf-8")
