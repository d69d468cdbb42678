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


@pytest.fixture
def network() -> Iterator[Network]:
    """The network that the stand-in driver has its packets from; an open handle keeps the driver running."""
    import oxidivert as od
    from standin import Network

    with od.open("false"):
        made = Network()
        made.reset()
        yield made
        made.reset()
        made.close()
