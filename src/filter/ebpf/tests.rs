//! The program answers as the filter does: run by an interpreter of the few instructions that it consists of.
use super::*;
use crate::address::{Address, Layer};
use crate::batch::PacketRef;
use crate::filter::Sets;
use crate::packet::{Builder, Layout, TcpFlags};
use proptest::prelude::*;

/// Runs a program on a packet; `None` if it does what a kernel would refuse: no such instruction, a read of what was
/// never written, a jump that leads out.
fn run(code: &[u64], packet: &[u8]) -> Option<u64> {
    let mut registers: [Option<u64>; 11] = [None; 11];
    registers[1] = Some(0);
    let mut stack: [Option<u8>; 64] = [None; 64];
    let mut at = 0_usize;
    loop {
        let instruction = *code.get(at)?;
        at += 1;
        let operation = instruction as u8;
        let (destination, source) = ((instruction >> 8 & 15) as usize, (instruction >> 12 & 15) as usize);
        let offset = (instruction >> 16) as i16;
        let number = (instruction >> 32) as u32;
        let size = match operation & 0x18 {
            0x00 => 4,
            0x08 => 2,
            0x10 => 1,
            _ => 8,
        };
        let wide_number = i64::from(number as i32) as u64;
        match operation & 7 {
            0 if operation == 0x18 => {
                registers[destination] = Some(*code.get(at)? & !0xFFFF_FFFF | u64::from(number));
                at += 1;
            }
            0 => {
                registers[6]?;
                let base = if operation & 0xE0 == 0x40 { registers[source]? } else { 0 };
                let start = usize::try_from(base.checked_add(number.into())?).ok()?;
                registers[..6].fill(None);
                // Beyond the packet the program ends.
                let Some(bytes) = packet.get(start..start + size) else { return Some(0) };
                registers[0] = Some(bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)));
            }
            1 if source == 10 => {
                let start = usize::try_from(64 + i64::from(offset)).ok()?;
                let mut value = 0;
                for place in (start..start + size).rev() {
                    value = value << 8 | u64::from((*stack.get(place)?)?);
                }
                registers[destination] = Some(value);
            }
            1 => registers[destination] = (registers[6] == Some(0) && offset == 0).then_some(packet.len() as u64),
            3 => {
                let start = usize::try_from(64 + i64::from(offset)).ok()?;
                let value = registers[source]?;
                for (place, byte) in (start..start + size).zip(value.to_le_bytes()) {
                    *stack.get_mut(place)? = Some(byte);
                }
            }
            4 | 7 => {
                let is_narrow = operation & 7 == 4;
                let other = if operation & 8 == 0 { wide_number } else { registers[source]? };
                let own = || registers[destination];
                let shift = if is_narrow { other & 31 } else { other & 63 };
                let value = match operation & 0xF0 {
                    0x00 => own()?.wrapping_add(other),
                    0x10 => own()?.wrapping_sub(other),
                    0x40 => own()? | other,
                    0x50 => own()? & other,
                    0x60 => own()? << shift,
                    0x70 if is_narrow => u64::from(own()? as u32 >> shift),
                    0x70 => own()? >> shift,
                    0xB0 => other,
                    _ => return None,
                };
                registers[destination] = Some(if is_narrow { u64::from(value as u32) } else { value });
            }
            _ if operation == 0x95 => return registers[0],
            class => {
                let is_narrow = class == 6;
                let cut = |value: u64| if is_narrow { u64::from(value as u32) } else { value };
                let jumps = if operation == 0x05 {
                    true
                } else {
                    let own = cut(registers[destination]?);
                    let other = cut(if operation & 8 == 0 { wide_number } else { registers[source]? });
                    match operation & 0xF0 {
                        0x10 => own == other,
                        0x20 => own > other,
                        0x30 => own >= other,
                        0x50 => own != other,
                        0xA0 => own < other,
                        0xB0 => own <= other,
                        _ => return None,
                    }
                };
                if jumps {
                    at = usize::try_from(at as i64 + i64::from(offset)).ok()?;
                }
            }
        }
    }
}

/// What a handle would match: only packets that are exactly as long as they say.
fn expected(filter: &Filter, packet: &[u8], vantage: Vantage) -> bool {
    let Ok(layout) = Layout::parse(packet) else { return false };
    let mut address = Address::default();
    address.set_outbound(vantage.outbound);
    address.set_loopback(vantage.loopback == Some(true));
    address.set_ipv6(layout.is_ipv6());
    address.set_interface_index(vantage.interface.unwrap_or(3));
    layout.total_len() == packet.len()
        && filter.matches(PacketRef { bytes: packet, layout: &layout, address: &address })
}

