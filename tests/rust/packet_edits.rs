//! Edits, one behaviour a test: which checksums move, what is refused, and with which words.
use crate::vectors::{format_hex, parse_hex};
use oxidivert::packet::{
    Builder, EditErrorKind, Endpoint, Ipv4Header, Ipv6Header, Layout, TcpHeader, Transport, field, fill_checksums,
    read, set_payload, verify_checksums, write, write_addr, write_port,
};
use std::net::{Ipv4Addr, Ipv6Addr};

const UDP: &str = "450000201234000040117c62c0000201c633640230390035000c1e6a61626364";
const TCP6: &str = "600000000019064020010db800000000000000000000000120010db8000000000000000000000002\
                    c37e0050010203040506070850182000 1c9e000068656c6c6f";

fn parsed(hex: &str) -> (Vec<u8>, Layout) {
    let packet = parse_hex(&hex.replace(' ', ""));
    let layout = Layout::parse(&packet).expect("a packet");
    (packet, layout)
}

#[test]
fn ttl_moves_the_ip_checksum_and_nothing_else() {
    let (mut packet, mut layout) = parsed(UDP);
    write(&mut packet, &mut layout, field::ipv4::TTL, 7).expect("an edit");
    assert_eq!(format_hex(&packet), UDP.replace("40117c62", "0711b562"));
}

#[test]
fn hop_limit_and_flow_label_move_no_checksum() {
    let (mut packet, mut layout) = parsed(TCP6);
    write(&mut packet, &mut layout, field::ipv6::HOP_LIMIT, 1).expect("an edit");
    write(&mut packet, &mut layout, field::ipv6::FLOW_LABEL, 0xABCDE).expect("an edit");
    assert_eq!(format_hex(&packet[..8]), "600abcde00190601");
    assert_eq!(packet[56..58], [0x1C, 0x9E]);
    assert!(verify_checksums(&packet, &layout));
}

#[test]
fn an_address_moves_the_ip_and_the_transport_checksum() {
    let (mut packet, layout) = parsed(UDP);
    write_addr(&mut packet, &layout, Endpoint::Destination, Ipv4Addr::new(10, 1, 2, 3).into()).expect("an edit");
    assert!(verify_checksums(&packet, &layout));
    let (mut packet, layout) = parsed(TCP6);
    write_addr(&mut packet, &layout, Endpoint::Source, Ipv6Addr::LOCALHOST.into()).expect("an edit");
    assert!(verify_checksums(&packet, &layout));
}

#[test]
fn udp_zero_checksum_is_stored_as_ffff() {
    // The payload makes the sum come out as zero.
    let (mut packet, mut layout) = parsed("4500001e1234000040117c64c0000201c633640230390035000affffe334");
    packet[26..28].copy_from_slice(&[0xFF, 0xFF]);
    assert!(verify_checksums(&packet, &layout));
    write(&mut packet, &mut layout, field::udp::SRC_PORT, 1).expect("an edit");
    write(&mut packet, &mut layout, field::udp::SRC_PORT, 0x3039).expect("an edit");
    assert_eq!(packet[26..28], [0xFF, 0xFF]);
}

#[test]
fn an_icmp_message_that_becomes_all_zero_has_checksum_ffff() {
    let mut packet = Builder::ipv4([192, 0, 2, 1], [198, 51, 100, 2]).icmp(8, 0, 0).build().expect("a packet");
    let mut layout = Layout::parse(&packet).expect("a packet");
    write(&mut packet, &mut layout, field::icmp::TYPE, 0).expect("an edit");
    assert_eq!(packet[22..24], [0xFF, 0xFF]);
    write(&mut packet, &mut layout, field::icmp::BODY, 0xFFFF).expect("an edit");
    assert_eq!(packet[22..24], [0, 0]);
}

#[test]
fn an_unfinished_sum_follows_addresses_and_ignores_ports() {
    let (mut packet, mut layout) = parsed(TCP6);
    // 2001:0db8::1 + 2001:0db8::2 + length 25 + protocol 6
    packet[56..58].copy_from_slice(&[0x5B, 0x94]);
    write(&mut packet, &mut layout, field::tcp::DST_PORT, 8080).expect("an edit");
    assert_eq!(packet[56..58], [0x5B, 0x94]);
    let address = Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 0x102);
    write_addr(&mut packet, &layout, Endpoint::Destination, address.into()).expect("an edit");
    assert_eq!(packet[56..58], [0x5C, 0x94]);
    assert!(!verify_checksums(&packet, &layout));
}

