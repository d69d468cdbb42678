"""Moves a service from port 8080 to port 80, and counts the packets of each remote host.

    oxidivert run examples/redirect_port.py --read examples/traffic.pcapng --write redirected.out.pcapng

A capture holds both sides of a conversation as they were, so both are rewritten: what went to port 8080 goes to port
80, and the answers from port 8080 come from port 80. On live traffic the answers do come from port 80 already, and
have to be given back to the program as if they came from 8080: swap the two ports in `WAY_BACK`.

Checksums are kept right as a port is set. The counts are printed on standard error when the program ends.
"""

import atexit
import sys
from collections import Counter

from oxidivert import Direction, Packet

WAY_OUT = {8080: 80}
WAY_BACK = {8080: 80}

packets_by_host: Counter[str] = Counter()


def handle(packet: Packet) -> None:
    """Redirect one packet if it belongs to the service, and count it."""
    if packet.direction == Direction.OUTBOUND:
        remote_addr = packet.dst_addr
        if packet.tcp is not None and packet.tcp.dst_port in WAY_OUT:
            packet.tcp.dst_port = WAY_OUT[packet.tcp.dst_port]
    else:
        remote_addr = packet.src_addr
        if packet.tcp is not None and packet.tcp.src_port in WAY_BACK:
            packet.tcp.src_port = WAY_BACK[packet.tcp.src_port]
    packets_by_host[str(remote_addr)] += 1


@atexit.register
def report() -> None:
    """Print how many packets each remote host sent or received."""
    for host, count in packets_by_host.most_common():
        print(f"{count:>8}  {host}", file=sys.stderr)
