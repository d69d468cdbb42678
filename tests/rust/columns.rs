//! Columns of batches: what is read is what the reference evaluator reads, packet by packet; what is written is what the
//! packet editor writes, or nothing at all.
use crate::filter_reference::{Input, exists, read};
use crate::strategies::{damaged_packet, edgy_u32};
use oxidivert::address::{Address, Layer};
use oxidivert::batch::{Batch, Origin};
use oxidivert::filter::{Column, ColumnData, ColumnErrorKind, ColumnSource, ColumnValue, Field, WriteFault};
use oxidivert::packet::{self, Endpoint, Layout, Role, fields};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv6Addr};

const MAPPED: u128 = 0xFFFF << 32;

/// Batches of packets of all kinds with any address records.
fn batch() -> BoxedStrategy<Batch> {
    let packet = (damaged_packet(), vec(any::<u8>(), 80), any::<i64>());
    vec(packet, 0..12)
        .prop_map(|packets| {
            let mut batch = Batch::new();
            for (bytes, mut record, time_ns) in packets {
                (record[8], record[9]) = (Layer::Network.number(), 0);
                let address = Address::from_raw(record.try_into().expect("80 bytes"));
                // What is no packet is left out.
                let _ = batch.push_parsed(&bytes, &address, time_ns, Origin::Injected(None));
            }
            batch
        })
        .boxed()
}

fn extract(batch: &Batch, name: &str) -> Column {
    let source = ColumnSource::parse(name).unwrap_or_else(|error| panic!("{error}"));
    source.extract(batch, 0..batch.len())
}

/// The columns of the filter language, with what the reference needs to read them.
fn field_columns(indices: &[i64]) -> impl Iterator<Item = (String, Field, i64)> {
    Field::ALL.iter().filter(|field| exists(**field as u32, 0)).flat_map(move |field| {
        let plain = (!field.is_array()).then(|| (field.name().to_owned(), *field, 0));
        let size = field.element_len().map(i64::from);
        let elements =
            indices.iter().filter_map(move |index| Some((format!("{}[{index}]", field.name()), *field, index * size?)));
        plain.into_iter().chain(elements)
    })
}

/// What the reference reads, as a column tells it.
fn reference(batch: &Batch, at: usize, field: Field, index: i64) -> ColumnValue {
    let packet = batch.packet(at).expect("within the batch");
    let input = Input { layer: 0, packet: packet.bytes, layout: Some(*packet.layout), address: packet.address };
    match read(field as u32, index, &input) {
        None => ColumnValue::Absent,
        Some((true, magnitude)) => ColumnValue::Negative((magnitude as i64).wrapping_neg()),
        // A column of IPv4 addresses has 32 bits.
        Some((false, number)) if field.name().starts_with("ip.") && number > MAPPED => {
            ColumnValue::Number(number - MAPPED)
        }
        Some((false, number)) if field.name().starts_with("ip.") && number == MAPPED => ColumnValue::Number(0),
        Some((false, number)) => ColumnValue::Number(number),
    }
}

