//! Properties of parsing, building, checksums and edits.
use crate::strategies::{
    any_bytes, damaged_packet, edgy_u16, edgy_u32, ipv4_addr, ipv6_addr, packet_spec, payload, valid_packet,
};
use oxidivert::packet::{
    Builder, Endpoint, Field, Header, IcmpHeader, Icmpv6Header, Ipv4Header, Ipv6Header, Layout, NetworkSpec,
    PacketSpec, Role, Sum, TcpFlags, TcpHeader, Transport, TransportSpec, UdpHeader, decrement_ttl, field,
    fill_checksums, fill_checksums_with, parse_strict, read, read_addr, read_port, set_payload, verify_checksums,
    write, write_addr, write_port,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::IpAddr;

/// RFC 1071 §4.1, a pair of bytes at a time.
fn byte_pair_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}

/// The pseudo-header of a whole packet without options or extension headers behind which the sum would change.
fn pseudo_header(packet: &[u8], layout: &Layout, transport: Transport) -> Vec<u8> {
    let len = (layout.end_offset() - layout.transport_offset()) as u32;
    let mut bytes = packet[if layout.is_ipv6() { 8..40 } else { 12..20 }].to_vec();
    bytes.extend(len.to_be_bytes());
    bytes.extend([0, transport.protocol()]);
    bytes
}

