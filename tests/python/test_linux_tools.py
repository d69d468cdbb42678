"""The tools live on Linux, with real programs at the other end: curl, nginx, and clients of their own."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from linux_support import in_namespace, peer, port_of, tables, udp_socket
from live_tools import CURL_REFUSED, Tool, curl, nginx, running
from tools_support import objects

for tool in ("curl", "nginx"):
    if sys.platform == "linux" and not shutil.which(tool):
        pytest.skip(f"the program {tool} is missing", allow_module_level=True)


@pytest.mark.parametrize("server", ["10.9.0.2", "[fd09::2]"])
@in_namespace
def test_netfilter_is_seen_as_connection_refused(server: str) -> None:
    with peer() as other, nginx(other):
        with running("netfilter", "outbound and tcp.DstPort == 80", "--json") as tool:
            refused = curl(f"http://{server}/")
            assert refused.returncode == CURL_REFUSED, refused.stderr
            # At once, not after waiting in vain.
            address = server.strip("[]")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, 80), timeout=5)
            out, err = tool.end()
        blocked = objects(out)
        assert {(one["dst_addr"], one["dst_port"], one["answer"]) for one in blocked} == {(address, 80, "reset")}
        assert len(blocked) == 2
        assert objects(err)[0]["resets"] == 2
        # All is as before.
        assert curl(f"http://{server}/").stdout == "<p>the true page</p>\n"
        assert tables() == 0


@in_namespace
def test_netfilter_refuses_clients_of_another_host() -> None:
    with (
        peer() as other,
        socket.create_server(("10.9.0.1", 8080)),
        running("netfilter", "inbound and tcp.DstPort == 8080"),
    ):
        code = (
            "import socket\n"
            "try:\n    socket.create_connection(('10.9.0.1', 8080), timeout=5)\n"
            "except ConnectionRefusedError:\n    print('refused')\n"
        )
        assert other.run(sys.executable, "-c", code) == "refused\n"


@pytest.mark.parametrize("server", ["10.9.0.2", "fd09::2"])
@in_namespace
def test_netfilter_tells_senders_of_datagrams_that_the_port_is_unreachable(server: str) -> None:
    with peer(), running("netfilter", "outbound and udp.DstPort == 9999") as tool:
        client = udp_socket("fd09::1" if ":" in server else "10.9.0.1")
        client.connect((server, 9999))
        client.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            client.recv(1)
        out, err = tool.end()
        assert out.startswith("BLOCK ip.SrcAddr=")
        assert "1 blocked, 0 resets, 1 unreachable in" in err


@in_namespace
def test_webfilter_shows_the_page_instead_of_a_blocked_one() -> None:
    with peer() as other, nginx(other) as pages, tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("blocked.example\n10.9.0.2/index\n")
        file.flush()
        access = pages.parent / "access.log"
        with running("webfilter", file.name, "--json") as tool:
            seen = access.read_text()
            for address, host in (("10.9.0.2", "blocked.example"), ("[fd09::2]", "www.blocked.example")):
                blocked = curl(f"http://{address}/anything", "--header", f"Host: {host}", "--include")
                assert blocked.returncode == 0, blocked.stderr
                assert blocked.stdout.startswith("HTTP/1.1 200 OK\n")
                assert "<h1>BLOCKED!</h1>" in blocked.stdout
            assert "BLOCKED!" in curl("http://10.9.0.2/index.html").stdout
            # The server has seen nothing of that.
            assert access.read_text() == seen
            assert curl("http://10.9.0.2/").stdout == "<p>the true page</p>\n"
            # One connection, three requests.
            urls = [f"http://10.9.0.2/{path}" for path in ("", "?a", "?b")]
            assert curl(urls[0], *urls[1:]).stdout == "<p>the true page</p>\n" * 3
            out, _ = tool.end()
        assert [one["blocked"] for one in objects(out)] == [True, True, True, False, False, False, False]
        assert curl("http://10.9.0.2/index.html").stdout == "<p>the true page</p>\n"


@pytest.mark.parametrize("server", ["10.9.0.2", "[fd09::2]"])
@in_namespace
def test_streamdump_shows_a_page_and_changes_nothing(server: str) -> None:
    with peer() as other, nginx(other):
        with running("streamdump", "80", "--json") as tool:
            answer = curl(f"http://{server}/")
            assert (answer.returncode, answer.stdout) == (0, "<p>the true page</p>\n")
            out, err = tool.end()
        shown = objects(out)
        assert shown[0]["from"] == "client"
        assert shown[0]["text"].startswith("GET / HTTP/1.1..Host: ")
        assert shown[1]["from"] == "server"
        assert shown[1]["text"].startswith("HTTP/1.1 200 OK..Server: nginx")
        assert {one["server"] for one in shown} == {server.strip("[]")}
        assert objects(err)[0]["connections"] == 1
        assert curl(f"http://{server}/").returncode == 0
        assert tables() == 0


@in_namespace
def test_a_hundred_megabytes_go_through_streamdump_with_equal_hash() -> None:
    with peer() as other, nginx(other) as pages:
        data = os.urandom(1 << 20) * 100
        (pages / "large").write_bytes(data)
        with running("streamdump", "80", "--json", "--quiet") as tool, tempfile.NamedTemporaryFile() as file:
            fetched = curl("http://10.9.0.2/large", "--output", file.name, "--max-time", "90")
            assert fetched.returncode == 0, fetched.stderr
            assert hashlib.sha256(Path(file.name).read_bytes()).digest() == hashlib.sha256(data).digest()
            out, _ = tool.end()
        told = sum(one["length"] for one in objects(out) if one["from"] == "server")
        assert len(data) < told < len(data) + 1000


@in_namespace
def test_a_server_that_refuses_is_noticed_through_streamdump() -> None:
    with peer(), running("streamdump", "80"):
        assert curl("http://10.9.0.2/").returncode != 0


@in_namespace
def test_netdump_sees_both_ways_and_changes_nothing() -> None:
    with peer() as other, nginx(other):
        with running("netdump", "tcp.DstPort == 80 or tcp.SrcPort == 80", "--json", wait=False) as tool:
            tool.ready()
            assert curl("http://10.9.0.2/").stdout == "<p>the true page</p>\n"
            time.sleep(0.5)
            out, _ = tool.end()
        shown = objects(out)
        assert {one["direction"] for one in shown} == {"outbound", "inbound"}
        assert (shown[0]["direction"], shown[0]["tcp"]["flags"]) == ("outbound", ["syn"])
        assert sum(one["payload_length"] for one in shown if one["direction"] == "inbound") > 100


@pytest.mark.parametrize("way", ["batch", "callback", "loop", "rust"])
@in_namespace
def test_passthru_lets_everything_through(way: str) -> None:
    with peer() as other, nginx(other) as pages:
        data = os.urandom(1 << 20) * 10
        (pages / "large").write_bytes(data)
        with running("passthru", "tcp", "--way", way, "--workers", "1" if way == "loop" else "2", "--json") as tool:
            with tempfile.NamedTemporaryFile() as file:
                fetched = curl("http://10.9.0.2/large", "--output", file.name)
                assert fetched.returncode == 0, fetched.stderr
                assert Path(file.name).read_bytes() == data
            out, _ = tool.end()
        (figures,) = objects(out)
        assert figures["packets"] == figures["sent"] > 10
        assert tables() == 0


@in_namespace
def test_flowtrack_counts_downloads() -> None:
    with peer() as other, nginx(other) as pages:
        (pages / "page").write_bytes(bytes(20_000))
        with running("flowtrack", "--json", wait=False) as tool:
            tool.ready(2)
            # Fifty pages by one connection, in no burst: what watches is not waited for.
            urls = [f"http://10.9.0.2/page?{number}" for number in range(50)]
            assert len(curl(urls[0], *urls[1:]).stdout) == 1_000_000
            time.sleep(0.5)
            out, err = tool.end()
        assert "lost" not in objects(err)[0]
        (flow,) = [one for one in objects(out) if one["remote_port"] == 80]
        assert flow["direction"] == "outbound"
        assert 1_000_000 < flow["bytes_received"] < 1_100_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@in_namespace
def test_a_signal_puts_everything_back(number: int) -> None:
    bound, out = udp_socket(), udp_socket()
    with running("passthru", f"udp.DstPort == {port_of(bound)}") as tool:
        out.sendto(b"through", bound.getsockname())
        assert bound.recv(10) == b"through"
        tool.end(number)
    assert tables() == 0
    out.sendto(b"after", bound.getsockname())
    assert bound.recv(10) == b"after"


@pytest.mark.parametrize("tool", ["netdump tcp", "netfilter tcp", "streamdump 80", "socketdump", "flowtrack --json"])
@in_namespace
def test_a_reader_that_leaves_ends_a_tool_quietly(tool: str) -> None:
    with peer() as other, nginx(other):
        command = [sys.executable, "-m", "oxidivert", *tool.split(), "--quiet"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stderr is not None
        requests = subprocess.Popen(["sh", "-c", "while sleep 0.1; do curl --silent --max-time 1 10.9.0.2; done"])
        try:
            assert process.stdout.readline()
            process.stdout.close()
            assert (process.wait(20), process.stderr.read()) == (0, "")
        finally:
            requests.kill()
            requests.wait()
        assert tables() == 0
        assert curl("http://10.9.0.2/").stdout == "<p>the true page</p>\n"


@in_namespace
def test_the_time_ends_a_tool() -> None:
    tool = Tool("netfilter", "udp", "--duration", "0.5")
    assert tool.process.wait(20) == 0
    assert re.match(r"0 blocked, 0 resets, 0 unreachables in 0\.[56]", Tool.text(tool.err))
    assert tables() == 0


@in_namespace
def test_a_missing_right_is_one_line_with_advice() -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        packets = ["netdump", "netfilter tcp", "passthru", "streamdump 80", f"webfilter {file.name}", "flowtrack"]
        for command in [*packets, "socketdump", "ctl list", "ctl watch", "ctl kill --yes", "ctl uninstall --yes"]:
            # Root by name, but without its rights.
            without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", "oxidivert"]
            done = subprocess.run([*without, *command.split()], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout) == (2, "")
            name = " ".join(command.split()[: 2 if command.startswith("ctl") else 1])
            assert done.stderr.startswith(f"oxidivert {name}: error: ")
            assert "CAP_NET_ADMIN" in done.stderr
            assert done.stderr.endswith("; run with administrator or root rights\n")
            assert done.stderr.count("\n") == 1


@in_namespace
def test_flowtrack_names_the_program_of_a_flow() -> None:
    with peer() as other, nginx(other) as pages:
        (pages / "page").write_bytes(bytes(20_000))
        with running("flowtrack", "tcp", "--json", "--limit", "1", wait=False) as tool:
            tool.ready(2)
            assert len(curl("http://10.9.0.2/page").stdout) == 20_000
            assert tool.process.wait(10) == 0
            (flow,) = objects(tool.text(tool.out))
        assert flow["ended"]
        assert os.path.basename(flow["program"]) == "curl"
        assert (flow["remote_addr"], flow["remote_port"]) == ("10.9.0.2", 80)
        assert 20_000 < flow["bytes_received"] < 23_000


@in_namespace
def test_socketdump_tells_what_curl_does() -> None:
    with peer() as other, nginx(other), running("socketdump", "remotePort == 80", "--json", wait=False) as tool:
        tool.ready()
        assert curl("http://10.9.0.2/").returncode == 0
        tool.shows(2)
        out, _ = tool.end()
    shown = [one for one in objects(out) if one["remote_addr"] == "10.9.0.2"]
    assert [one["event"] for one in shown] == ["connect", "close"]
    assert {os.path.basename(one["program"]) for one in shown} == {"curl"}
    assert len({one["endpoint_id"] for one in shown}) == 1


@in_namespace
def test_socketdump_refuses_connections() -> None:
    with peer() as other, nginx(other):
        block = ("socketdump", "--block", "event == CONNECT and remotePort == 80", "--json")
        with running(*block, wait=False) as tool:
            tool.ready()
            assert curl("http://10.9.0.2/").returncode == CURL_REFUSED
            tool.shows(1)
            out, _ = tool.end()
        shown = objects(out)[0]
        assert (shown["event"], shown["remote_port"], shown["blocked"]) == ("connect", 80, True)
        assert os.path.basename(shown["program"]) == "curl"
        assert curl("http://10.9.0.2/").stdout == "<p>the true page</p>\n"
