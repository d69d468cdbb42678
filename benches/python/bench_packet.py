"""One packet in Python: parse it and read a port; parse it, set a port and have right checksums."""

from __future__ import annotations

import dpkt
import oxidivert as od
import pydivert
import pytest
from race import Contender, race, repeated
from samples import tcp
from scapy.layers.inet import IP, TCP

DATA = tcp(bytes(range(256)) + bytes(216), dst_port=80)
EDITED = tcp(bytes(range(256)) + bytes(216), dst_port=8080)

# Bound once, so that no contender pays for finding its class.
NAMES = {
    "data": DATA,
    "Oxidivert": od.Packet,
    "Pydivert": pydivert.Packet,
    "Dpkt": dpkt.ip.IP,
    "Ip": IP,
    "Tcp": TCP,
}

READ = {
    "oxidivert": "port = Oxidivert(data).dst_port",
    "pydivert": "port = Pydivert(data).dst_port",
    "dpkt": "port = Dpkt(data).data.dport",
    "scapy": "port = Ip(data)[Tcp].dport",
}

SET = {
    "oxidivert": "packet = Oxidivert(data); packet.dst_port = 8080",
    "pydivert": "packet = Pydivert(data); packet.dst_port = 8080; packet.recalculate_checksums()",
    "dpkt": "packet = Dpkt(data); packet.data.dport = 8080; packet.sum = packet.data.sum = 0; packet = bytes(packet)",
    "scapy": "packet = Ip(data); packet[Tcp].dport = 8080; del packet[Tcp].chksum; packet = bytes(packet)",
}

COUNTS = {"oxidivert": 20_000, "pydivert": 2_000, "dpkt": 2_000, "scapy": 100}


def result(statement: str, name: str) -> object:
    names = dict(NAMES)
    exec(statement, names)
    return names[name]


def contenders(statements: dict[str, str]) -> dict[str, Contender]:
    return {name: repeated(statement, NAMES, COUNTS[name]) for name, statement in statements.items()}


@pytest.mark.timeout(300)
def bench_parse_read_port(benchmark) -> None:
    assert {result(statement, "port") for statement in READ.values()} == {80}
    race(benchmark, contenders(READ))


@pytest.mark.timeout(300)
def bench_set_port(benchmark) -> None:
    edited = [result(statement, "packet") for statement in SET.values()]
    assert {bytes(getattr(packet, "raw", packet)) for packet in edited} == {EDITED}
    race(benchmark, contenders(SET))
