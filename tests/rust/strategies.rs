//! Packets for property tests: valid ones by construction, then damage.
//!
//! Every strategy is boxed, since composed ones are so large by value that tests overflow their stack.
use oxidivert::packet::{Ipv4Spec, Ipv6Spec, NetworkSpec, PacketSpec, TcpFlags, TcpOption, TcpSpec, TransportSpec};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Numbers with the ends of the range much likelier than by chance, where ones' complement sums are delicate.
pub fn edgy_u16() -> BoxedStrategy<u16> {
    prop_oneof![2 => Just(0), 2 => Just(u16::MAX), 1 => Just(1), 1 => Just(0xFFFE), 6 => any::<u16>()].boxed()
}

/// As [`edgy_u16`], with 32 bits.
pub fn edgy_u32() -> BoxedStrategy<u32> {
    (edgy_u16(), edgy_u16()).prop_map(|(high, low)| u32::from(high) << 16 | u32::from(low)).boxed()
}

/// IPv4 addresses, some of nothing but zeros or ones.
pub fn ipv4_addr() -> BoxedStrategy<Ipv4Addr> {
    edgy_u32().prop_map(Ipv4Addr::from_bits).boxed()
}

/// IPv6 addresses, some of nothing but zeros or ones.
pub fn ipv6_addr() -> BoxedStrategy<Ipv6Addr> {
    any_with_edges().prop_map(Ipv6Addr::from).boxed()
}

fn any_with_edges() -> BoxedStrategy<[u16; 8]> {
    proptest::array::uniform8(edgy_u16()).boxed()
}

/// Payloads: mostly short, some of a full segment, some of zeros.
pub fn payload() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        6 => vec(any::<u8>(), 0..130),
        1 => vec(any::<u8>(), 130..1500),
        2 => vec(Just(0), 0..20),
        1 => vec(Just(0xFF), 0..20),
    ]
    .boxed()
}

fn network() -> BoxedStrategy<NetworkSpec> {
    let v4 = (ipv4_addr(), ipv4_addr(), any::<u8>(), any::<u8>(), edgy_u16(), any::<bool>(), vec(any::<u8>(), 0..=40));
    let v6 = (ipv6_addr(), ipv6_addr(), any::<u8>(), any::<u8>(), 0..=0xF_FFFF_u32);
    prop_oneof![
        v4.prop_map(|(src_addr, dst_addr, ttl, tos, id, dont_fragment, options)| {
            NetworkSpec::V4(Ipv4Spec { src_addr, dst_addr, ttl, tos, id, dont_fragment, options })
        }),
        v6.prop_map(|(src_addr, dst_addr, hop_limit, traffic_class, flow_label)| {
            NetworkSpec::V6(Ipv6Spec { src_addr, dst_addr, hop_limit, traffic_class, flow_label })
        }),
    ]
    .boxed()
}

/// TCP options, at most 30 bytes.
fn tcp_options() -> BoxedStrategy<Vec<TcpOption>> {
    let option = prop_oneof![
        Just(TcpOption::Nop),
        any::<u16>().prop_map(TcpOption::MaximumSegmentSize),
        (0..=14_u8).prop_map(TcpOption::WindowScale),
        Just(TcpOption::SackPermitted),
        (any::<u32>(), any::<u32>()).prop_map(|(value, echo_reply)| TcpOption::Timestamps { value, echo_reply }),
        vec(any::<u8>(), 0..10).prop_map(TcpOption::Raw),
    ];
    vec(option, 0..=3).boxed()
}

fn tcp() -> BoxedStrategy<TcpSpec> {
    let numbers = (edgy_u16(), edgy_u16(), edgy_u32(), edgy_u32(), any::<u8>(), edgy_u16(), edgy_u16());
    (numbers, tcp_options())
        .prop_map(|((src_port, dst_port, seq, ack_number, flags, window, urgent_pointer), options)| TcpSpec {
            src_port,
            dst_port,
            seq,
            ack_number,
            flags: TcpFlags(flags),
            window,
            urgent_pointer,
            options,
        })
        .boxed()
}

fn transport() -> BoxedStrategy<TransportSpec> {
    let small = prop_oneof![Just(0_u8), any::<u8>()];
    prop_oneof![
        4 => tcp().prop_map(TransportSpec::Tcp),
        4 => (edgy_u16(), edgy_u16()).prop_map(|(src_port, dst_port)| TransportSpec::Udp { src_port, dst_port }),
        4 => (small.clone(), small, edgy_u32())
            .prop_map(|(message_type, code, body)| TransportSpec::Icmp { message_type, code, body }),
        // Experimental (RFC 3692) and "no next header": never a header that is walked over.
        1 => prop_oneof![Just(59_u8), Just(253), Just(254)].prop_map(TransportSpec::Other),
    ]
    .boxed()
}