#[test]
fn a_right_checksum_that_equals_the_pseudo_header_sum_stays_right() {
    let ends = ([192, 0, 2, 1], [198, 51, 100, 2]);
    let unfinished = 0xEC57_u16; // c000 + 0201 + c633 + 6402 + 0006 + 001a, folded
    // The payload's word is chosen so that the checksum of the whole comes out as just that.
    let packet = Builder::ipv4(ends.0, ends.1).tcp(1, 2).payload(&[0, 0, 0, 0, 0, 0]).build().expect("a packet");
    let sum = u32::from(u16::from_be_bytes([packet[36], packet[37]])) + u32::from(!unfinished);
    let word = ((sum & 0xFFFF) + (sum >> 16)) as u16;
    let payload = [word.to_be_bytes().as_slice(), &[0; 4]].concat();
    let mut packet = Builder::ipv4(ends.0, ends.1).tcp(1, 2).payload(&payload).build().expect("a packet");
    assert_eq!(packet[36..38], unfinished.to_be_bytes());
    let mut layout = Layout::parse(&packet).expect("a packet");
    write_port(&mut packet, &mut layout, Endpoint::Source, 4000).expect("an edit");
    assert!(verify_checksums(&packet, &layout));
}

#[test]
fn structural_fields_move_only_the_ip_checksum_and_parse_anew() {
    let (mut packet, mut layout) = parsed(UDP);
    write(&mut packet, &mut layout, field::ipv4::PROTOCOL, 6).expect("an edit");
    assert_eq!((layout.transport(), layout.protocol()), (None, 6));
    write(&mut packet, &mut layout, field::ipv4::PROTOCOL, 17).expect("an edit");
    write(&mut packet, &mut layout, field::ipv4::FRAGMENT_OFFSET, 1).expect("an edit");
    assert_eq!((layout.transport(), layout.fragment_offset()), (None, 8));
    write(&mut packet, &mut layout, field::ipv4::FRAGMENT_OFFSET, 0).expect("an edit");
    write(&mut packet, &mut layout, field::udp::LENGTH, 9).expect("an edit");
    assert_eq!(format_hex(&packet), UDP.replace("000c1e6a", "00091e6a"));
}

#[test]
fn a_checksum_is_stored_as_given() {
    let (mut packet, mut layout) = parsed(UDP);
    write(&mut packet, &mut layout, field::ipv4::CHECKSUM, 0xDEAD).expect("an edit");
    write(&mut packet, &mut layout, field::udp::CHECKSUM, 0xBEEF).expect("an edit");
    assert_eq!(format_hex(&packet), UDP.replace("7c62", "dead").replace("1e6a", "beef"));
    assert!(!verify_checksums(&packet, &layout));
}

#[test]
fn refused_edits_say_why_and_change_nothing() {
    let (mut packet, mut layout) = parsed(UDP);
    let mut refused = |field, value| {
        let error = write(&mut packet, &mut layout, field, value).expect_err("a refusal");
        (error.kind(), error.to_string())
    };
    let (kind, text) = refused(field::tcp::SYN, 1);
    assert_eq!((kind, text.as_str()), (EditErrorKind::AbsentHeader("tcp"), "the packet has no tcp header"));
    let (kind, text) = refused(field::ipv4::TTL, 256);
    assert_eq!(kind, EditErrorKind::OutOfRange { field: "ttl", value: 256, max: 255 });
    assert_eq!(text, "ttl is at most 255, 256 does not fit");
    let (kind, text) = refused(field::ipv4::HEADER_LENGTH, 6);
    assert_eq!((kind, text.as_str()), (EditErrorKind::ReadOnly("header_length"), "header_length cannot be set"));
    let (kind, text) = refused(field::ipv4::LENGTH, 19);
    assert!(matches!(kind, EditErrorKind::Unparsable(_)));
    assert_eq!(text, "the bytes would be no packet any more: IPv4 total length 19 is below the header length 20");
    let error = write_addr(&mut packet, &layout, Endpoint::Source, Ipv6Addr::LOCALHOST.into()).expect_err("a refusal");
    assert_eq!(error.kind(), EditErrorKind::AddressVersion(4));
    assert_eq!(format_hex(&packet), UDP);
}