/// Whether a kernel finds every instruction reached.
fn is_all_reached(code: &[u64]) -> bool {
    let mut reached = vec![false; code.len()];
    let mut waiting = vec![0];
    while let Some(at) = waiting.pop() {
        if std::mem::replace(&mut reached[at], true) {
            continue;
        }
        let (operation, target) = (code[at] as u8, at as i64 + 1 + i64::from((code[at] >> 16) as i16));
        if matches!(operation & 7, 5 | 6) && operation != 0x95 {
            waiting.push(usize::try_from(target).unwrap());
        }
        match operation {
            0x95 | 0x05 => {}
            0x18 => {
                reached[at + 1] = true;
                waiting.push(at + 2);
            }
            _ => waiting.push(at + 1),
        }
    }
    reached.iter().all(|is_reached| *is_reached)
}

/// What programs with a deed answer to what matches.
const MARKED: u64 = 77;
/// The deed.
const MARKING: Deed<'static> = Deed {
    first: &|code| code.compute(Arithmetic::Move, 5, 1),
    then: &|code, matched| {
        code.combine(Arithmetic::Move, 0, matched.length);
        code.jump_if(0, Relation::Less, 20, matched.done);
        code.compute(Arithmetic::Move, 0, MARKED as u32);
        code.exit();
    },
};

fn check(text: &str, packet: &[u8]) -> Result<(), TestCaseError> {
    let filter = Filter::compile_extended(text, Layer::Network, &Sets::new()).unwrap();
    for outbound in [false, true] {
        for loopback in [None, Some(false), Some(true)] {
            let vantage = Vantage::new(outbound, loopback);
            let program = filter.ebpf(vantage).unwrap();
            prop_assert!(is_all_reached(program.code()), "{}\n{}", text, program);
            let matches = expected(&filter, packet, vantage);
            let answer = run(program.code(), packet);
            prop_assert!(answer.is_some(), "{} {:?}\n{}", text, packet, program);
            let is_asked_for = answer != Some(0);
            prop_assert!(is_asked_for || !matches, "missed: {} {:?}\n{}", text, packet, program);
            if program.is_exact() {
                prop_assert_eq!(is_asked_for, matches, "{} {:?}\n{}", text, packet, program);
            }
            if program.is_empty() {
                prop_assert!(!is_asked_for);
            }
            // With a deed every packet is accepted, also where a read would have led beyond the packet.
            let with_deed = filter.ebpf_with(vantage, Some(&MARKING)).unwrap();
            let answer = run(with_deed.code(), packet);
            prop_assert_eq!(answer, Some(if is_asked_for { MARKED } else { 1 }), "{} {:?}", text, packet);
        }
    }
    Ok(())
}

/// Asks the one program that is there for an interface, if any, and compares.
fn check_by_interface(text: &str, packet: &[u8]) -> Result<bool, TestCaseError> {
    let filter = Filter::compile_extended(text, Layer::Network, &Sets::new()).unwrap();
    let mut is_split = false;
    for (outbound, loopback) in [(true, None), (false, Some(false))] {
        let Some(programs) = filter.ebpf_by_interface(Vantage::new(outbound, loopback), 1) else { continue };
        is_split = true;
        for interface in 1..12 {
            let mut asked = programs.iter().filter(|one| one.interfaces.iter().all(|(n, is)| (*n == interface) == *is));
            let answer = asked.next().map_or(Some(0), |one| run(one.program.code(), packet));
            prop_assert!(asked.next().is_none(), "{}: two programs for interface {}", text, interface);
            let stays = loopback.unwrap_or(interface == 1);
            let vantage = Vantage { interface: Some(interface), ..Vantage::new(outbound, Some(stays)) };
            let matches = expected(&filter, packet, vantage);
            prop_assert_eq!(answer, Some(u64::from(matches)), "{} {} {:?}", text, interface, packet);
        }
    }
    Ok(is_split)
}

#[test]
fn filters_that_ask_for_interfaces_have_a_program_for_each() {
    for (text, is_split) in [
        ("ifIdx == 3", true),
        ("ifIdx != 3 and udp", true),
        ("ifIdx in {2, 5, 7} or tcp.DstPort == 443", true),
        ("(ifIdx < 4 and udp) or (ifIdx == 9 and loopback) or inbound", true),
        ("loopback or ifIdx == 2", true),
        ("ifIdx == 3 and random8 < 128", false),
        ("ifIdx > 9", false),
        ("udp and loopback", false),
        ("ifIdx in {2, 4, 6, 8, 10, 12, 14, 16, 18}", false),
    ] {
        for packet in base_packets() {
            assert_eq!(check_by_interface(text, &packet).unwrap(), is_split, "{text}");
        }
    }
}

