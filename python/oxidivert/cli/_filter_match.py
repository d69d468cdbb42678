"""`oxidivert filter match`: which packets of a capture match, and why."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

import oxidivert as od

from ._errors import DONE, NO_MATCH
from ._filter_input import add_dialect, compiled, filter_parser
from ._input import add_limit, add_local, open_replay
from ._lines import as_dict, line
from ._output import write_line

SUMMARY = "Print the packets of a capture that match, and why they do."


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of this command's arguments."""
    parser = filter_parser(
        prog,
        SUMMARY,
        f'{prog} "tcp.Syn and not tcp.Ack" traffic.pcapng',
        f'{prog} "tcp.DstPort == 443" traffic.pcapng --invert --why --limit 5',
        notes="Packets are counted as filters see them: without those that are no IP. Times are\n"
        "UTC, lengths bytes. Exits with 1 if there is no packet to print.",
    )
    parser.add_argument("capture", metavar="CAPTURE", help="the capture: pcap or pcapng, plain or gzip'd")
    add_local(parser)
    add_dialect(parser)
    parser.add_argument("--invert", action="store_true", help="print the packets that do not match")
    parser.add_argument("--why", action="store_true", help="tell the test that decided, and the value that it met")
    parser.add_argument("--count", action="store_true", help="print only how many there are")
    parser.add_argument("--json", action="store_true", help="print a JSON object a line")
    add_limit(parser)
    return parser


def execute(options: argparse.Namespace) -> int:
    """Runs the command."""
    filter = compiled(options)
    count = 0
    for number, packet in _chosen(filter, options):
        count += 1
        if not options.count:
            _print(number, packet, filter, options)
        if count == options.limit:
            break
    if options.count:
        write_line(json.dumps({"count": count}) if options.json else str(count))
    return DONE if count else NO_MATCH


def _chosen(filter: od.Filter, options: argparse.Namespace) -> Iterator[tuple[int, od.Packet]]:
    """The packets to print, each with its number among those of the capture."""
    replay = open_replay(options.capture, local=options.local)
    with od.open("true" if options.invert else filter, flags=od.Flag.SNIFF, backend=replay) as handle:
        for packet in handle:
            if not (options.invert and filter.matches(packet)):
                # A replay reads no further than to the packet that it hands out.
                yield handle.stats.seen, packet


def _print(number: int, packet: od.Packet, filter: od.Filter, options: argparse.Namespace) -> None:
    if options.json:
        fields = as_dict(number, packet)
        if options.why:
            fields["why"] = _reason(filter, packet)
        write_line(json.dumps(fields))
        return
    write_line(line(number, packet))
    if options.why:
        write_line(f"       {_account(filter, packet)}")


def _reason(filter: od.Filter, packet: od.Packet) -> dict[str, object] | None:
    """The test that decided; null if the filter answers so for every packet."""
    steps = filter.trace(packet)
    if not steps:
        return None
    step = steps[-1]
    return {"test": step.text, "value": step.value, "shown": step.shown, "passed": step.passed}


def _account(filter: od.Filter, packet: od.Packet) -> str:
    steps = filter.trace(packet)
    if not steps:
        return "the filter answers so for every packet"
    step = steps[-1]
    outcome = "holds" if step.passed else "does not hold"
    value = "the packet has no such value" if step.value is None else f"the value is {step.shown}"
    return f"{step.text} {outcome}: {value}"
