"""Live on Linux: with fewer rights less is there, and what is missing is said."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from linux_support import in_namespace

#: What a program finds that opens everything.
CODE = """
import json, socket, warnings
import oxidivert as od

found = {}
warnings.simplefilter("always")
bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
bound.bind(("127.0.0.1", 0))
bound.settimeout(1)
port = bound.getsockname()[1]
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    with od.open(f"udp.DstPort == {port}", backend="nfqueue") as handle:
        out.sendto(b"other", ("127.0.0.1", 1))
        out.sendto(b"x", bound.getsockname())
        packet = handle.recv(2)
        handle.send(packet)
        found["sent on"] = bound.recv(10) == b"x"
        found["unmatched"] = handle.stats.unmatched > 0
        try:
            handle.send(od.build.udp("127.0.0.1", "127.0.0.1", 1, port, payload=b"new"))
            found["new"] = bound.recv(10) == b"new"
        except od.DivertError as error:
            found["new"] = error.code
found["warned"] = [str(warning.message) for warning in caught]
with od.open(f"udp.DstPort == {port}", backend="nfqueue", flags=od.Flag.DROP):
    try:
        out.sendto(b"x", bound.getsockname())
    except PermissionError:
        pass
    bound.settimeout(0.2)
    try:
        found["dropped"] = bound.recv(10) is None
    except TimeoutError:
        found["dropped"] = True
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    with od.open(f"udp.DstPort == {port}", backend="nfqueue", flags=od.Flag.SNIFF) as handle:
        for number in range(200):
            out.sendto(bytes([number]), ("127.0.0.1", port if number % 2 else 1))
        copies = [handle.recv(2) for _ in range(100)]
        found["copied"] = [packet.payload[0] for packet in copies if packet] == list(range(1, 200, 2))
for layer in ("FLOW", "SOCKET", "REFLECT"):
    try:
        od.open("true", layer=od.Layer[layer], flags=od.Flag.SNIFF | od.Flag.RECV_ONLY, backend="nfqueue").close()
        found[layer] = "opens"
    except od.DivertError as error:
        found[layer] = str(error)
print(json.dumps(found))
"""


def found(capabilities: str) -> dict[str, object]:
    """What a program finds that has these capabilities."""
    if not shutil.which("setpriv"):
        pytest.skip("the program setpriv is missing (package util-linux)")
    command = ["setpriv", "--bounding-set", capabilities, "--inh-caps", "-all", sys.executable, "-c", CODE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


@in_namespace
def test_without_programs_everything_is_matched_here() -> None:
    answer = found("-all,+net_admin,+net_raw")
    assert answer["sent on"]
    assert answer["unmatched"]
    assert answer["new"] is True
    assert answer["dropped"]
    assert answer["copied"]
    assert "CAP_BPF" in str(answer["warned"])
    assert "CAP_BPF" in str(answer["FLOW"])
    assert str(answer["SOCKET"]).startswith("[ERROR_ACCESS_DENIED 5]")
    assert answer["REFLECT"] == "opens"


@in_namespace
def test_without_raw_sockets_there_are_no_new_packets() -> None:
    answer = found("-all,+net_admin")
    assert answer["sent on"]
    assert answer["new"] == 5


@in_namespace
def test_with_all_rights_nothing_is_warned_of() -> None:
    answer = found("+all")
    assert answer["sent on"]
    assert not answer["unmatched"]
    assert answer["warned"] == []
    assert answer["copied"]
    assert (answer["FLOW"], answer["SOCKET"], answer["REFLECT"]) == ("opens", "opens", "opens")


@in_namespace
def test_without_ipv6_everything_works_as_well() -> None:
    for name in ("all", "default"):
        with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "w") as file:
            file.write("1")
    answer = found("+all")
    assert answer["sent on"]
    assert answer["new"] is True
