"""Makes the captures beside it, what a reader must find in them (expected.json), and the page about them (README.md).

    python make.py            writes everything
    python make.py --check    fails if what lies there is not what would be written

Standard library only, and the same bytes on every machine (of whole gzip'd files: the same bytes once unpacked).
"""

from __future__ import annotations

import gzip
import json
import struct
import sys
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from formats import START_NS, Capture, Section, pcap, pcapng, stored_gzip
from frames import (
    ARP,
    ARP_BODY,
    ARP_TYPE,
    PACKETS,
    PACKETS4,
    PACKETS6,
    RADIOTAP,
    REMOTE4,
    cooked,
    cooked2,
    cut_frames,
    ethernet,
    ethernet_frames,
    family,
    fragments,
    no_ip,
    odd_ip_frames,
    sll,
    sll2,
)

HERE = Path(__file__).parent


def interfaces(order: str) -> Section:
    """Return a section with everything that the format has for interfaces, times and directions."""
    section = Section(order)
    section.interface(1).interface(101, 9).interface(0, 0x80 | 20).interface(228, 3).interface(113, 6, 3600)
    for frame, direction in ((PACKETS[0], "outbound"), (PACKETS[1], "inbound"), (PACKETS[6], "outbound")):
        section.packet(ethernet(frame), 0, direction)
        section.packet(frame, 1, direction)
        section.packet(family(frame, order), 2)
        section.packet(sll(frame), 4)
    section.packet(PACKETS4[4], 3, "outbound").packet(PACKETS4[5], 3)
    return section.packet(ARP, 0, "outbound").packet(ethernet(PACKETS[3]), 0, "inbound")


def other_blocks(order: str) -> Section:
    """Return a section with blocks and options that a reader has to step over, and to keep."""
    section = Section(order)
    section.interface(1, 9, 0, (2, b"uplink"), (3, b"an interface of a test"), (1, b"a comment"))
    enterprise = struct.pack(order + "I", 32473)  # the private enterprise number for examples, RFC 5612
    names = struct.pack(order + "HH", 1, 20) + IPv4Address(REMOTE4).packed + b"www.example.com\0" + bytes(4)
    section.packet(ethernet(PACKETS[0]), 0, None, ((1, b"comment on a packet"),))
    section.block(4, names)
    section.packet(ethernet(PACKETS[1]), 0, "inbound", ((2988, enterprise + b"custom text"), (4, bytes(8))))
    section.block(0x0BAD, enterprise + b"custom block")
    section.block(0x80000001, b"a block of a kind that nobody knows")
    section.packet(ethernet(PACKETS[2]), 0, "outbound", ((0x7FFF, b"an option that nobody knows"),))
    section.block(
        5, struct.pack(order + "III", 0, START_NS >> 32, START_NS & 0xFFFFFFFF) + section.options((4, bytes(8)))
    )
    return section.packet(ethernet(PACKETS[3]))