proptest! {
    #[test]
    fn a_column_is_what_the_reference_reads(batch in batch(), indices in vec(-30..30_i64, 4)) {
        for (name, field, index) in field_columns(&indices) {
            let column = extract(&batch, &name);
            prop_assert_eq!(column.len(), batch.len());
            for at in 0..batch.len() {
                prop_assert_eq!(column.value(at), reference(&batch, at, field, index), "{} of packet {}", name, at);
            }
        }
    }

    #[test]
    fn the_columns_of_no_field_tell_ends_direction_and_time(batch in batch()) {
        let columns = ColumnSource::OWN_NAMES.map(|name| extract(&batch, name));
        let [time, direction, src_addr, dst_addr, src_port, dst_port] = &columns;
        for (at, (packet, record)) in batch.iter().zip(batch.records()).enumerate() {
            prop_assert_eq!(time.value(at), ColumnValue::from(record.time_ns));
            prop_assert_eq!(direction.value(at), ColumnValue::Number((!packet.address.outbound()).into()));
            for (end, addrs, ports) in
                [(Endpoint::Source, src_addr, src_port), (Endpoint::Destination, dst_addr, dst_port)]
            {
                let addr = match packet::read_addr(packet.bytes, packet.layout, end).expect("a packet has addresses") {
                    IpAddr::V4(addr) => addr.to_ipv6_mapped(),
                    IpAddr::V6(addr) => addr,
                };
                let ColumnData::Octets(octets) = addrs.data() else { panic!("addresses have 16 bytes") };
                prop_assert_eq!(octets[at], addr.octets());
                let port = packet::read_port(packet.bytes, packet.layout, end);
                let expected = port.map_or(ColumnValue::Absent, |port| ColumnValue::Number(port.into()));
                prop_assert_eq!(ports.value(at), expected);
            }
        }
    }

    #[test]
    fn columns_of_some_packets_are_those_of_the_others_left_out(batch in batch(), picks in vec(0..14_usize, 0..8)) {
        for name in ["tcp.DstPort", "src_addr", "time_ns"] {
            let (all, some) = (extract(&batch, name), ColumnSource::parse(name).unwrap());
            let some = some.extract(&batch, picks.iter().copied());
            for (at, index) in picks.iter().enumerate() {
                prop_assert_eq!(some.value(at), all.value(*index));
            }
        }
    }

    #[test]
    fn what_is_written_is_what_the_editor_writes(
        batch in batch(),
        chosen in any::<prop::sample::Index>(),
        numbers in vec(edgy_u32(), 12),
    ) {
        let (name, edit) = &settable()[chosen.index(settable().len())];
        let source = ColumnSource::parse(name).unwrap();
        let has_value = source.extract(&batch, 0..batch.len());
        let mut expected = Vec::new();
        let mut edits = Vec::new();
        for (at, packet) in batch.iter().enumerate() {
            let (mut bytes, mut layout) = (packet.bytes.to_vec(), *packet.layout);
            let is_icmp_port = name.ends_with("Port") && packet::read_port(&bytes, &layout, Endpoint::Source).is_none();
            let is_edited = has_value.valid()[at] && at % 3 != 2 && !is_icmp_port;
            if is_edited {
                edits.push((at, edit(&mut bytes, &mut layout, packet.address, numbers[at])));
            }
            expected.push((is_edited, bytes, layout));
        }
        let mut written = batch.clone();
        prop_assert_eq!(source.write(&mut written, edits.iter().copied()), Ok(()), "{}", name);
        for (at, (is_edited, bytes, layout)) in expected.iter().enumerate() {
            prop_assert_eq!(written.bytes(at), Some(&bytes[..]), "{} of packet {}", name, at);
            prop_assert_eq!(written.records()[at].layout, *layout);
            prop_assert_eq!(written.records()[at].changed, *is_edited);
        }
        let after = source.extract(&written, edits.iter().map(|(at, _)| *at).collect::<Vec<_>>().into_iter());
        for (at, (_, value)) in edits.iter().enumerate() {
            prop_assert_eq!(after.value(at), *value, "{}", name);
        }
    }

    #[test]
    fn one_value_for_all_is_written_as_each_would_be(
        batch in batch(),
        chosen in any::<prop::sample::Index>(),
        value in prop_oneof![
            (0..70_000_u128).prop_map(ColumnValue::Number),
            any::<std::net::IpAddr>().prop_map(ColumnValue::Address),
            Just(ColumnValue::Absent),
        ],
        picks in vec(0..6_usize, 0..6),
    ) {
        let source = ColumnSource::parse(settable()[chosen.index(settable().len())].0).unwrap();
        let (mut by_one, mut by_each) = (batch.clone(), batch);
        let outcome = source.write_one(&mut by_one, picks.iter().copied(), value);
        let expected = source.write(&mut by_each, picks.iter().map(|at| (*at, value)));
        prop_assert_eq!(outcome, expected);
        for at in 0..by_one.len() {
            prop_assert_eq!(by_one.bytes(at), by_each.bytes(at));
            prop_assert_eq!(by_one.records()[at].changed, by_each.records()[at].changed);
        }
    }

    #[test]
    fn if_one_packet_lacks_the_header_none_is_changed(batch in batch()) {
        let has_port = extract(&batch, "tcp.DstPort");
        let first = has_port.valid().iter().position(|valid| !valid);
        let mut written = batch.clone();
        let edits = (0..batch.len()).map(|at| (at, ColumnValue::Number(80)));
        let outcome = ColumnSource::parse("tcp.DstPort").unwrap().write(&mut written, edits);
        match (first, outcome) {
            (None, outcome) => prop_assert_eq!(outcome, Ok(())),
            (Some(first), outcome) => {
                let error = outcome.expect_err("a packet lacks the header");
                let ColumnErrorKind::Packet { index, fault: WriteFault::AbsentHeader(_), .. } = *error.kind() else {
                    panic!("{error}")
                };
                prop_assert_eq!(index, first);
                for at in 0..batch.len() {
                    prop_assert_eq!(written.bytes(at), batch.bytes(at));
                    prop_assert!(!written.records()[at].changed);
                }
            }
        }
    }
}

