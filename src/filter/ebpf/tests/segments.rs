//! The program that is asked of a large packet answers as the filter does of the segments that the kernel cuts it into.
use super::super::{Extent, Filter, Vantage};
use super::machine::{is_all_reached, run};
use super::{expected, filters};
use crate::address::Layer;
use crate::filter::Sets;
use crate::packet::{Builder, TcpFlags};
use proptest::prelude::*;

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
