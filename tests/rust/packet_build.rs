//! The builder: bytes as the RFCs lay them out, and what it refuses.
use crate::vectors::format_hex;
use oxidivert::packet::{BuildErrorKind, Builder, Layout, TcpFlags, TcpOption, Transport, verify_checksums};
use std::net::Ipv6Addr;

const SRC: [u8; 4] = [192, 0, 2, 1];
const DST: [u8; 4] = [198, 51, 100, 2];

fn is_right(packet: &[u8]) -> bool {
    Layout::parse(packet)
        .is_ok_and(|layout| !layout.is_truncated() && !layout.is_extended() && verify_checksums(packet, &layout))
}

#[test]
fn udp_over_ipv4_is_the_specifications_worked_example() {
    let packet = Builder::ipv4(SRC, DST).id(0x1234).udp(12345, 53).payload(b"abcd").build().expect("a packet");
    assert_eq!(format_hex(&packet), "450000201234000040117c62c0000201c633640230390035000c1e6a61626364");
}

#[test]
fn tcp_options_are_encoded_and_padded_to_whole_words() {
    let packet = Builder::ipv4(SRC, DST)
        .tcp(50_000, 443)
        .flags(TcpFlags::SYN | TcpFlags::ECE)
        .seq(7)
        .window(1024)
        .option(TcpOption::MaximumSegmentSize(1460))
        .option(TcpOption::SackPermitted)
        .option(TcpOption::Timestamps { value: 1, echo_reply: 2 })
        .option(TcpOption::Nop)
        .option(TcpOption::WindowScale(7))
        .option(TcpOption::Raw(vec![254, 2]))
        .build()
        .expect("a packet");
    assert_eq!(format_hex(&packet[40..]), "020405b40402080a000000010000000201030307fe020000");
    assert_eq!(packet[32..34], [0xB0, 0x42]);
    assert!(is_right(&packet));
}

#[test]
fn echoes_have_the_types_of_their_ip_version() {
    let v6 = Builder::ipv6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    let packets = [
        (Builder::ipv4(SRC, DST).icmp_echo_request(1, 2), 20, 8),
        (Builder::ipv4(SRC, DST).icmp_echo_reply(1, 2), 20, 0),
        (v6.clone().icmp_echo_request(1, 2), 40, 128),
        (v6.icmp_echo_reply(1, 2), 40, 129),
    ];
    for (builder, at, message_type) in packets {
        let packet = builder.payload(b"ping").build().expect("a packet");
        assert_eq!(packet[at], message_type);
        assert_eq!(format_hex(&packet[at + 4..]), "0001000270696e67");
        assert!(is_right(&packet));
    }
}

#[test]
fn unreachable_quotes_header_and_eight_bytes_under_ipv4() {
    let original = Builder::ipv4(SRC, DST).ip_options(&[1; 4]).udp(1, 2).payload(&[7; 100]).build().expect("a packet");
    let packet = Builder::ipv4(DST, SRC).icmp_unreachable(3, &original).build().expect("a packet");
    assert_eq!(packet[20..22], [3, 3]);
    assert_eq!(packet[28..], original[..32]);
    assert!(is_right(&packet));
}

#[test]
fn unreachable_quotes_up_to_the_smallest_mtu_under_ipv6() {
    let ends = (Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    let original = Builder::ipv6(ends.0, ends.1).udp(1, 2).payload(&[7; 1400]).build().expect("a packet");
    let packet = Builder::ipv6(ends.0, ends.1).icmp_unreachable(4, &original).build().expect("a packet");
    assert_eq!((packet.len(), &packet[40..42]), (1280, [1, 4].as_slice()));
    assert_eq!(packet[48..], original[..1232]);
    assert!(is_right(&packet));
}

#[test]
fn other_protocols_have_the_payload_only() {
    let packet =
        Builder::ipv4(SRC, DST).dont_fragment().tos(0x10).protocol(50).payload(b"esp").build().expect("a packet");
    let layout = Layout::parse(&packet).expect("a packet");
    assert_eq!((layout.protocol(), layout.transport(), layout.payload_len()), (50, None::<Transport>, 3));
    assert_eq!((packet[1], packet[6]), (0x10, 0x40));
    assert!(is_right(&packet));
}

#[test]
fn what_no_packet_can_hold_is_refused() {
    let v6 = || Builder::ipv6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    let refused = |builder: Builder| builder.build().expect_err("a refusal").kind();
    let long = vec![0; 65535];
    assert_eq!(
        refused(Builder::ipv4(SRC, DST).udp(1, 2).payload(&long)),
        BuildErrorKind::TooLong { len: 65563, max: 65535 }
    );
    assert_eq!(refused(v6().tcp(1, 2).payload(&long)), BuildErrorKind::TooLong { len: 65555, max: 65535 });
    assert!(v6().protocol(253).payload(&long).build().is_ok());
    assert_eq!(
        refused(Builder::ipv4(SRC, DST).tcp(1, 2).option(TcpOption::Raw(vec![1; 41]))),
        BuildErrorKind::OptionsTooLong { header: "tcp", len: 41 }
    );
    assert_eq!(
        refused(v6().flow_label(0x10_0000)),
        BuildErrorKind::OutOfRange { field: "flow_label", value: 0x10_0000, max: 0xF_FFFF }
    );
    assert_eq!(refused(v6().id(1)), BuildErrorKind::Inapplicable("id"));
    assert_eq!(refused(v6().udp(1, 2).seq(1)), BuildErrorKind::Inapplicable("seq"));
    assert!(matches!(refused(v6().icmp_unreachable(0, b"no packet")), BuildErrorKind::Quoted(_)));
}