/// Edits a packet by other means than a column, with a value made from a number; the value.
type Edit = Box<dyn Fn(&mut [u8], &mut Layout, &Address, u32) -> ColumnValue>;

fn field(field: packet::Field) -> Edit {
    Box::new(move |bytes, layout, _, number| {
        let number = number & field.max();
        packet::write(bytes, layout, field, number).expect("the header is there");
        ColumnValue::Number(number.into())
    })
}

fn port(end: impl Fn(&Address) -> Endpoint + 'static) -> Edit {
    Box::new(move |bytes, layout, address, number| {
        packet::write_port(bytes, layout, end(address), number as u16).expect("there are ports");
        ColumnValue::Number((number & 0xFFFF).into())
    })
}

fn addr(end: impl Fn(&Address) -> Endpoint + 'static, bits: u32) -> Edit {
    Box::new(move |bytes, layout, address, number| {
        let (addr, value) = if layout.is_ipv6() {
            let wide = u128::from(number) << 96 | u128::from(number);
            (Ipv6Addr::from_bits(wide).into(), wide)
        } else {
            let value = if bits == 32 { 0 } else { MAPPED };
            (IpAddr::V4(number.into()), value | u128::from(number))
        };
        packet::write_addr(bytes, layout, end(address), addr).expect("the version is right");
        ColumnValue::Number(value)
    })
}

fn local(address: &Address) -> Endpoint {
    if address.outbound() { Endpoint::Source } else { Endpoint::Destination }
}

fn remote(address: &Address) -> Endpoint {
    if address.outbound() { Endpoint::Destination } else { Endpoint::Source }
}

/// Every column that can be set, and how the packet editor does it.
fn settable() -> Vec<(&'static str, Edit)> {
    use fields::{icmp, icmpv6, ipv4, ipv6, tcp, udp};
    let (source, destination) = (|_: &Address| Endpoint::Source, |_: &Address| Endpoint::Destination);
    vec![
        ("ip.TOS", field(ipv4::TOS)),
        ("ip.Id", field(ipv4::ID)),
        ("ip.DF", field(ipv4::DONT_FRAGMENT)),
        ("ip.TTL", field(ipv4::TTL)),
        ("ip.Checksum", field(ipv4::CHECKSUM)),
        ("ip.SrcAddr", addr(source, 32)),
        ("ip.DstAddr", addr(destination, 32)),
        ("ipv6.TrafficClass", field(ipv6::TRAFFIC_CLASS)),
        ("ipv6.HopLimit", field(ipv6::HOP_LIMIT)),
        ("ipv6.SrcAddr", addr(source, 128)),
        ("ipv6.DstAddr", addr(destination, 128)),
        ("icmp.Type", field(icmp::TYPE)),
        ("icmp.Code", field(icmp::CODE)),
        ("icmp.Checksum", field(icmp::CHECKSUM)),
        ("icmp.Body", field(icmp::BODY)),
        ("icmpv6.Type", field(icmpv6::TYPE)),
        ("icmpv6.Code", field(icmpv6::CODE)),
        ("icmpv6.Checksum", field(icmpv6::CHECKSUM)),
        ("icmpv6.Body", field(icmpv6::BODY)),
        ("tcp.SrcPort", field(tcp::SRC_PORT)),
        ("tcp.DstPort", field(tcp::DST_PORT)),
        ("tcp.SeqNum", field(tcp::SEQ)),
        ("tcp.AckNum", field(tcp::ACK_NUMBER)),
        ("tcp.Urg", field(tcp::URG)),
        ("tcp.Ack", field(tcp::ACK)),
        ("tcp.Psh", field(tcp::PSH)),
        ("tcp.Rst", field(tcp::RST)),
        ("tcp.Syn", field(tcp::SYN)),
        ("tcp.Fin", field(tcp::FIN)),
        ("tcp.Window", field(tcp::WINDOW)),
        ("tcp.Checksum", field(tcp::CHECKSUM)),
        ("tcp.UrgPtr", field(tcp::URGENT_POINTER)),
        ("udp.SrcPort", field(udp::SRC_PORT)),
        ("udp.DstPort", field(udp::DST_PORT)),
        ("udp.Checksum", field(udp::CHECKSUM)),
        ("localAddr", addr(local, 128)),
        ("remoteAddr", addr(remote, 128)),
        ("localPort", port(local)),
        ("remotePort", port(remote)),
        ("src_addr", addr(source, 128)),
        ("dst_addr", addr(destination, 128)),
        ("src_port", port(source)),
        ("dst_port", port(destination)),
    ]
}