fn base_packets() -> Vec<Vec<u8>> {
    let v4 = || Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 7]);
    let v6 = || Builder::ipv6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], [0xfe80, 0, 0, 0, 0, 0, 0, 9]);
    let mut all = vec![
        v4().tcp(80, 443).payload(b"GET / HTTP/1.1").build().unwrap(),
        v4().udp(5000, 53).payload(b"\0\x01\x02\x03abcdef").build().unwrap(),
        v6().tcp(80, 443).payload(b"").build().unwrap(),
        v6().udp(53, 5000).payload(b"some text").build().unwrap(),
        v4().icmp_echo_reply(1, 2).build().unwrap(),
        v6().icmp_echo_reply(1, 2).build().unwrap(),
    ];
    // With extension headers: hop-by-hop, fragment, authentication, destination.
    for (protocol, header) in [
        (0, vec![17, 0, 1, 4, 0, 0, 0, 0]),
        (44, vec![17, 0, 0, 1, 0, 0, 0, 9]),
        (44, vec![17, 0, 0, 9, 0, 0, 0, 9]),
        (51, vec![17, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (60, vec![44, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 7]),
    ] {
        let mut packet = v6().udp(53, 5000).payload(b"some text").build().unwrap();
        packet[6] = protocol;
        packet.splice(40..40, header);
        let len = (packet.len() - 40) as u16;
        packet[4..6].copy_from_slice(&len.to_be_bytes());
        all.push(packet);
    }
    let mut options = v4().udp(7, 8).payload(b"xyz").build().unwrap();
    options.splice(20..20, [1, 1, 1, 0]);
    options[0] = 0x46;
    options[3] += 4;
    all.push(options);
    let mut fragment = v4().udp(7, 8).payload(b"xyz").build().unwrap();
    fragment[6] = 0x20;
    all.push(fragment.clone());
    fragment[7] = 9;
    all.push(fragment);
    all
}

const TESTS: &[&str] = &[
    "true",
    "tcp",
    "udp",
    "icmp",
    "icmpv6",
    "ip",
    "ipv6",
    "outbound",
    "inbound",
    "loopback",
    "not impostor",
    "fragment",
    "ifIdx == 3",
    "subIfIdx == 0",
    "random8 < 128",
    "random16 > 5",
    "timestamp > 0",
    "event == PACKET",
    "tcp.DstPort == 443",
    "tcp.SrcPort in {1-79, 81-1000}",
    "udp.DstPort in {53, 5353, 5000-5010, 6000, 7000, 8000, 9000}",
    "tcp.PayloadLength > 3",
    "udp.PayloadLength != 9",
    "tcp.Syn",
    "tcp.Ack and not tcp.Fin",
    "udp.Length < 20",
    "ip.SrcAddr == 10.0.0.1",
    "ip.DstAddr in {192.0.2.0/24, 198.51.100.0/24}",
    "ip.TTL < 65",
    "ip.DF",
    "ip.MF",
    "ip.FragOff > 0",
    "ip.HdrLength > 5",
    "ip.Protocol == 17",
    "ipv6.SrcAddr == 2001:db8::1",
    "ipv6.DstAddr in {fe80::/10, 2001:db8::/32}",
    "ipv6.FlowLabel == 0",
    "ipv6.NextHdr == 44",
    "ipv6.HopLimit > 10",
    "localAddr == 10.0.0.1",
    "remoteAddr > ::ffff:10.0.0.1",
    "localPort == 53",
    "remotePort < 100",
    "protocol == 17",
    "protocol == 6 or protocol == 58",
    "length > 40",
    "packet[0] == 0x45",
    "packet16[2] > 40",
    "packet32[-4] != 0",
    "packet[-1b] < 0x70",
    "tcp.Payload[0] == 0x47",
    "udp.Payload16[1b] == 0x0102",
    "udp.Payload32[-1] != 5",
    "udp.Payload[8] > 0x60",
    "icmp.Type == 8",
    "icmpv6.Body != 0",
    "udp.Checksum == 0",
];

/// Filters of these tests.
fn filters(tests: &'static [&'static str]) -> BoxedStrategy<String> {
    let leaf = prop::sample::select(tests).prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one}) and ({other})")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one}) or ({other})")),
            inner.clone().prop_map(|inner| format!("!({inner})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(one, two, three)| format!("({one} ? {two} : {three})")),
        ]
    })
    .boxed()
}