def links() -> dict[str, Capture]:
    """Return a file for each link type."""
    lower = [family(packet, "<", inet6) for packet, inet6 in zip(PACKETS, [24, 28, 30] * 4, strict=False)]
    broadcast = [sll(PACKETS[3], 1), sll(PACKETS[3], 2), sll(PACKETS[3], 3)]
    broadcast2 = [sll2(PACKETS[3], 1), sll2(PACKETS[3], 2), sll2(PACKETS[3], 3)]
    mixed = Section("<").interface(127).interface(1)
    mixed.packet(RADIOTAP, 0).packet(ethernet(PACKETS[0]), 1).packet(RADIOTAP, 0).packet(ethernet(PACKETS[1]), 1)
    raw = "IP packets without a link header"
    return {
        "link_null_le.pcap": pcap("NULL (0), family words little-endian, IPv6 as 24, 28 and 30", 0, lower),
        "link_null_be.pcap": pcap("NULL (0), family words big-endian", 0, [family(p, ">", 30) for p in PACKETS], ">"),
        "link_null_foreign.pcap": pcap(
            "NULL (0), big-endian family words in a little-endian file", 0, [family(p, ">") for p in PACKETS]
        ),
        "link_ethernet.pcap": pcap(
            "Ethernet (1): plain, 802.1Q, 802.1ad and double 802.1Q tags, padding and a trailer behind the packet, ARP "
            "(also tagged), LLDP, a spanning tree frame, fragments", 1, ethernet_frames()
        ),
        "link_ethernet_fcs.pcap": pcap(
            "Ethernet (1) whose link field says that each frame ends in a check sequence of 4 bytes", 1,
            [ethernet(p, trailer=b"\xde\xad\xbe\xef") for p in PACKETS[:4]], link_word=0x24000001
        ),
        "link_ethernet_odd_ip.pcap": pcap(
            "Ethernet (1): type IPv4, but total length 0, version 7, header length 4, 19 bytes, none; half an Ethernet "
            "header; a total length beyond the frame; a good packet", 1, odd_ip_frames()
        ),
        "link_raw_12.pcap": pcap(f"RAW as 12: {raw}", 12, PACKETS + fragments()),
        "link_raw_14.pcap": pcap(f"RAW as 14: {raw}", 14, PACKETS),
        "link_raw_101.pcap": pcap(f"RAW (101): {raw}", 101, PACKETS + fragments()),
        "link_loop.pcap": pcap("LOOP (108), family words always big-endian", 108, [family(p, ">") for p in PACKETS]),
        "link_sll.pcap": pcap(
            "LINUX_SLL (113): packet types 4 (outbound) and 0 to 3 (inbound, as in libpcap), ARP", 113,
            [*map(sll, PACKETS), *broadcast, no_ip(cooked(4, ARP_TYPE) + ARP_BODY, "outbound")]
        ),
        "link_sll2.pcap": pcap(
            "LINUX_SLL2 (276): the same", 276,
            [*map(sll2, PACKETS), *broadcast2, no_ip(cooked2(4, ARP_TYPE) + ARP_BODY, "outbound")]
        ),
        "link_ipv4.pcap": pcap("IPV4 (228)", 228, PACKETS4),
        "link_ipv6.pcap": pcap("IPV6 (229)", 229, PACKETS6),
        "link_radiotap.pcap": pcap("radiotap (127), a link type that is not supported", 127, [RADIOTAP, RADIOTAP]),
        "link_mixed.pcapng": pcapng("radiotap (127) and Ethernet (1) in one file", mixed),
    }  # fmt: skip


def forms() -> dict[str, Capture]:
    """Return a file for each form of the two formats."""
    frames = [*map(ethernet, PACKETS), ARP]
    simple = Section("<").interface(1)
    for frame in frames[:5]:
        simple.simple(frame)
    old = Section("<").interface(1)
    for frame, direction in zip(frames[:4], ("outbound", "inbound", None, "outbound"), strict=True):
        old.packet(frame, 0, direction, old=True)
    sections = [Section("<").interface(1, 9), Section(">").interface(101).interface(1)]
    sections[0].packets_of(frames[:3])
    sections[1].packets_of(PACKETS[:3], 0).packets_of(frames[3:6], 1)
    files = {
        "pcap_le_micro.pcap": pcap("pcap, little-endian, microseconds, Ethernet", 1, frames),
        "pcap_be_micro.pcap": pcap("pcap, big-endian, microseconds, Ethernet", 1, frames, ">"),
        "pcap_le_nano.pcap": pcap("pcap, little-endian, nanoseconds, Ethernet", 1, frames, nano=True),
        "pcap_be_nano.pcap": pcap("pcap, big-endian, nanoseconds, Ethernet", 1, frames, ">", nano=True),
        "pcap_no_packets.pcap": pcap("pcap, a header and no packets", 1, []),
        "pcapng_no_packets.pcapng": pcapng("pcapng, a section and an interface, no packets", Section("<").interface(1)),
        "pcapng_sections.pcapng": pcapng(
            "pcapng, a little-endian section and a big-endian one, interfaces anew", *sections
        ),
        "pcapng_simple.pcapng": pcapng("pcapng, simple packet blocks: they have no time", simple),
        "pcapng_old.pcapng": pcapng("pcapng, the obsolete packet blocks, with pack_flags", old),
    }
    for name, order, words in (("le", "<", "little"), ("be", ">", "big")):
        files[f"pcapng_{name}_interfaces.pcapng"] = pcapng(
            f"pcapng, {words}-endian, five interfaces of links 1, 101, 0, 228 and 113 with if_tsresol none (10^-6), "
            "10^-9, 2^-20, 10^-3 and 10^-6 with if_tsoffset 3600; epb_flags on some", interfaces(order)
        )  # fmt: skip
        files[f"pcapng_{name}_blocks.pcapng"] = pcapng(
            f"pcapng, {words}-endian, with comments, a name resolution block, an interface statistics block, a "
            "custom block, an unknown block, a custom and an unknown option", other_blocks(order)
        )  # fmt: skip
    return files


