"""Every number that the driver, the service manager and the stack fail with becomes an error that says what to do.

The accounts are in tests/data/windows/errors.txt; `OXIDIVERT_WRITE_ERRORS=1` writes it anew, to be read before it is
kept.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterator

import oxidivert as od
import pytest
from samples import udp
from standin import GET_PARAM, INITIALIZE, RECEIVE, SEND, SET_PARAM, SHUTDOWN, STARTUP, Network
from wine import PLATFORM_STATUS, platform_codes

GOLDEN = pathlib.Path(__file__).parent.parent / "data" / "windows" / "errors.txt"

#: Those of the specification's table that an open can fail with.
OPEN = [
    *(
        2,
        3,
        5,
        6,
        8,
        14,
        22,
        87,
        110,
        161,
        193,
        577,
        654,
        995,
        998,
        1056,
        1058,
        1060,
        1062,
        1072,
        1275,
        1450,
        1753,
        1808,
    )
]
RECEIVE_CODES = [6, 8, 22, 87, 995, 998, 1450]
SEND_CODES = [6, 8, 22, 87, 122, 232, 592, 995, 998, 1232, 1233, 1450, 1753]
#: Numbers that say how far a call is. They end no call, so that nobody is told them.
UNDER_WAY = [996, 997]
#: All of them, but for those of the Windows Filtering Platform.
TABLE = {
    *(2, 3, 5, 6, 8, 14, 22, 87, 110, 122, 161, 193, 232, 577, 592, 654, 995, 996, 997, 998, 1056, 1058, 1060, 1062),
    *(1072, 1232, 1233, 1275, 1450, 1753, 1808),
}
#: Wine's own for a file that is none, and one that nobody knows.
OTHERS = [1114, 4711]
#: The Windows Filtering Platform's: named ones, and one without a name here.
PLATFORM = [*(1, 8, 9, 0xA, 0xF, 0x10, 0x12, 0x18, 0x100, 0x101, 0x102), 0x28]


def told(call: Callable[[], object]) -> str:
    """What a call fails with: number, name and account."""
    with pytest.raises(od.DivertError) as caught:
        call()
    error = caught.value
    assert error.winerror % (1 << 32) == error.code  # type: ignore[attr-defined]
    return f"{error.code} {error.symbol}: {error.strerror}"


def accounts(network: Network) -> Iterator[str]:
    """Every number provoked, and what it is told as."""
    for code in [*OPEN, *OTHERS]:
        for request in (INITIALIZE, STARTUP):
            before = len(network.mine())
            network.fail(request, code)
            account = told(lambda: od.open("udp"))
            assert len(network.mine()) == before
        yield f"open {account}"
    for code in RECEIVE_CODES:
        with od.open("udp") as handle:
            network.fail(RECEIVE, code)
            account = told(lambda handle=handle: handle.recv(timeout=5))  # type: ignore[misc]
        yield f"receive {account}"
    with od.open("udp") as handle:
        for code in SEND_CODES:
            network.fail(SEND, code)
            account = told(lambda: handle.send(udp(b"one"), od.Address()))
            yield f"send {account}"
        for code in (6, 22, 87):
            network.fail(SET_PARAM, code)
            account = told(lambda: setattr(handle, "queue_length", 100))
            yield f"parameter {account}"
    with platform_codes():
        for number in PLATFORM:
            network.answer(STARTUP, PLATFORM_STATUS | number)
            yield f"open {told(lambda: od.open('udp'))}"
        with od.open("udp") as handle:
            for number in PLATFORM:
                network.answer(SEND, PLATFORM_STATUS | number)
                account = told(lambda: handle.send(udp(b"one"), od.Address()))
                yield f"send {account}"


def test_every_number_of_the_table_is_provoked() -> None:
    assert {*OPEN, *RECEIVE_CODES, *SEND_CODES, *UNDER_WAY} == TABLE


def test_a_packet_that_is_longer_than_a_read_takes_is_counted_and_reading_goes_on(network: Network) -> None:
    with od.open("udp") as handle:
        network.fail(RECEIVE, 122)
        assert handle.recv(timeout=0) is None
        network.feed(network.latest().number, [(udp(b"one"), bytes(od.Address()))])
        packet = handle.recv(timeout=5)
        assert packet is not None
        assert bytes(packet) == udp(b"one")
        assert (handle.stats.errors, handle.stats.received) == (1, 1)


def test_every_number_is_told_with_its_name_and_what_to_do(network: Network) -> None:
    text = "\n".join(accounts(network)) + "\n"
    if os.environ.get("OXIDIVERT_WRITE_ERRORS"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8", newline="\n")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_a_failure_in_the_middle_tells_how_many_went_out(network: Network) -> None:
    with od.open("udp") as handle:
        number = network.latest().number
        packets = [udp(bytes([index])) for index in range(3)]
        network.feed(number, [(packet, bytes(od.Address())) for packet in packets])
        batch = handle.recv_batch(64, timeout=5)
        network.fail(SEND, 592)
        with pytest.raises(od.DivertError) as caught:
            handle.send_batch(batch)
        assert (caught.value.code, caught.value.sent) == (592, len(batch) - 1)
        network.fail(SEND, 1450)
        with pytest.raises(od.DivertError) as caught:
            handle.send_batch(batch)
        assert (caught.value.code, caught.value.sent) == (1450, 0)


def test_what_cannot_be_read_or_shut_down_falls_back_quietly(network: Network) -> None:
    with od.open("udp") as handle:
        handle.queue_length = 100
        network.fail(GET_PARAM, 22)
        assert handle.queue_length == 100
        network.fail(SHUTDOWN, 22)
        handle.shutdown(od.Shutdown.RECV)


def test_no_install_fails_with_1060_and_a_stopped_driver_is_started_again() -> None:
    from oxidivert import _native

    od.open("false").close()
    _native._driver_stop()
    with pytest.raises(od.DivertError) as caught:
        od.open("udp", flags=od.Flag.NO_INSTALL)
    assert (caught.value.code, caught.value.symbol) == (1060, "ERROR_SERVICE_DOES_NOT_EXIST")
    od.open("false").close()
    od.open("udp", flags=od.Flag.NO_INSTALL).close()