fn packets() -> BoxedStrategy<Vec<u8>> {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let cut = prop_oneof![9 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)];
    (prop::sample::select(base_packets()), damage, cut)
        .prop_map(|(mut packet, damage, cut)| {
            for (at, byte) in damage {
                let at = at.index(packet.len());
                packet[at] = byte;
            }
            if let Some(cut) = cut {
                packet.truncate(cut.index(packet.len() + 1));
            }
            packet
        })
        .boxed()
}

#[test]
fn every_test_answers_as_the_filter_does_on_every_packet() {
    for text in TESTS {
        for packet in base_packets() {
            check(text, &packet).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn programs_answer_as_filters_do(text in filters(TESTS), packet in packets()) {
        check(&text, &packet)?;
    }

    #[test]
    fn sets_of_many_ranges_miss_nothing(ports in prop::collection::btree_set(any::<u16>(), 1..3000), port in any::<u16>(), negated: bool) {
        let mut sets = Sets::new();
        sets.insert("ports", ports.iter().map(u16::to_string)).unwrap();
        let text = if negated { "udp.DstPort not in $ports" } else { "udp.DstPort in $ports" };
        let filter = Filter::compile_extended(text, Layer::Network, &sets).unwrap();
        let vantage = Vantage::new(true, None);
        let program = filter.ebpf(vantage).unwrap();
        let any_port = ports.iter().next().copied().unwrap_or(0);
        for port in [port, any_port, any_port.wrapping_add(1)] {
            let packet = Builder::ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, port).build().unwrap();
            let matches = expected(&filter, &packet, vantage);
            let answer = run(program.code(), &packet) != Some(0);
            prop_assert!(answer || !matches);
            prop_assert!(!program.is_exact() || answer == matches);
        }
    }
}

#[test]
fn what_is_unknown_does_not_make_everything_match() {
    let exact = |text: &str| {
        let filter = Filter::compile(text, Layer::Network).unwrap();
        filter.ebpf(Vantage::new(true, None)).unwrap()
    };
    let udp = Builder::ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2).build().unwrap();
    for text in ["random8 < 128 and tcp", "tcp and random8 < 128", "tcp and (random8 < 1 or random16 < 1)"] {
        let program = exact(text);
        assert!(!program.is_exact());
        assert_eq!(run(program.code(), &udp), Some(0), "{text}");
    }
    assert!(exact("tcp and udp").is_empty());
    assert!(exact("inbound").is_empty());
    assert!(exact("outbound and tcp.DstPort == 80").is_exact());
}

#[test]
fn a_listing_names_every_instruction() {
    let filter = Filter::compile("ipv6.SrcAddr == ::1 and udp.DstPort == 53", Layer::Network).unwrap();
    let program = filter.ebpf(Vantage::new(true, None)).unwrap();
    let text = program.to_string();
    assert!(text.contains("r0 = packet u8[0]") && text.contains("exit") && text.contains("r3 = 0x1"), "{text}");
}

/// Tests of what segments may have apart, and may not.
const SEGMENT_TESTS: &[&str] = &[
    "tcp",
    "udp",
    "tcp.DstPort == 443",
    "tcp.SrcPort != 80",
    "tcp.SeqNum >= 1010",
    "tcp.AckNum == 7",
    "tcp.HdrLength > 5",
    "tcp.Fin",
    "tcp.Psh",
    "tcp.Ack",
    "tcp.Syn",
    "tcp.Window == 512",
    "tcp.Checksum < 30000",
    "tcp.UrgPtr == 0",
    "tcp.PayloadLength > 0",
    "tcp.PayloadLength == 0",
    "tcp.PayloadLength > 9",
    "tcp.Payload[0] == 3",
    "packet[-1] < 128",
    "packet16[2] > 60",
    "length > 20",
    "length < 60",
    "ip.Length < 100",
    "ip.Id == 2",
    "ip.TTL == 64",
    "ip.DF",
    "ip.Checksum < 20000",
    "ip.Protocol == 6",
    "ip.SrcAddr == 10.0.0.1",
    "ipv6.Length < 90",
    "ipv6.NextHdr == 6",
    "ipv6.NextHdr == 0",
    "ipv6.HopLimit == 64",
    "ipv6.FlowLabel == 0",
    "ipv6.SrcAddr == 2001:db8::1",
    "protocol == 6",
    "fragment",
    "ip",
    "outbound",
    "loopback",
    "random8 < 128",
];