/// Descriptions of packets of all six protocols.
pub fn packet_spec() -> BoxedStrategy<PacketSpec> {
    (network(), transport(), payload())
        .prop_map(|(network, transport, payload)| PacketSpec { network, transport, payload })
        .boxed()
}

/// Whole packets with all lengths and checksums right.
pub fn valid_packet() -> BoxedStrategy<Vec<u8>> {
    packet_spec().prop_map(|spec| spec.build().expect("the description is that of a packet")).boxed()
}

/// Packets, some with IPv6 extension headers, with damage done to them: cut, continued, lied about, bits flipped.
pub fn damaged_packet() -> BoxedStrategy<Vec<u8>> {
    let damage = prop_oneof![
        3 => Just(Damage::None),
        2 => any::<prop::sample::Index>().prop_map(Damage::Cut),
        2 => vec(any::<u8>(), 1..60).prop_map(Damage::Continue),
        4 => vec((any::<prop::sample::Index>(), any::<u8>()), 1..6).prop_map(Damage::Flip),
        2 => edgy_u16().prop_map(Damage::Fragment),
        2 => edgy_u16().prop_map(Damage::Length),
    ];
    (valid_packet(), vec(extension_header(), 0..4), vec(damage, 0..3))
        .prop_map(|(mut packet, extensions, damages)| {
            for (protocol, header) in extensions {
                insert_extension(&mut packet, protocol, &header);
            }
            for damage in damages {
                damage.apply(&mut packet);
            }
            packet
        })
        .boxed()
}

/// Any bytes: noise, and packets that are damaged.
pub fn any_bytes() -> BoxedStrategy<Vec<u8>> {
    let version = prop_oneof![Just(0x45_u8), Just(0x46), Just(0x60), any::<u8>()];
    let noise = (version, vec(any::<u8>(), 0..200)).prop_map(|(first, mut bytes)| {
        if let Some(byte) = bytes.first_mut() {
            *byte = first;
        }
        bytes
    });
    prop_oneof![1 => noise, 3 => damaged_packet()].boxed()
}

#[derive(Clone, Debug)]
enum Damage {
    None,
    Cut(prop::sample::Index),
    Continue(Vec<u8>),
    Flip(Vec<(prop::sample::Index, u8)>),
    Fragment(u16),
    Length(u16),
}

impl Damage {
    fn apply(&self, packet: &mut Vec<u8>) {
        let is_ipv6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
        match self {
            Self::None => {}
            Self::Cut(index) => packet.truncate(index.index(packet.len() + 1)),
            Self::Continue(bytes) => packet.extend(bytes),
            Self::Flip(flips) => {
                for (index, bits) in flips {
                    // An index needs something to point into.
                    if !packet.is_empty() {
                        let at = index.index(packet.len());
                        packet[at] ^= bits;
                    }
                }
            }
            Self::Fragment(word) if is_ipv6 => {
                let [high, low] = word.to_be_bytes();
                insert_extension(packet, 44, &[0, 0, high, low, 1, 2, 3, 4]);
            }
            Self::Fragment(word) => overwrite(packet, 6, *word),
            Self::Length(word) => overwrite(packet, if is_ipv6 { 4 } else { 2 }, *word),
        }
    }
}

fn overwrite(packet: &mut [u8], at: usize, word: u16) {
    if let Some(place) = packet.get_mut(at..at + 2) {
        place.copy_from_slice(&word.to_be_bytes());
    }
}

/// Protocol number and bytes of an IPv6 extension header whose length is right; its next header is set on insertion.
fn extension_header() -> BoxedStrategy<(u8, Vec<u8>)> {
    let units = prop_oneof![Just(0_u8), Just(43), Just(60), Just(135)];
    prop_oneof![
        3 => (units, 0..3_u8, any::<u8>()).prop_map(|(protocol, length, fill)| {
            let mut header = vec![fill; (usize::from(length) + 1) * 8];
            header[1] = length;
            (protocol, header)
        }),
        1 => (1..5_u8, any::<u8>()).prop_map(|(length, fill)| {
            let mut header = vec![fill; (usize::from(length) + 2) * 4];
            header[1] = length;
            (51, header)
        }),
        1 => any::<u16>().prop_map(|id| {
            let [high, low] = id.to_be_bytes();
            (44, vec![0, 0, 0, 0, high, low, 0, 0])
        }),
    ]
    .boxed()
}

/// Puts an extension header directly behind the IPv6 header, and makes the lengths right. IPv4 packets stay as they are.
fn insert_extension(packet: &mut Vec<u8>, protocol: u8, header: &[u8]) {
    if packet.len() < 40 || packet[0] >> 4 != 6 {
        return;
    }
    let length = u16::from_be_bytes([packet[4], packet[5]]).saturating_add(header.len() as u16);
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    let mut header = header.to_vec();
    header[0] = packet[6];
    packet[6] = protocol;
    packet.splice(40..40, header);
}
