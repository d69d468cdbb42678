//! The program answers as the filter does.
mod machine;
mod segments;

use super::*;
use crate::address::{Address, Layer};
use crate::batch::PacketRef;
use crate::filter::Sets;
use crate::packet::{Builder, Layout};
use machine::{is_all_reached, run};
use proptest::prelude::*;

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