/// A large packet as the kernel has it, and the segments that it cuts it into.
fn cut(ipv6: bool, has_jumbo_header: bool, payload: &[u8], size: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    let of = |id: usize, seq: usize, flags: TcpFlags, payload: &[u8]| {
        let builder = if ipv6 {
            Builder::ipv6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], [0xfe80, 0, 0, 0, 0, 0, 0, 9])
        } else {
            Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 7]).id(id as u16).dont_fragment()
        };
        let builder = builder.tcp(80, 443).seq(1000 + seq as u32).ack_number(7).flags(flags).window(512);
        builder.payload(payload).build().unwrap()
    };
    let (inner, last) = (TcpFlags::ACK, TcpFlags::ACK | TcpFlags::PSH | TcpFlags::FIN);
    let mut large = of(1, 0, last, payload);
    // The header cannot tell the length.
    let length_at = if ipv6 { 4 } else { 2 };
    large[length_at..length_at + 2].copy_from_slice(&[0; 2]);
    if ipv6 && has_jumbo_header {
        large.splice(40..40, [6, 0, 0xC2, 4, 0, 1, 0, 0]);
        large[6] = 0;
    }
    let count = payload.len().div_ceil(size);
    let pieces = payload.chunks(size).enumerate();
    let flags = |index| if index + 1 == count { last } else { inner };
    let segments = pieces.map(|(index, piece)| of(1 + index, index * size, flags(index), piece)).collect();
    (large, segments)
}

/// Compares the program's answer to a large packet with the filter's to its segments; whether the program is exact.
fn check_segments(text: &str, large: &[u8], segments: &[Vec<u8>]) -> Result<bool, TestCaseError> {
    let filter = Filter::compile_extended(text, Layer::Network, &Sets::new()).unwrap();
    let mut is_exact = true;
    for (outbound, loopback) in [(true, None), (true, Some(true)), (false, Some(false))] {
        let vantage = Vantage { extent: Extent::Large, ..Vantage::new(outbound, loopback) };
        let program = filter.ebpf(vantage).unwrap();
        prop_assert!(is_all_reached(program.code()), "{}\n{}", text, program);
        let answer = run(program.code(), large);
        prop_assert!(answer.is_some(), "{} {:?}\n{}", text, large, program);
        for segment in segments {
            let matches = expected(&filter, segment, vantage);
            prop_assert!(answer != Some(0) || !matches, "missed: {} {:?}\n{}", text, segment, program);
            if program.is_exact() {
                prop_assert_eq!(answer != Some(0), matches, "{} {:?}\n{}", text, segment, program);
            }
        }
        is_exact &= program.is_exact();
    }
    Ok(is_exact)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn programs_for_large_packets_miss_no_segment(
        text in filters(SEGMENT_TESTS),
        ipv6: bool,
        has_jumbo_header: bool,
        payload in prop::collection::vec(any::<u8>(), 20..60),
        size in 1..20_usize,
    ) {
        let (large, segments) = cut(ipv6, has_jumbo_header, &payload, size);
        check_segments(&text, &large, &segments)?;
    }
}

#[test]
fn what_all_segments_have_in_common_is_exact() {
    let exact = [
        "outbound and tcp.DstPort == 443 and tcp.PayloadLength > 0",
        "inbound or ip.SrcAddr == 10.0.0.1",
        "tcp.PayloadLength == 0",
        "ipv6.SrcAddr == 2001:db8::1 and ipv6.HopLimit > 3 and not tcp.Syn",
        "length > 20 and ip.TTL == 64 and ip.DF",
        "tcp.AckNum == 7 and tcp.Window > 5",
        "fragment or protocol == 6",
    ];
    let inexact = [
        "tcp.Psh",
        "tcp.Fin",
        "tcp.SeqNum > 5",
        "length > 60",
        "tcp.Payload[0] == 3",
        "ipv6.NextHdr == 6",
        "ip.Id > 1",
    ];
    for ipv6 in [false, true] {
        let (large, segments) = cut(ipv6, true, &[3; 50], 20);
        for text in exact {
            assert!(check_segments(text, &large, &segments).unwrap(), "{text}");
        }
        for text in inexact {
            assert!(!check_segments(text, &large, &segments).unwrap(), "{text}");
        }
    }
}

#[test]
fn a_program_for_packets_up_to_a_length_refuses_longer_ones() {
    let filter = Filter::compile("udp", Layer::Network).unwrap();
    let vantage = Vantage { extent: Extent::AtMost(30), ..Vantage::new(true, None) };
    let program = filter.ebpf(vantage).unwrap();
    let answer = |payload: &[u8]| {
        let packet = Builder::ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2).payload(payload).build().unwrap();
        run(program.code(), &packet)
    };
    assert_eq!((answer(b"xy"), answer(b"xyz")), (Some(1), Some(0)));
    assert!(program.is_exact());
}
