"""What the tests of the tools share: running one on an engine, while something happens there."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import oxidivert as od
import pytest
from oxidivert.cli import cli
from samples import PROJECT

SCHEMA = json.loads((PROJECT / "docs" / "tools.schema.json").read_text(encoding="utf-8"))
WATCH = od.Flag.SNIFF | od.Flag.RECV_ONLY


def validate(one: object) -> None:
    """Hold an object against the schema; not on Windows, where the validator may not load."""
    if sys.platform != "win32":
        import jsonschema

        jsonschema.Draft202012Validator(SCHEMA).validate(one)


@dataclass
class Done:
    """What a tool that has ended left."""

    code: int
    out: str
    err: str
    #: What the engine tells of its first handle; None if it opened none.
    opened: od.ReflectEvent | None

    @property
    def lines(self) -> list[str]:
        """The lines on stdout."""
        return self.out.splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The objects on stdout."""
        return objects(self.out)


def objects(text: str) -> list[dict[str, Any]]:
    """The objects that lines are; each of them is one that the schema knows."""
    found = [json.loads(line) for line in text.splitlines()]
    for one in found:
        validate(one)
    return found


class Bench:
    """Runs tools."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.engine = od.Engine()
        self._capsys = capsys

    def run(self, *arguments: str) -> Done:
        """Runs a command line to its end; nothing happens meanwhile."""
        code = cli(*arguments, backend=self.engine)
        return Done(code, *self._capsys.readouterr(), opened=None)

    def during(self, act: Callable[[od.Engine], None], *arguments: str, handles: int = 1) -> Done:
        """Runs a command line, which has to end by itself, and does something once it has opened its handles."""
        codes: list[int] = []
        with od.open(layer=od.Layer.REFLECT, flags=WATCH, backend=self.engine) as watcher:
            thread = threading.Thread(
                target=lambda: codes.append(cli(*arguments, backend=self.engine)), name="tool", daemon=True
            )
            thread.start()
            opened = [watcher.recv(timeout=10) for _ in range(handles)]
            assert None not in opened, "".join(self._capsys.readouterr())
            act(self.engine)
            thread.join(20)
            assert not thread.is_alive(), "".join(self._capsys.readouterr())
        return Done(codes[0], *self._capsys.readouterr(), opened=opened[0])


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """An engine, and tools on it whose output is plain."""
    monkeypatch.setenv("NO_COLOR", "1")
    return Bench(capsys)


def inject(*packets: bytes, outbound: bool = True, **more: bool) -> Callable[[od.Engine], None]:
    """What injects packets."""

    def act(engine: od.Engine) -> None:
        for packet in packets:
            engine.inject(packet, outbound=outbound, **more)  # type: ignore[arg-type]

    return act