def odd(good: Capture) -> dict[str, Capture]:
    """Return files that are odd but that a reader has to read to their end."""
    frames = [*map(ethernet, PACKETS)]
    longer = replace(frames[3], original_length=len(frames[3].data) - 4)
    parts = (gzip.compress(good.data[:500], mtime=0), gzip.compress(good.data[500:], mtime=0))
    fractions = [1_500_000, 999_999, 4_000_000_000]
    nano_fractions = [1_500_000_000, 999_999_999, 4_000_000_000]
    return {
        "odd_beyond_snap.pcap": pcap("packets longer than the file's snap length of 64", 1, frames, snap_len=64),
        "odd_snap_zero.pcap": pcap("a snap length of 0", 1, frames, snap_len=0),
        "odd_cut_by_snap.pcap": pcap(
            "packets cut by the capture: in the payload, in the TCP, IP and Ethernet header; one whole", 1, cut_frames()
        ),
        "odd_cut_by_snap.pcapng": pcapng("the same as pcapng", Section("<").interface(1).packets_of(cut_frames())),
        "odd_captured_beyond_original.pcap": pcap(
            "a captured length above the original length", 1, [longer, frames[0]]
        ),
        "odd_fraction.pcap": pcap("microseconds of 1500000 and 4000000000", 1, frames[:3], fractions=fractions),
        "odd_fraction_nano.pcap": pcap(
            "nanoseconds of 1500000000 and 4000000000", 1, frames[:3], nano=True, fractions=nano_fractions
        ),
        "gzip_members.pcap.gz": replace(good, note="pcap_le_micro.pcap as two gzip members", data=b"".join(parts)),
    }