fn checksum_offset(layout: &Layout) -> Option<usize> {
    layout.transport().map(|transport| layout.transport_offset() + transport.checksum_offset())
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn layout_of(packet: &[u8]) -> Layout {
    Layout::parse(packet).expect("a packet")
}

fn recalculated(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    fill_checksums(&mut packet, 0);
    packet
}

/// A change to a packet, which does nothing where it does not apply.
#[derive(Clone, Debug)]
enum Edit {
    Set(Field, u32),
    /// Makes the sum that covers the field come out as a ones' complement zero.
    SetToZeroSum(Field),
    Address(Endpoint, IpAddr),
    Port(Endpoint, u16),
}

impl Edit {
    fn apply(&self, packet: &mut [u8], layout: &mut Layout) {
        match *self {
            Self::Set(field, value) => {
                let result = write(packet, layout, field, value & field.max());
                assert_eq!(result.is_ok(), field.header().offset(layout).is_some(), "{field:?}");
                if result.is_ok() {
                    assert_eq!(read(packet, layout, field), Some(value & field.max()));
                }
            }
            Self::SetToZeroSum(field) => {
                let at = if field.header() == Header::Ipv4 { Some(10) } else { checksum_offset(layout) };
                let (Some(old), Some(at)) = (read(packet, layout, field), at) else { return };
                // In ones' complement, the checksum is what the sum lacks to zero.
                let sum = old + u32::from(be16(packet, at));
                let _ = write(packet, layout, field, (sum & 0xFFFF) + (sum >> 16));
            }
            Self::Address(endpoint, address) => {
                let result = write_addr(packet, layout, endpoint, address);
                assert_eq!(result.is_ok(), address.is_ipv6() == layout.is_ipv6());
                if result.is_ok() {
                    assert_eq!(read_addr(packet, layout, endpoint), Some(address));
                }
            }
            Self::Port(endpoint, port) => {
                if write_port(packet, layout, endpoint, port).is_ok() {
                    assert_eq!(read_port(packet, layout, endpoint), Some(port));
                }
            }
        }
    }
}

fn plain_fields() -> Vec<Field> {
    field::ALL.iter().copied().flatten().copied().filter(|field| field.role() == Role::Plain).collect()
}

fn edit() -> impl Strategy<Value = Edit> {
    let words: Vec<Field> = plain_fields().into_iter().filter(|field| field.bits() == 16).collect();
    let endpoint = prop_oneof![Just(Endpoint::Source), Just(Endpoint::Destination)];
    let address = prop_oneof![ipv4_addr().prop_map(IpAddr::V4), ipv6_addr().prop_map(IpAddr::V6)];
    prop_oneof![
        6 => (prop::sample::select(plain_fields()), edgy_u32()).prop_map(|(field, value)| Edit::Set(field, value)),
        3 => prop::sample::select(words).prop_map(Edit::SetToZeroSum),
        2 => (endpoint.clone(), address).prop_map(|(endpoint, address)| Edit::Address(endpoint, address)),
        1 => (endpoint, edgy_u16()).prop_map(|(endpoint, port)| Edit::Port(endpoint, port)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parsing_and_everything_built_on_it_never_panics(bytes in any_bytes(), payload in payload(), edits in vec(edit(), 0..4)) {
        let mut bytes = bytes;
        let mut ttl = bytes.clone();
        decrement_ttl(&mut ttl);
        if let Ok(mut layout) = Layout::parse(&bytes) {
            prop_assert!(layout.transport_offset() <= layout.payload_offset());
            prop_assert!(layout.payload_offset() <= layout.end_offset());
            prop_assert!(layout.end_offset() <= bytes.len());
            prop_assert_eq!(parse_strict(&bytes).is_ok(), !layout.is_truncated());
            verify_checksums(&bytes, &layout);
            for edit in &edits {
                edit.apply(&mut bytes, &mut layout);
            }
            for &field in field::ALL.iter().copied().flatten() {
                if write(&mut bytes, &mut layout, field, field.max()).is_ok() {
                    prop_assert_eq!(layout, layout_of(&bytes));
                }
            }
            let _ = set_payload(&mut bytes, &layout, &payload);
        }
        fill_checksums(&mut bytes, 0);
    }

    #[test]
    fn a_layout_of_other_bytes_is_an_error_and_no_panic(packet in damaged_packet(), other in any_bytes(), edits in vec(edit(), 0..8)) {
        if let Ok(layout) = Layout::parse(&packet) {
            let mut bytes = other;
            verify_checksums(&bytes, &layout);
            fill_checksums_with(&mut bytes, &layout, 0);
            let _ = set_payload(&mut bytes.clone(), &layout, b"abc");
            for &field in field::ALL.iter().copied().flatten() {
                let _ = (read(&bytes, &layout, field), write(&mut bytes, &mut layout.clone(), field, 1));
            }
            for edit in &edits {
                if let Edit::Address(endpoint, address) = *edit {
                    let _ = (read_addr(&bytes, &layout, endpoint), write_addr(&mut bytes, &layout, endpoint, address));
                }
            }
        }
    }

    #[test]
    fn built_packets_parse_to_what_was_described_with_checksums_right(spec in packet_spec()) {
        let packet = spec.build().expect("a packet");
        let layout = layout_of(&packet);
        prop_assert!(!layout.is_truncated() && !layout.is_extended() && !layout.is_partial());
        prop_assert_eq!(&packet[layout.payload_range()], &spec.payload[..]);
        prop_assert!(verify_checksums(&packet, &layout));
        prop_assert_eq!(recalculated(&packet), packet.clone());
        assert_network(&packet, layout, &spec)?;
        assert_transport(&packet, layout, &spec)?;
    }

    #[test]
    fn sums_equal_the_byte_pair_reference(bytes in vec(any::<u8>(), 0..3000), start in 0..9_usize) {
        let bytes = &bytes[start.min(bytes.len())..];
        prop_assert_eq!(Sum::new().add_bytes(bytes).fold(), byte_pair_sum(bytes));
    }

    #[test]
    fn filled_checksums_are_those_of_the_byte_pair_reference(packet in valid_packet()) {
        let layout = layout_of(&packet);
        if !layout.is_ipv6() {
            prop_assert_eq!(byte_pair_sum(&packet[..layout.transport_offset()]), 0xFFFF);
        }
        if let Some(transport) = layout.transport() {
            let mut covered = match transport {
                Transport::Icmp => Vec::new(),
                _ => pseudo_header(&packet, &layout, transport),
            };
            covered.extend(&packet[layout.transport_offset()..]);
            prop_assert_eq!(byte_pair_sum(&covered), 0xFFFF);
        }
    }

    #[test]
    fn right_checksums_equal_a_full_recalculation_after_any_edits(packet in valid_packet(), edits in vec(edit(), 1..20)) {
        let mut packet = packet;
        let mut layout = layout_of(&packet);
        for edit in &edits {
            edit.apply(&mut packet, &mut layout);
            prop_assert_eq!(&recalculated(&packet), &packet, "after {:?}", edit);
        }
        prop_assert_eq!(layout, layout_of(&packet));
    }

    #[test]
    fn unfinished_sums_stay_the_pseudo_header_sum_after_any_edits(packet in valid_packet(), edits in vec(edit(), 1..12)) {
        let mut packet = packet;
        let mut layout = layout_of(&packet);
        let (Some(at), Some(transport)) = (checksum_offset(&layout), layout.transport()) else { return Ok(()) };
        prop_assume!(transport != Transport::Icmp);
        let unfinished = byte_pair_sum(&pseudo_header(&packet, &layout, transport));
        packet[at..at + 2].copy_from_slice(&unfinished.to_be_bytes());
        for edit in edits.iter().filter(|edit| !matches!(edit, Edit::SetToZeroSum(_))) {
            // A sum that is the right checksum too counts as that.
            prop_assume!(!verify_checksums(&packet, &layout));
            edit.apply(&mut packet, &mut layout);
            prop_assert_eq!(be16(&packet, at), byte_pair_sum(&pseudo_header(&packet, &layout, transport)), "after {:?}", edit);
        }
    }

    #[test]
    fn wrong_checksums_stay_wrong_by_as_much(packet in valid_packet(), error in 1..u16::MAX, edits in vec(edit(), 1..12)) {
        let mut packet = packet;
        let mut layout = layout_of(&packet);
        let (Some(at), Some(transport)) = (checksum_offset(&layout), layout.transport()) else { return Ok(()) };
        let wrong_by = |packet: &[u8]| {
            let right = be16(&recalculated(packet), at);
            (u32::from(be16(packet, at)) + 2 * 65535 - u32::from(right)) % 65535
        };
        let wrong = ((u32::from(be16(&packet, at)) + u32::from(error)) % 65535) as u16;
        packet[at..at + 2].copy_from_slice(&wrong.to_be_bytes());
        for edit in &edits {
            // Neither "none" nor "unfinished", which the field may look like by chance.
            prop_assume!(be16(&packet, at) != 0);
            let pseudo_header = pseudo_header(&packet, &layout, transport);
            prop_assume!(transport == Transport::Icmp || be16(&packet, at) != byte_pair_sum(&pseudo_header));
            let before = wrong_by(&packet);
            edit.apply(&mut packet, &mut layout);
            prop_assert_eq!(wrong_by(&packet), before, "after {:?}", edit);
        }
    }

    #[test]
    fn no_checksum_stays_none_in_udp_over_ipv4(
        src in ipv4_addr(), dst in ipv4_addr(), payload in payload(), edits in vec(edit(), 1..12)
    ) {
        let mut packet = Builder::ipv4(src, dst).udp(1, 2).payload(&payload).build().expect("a packet");
        packet[26..28].fill(0);
        let mut layout = layout_of(&packet);
        for edit in edits.iter().filter(|edit| !matches!(edit, Edit::SetToZeroSum(_))) {
            edit.apply(&mut packet, &mut layout);
            prop_assert_eq!(be16(&packet, 26), 0);
        }
    }

    #[test]
    fn edits_of_a_first_fragment_keep_the_whole_datagrams_checksum(packet in valid_packet(), edits in vec(edit(), 1..12)) {
        let mut whole = packet;
        let mut layout = layout_of(&whole);
        if layout.is_ipv6() {
            return Ok(());
        }
        let keep_len = layout.payload_offset() + layout.payload_len() / 2;
        let mut fragment = whole[..keep_len].to_vec();
        let mut fragment_layout = layout_of(&fragment);
        write(&mut fragment, &mut fragment_layout, field::ipv4::LENGTH, keep_len as u32).expect("a shorter packet");
        write(&mut fragment, &mut fragment_layout, field::ipv4::MORE_FRAGMENTS, 1).expect("a fragment");
        for edit in edits.iter().filter(|edit| !matches!(edit, Edit::SetToZeroSum(_))) {
            edit.apply(&mut whole, &mut layout);
            edit.apply(&mut fragment, &mut fragment_layout);
        }
        if let Some(at) = checksum_offset(&layout) {
            prop_assert_eq!(be16(&fragment, at), be16(&whole, at));
        }
        prop_assert!(verify_checksums(&fragment, &fragment_layout));
    }

    #[test]
    fn structural_edits_keep_the_ip_header_sum_and_the_layout(packet in valid_packet(), value in edgy_u32()) {
        for &field in field::ALL.iter().copied().flatten().filter(|field| field.role() == Role::Structural) {
            let mut edited = packet.clone();
            let mut layout = layout_of(&edited);
            if write(&mut edited, &mut layout, field, value & field.max()).is_err() {
                prop_assert_eq!(&edited, &packet);
                continue;
            }
            prop_assert_eq!(layout, layout_of(&edited));
            prop_assert_eq!(read(&edited, &layout, field).is_some_and(|read| read != value & field.max()), false);
            if !layout.is_ipv6() {
                prop_assert_eq!(byte_pair_sum(&edited[..layout.transport_offset()]), 0xFFFF, "{:?}", field);
            }
        }
    }

    #[test]
    fn a_new_payload_leaves_everything_right(packet in valid_packet(), payload in payload(), trailer in vec(any::<u8>(), 0..4)) {
        let mut bytes = packet.clone();
        bytes.extend(trailer);
        let layout = layout_of(&bytes);
        let filled = set_payload(&mut bytes, &layout, &payload).expect("a whole packet");
        let layout = layout_of(&bytes);
        prop_assert!(filled.complete);
        prop_assert!(!layout.is_truncated() && !layout.is_extended());
        prop_assert_eq!(&bytes[layout.payload_range()], &payload[..]);
        prop_assert_eq!(&recalculated(&bytes), &bytes);
        if let Some(offset) = layout.offset_of(Transport::Udp) {
            prop_assert_eq!(usize::from(be16(&bytes, offset + 4)), bytes.len() - offset);
        }
        // And back again, to the packet as it was.
        let old = layout_of(&packet);
        set_payload(&mut bytes, &layout, &packet[old.payload_range()]).expect("a whole packet");
        prop_assert_eq!(bytes, packet);
    }
}

fn assert_network(packet: &[u8], layout: Layout, spec: &PacketSpec) -> Result<(), TestCaseError> {
    match &spec.network {
        NetworkSpec::V4(header) => {
            let view = Ipv4Header::new(packet, layout).expect("an IPv4 header");
            prop_assert_eq!((view.src_addr(), view.dst_addr()), (header.src_addr, header.dst_addr));
            prop_assert_eq!((view.ttl(), view.tos(), view.id()), (header.ttl, header.tos, header.id));
            prop_assert_eq!(view.dont_fragment(), header.dont_fragment);
            prop_assert_eq!(usize::from(view.header_length()) * 4, layout.transport_offset());
            prop_assert_eq!(usize::from(view.length()), packet.len());
            prop_assert!(Ipv6Header::new(packet, layout).is_none());
        }
        NetworkSpec::V6(header) => {
            let view = Ipv6Header::new(packet, layout).expect("an IPv6 header");
            prop_assert_eq!((view.src_addr(), view.dst_addr()), (header.src_addr, header.dst_addr));
            prop_assert_eq!((view.hop_limit(), view.traffic_class()), (header.hop_limit, header.traffic_class));
            prop_assert_eq!(view.flow_label(), header.flow_label);
            prop_assert_eq!(usize::from(view.length()) + 40, packet.len());
            prop_assert!(Ipv4Header::new(packet, layout).is_none());
        }
    }
    Ok(())
}

fn assert_transport(packet: &[u8], layout: Layout, spec: &PacketSpec) -> Result<(), TestCaseError> {
    match &spec.transport {
        TransportSpec::Other(protocol) => {
            prop_assert_eq!((layout.transport(), layout.protocol()), (None, *protocol));
        }
        TransportSpec::Tcp(header) => {
            let view = TcpHeader::new(packet, layout).expect("a TCP header");
            prop_assert_eq!((view.src_port(), view.dst_port()), (header.src_port, header.dst_port));
            prop_assert_eq!((view.seq(), view.ack_number()), (header.seq, header.ack_number));
            prop_assert_eq!((view.window(), view.urgent_pointer()), (header.window, header.urgent_pointer));
            let flags =
                [view.fin(), view.syn(), view.rst(), view.psh(), view.ack(), view.urg(), view.ece(), view.cwr()];
            let flags = flags.iter().rev().fold(0, |bits, &flag| bits << 1 | u8::from(flag));
            prop_assert_eq!(TcpFlags(flags), header.flags);
            prop_assert_eq!(usize::from(view.data_offset()) * 4, layout.payload_offset() - layout.transport_offset());
        }
        TransportSpec::Udp { src_port, dst_port } => {
            let view = UdpHeader::new(packet, layout).expect("a UDP header");
            prop_assert_eq!((view.src_port(), view.dst_port()), (*src_port, *dst_port));
            prop_assert_eq!(usize::from(view.length()), spec.payload.len() + 8);
        }
        TransportSpec::Icmp { message_type, code, body } if layout.is_ipv6() => {
            let view = Icmpv6Header::new(packet, layout).expect("an ICMPv6 header");
            prop_assert_eq!((view.message_type(), view.code(), view.body()), (*message_type, *code, *body));
        }
        TransportSpec::Icmp { message_type, code, body } => {
            let view = IcmpHeader::new(packet, layout).expect("an ICMP header");
            prop_assert_eq!((view.message_type(), view.code(), view.body()), (*message_type, *code, *body));
        }
    }
    Ok(())
}