#[test]
fn a_column_that_cannot_be_set_is_refused_with_the_list_of_those_that_can() {
    let names: Vec<_> = settable().iter().map(|(name, _)| *name).collect();
    let mut batch = Batch::new();
    for name in ["length", "ip.Length", "ip.FragOff", "tcp.HdrLength", "ipv6.FlowLabel", "outbound", "time_ns"] {
        let source = ColumnSource::parse(name).unwrap();
        assert!(!source.is_settable());
        let error = source.write(&mut batch, std::iter::empty()).unwrap_err();
        let expected = format!("column `{name}` cannot be set; those that can are {}", names.join(", "));
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn every_header_field_that_leaves_the_structure_alone_can_be_set() {
    // The filter language has no name for these.
    let unnamed = ["ece", "cwr", "flow_label"];
    let plain = fields::ALL
        .iter()
        .copied()
        .flatten()
        .filter(|field| matches!(field.role(), Role::Plain | Role::Checksum) && !unnamed.contains(&field.name()));
    let of_headers = |name: &&(&str, Edit)| name.0.contains('.') && !name.0.ends_with("Addr");
    assert_eq!(settable().iter().filter(of_headers).count(), plain.count());
}

#[test]
fn names_that_are_no_columns_are_told_with_what_may_be_meant() {
    for (name, expected) in [
        ("tcp.dstport", "packets have no column `tcp.dstport`; did you mean `tcp.DstPort`?"),
        ("src_adr", "packets have no column `src_adr`; did you mean `src_addr`?"),
        ("dport", "packets have no column `dport`; did you mean `tcp.DstPort` or `udp.DstPort`?"),
        (
            "processId",
            "packets have no column `processId`; columns are the packets' fields of the filter language, \
             time_ns, direction, src_addr, dst_addr, src_port, dst_port",
        ),
        (
            "and",
            "packets have no column `and`; columns are the packets' fields of the filter language, \
                 time_ns, direction, src_addr, dst_addr, src_port, dst_port",
        ),
        ("packet32", "expected `[` and an index, found the end of the filter\n  packet32\n          ^"),
        (
            "packet32[99999]",
            "the index leaves the largest packet that there can be\n  packet32[99999]\n           ^^^^^",
        ),
        (
            "tcp.DstPort[0]",
            "expected `and`, `or` or the end of the filter, found `[`\n  tcp.DstPort[0]\n             ^",
        ),
        ("packet[0] == 3", "`packet[0] == 3` is no column; a field with an index is written as `tcp.Payload[0]`"),
    ] {
        assert_eq!(ColumnSource::parse(name).unwrap_err().to_string(), expected);
    }
}

#[test]
fn values_that_do_not_fit_are_told_with_the_packet() {
    let packet =
        b"\x45\0\0\x20\x12\x34\0\0\x40\x11\x7c\x62\xc0\0\x02\x01\xc6\x33\x64\x02\x30\x39\0\x35\0\x0c\x1e\x6aabcd";
    let mut batch = Batch::new();
    batch.push_parsed(packet, &Address::default(), 0, Origin::Injected(None)).unwrap();
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    for (name, at, value, expected) in [
        ("ip.TTL", 0, ColumnValue::Number(256), "256 does not fit, the least value is 0 and the largest 255"),
        ("ip.TTL", 0, ColumnValue::Negative(-1), "-1 does not fit, the least value is 0 and the largest 255"),
        ("ip.DF", 0, ColumnValue::Number(2), "2 does not fit, the least value is 0 and the largest 1"),
        ("ip.TTL", 0, ColumnValue::Absent, "there is no value for it"),
        ("ip.TTL", 0, ColumnValue::Address(v6), "an address does not fit, the field holds a number"),
        ("ip.TTL", 1, ColumnValue::Number(1), "there is no such packet"),
        ("ip.SrcAddr", 0, ColumnValue::Address(v6), "the packet is IPv4, the address is not"),
        ("src_addr", 0, ColumnValue::Number(1), "the packet is IPv4, the address is not"),
        ("ipv6.HopLimit", 0, ColumnValue::Number(1), "the packet has no ipv6 header"),
        ("icmp.Type", 0, ColumnValue::Number(1), "the packet has no icmp header"),
    ] {
        let error = ColumnSource::parse(name).unwrap().write(&mut batch, [(at, value)].into_iter()).unwrap_err();
        let hint = "; leave such packets out with a mask, as the column's `valid` does";
        let hint = if expected.ends_with("header") { hint } else { "" };
        let expected = format!("`{name}` of packet {at} (counted from 0): {expected}; no packet was changed{hint}");
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(batch.bytes(0), Some(&packet[..]));
}
