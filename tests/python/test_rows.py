"""The rows of the table of behaviours that hold at `open` on every backend; `docs/behaviour.md` lists them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import oxidivert as od
import pytest
from linux_support import in_namespace
from samples import pcap, udp

#: The systems by name; the live one is this machine's, in a network namespace of the test's own.
SYSTEMS: dict[str, Callable[[], od.Engine | od.Replay | Literal["nfqueue"]]] = {
    "engine": od.Engine,
    "replay": lambda: od.Replay(pcap([udp()])),
    "nfqueue": lambda: "nfqueue",
}
WATCH = od.Flag.SNIFF | od.Flag.RECV_ONLY

pytestmark = pytest.mark.parametrize("system", SYSTEMS)


def on_every_system(function: Callable[..., None]) -> Callable[..., None]:
    """Run a test here, or in a namespace if its system is live."""
    live = in_namespace(function)

    @functools.wraps(function)
    def run(system: str, **arguments: object) -> None:
        (live if system == "nfqueue" else function)(system=system, **arguments)

    return run


def code_of_open(system: str, filter_text: str = "true", **options: object) -> int:
    """The code that opening fails with; 0 if it does not."""
    try:
        od.open(filter_text, backend=SYSTEMS[system](), **options).close()  # type: ignore[call-overload]
    except od.DivertError as error:
        return error.code
    return 0


# Row 1.
@on_every_system
def test_a_layer_that_does_not_exist_is_refused(system: str) -> None:
    assert [code_of_open(system, layer=layer) for layer in (5, 255, 1)] == [87, 87, 0]


# Rows 2, 3.
@on_every_system
def test_flags_that_do_not_exist_or_exclude_each_other_are_refused(system: str) -> None:
    for flags in (0x40, 0x41, 1 << 63, 0x03, 0x03 | 0x04, 0x03 | 0x30, 0x0C, 0x0C | 0x01, 0x0F):
        assert code_of_open(system, flags=flags) == 87
    assert code_of_open(system, flags=0x20 | 0x10 | 0x04 | 0x01) == 0


# Row 4.
@on_every_system
def test_priorities_reach_from_minus_30000_to_30000(system: str) -> None:
    priorities = (30_000, -30_000, 30_001, -30_001)
    assert [code_of_open(system, priority=priority) for priority in priorities] == [0, 0, 87, 87]


# Row 5.
@pytest.mark.parametrize(
    ("layer", "flags"),
    [(od.Layer.FLOW, od.Flag.SNIFF), (od.Layer.SOCKET, od.Flag(0)), (od.Layer.REFLECT, od.Flag.RECV_ONLY)],
)
@on_every_system
def test_event_layers_need_their_flags(system: str, layer: od.Layer, flags: od.Flag) -> None:
    assert code_of_open(system, layer=layer, flags=flags) == 87
    has_events = system != "replay"
    assert code_of_open(system, layer=layer, flags=WATCH) == (0 if has_events else 50)


# Row 6.
@on_every_system
def test_a_filter_that_does_not_compile_for_the_layer_is_refused(system: str) -> None:
    for text, layer in (("tcp.DstPort ==", 0), ("processId == 1", 0), ("outbound", 1)):
        with pytest.raises(od.FilterError):
            od.open(text, layer=layer, backend=SYSTEMS[system](), dialect="windivert")
    assert code_of_open(system, "outbound") == 0


# Row 9.
@on_every_system
def test_a_filter_has_at_most_255_tests(system: str) -> None:
    many = " and ".join(["tcp.SrcPort == 80"] * 255)
    assert code_of_open(system, many, dialect="windivert") == 0
    with pytest.raises(od.FilterError):
        od.open(many + " and tcp", backend=SYSTEMS[system](), dialect="windivert")


# Row 71.
@on_every_system
def test_a_shutdown_is_one_of_three_and_may_be_repeated(system: str) -> None:
    with od.open(backend=SYSTEMS[system]()) as handle:
        for how in (0, 4, 257):
            with pytest.raises(od.DivertError) as caught:
                handle.shutdown(how)
            assert caught.value.code == 87
        for how in (1, 1, 2, 3):
            handle.shutdown(how)
