//! What the engine does to packets that are sent: impostors, checksums; and which handles may send or receive.
use crate::engine_support::*;
use oxidivert::address::{Address, Flags, Layer, Shutdown};
use oxidivert::batch::Batch;
use oxidivert::engine::{Engine, ErrorCode, Handle, Injection, Settings, Wait};
use oxidivert::packet::{Builder, Layout, TcpFlags, verify_checksums};

fn code_of_send(handle: &Handle, batch: &Batch) -> Result<usize, ErrorCode> {
    handle.send(batch, None).map_err(|failure| failure.error.code())
}

fn impostor() -> Address {
    let mut address = final_address();
    address.set_impostor(true);
    address
}

fn ipv6_udp(hop_limit: u8) -> Vec<u8> {
    let ends = ([0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 2]);
    Builder::ipv6(ends.0, ends.1).ttl(hop_limit).udp(1, 2).build().expect("it builds")
}

fn with_ttl(ttl: u8) -> Vec<u8> {
    Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]).ttl(ttl).udp(1, 53).build().expect("it builds")
}

fn has_right_checksums(bytes: &[u8]) -> bool {
    verify_checksums(bytes, &Layout::parse(bytes).expect("a packet"))
}

/// Row 51.
#[test]
fn an_impostor_goes_on_with_one_hop_less_and_a_right_checksum() {
    let engine = Engine::default();
    let (handle, low) = (open(&engine, "false", 1, DIVERT), open(&engine, "true", 0, DIVERT));
    let sent = with_ttl(64);
    assert_eq!(code_of_send(&handle, &new_packet(&sent, &impostor())), Ok(1));
    assert_eq!(code_of_send(&handle, &new_packet(&ipv6_udp(64), &impostor())), Ok(1));
    let batch = receive(&low);
    let [ipv4, ipv6] = [0, 1].map(|index| batch.bytes(index).expect("it arrived"));
    assert_eq!((ipv4[8], ipv6[7]), (63, 63));
    assert!(has_right_checksums(ipv4) && has_right_checksums(ipv6));
    assert_eq!(sent, with_ttl(64));
}

/// Row 52.
#[test]
fn an_impostor_whose_hops_are_used_up_is_not_sent() {
    let engine = Engine::default();
    let handle = open(&engine, "false", 0, DIVERT);
    for packet in [with_ttl(0), with_ttl(1), ipv6_udp(0), ipv6_udp(1)] {
        assert_eq!(code_of_send(&handle, &new_packet(&packet, &impostor())), Err(ErrorCode::HostUnreachable));
    }
    assert!(engine.take_delivered().is_empty());
    assert_eq!(handle.statistics().errors, 4);
    assert_eq!(code_of_send(&handle, &new_packet(&with_ttl(2), &impostor())), Ok(1));
}

/// Row 53.
#[test]
fn other_packets_keep_their_hops() {
    let engine = Engine::default();
    let handle = open(&engine, "false", 0, DIVERT);
    assert_eq!(code_of_send(&handle, &new_packet(&with_ttl(1), &final_address())), Ok(1));
    assert_eq!(engine.take_delivered().bytes(0), Some(&with_ttl(1)[..]));
}

/// Row 54.
#[test]
fn checksums_are_computed_where_the_address_leaves_them_open_and_nowhere_else() {
    let engine = Engine::default();
    let handle = open(&engine, "false", 0, DIVERT);
    let tcp = Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]).tcp(1, 2).flags(TcpFlags::ACK).payload(b"odd").build();
    let tcp = tcp.expect("it builds");
    for (right, transport_sum) in [(udp(1), 26), (tcp, 36)] {
        let mut wrong = right.clone();
        wrong[10] ^= 0xFF;
        wrong[transport_sum] ^= 0xFF;
        let open_sums = new_packet(&wrong, &Address::default());
        assert_eq!(code_of_send(&handle, &open_sums), Ok(1));
        assert_eq!(engine.take_delivered().bytes(0), Some(&right[..]));
        assert_eq!(open_sums.bytes(0), Some(&wrong[..]), "the caller's bytes stay");
        assert_eq!(code_of_send(&handle, &new_packet(&wrong, &final_address())), Ok(1));
        assert_eq!(engine.take_delivered().bytes(0), Some(&wrong[..]));
        let mut only_ip = final_address();
        only_ip.set_ip_checksum(false);
        assert_eq!(code_of_send(&handle, &new_packet(&wrong, &only_ip)), Ok(1));
        let half_right = [&right[..20], &wrong[20..]].concat();
        assert_eq!(engine.take_delivered().bytes(0), Some(&half_right[..]));
    }
    assert_eq!(handle.statistics().checksums_computed, 6);
}

