"""Masks access tokens in plain HTTP: what follows `Authorization: Bearer` or `token=` in a URL becomes asterisks.

    oxidivert run examples/mask_token.py "tcp.PayloadLength > 0" \\
        --read examples/traffic.pcapng --write masked.out.pcapng

The mask is as long as the token, so TCP's sequence numbers stay right; the checksum is computed by the assignment to
`payload`. A packet without a token goes back byte for byte. A token that is split between two packets is not found.
"""

import re

from oxidivert import Packet

TOKEN = re.compile(rb"(authorization: *bearer +|[?&]token=)([^\s&]+)", re.IGNORECASE)


def mask(match: re.Match[bytes]) -> bytes:
    """Return the text that stands in for a found token, of the same length."""
    return match[1] + b"*" * len(match[2])


def handle(packet: Packet) -> None:
    """Mask every token in one packet, which then goes on its way."""
    if packet.tcp is None or packet.is_fragment:
        return
    masked, found = TOKEN.subn(mask, bytes(packet.payload))
    if found:
        packet.payload = masked
