"""The exceptions: hierarchy, attributes, pickling."""

from __future__ import annotations

import copy
import errno
import pickle

import oxidivert as od
import pytest


def test_the_hierarchy() -> None:
    assert issubclass(od.DivertError, OSError)
    assert issubclass(od.HandleClosedError, od.DivertError)
    assert issubclass(od.HandleShutdownError, od.DivertError)
    assert issubclass(od.FilterError, ValueError)
    assert issubclass(od.PacketError, ValueError)


def test_a_divert_error_tells_code_symbol_and_the_local_number() -> None:
    with pytest.raises(od.DivertError) as caught:
        od.open("true", priority=40000)
    error = caught.value
    assert (error.code, error.symbol, error.errno) == (87, "ERROR_INVALID_PARAMETER", errno.EINVAL)
    assert str(error) == "[ERROR_INVALID_PARAMETER 87] priority 40000 is out of range; it is -30000 to 30000"


@pytest.mark.parametrize(
    "error",
    [
        od.DivertError(87, "wrong", symbol="ERROR_INVALID_PARAMETER", errno=22, sent=3),
        od.HandleShutdownError(232, "over", symbol="ERROR_NO_DATA"),
        od.DivertError(0x80320009, "refused", symbol="FWP_E_ALREADY_EXISTS"),
        od.FilterError("Filter expression parse error", 4, "tcp udp", "the account"),
        od.PacketError("no packet"),
    ],
)
@pytest.mark.parametrize("duplicate", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_survive_copying(error: Exception, duplicate: object) -> None:
    other = duplicate(error)  # type: ignore[operator]
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)
