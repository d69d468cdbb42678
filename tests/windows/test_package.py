"""What the wheel carries, and what works without the driver's library."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import textwrap

import oxidivert as od
import pytest
from samples import PROJECT

PACKAGE = pathlib.Path(od.__file__).parent
SHIPPED = {
    "WinDivert.dll": "c1e060ee19444a259b2162f8af0f3fe8c4428a1c6f694dce20de194ac8d7d9a2",
    "WinDivert64.sys": "8da085332782708d8767bcace5327a6ec7283c17cfb85e40b03cd2323a90ddc2",
}


def imported_libraries(image: bytes) -> set[str]:
    """The names in a program file's import table."""
    (header,) = struct.unpack_from("<I", image, 0x3C)
    sections, optional = struct.unpack_from("<H", image, header + 6)[0], header + 24
    (table,) = struct.unpack_from("<I", image, optional + 112 + 8)
    first = optional + struct.unpack_from("<H", image, header + 20)[0]
    places = [struct.unpack_from("<IIII", image, first + 40 * index + 8) for index in range(sections)]

    def offset(address: int) -> int:
        return next(raw + address - start for size, start, _, raw in places if start <= address < start + size)

    names, at = set(), offset(table)
    while (name := struct.unpack_from("<I", image, at + 12)[0]) != 0:
        start = offset(name)
        names.add(image[start : image.index(b"\0", start)].decode().lower())
        at += 20
    return names


def run_in(folder: pathlib.Path, script: str) -> str:
    """What a script prints whose `oxidivert` is the one in this folder."""
    path = os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def copy(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with a copy of the package."""
    # Wine 8 lacks what copies a file with all that belongs to it.
    shutil.copytree(PACKAGE, tmp_path / "oxidivert", copy_function=shutil.copyfile)
    return tmp_path


OPEN = """
    try:
        od.open("udp")
    except od.DivertError as error:
        print(error.code, error)
"""


def test_the_module_is_linked_to_no_windivert() -> None:
    names = imported_libraries((PACKAGE / "_native.pyd").read_bytes())
    assert "kernel32.dll" in names
    assert not [name for name in names if "divert" in name]


def test_the_wheel_carries_the_signed_files_and_their_licences() -> None:
    (wheel,) = (PROJECT / "build" / "windows" / "wheel").glob("*.whl")
    assert wheel.name.endswith("-cp311-abi3-win_amd64.whl")
    folder = PROJECT / "build" / "windows" / "windivert"
    for name, expected in SHIPPED.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected
    present = {path.name for path in (PACKAGE / "_windivert").iterdir()}
    assert present >= {*SHIPPED, "SHA256SUMS", "LICENSE", "SOURCE", "LICENSE-LGPL-3.0", "LICENSE-GPL-2.0"}
    assert SHIPPED["WinDivert.dll"] in (PACKAGE / "_windivert" / "SHA256SUMS").read_text(encoding="utf-8")


def test_without_the_library_everything_works_but_open_which_explains(copy: pathlib.Path) -> None:
    (copy / "oxidivert" / "_windivert" / "WinDivert.dll").unlink()
    out = run_in(
        copy,
        """
        import oxidivert as od
        print(od.Filter("tcp.DstPort == 80"))
        engine = od.Engine()
        with od.open("udp", backend=engine) as handle:
            engine.inject(od.build.udp("10.0.0.1", "10.0.0.2", 1, 53, payload=b"x"))
            print(bytes(handle.recv(timeout=0).payload))
        """
        + textwrap.indent(OPEN, "    "),
    )
    text, payload, account = out.splitlines()
    assert (text, payload) == ("tcp.DstPort = 80", "b'x'")
    assert account.startswith("2 [ERROR_FILE_NOT_FOUND 2] WinDivert's file ")
    assert str(copy) in account
    assert "reinstall the package" in account


def test_a_library_that_is_not_the_shipped_one_is_not_loaded(copy: pathlib.Path) -> None:
    with (copy / "oxidivert" / "_windivert" / "WinDivert.dll").open("ab") as library:
        library.write(b"more")
    out = run_in(copy, f"import oxidivert as od\n{textwrap.dedent(OPEN)}")
    assert out.startswith("577 [ERROR_INVALID_IMAGE_HASH 577]")
    assert "is not the one that was shipped" in out
