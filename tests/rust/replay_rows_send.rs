//! The rows of the table of behaviours on a replay: what becomes of packets that are sent.
use crate::captures::{frame, pcap, udp};
use crate::replay_support::*;
use oxidivert::address::{Address, Flags};
use oxidivert::backend::replay::SharedBuffer;
use oxidivert::backend::{Backend, ErrorCode};
use oxidivert::batch::{Batch, Origin};
use oxidivert::packet::{Builder, Layout, verify_checksums};
use std::sync::Arc;

/// A handle that only sends, on a replay of one packet.
fn sender() -> (Arc<dyn Backend>, SharedBuffer) {
    let (replay, buffer) = replay(&pcap(1, &[frame(1, &udp(1), b"")]));
    (open(&replay, "false", 0, Flags::default()), buffer)
}

/// An outbound address with final checksums.
fn address(is_impostor: bool) -> Address {
    let mut address = Address::default();
    address.set_outbound(true);
    address.set_impostor(is_impostor);
    address.set_ip_checksum(true);
    address.set_tcp_checksum(true);
    address.set_udp_checksum(true);
    address
}

fn batch_of(packets: &[(&[u8], Address)]) -> Batch {
    let mut batch = Batch::new();
    for (bytes, address) in packets {
        batch.push_parsed(bytes, address, 0, Origin::Injected(None)).expect("it is a packet");
    }
    batch
}

fn code_of_send(handle: &Arc<dyn Backend>, bytes: &[u8], address: Address) -> Result<usize, ErrorCode> {
    handle.send(&batch_of(&[(bytes, address)]), None).map_err(|failure| failure.error.code())
}

/// The packets of the output; what was sent lies before the capture's own.
fn written(handle: &Arc<dyn Backend>, buffer: &SharedBuffer) -> Vec<Vec<u8>> {
    read(&completed(handle, buffer)).iter().map(|packet| packet.bytes.to_vec()).collect()
}

fn with_ttl(ttl: u8) -> Vec<u8> {
    Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]).ttl(ttl).udp(9, 53).build().expect("it builds")
}

fn ipv6_with(hop_limit: u8) -> Vec<u8> {
    let ends = ([0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 2]);
    Builder::ipv6(ends.0, ends.1).ttl(hop_limit).udp(1, 2).build().expect("it builds")
}

/// Row 44.
#[test]
fn a_sent_packet_is_as_long_as_its_header_says() {
    let (handle, buffer) = sender();
    let longer = [&udp(9)[..], b"and more"].concat();
    assert_eq!(code_of_send(&handle, &longer, address(false)), Ok(1));
    assert_eq!(written(&handle, &buffer), [udp(9), udp(1)]);
}

/// Row 49.
#[test]
fn a_packet_without_hops_is_left_out_and_told_at_the_end() {
    let (handle, buffer) = sender();
    let packets = [&udp(7)[..], &with_ttl(1), &udp(8)];
    let failure = handle
        .send(
            &batch_of(&[(packets[0], address(false)), (packets[1], address(true)), (packets[2], address(false))]),
            None,
        )
        .expect_err("one is refused");
    assert_eq!((failure.sent, failure.error.code()), (2, ErrorCode::HostUnreachable));
    assert_eq!(written(&handle, &buffer), [udp(7), udp(8), udp(1)]);
}

/// Row 50.
#[test]
fn a_packet_that_is_wrong_ends_the_batch() {
    let (handle, buffer) = sender();
    let batch = batch_of(&[(&udp(7), address(false)), (&udp(8)[..28], address(false)), (&udp(9), address(false))]);
    let failure = handle.send(&batch, None).expect_err("one is cut");
    assert_eq!((failure.sent, failure.error.code()), (1, ErrorCode::InsufficientBuffer));
    assert_eq!(written(&handle, &buffer), [udp(7), udp(1)]);
}

/// Row 51.
#[test]
fn an_impostor_goes_on_with_one_hop_less_and_a_right_checksum() {
    let (handle, buffer) = sender();
    assert_eq!(code_of_send(&handle, &with_ttl(64), address(true)), Ok(1));
    assert_eq!(code_of_send(&handle, &ipv6_with(64), address(true)), Ok(1));
    let all = written(&handle, &buffer);
    assert_eq!((all[0][8], all[1][7]), (63, 63));
    for packet in &all[..2] {
        assert!(verify_checksums(packet, &Layout::parse(packet).expect("a packet")));
    }
}

/// Row 52.
#[test]
fn an_impostor_whose_hops_are_used_up_is_not_sent() {
    let (handle, buffer) = sender();
    for packet in [with_ttl(0), with_ttl(1), ipv6_with(0), ipv6_with(1)] {
        assert_eq!(code_of_send(&handle, &packet, address(true)), Err(ErrorCode::HostUnreachable));
    }
    assert_eq!(handle.statistics().errors, 4);
    assert_eq!(written(&handle, &buffer), [udp(1)]);
}

/// Row 53.
#[test]
fn other_packets_keep_their_hops() {
    let (handle, buffer) = sender();
    assert_eq!(code_of_send(&handle, &with_ttl(1), address(false)), Ok(1));
    assert_eq!(written(&handle, &buffer), [with_ttl(1), udp(1)]);
}

/// Row 55.
#[test]
fn a_udp_checksum_of_zero_is_sent_as_ffff() {
    let (handle, buffer) = sender();
    let packet = |payload: &[u8]| {
        Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]).udp(9, 53).payload(payload).build().expect("it builds")
    };
    // With its own checksum as payload, a packet's sum comes out as zero.
    let sum = packet(&[0, 0]);
    let mut wrong = packet(&sum[26..28]);
    wrong[26..28].copy_from_slice(&[0x12, 0x34]);
    let mut open = address(false);
    open.set_udp_checksum(false);
    assert_eq!(code_of_send(&handle, &wrong, open), Ok(1));
    assert_eq!(written(&handle, &buffer)[0][26..28], [0xFF, 0xFF]);
}

/// Row 56.
#[test]
fn an_icmp_checksum_is_never_computed() {
    let (handle, buffer) = sender();
    let mut packet = Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]).icmp_echo_request(1, 2).build().expect("it builds");
    packet[22] ^= 0xFF;
    assert_eq!(code_of_send(&handle, &packet, Address::default()), Ok(1));
    assert_eq!(written(&handle, &buffer), [packet, udp(1)]);
}