#[test]
fn payloads_of_partial_packets_are_refused() {
    let first_fragment = UDP.replace("00004011", "20004011");
    let truncated = UDP.replace("45000020", "45000021");
    let cut_header = "450000281234000040060000c0000201c6336402c37e005001020304050607088018200000000000";
    for hex in [first_fragment.as_str(), truncated.as_str(), cut_header] {
        let (mut packet, layout) = parsed(hex);
        let error = set_payload(&mut packet, &layout, b"x").expect_err("a refusal");
        assert_eq!((error.kind(), format_hex(&packet).as_str()), (EditErrorKind::Partial, hex));
    }
}

#[test]
fn a_later_fragments_payload_can_be_replaced() {
    let (mut packet, layout) = parsed(&UDP.replace("00004011", "00014011"));
    let filled = set_payload(&mut packet, &layout, b"abcdefgh").expect("an edit");
    assert!(filled.complete && filled.ip && !filled.udp);
    assert_eq!(format_hex(&packet), "4500001c1234000140117c65c0000201c63364026162636465666768");
}

#[test]
fn payloads_end_at_the_longest_ip_length() {
    for (hex, most) in [(UDP, 65535 - 28), (TCP6, 65535 - 20)] {
        let (mut packet, layout) = parsed(hex);
        let before = packet.clone();
        let error = set_payload(&mut packet, &layout, &vec![0; most + 1]).expect_err("a refusal");
        assert_eq!(error.kind(), EditErrorKind::TooLong { len: 65536, max: 65535 });
        assert_eq!(packet, before);
        assert!(set_payload(&mut packet, &layout, &vec![7; most]).expect("an edit").complete);
        assert!(Layout::parse(&packet).is_ok_and(|layout| verify_checksums(&packet, &layout)));
    }
}

#[test]
fn no_udp_checksum_is_right_under_ipv4_only() {
    let (mut packet, layout) = parsed(UDP);
    packet[26..28].fill(0);
    assert!(verify_checksums(&packet, &layout));
    let mut packet = Builder::ipv6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST).udp(1, 2).build().expect("a packet");
    packet[46..48].fill(0);
    let layout = Layout::parse(&packet).expect("a packet");
    assert!(!verify_checksums(&packet, &layout));
}

#[test]
fn views_write_through_to_the_packet() {
    let (mut packet, layout) = parsed(&TCP6.replace(' ', ""));
    assert!(Ipv4Header::new(packet.as_slice(), layout).is_none());
    let mut tcp = TcpHeader::new(packet.as_mut_slice(), layout).expect("a TCP header");
    tcp.set_dst_port(8080).expect("an edit");
    tcp.set_rst(true).expect("an edit");
    assert!(tcp.rst() && tcp.psh() && !tcp.syn());
    let mut ipv6 = Ipv6Header::new(packet.as_mut_slice(), layout).expect("an IPv6 header");
    ipv6.set_src_addr(Ipv6Addr::LOCALHOST).expect("an edit");
    ipv6.set_next_header(59).expect("an edit");
    assert_eq!(ipv6.layout().transport(), None);
    ipv6.set_next_header(6).expect("an edit");
    assert_eq!(read(&packet, &layout, field::tcp::DST_PORT), Some(8080));
    assert!(layout.has(Transport::Tcp) && verify_checksums(&packet, &layout));
}

#[test]
fn field_names_are_unique_within_a_header() {
    for fields in field::ALL {
        let mut names: Vec<_> = fields.iter().map(|field| field.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), fields.len());
    }
}

#[test]
fn checksums_of_bytes_that_are_no_packet_are_not_filled_in() {
    for hex in ["", "45", "550000201234000040110000c0000201c6336402"] {
        let mut bytes = parse_hex(hex);
        assert!(!fill_checksums(&mut bytes, 0).complete);
        assert_eq!(format_hex(&bytes), hex);
    }
}