def broken(classic: Capture, modern: Capture) -> dict[str, Capture]:
    """Return files that are no captures, or that stop being one."""
    records = [24]
    while records[-1] < len(classic.data):
        records.append(records[-1] + 16 + struct.unpack_from("<I", classic.data, records[-1] + 8)[0])
    blocks = [0]
    while blocks[-1] < len(modern.data):
        blocks.append(blocks[-1] + struct.unpack_from("<I", modern.data, blocks[-1] + 4)[0])
    at, block = records[3], blocks[5]  # three packets lie before each: a section and an interface block come first
    huge = classic.data[: at + 8] + struct.pack("<I", 0xFFFFFFF0) + classic.data[at + 12 :]
    odd_length = modern.data[: block + 4] + struct.pack("<I", 13) + modern.data[block + 8 :]
    short_block = modern.data[: block + 4] + struct.pack("<I", 16) + modern.data[block + 8 :]
    no_interface = modern.data[: block + 8] + struct.pack("<I", 7) + modern.data[block + 12 :]
    zipped = stored_gzip(classic.data)
    garbage = bytes((number * 89 + 41) % 251 for number in range(600))
    cut, bad = "truncated", "damaged"
    return {
        "bad_cut_in_record.pcap": classic.damaged("ends in the middle of a packet", classic.data[: at + 30], 3, cut),
        "bad_cut_in_record_header.pcap": classic.damaged("ends in a record's header", classic.data[: at + 7], 3, cut),
        "bad_cut_in_header.pcap": classic.damaged("ends in the file's header", classic.data[:15], 0, cut),
        "bad_cut_in_block.pcapng": modern.damaged("ends in the middle of a block", modern.data[: block + 50], 3, cut),
        "bad_cut_in_block_header.pcapng": modern.damaged("ends in a block's header", modern.data[: block + 6], 3, cut),
        "bad_cut.pcap.gz": classic.damaged("a gzip stream cut in the middle", zipped[: len(zipped) // 2], None, cut),
        "bad_sum.pcap.gz": classic.damaged(
            "a gzip stream with a wrong sum", zipped[:-8] + b"\0\0\0\0" + zipped[-4:], None, bad
        ),
        "bad_record_length.pcap": classic.damaged("a record of 4294967280 bytes", huge, 3, bad),
        "bad_block_length.pcapng": modern.damaged("a block length of 13", odd_length, 3, bad),
        "bad_block_short.pcapng": modern.damaged("a packet block too short for its fields", short_block, 3, bad),
        "bad_interface.pcapng": modern.damaged("a packet of an interface that nobody described", no_interface, 3, bad),
        "bad_garbage.bin": Capture("no capture at all", garbage, [], "not a capture"),
        "bad_garbage.bin.gz": Capture("no capture at all, gzip'd", stored_gzip(garbage), [], "not a capture"),
        "bad_short.pcap": Capture("three bytes", classic.data[:3], [], "not a capture"),
        "bad_empty.pcap": Capture("no bytes", b"", [], "not a capture"),
    }


def captures() -> dict[str, Capture]:
    """Return all files by name."""
    files = forms() | links()
    for name in ("pcap_le_micro.pcap", "pcap_be_nano.pcap", "pcapng_le_interfaces.pcapng"):
        files[f"{name}.gz"] = files[name].zipped(f"{name}, gzip'd")
    files |= odd(files["pcap_le_micro.pcap"])
    modern = pcapng("", Section("<").interface(1).packets_of(map(ethernet, PACKETS)))
    return files | broken(files["pcap_le_micro.pcap"], modern)


def expected_json(files: dict[str, Capture]) -> str:
    """Return the expectations, one packet a line."""
    parts = []
    for name, capture in files.items():
        packets = "null"
        if capture.is_count_known:
            packets = ",".join(f"\n  {json.dumps(packet)}" for packet in capture.packets).join("[]")
        parts.append(f'{json.dumps(name)}: {{"ends": {json.dumps(capture.ends)}, "packets": {packets}}}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


README = """\
# Captures for the tests

Written by `make.py`, as is this page; `python make.py --check` tells whether they still agree. All IP, TCP, UDP, ICMP
and ICMPv6 checksums are right, except where a packet is said to be odd or cut.

`expected.json` has, by file name, how reading `ends` and the `packets` that come before that, in order:

- `ends`: `complete`: read to the end without an error. `truncated`, `damaged`: an error after these packets.
  `not a capture`: an error at once.
- `packets`: `null` where it depends on the unpacker how many still come out. Of each:
  - `interface`, `link_type`: the number of the interface in its section (0 in pcap); the link type alone, without the
    bits about check sequences.
  - `ip_version`, `protocol`: `null` for what is no IP or cannot be parsed. `protocol` is the one behind IPv6's
    extension headers.
  - `ip_offset`, `ip_length`: where the IP header begins in the frame; how long it says the packet is, header included.
  - `direction`: as pcapng's flags or the cooked header say; `null` if the format does not tell.
  - `time_ns`: Unix time, rounded down from the file's own units; `null` in simple packet blocks.
  - `captured_length`, `original_length`: of the frame, link header included.

| file | what it holds | packets | ends |
| --- | --- | --- | --- |
"""


def readme(files: dict[str, Capture]) -> str:
    """Return the page about the files."""
    rows = []
    for name, capture in files.items():
        count = str(len(capture.packets)) if capture.is_count_known else "?"
        rows.append(f"| `{name}` | {capture.note} | {count} | {capture.ends} |\n")
    return README + "".join(rows)


def same(name: str, there: bytes, wanted: bytes) -> bool:
    """Compare two files; whole gzip'd ones by what is in them, for packers differ."""
    if name.endswith(".gz") and not name.startswith("bad_"):
        return gzip.decompress(there) == gzip.decompress(wanted)
    return there == wanted


def main() -> int:
    """Write all files, or check them."""
    files = captures()
    outputs = {name: capture.data for name, capture in files.items()}
    outputs |= {"expected.json": expected_json(files).encode(), "README.md": readme(files).encode()}
    if "--check" not in sys.argv[1:]:
        for name, data in outputs.items():
            (HERE / name).write_bytes(data)
        return 0
    strays = (
        {path.name for path in HERE.iterdir() if path.is_file()}
        - outputs.keys()
        - {"make.py", "formats.py", "frames.py"}
    )
    wrong = [name for name, data in outputs.items() if not same(name, (HERE / name).read_bytes(), data)]
    for name in sorted(strays) + wrong:
        print(f"not as make.py would write it: {name}", file=sys.stderr)
    return 1 if strays or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
