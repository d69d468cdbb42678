"""The tests of the Windows backend: the real library over a stand-in driver. Elsewhere there are none."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from standin import Network

sys.path.append(str(pathlib.Path(__file__).parent.parent / "python"))

if sys.platform != "win32":
    collect_ignore_glob = ["*"]


@pytest.fixture(scope="session")
def running_driver() -> Iterator[None]:
    """The stand-in driver, which the first open starts and an open handle keeps running."""
    import oxidivert as od

    with od.open("false"):
        yield


@pytest.fixture
def network(running_driver: None) -> Iterator[Network]:
    """The network that the driver has its packets from."""
    from standin import Network

    made = Network()
    made.reset()
    yield made
    made.reset()
    made.close()