/// Row 55.
#[test]
fn a_udp_checksum_of_zero_is_sent_as_ffff() {
    let engine = Engine::default();
    let handle = open(&engine, "false", 0, DIVERT);
    let sum_of = |payload: &[u8]| u16::from_be_bytes([udp_with(1, payload)[26], udp_with(1, payload)[27]]);
    let complement = sum_of(&[0, 0]).to_be_bytes();
    let mut packet = udp_with(1, &complement);
    packet[26..28].copy_from_slice(&[0x12, 0x34]);
    assert_eq!(code_of_send(&handle, &new_packet(&packet, &Address::default())), Ok(1));
    assert_eq!(engine.take_delivered().bytes(0).expect("it arrived")[26..28], [0xFF, 0xFF]);
}

/// Row 56.
#[test]
fn an_icmp_checksum_is_never_computed() {
    let engine = Engine::default();
    let handle = open(&engine, "false", 0, DIVERT);
    let mut packet = Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]).icmp_echo_request(1, 2).build().expect("it builds");
    packet[22] ^= 0xFF;
    assert_eq!(code_of_send(&handle, &new_packet(&packet, &Address::default())), Ok(1));
    assert_eq!(engine.take_delivered().bytes(0), Some(&packet[..]));
}

/// Row 57.
#[test]
fn a_handle_that_only_receives_does_not_send() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, Flags::RECV_ONLY);
    feed(&engine, 1);
    let batch = receive(&handle);
    assert_eq!(code_of_send(&handle, &batch), Err(ErrorCode::InvalidParameter));
    handle.shutdown(Shutdown::Send).expect("it is open");
    assert_eq!(code_of_send(&handle, &batch), Err(ErrorCode::NoData));
    assert!(engine.take_delivered().is_empty());
}

/// Row 58.
#[test]
fn a_handle_that_only_sends_receives_nothing_and_captures_nothing() {
    for send_only_captures in [false, true] {
        let engine = Engine::new(Settings { send_only_captures, ..Settings::default() });
        let handle = open(&engine, "true", 0, Flags::SEND_ONLY);
        feed(&engine, 1);
        let code = handle.receive(&mut Batch::new(), 1, Wait::Forever).expect_err("it only sends").code();
        assert_eq!(code, ErrorCode::InvalidParameter);
        assert_eq!(engine.take_delivered().is_empty(), send_only_captures);
        send_new(&handle, 2);
        assert_eq!(delivered_ports(&engine), [2]);
    }
}

/// Row 59.
#[test]
fn event_layers_send_nothing() {
    let engine = Engine::default();
    for layer in [Layer::Flow, Layer::Socket, Layer::Reflect] {
        let handle = open_on(&engine, layer, "true", 0, WATCH);
        let sent = code_of_send(&handle, &new_packet(&udp(1), &final_address()));
        assert_eq!(sent, Err(ErrorCode::InvalidParameter));
    }
    assert!(engine.take_delivered().is_empty());
}

#[test]
fn captured_checksum_flags_are_those_of_the_path_and_final_behind_a_sender() {
    let engine = Engine::default();
    let (handle, low) = (open(&engine, "true", 1, DIVERT), open(&engine, "true", 0, DIVERT));
    let mut unfinished = udp(1);
    unfinished[26] ^= 0xFF;
    engine.inject(&unfinished, &Injection { udp_checksum: false, ..Injection::default() });
    let batch = receive(&handle);
    let address = batch.records()[0].address;
    assert!(address.ip_checksum() && address.tcp_checksum() && !address.udp_checksum());
    handle.send(&batch, None).expect("it sends");
    let sent = receive(&low);
    assert!(sent.records()[0].address.udp_checksum());
    assert_eq!(sent.bytes(0), Some(&udp(1)[..]), "the driver finishes what it sends");
}

#[test]
fn bytes_behind_a_packet_are_not_sent() {
    let engine = Engine::default();
    let handle = open(&engine, "false", 0, DIVERT);
    let longer = [&udp(1)[..], b"padding"].concat();
    assert_eq!(code_of_send(&handle, &new_packet(&longer, &final_address())), Ok(1));
    assert_eq!(engine.take_delivered().bytes(0), Some(&udp(1)[..]));
}
