"""Live on Linux: real programs talk through handles."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import oxidivert as od
import pytest
from linux_support import Peer, in_namespace, peer, running

MEGABYTES = 100


def needs(program: str) -> None:
    """Skip where a program is missing."""
    if not shutil.which(program):
        pytest.skip(f"the program {program} is missing")


def serve(other: Peer, folder: str, tls: bool) -> subprocess.Popen[bytes]:
    """A web server over there."""
    code = (
        "import functools, http.server, ssl\n"
        f"handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory={folder!r})\n"
        "server = http.server.ThreadingHTTPServer(('10.9.0.2', 8000), handler)\n"
    )
    if tls:
        code += (
            "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
            f"context.load_cert_chain({folder + '/cert.pem'!r}, {folder + '/key.pem'!r})\n"
            "server.socket = context.wrap_socket(server.socket, server_side=True)\n"
        )
    return other.python(code + "print('ready', flush=True)\nserver.serve_forever()\n")


@pytest.mark.parametrize("tls", [False, True])
@in_namespace
def test_a_download_of_a_hundred_megabytes_arrives_whole(tls: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, peer() as other:
        file = Path(folder) / "file"
        block = hashlib.sha256(b"seed").digest() * 32768
        with file.open("wb") as out:
            for _ in range(MEGABYTES):
                out.write(block)
        if tls:
            command = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -days 1 -keyout key.pem -out cert.pem"
            subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
        server = serve(other, folder, tls)
        try:
            with od.open("tcp.SrcPort == 8000 or tcp.DstPort == 8000", backend="nfqueue") as handle:
                with running(handle, lambda packet: None):
                    scheme = "https" if tls else "http"
                    got = subprocess.run(
                        ["curl", "-sSk", "--max-time", "90", f"{scheme}://10.9.0.2:8000/file"],
                        capture_output=True,
                        check=True,
                    ).stdout
                assert handle.stats.received > 100
            assert len(got) == MEGABYTES << 20
            assert hashlib.sha256(got).digest() == hashlib.sha256(file.read_bytes()).digest()
        finally:
            server.kill()
            server.communicate()


@pytest.mark.parametrize("outbound", [False, True])
@in_namespace
def test_a_transfer_with_every_payload_edited_arrives_as_edited(outbound: bool) -> None:
    size = 20 << 20
    direction = "outbound" if outbound else "inbound"
    with peer() as other:
        if outbound:
            code = (
                "import socket, hashlib\ns = socket.create_server(('10.9.0.2', 7000))\nprint('ready', flush=True)\n"
                "c, _ = s.accept()\nd = hashlib.sha256()\nn = 0\n"
                f"while n < {size}:\n    b = c.recv(1 << 16)\n    n += len(b)\n    d.update(b)\n"
                "print(d.hexdigest(), flush=True)\n"
            )
        else:
            code = (
                "import socket\ns = socket.create_server(('10.9.0.2', 7000))\nprint('ready', flush=True)\n"
                f"c, _ = s.accept()\nc.sendall(bytes(range(256)) * ({size} // 256))\nc.recv(1)\n"
            )
        there = other.python(code)

        def edit(packet: od.Packet) -> None:
            packet.payload = bytes(packet.payload).translate(bytes(byte ^ 0x55 for byte in range(256)))

        expected = hashlib.sha256(bytes(byte ^ 0x55 for byte in range(256)) * (size // 256)).hexdigest()
        with od.open(f"{direction} and tcp.PayloadLength > 1", backend="nfqueue") as handle, running(handle, edit):
            client = socket.create_connection(("10.9.0.2", 7000))
            if outbound:
                client.sendall(bytes(range(256)) * (size // 256))
                assert there.stdout is not None
                assert there.stdout.readline().decode().strip() == expected
            else:
                digest = hashlib.sha256()
                count = 0
                while count < size:
                    data = client.recv(1 << 16)
                    digest.update(data)
                    count += len(data)
                assert digest.hexdigest() == expected
                client.sendall(b"x")
            assert handle.stats.modified > 0
        there.communicate(timeout=10)


@in_namespace
def test_ports_and_addresses_are_rewritten_both_ways() -> None:
    with peer() as other:
        other.run("ip", "addr", "add", "10.9.0.3/24", "dev", "outer")
        there = other.python(
            "import socket\ns = socket.create_server(('10.9.0.3', 7777))\nprint('ready', flush=True)\n"
            "c, peer = s.accept()\nc.sendall(c.recv(100).upper())\n"
        )

        def rewrite(packet: od.Packet) -> None:
            if packet.address.outbound:
                packet.dst_addr, packet.dst_port = "10.9.0.3", 7777
            else:
                packet.src_addr, packet.src_port = "10.9.0.2", 80

        text = "tcp.DstPort == 80 and outbound or tcp.SrcPort == 7777 and inbound"
        # Before connection tracking, which would not know the connection by its other name.
        with od.open(text, backend="nfqueue", priority=300) as handle, running(handle, rewrite):
            client = socket.create_connection(("10.9.0.2", 80), timeout=5)
            client.sendall(b"shout")
            assert client.recv(100) == b"SHOUT"
            assert client.getpeername() == ("10.9.0.2", 80)
        there.communicate(timeout=5)


@pytest.mark.parametrize("version", [4, 6])
@in_namespace
def test_ping_of_every_size_gets_its_answers(version: int) -> None:
    needs("ping")
    with peer() as other, od.open("icmp or icmpv6", backend="nfqueue") as handle, running(handle, lambda packet: None):
        address = other.remote if version == 4 else other.remote6
        time.sleep(0.1)
        for size in (0, 1, 8, 56, 1000, 1400, 1472, 1473, 3000, 9000, 30000, 65000 if version == 4 else 64000):
            done = subprocess.run(
                ["ping", f"-{version}", "-c", "1", "-W", "2", "-s", str(size), address],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (size, done.stdout, done.stderr)
        assert handle.stats.received >= 24


@in_namespace
def test_names_are_looked_up_and_answers_rewritten() -> None:
    with peer() as other:
        server = other.python(
            "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('10.9.0.2', 53))\n"
            "print('ready', flush=True)\nwhile True:\n    q, peer = s.recvfrom(512)\n"
            "    end = q.index(0, 12) + 5\n"
            "    a = q[:2] + b'\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0' + q[12:end]\n"
            "    s.sendto(a + b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\xc0\\0\\2\\1', peer)\n"
        )

        def rewrite(packet: od.Packet) -> None:
            packet.payload = bytes(packet.payload).replace(bytes([192, 0, 2, 1]), bytes([192, 0, 2, 99]))

        text = "udp.SrcPort == 53 and inbound"
        with od.open(text, backend="nfqueue") as handle, running(handle, rewrite):
            question = b"\x12\x34\x01\x00\0\1\0\0\0\0\0\0\7example\3org\0\0\1\0\1"
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            client.settimeout(2)
            client.sendto(question, ("10.9.0.2", 53))
            answer = client.recv(512)
            assert answer[:2] == b"\x12\x34"
            assert answer[-4:] == bytes([192, 0, 2, 99])
        server.kill()
        server.communicate()


@pytest.mark.parametrize("arguments", [[], ["-R"], ["-u", "-b", "20M"]])
@in_namespace
def test_iperf_runs_through_a_handle(arguments: list[str]) -> None:
    needs("iperf3")
    with peer() as other:
        server = other.start("iperf3", "-s", "-1")
        time.sleep(0.5)
        with od.open("tcp or udp", backend="nfqueue") as handle, running(handle, lambda packet: None):
            done = subprocess.run(
                ["iperf3", "-c", "10.9.0.2", "-t", "1", "-J", *arguments], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout
            end = json.loads(done.stdout)["end"]
            if "-u" in arguments:
                assert end["sum"]["lost_percent"] < 1
            else:
                assert end["sum_received"]["bytes"] > 10_000_000
        server.communicate(timeout=10)
