//! The driver's receive and send calls on the engine: buffers, lengths, batches, overlapped reads.
use crate::engine_support::*;
use oxidivert::address::{Address, Flags, Layer};
use oxidivert::engine::{Engine, ErrorCode, RawHandle, Wait};
use std::time::{Duration, Instant};

fn raw(engine: &Engine, flags: u64) -> RawHandle {
    RawHandle::open(engine, "true", 0, 0, flags).expect("it opens")
}

fn feed_lens(engine: &Engine, lens: &[usize]) {
    for (port, len) in (1..).zip(lens) {
        engine.inject(&udp_with(port, &vec![7; len - 28]), &oxidivert::engine::Injection::default());
    }
}

/// What one `recv_ex` gave.
#[derive(Debug)]
struct Outcome {
    read: Result<usize, ErrorCode>,
    addresses_len: usize,
    buffer: Vec<u8>,
    addresses: Vec<Address>,
}

fn recv_ex(handle: &RawHandle, buffer_len: usize, addresses_len: usize) -> Outcome {
    let mut buffer = vec![0xEE; buffer_len];
    let mut addresses = vec![Address::from_raw([0xEE; 80]); 256];
    let mut len = addresses_len;
    let read = handle.recv_ex(Some(&mut buffer), 0, Some(&mut addresses), Some(&mut len));
    Outcome { read: read.map_err(|error| error.code()), addresses_len: len, buffer, addresses }
}

/// Row 35.
#[test]
fn a_packet_that_is_too_long_is_cut_and_gone() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    feed_lens(&engine, &[100, 60]);
    let outcome = recv_ex(&handle, 50, 80);
    assert_eq!((outcome.read, outcome.addresses_len), (Err(ErrorCode::InsufficientBuffer), 80));
    assert_eq!(outcome.buffer, udp_with(1, &[7; 72])[..50]);
    assert_eq!(outcome.addresses[0].layer(), Some(Layer::Network));
    let next = recv_ex(&handle, 100, 80);
    assert_eq!((next.read, port_of(&next.buffer)), (Ok(60), 2));
}

/// Row 36.
#[test]
fn without_a_buffer_the_packet_is_gone_and_nothing_is_written() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    feed_lens(&engine, &[100, 100, 60]);
    let untouched = Address::from_raw([0xEE; 80]);
    for buffer in [None, Some(&mut [][..])] {
        let mut address = untouched;
        let code = handle.recv(buffer, Some(&mut address)).expect_err("no buffer").code();
        assert_eq!((code, address), (ErrorCode::InsufficientBuffer, untouched));
    }
    let next = recv_ex(&handle, 100, 80);
    assert_eq!((next.read, port_of(&next.buffer)), (Ok(60), 3));
}

/// Row 37.
#[test]
fn events_without_data_need_no_buffer() {
    let engine = Engine::default();
    for (layer, flags) in [(2, 5), (3, 5)] {
        let handle = RawHandle::open(&engine, "true", layer, 0, flags).expect("it opens");
        let connection = oxidivert::engine::Connection::default();
        for _ in 0..3 {
            engine.flow(&connection);
            engine.socket_event(oxidivert::address::Event::SocketConnect, &connection).expect("it is a socket's");
        }
        let mut address = Address::from_raw([0xEE; 80]);
        assert_eq!(handle.recv(None, Some(&mut address)).expect("no data"), 0);
        assert_eq!(u32::from(address.raw_layer()), layer);
        let rest = recv_ex(&handle, 10, 800);
        assert_eq!((rest.read, rest.addresses_len, rest.buffer[0]), (Ok(0), 160, 0xEE));
    }
}

/// Row 38.
#[test]
fn a_batch_lies_back_to_back() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    feed_lens(&engine, &[100, 60, 28]);
    let outcome = recv_ex(&handle, 1000, 800);
    assert_eq!((outcome.read, outcome.addresses_len), (Ok(188), 240));
    let expected = [udp_with(1, &[7; 72]), udp_with(2, &[7; 32]), udp_with(3, &[])].concat();
    assert_eq!(outcome.buffer[..188], expected);
    assert_eq!(outcome.buffer[188..], [0xEE; 812]);
    assert_eq!(outcome.addresses[3], Address::from_raw([0xEE; 80]));
}

/// Row 39.
#[test]
fn a_batch_ends_before_the_first_packet_that_does_not_fit() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    feed_lens(&engine, &[100, 2000, 50]);
    assert_eq!(recv_ex(&handle, 500, 800).read, Ok(100));
    let rest = recv_ex(&handle, 5000, 800);
    assert_eq!((rest.read, rest.addresses_len), (Ok(2050), 160));
    assert_eq!((port_of(&rest.buffer), port_of(&rest.buffer[2000..])), (2, 3));
}

/// Row 40.
#[test]
fn a_batch_has_at_most_255_packets_and_as_many_as_addresses_fit() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    feed_lens(&engine, &[28; 300]);
    assert_eq!(recv_ex(&handle, 10_000, 20_400).addresses_len, 20_400);
    assert_eq!(recv_ex(&handle, 10_000, 3200).addresses_len, 3200);
    assert_eq!(recv_ex(&handle, 10_000, 20_400).addresses_len, 5 * 80);
}

/// Row 41.
#[test]
fn the_length_of_the_addresses_is_checked() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    feed_lens(&engine, &[28; 4]);
    let invalid = Err(ErrorCode::InvalidParameter);
    assert_eq!(recv_ex(&handle, 100, 79).read, invalid);
    assert_eq!(recv_ex(&handle, 100, 20_401).read, invalid);
    let mut len = 80;
    let code_of = |read: Result<usize, oxidivert::engine::Error>| read.map_err(|error| error.code());
    assert_eq!(code_of(handle.recv_ex(Some(&mut [0; 100]), 0, None, Some(&mut len))), invalid);
    let mut short = [Address::default()];
    let mut two = 160;
    let read = handle.recv_ex(Some(&mut [0; 100]), 0, Some(&mut short), Some(&mut two));
    assert_eq!(code_of(read), Err(ErrorCode::NoAccess));
    assert_eq!(recv_ex(&handle, 100, 100).addresses_len, 80);
    assert_eq!(code_of(handle.recv(Some(&mut [0; 100]), None)), Ok(28));
    assert_eq!(recv_ex(&handle, 100, 20_400).addresses_len, 160, "refused calls took nothing");
    let send = |addresses_len| handle.send_ex(Some(&udp(1)), 0, Some(&[Address::default()]), addresses_len);
    assert_eq!(code_of(send(79)), invalid);
    assert_eq!(code_of(send(20_401)), invalid);
    assert_eq!(code_of(send(160)), Err(ErrorCode::NoAccess));
    assert_eq!(code_of(handle.send(Some(&udp(1)), None)), invalid);
    assert_eq!(code_of(handle.send(None, Some(&Address::default()))), Err(ErrorCode::InsufficientBuffer));
}

/// Row 42.
#[test]
fn a_read_that_waited_brings_one_packet() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    let read = handle.recv_overlapped(Some(1000), 0, Some(800)).expect("it waits");
    feed_lens(&engine, &[28, 29, 30]);
    let completion = read.wait(Wait::Poll).expect("it is complete");
    assert_eq!((completion.addresses.len(), completion.data.len()), (1, 28));
    assert_eq!(recv_ex(&handle, 1000, 800).read, Ok(59));
}

/// Row 43.
#[test]
fn the_calls_have_no_flags() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    feed_lens(&engine, &[28]);
    let code = handle.recv_ex(Some(&mut [0; 100]), 1, None, None).expect_err("no flags").code();
    assert_eq!(code, ErrorCode::InvalidParameter);
    let addresses = [Address::default()];
    let code = handle.send_ex(Some(&udp(1)), 1, Some(&addresses), 80).expect_err("no flags").code();
    assert_eq!(code, ErrorCode::InvalidParameter);
    assert_eq!(recv_ex(&handle, 100, 80).read, Ok(28));
    assert!(engine.take_delivered().is_empty());
}

fn send(handle: &RawHandle, data: &[u8], count: usize) -> Result<usize, ErrorCode> {
    send_as(handle, data, &vec![final_address(); count])
}

fn send_as(handle: &RawHandle, data: &[u8], addresses: &[Address]) -> Result<usize, ErrorCode> {
    handle.send_ex(Some(data), 0, Some(addresses), addresses.len() * 80).map_err(|error| error.code())
}

/// Row 44.
#[test]
fn a_sent_packet_is_as_long_as_its_header_says() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    let data = [udp_with(1, &[7; 12]), vec![0; 20]].concat();
    assert_eq!(send(&handle, &data, 1), Ok(40));
    assert_eq!(engine.take_delivered().bytes(0), Some(&data[..40]));
}

/// Row 45.
#[test]
fn a_buffer_shorter_than_the_header_says_is_refused() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    let too_short = Err(ErrorCode::InsufficientBuffer);
    assert_eq!(send(&handle, &udp_with(1, &[7; 32])[..40], 1), too_short);
    assert_eq!(send(&handle, &udp(1)[..19], 1), too_short);
    let mut ipv6 = [0; 39];
    ipv6[0] = 0x60;
    assert_eq!(send(&handle, &ipv6, 1), too_short);
    assert!(engine.take_delivered().is_empty());
}

/// Row 46.
#[test]
fn another_version_or_a_length_below_that_of_a_header_is_refused() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    let mut version = udp(1);
    version[0] = 0x55;
    assert_eq!(send(&handle, &version, 1), Err(ErrorCode::InvalidParameter));
    let mut short = udp(1);
    short[2..4].copy_from_slice(&19_u16.to_be_bytes());
    assert_eq!(send(&handle, &short, 1), Err(ErrorCode::InvalidParameter));
    let mut header = udp(1);
    header[0] = 0x44;
    assert_eq!(send(&handle, &header, 1), Ok(35), "the header's length is not looked at");
    assert_eq!(engine.take_delivered().len(), 1);
}

/// Row 47.
#[test]
fn packets_without_an_address_are_not_sent() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    let data = [udp(1), udp(2), udp(3)].concat();
    assert_eq!(send(&handle, &data, 2), Ok(70));
    assert_eq!(delivered_ports(&engine), [1, 2]);
}

/// Row 48.
#[test]
fn addresses_without_a_packet_fail_after_the_packets_were_sent() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    assert_eq!(send(&handle, &[udp(1), udp(2)].concat(), 3), Err(ErrorCode::InsufficientBuffer));
    assert_eq!(delivered_ports(&engine), [1, 2]);
}

/// Row 49.
#[test]
fn a_packet_that_the_stack_refuses_is_left_out_and_told_at_the_end() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    let mut used_up = udp(2);
    used_up[8] = 1;
    let mut impostor = final_address();
    impostor.set_impostor(true);
    let data = [udp(1), used_up, udp(3)].concat();
    let addresses = [final_address(), impostor, final_address()];
    assert_eq!(send_as(&handle, &data, &addresses), Err(ErrorCode::HostUnreachable));
    assert_eq!(delivered_ports(&engine), [1, 3]);
    let counts = handle.handle().statistics();
    assert_eq!((counts.sent, counts.errors), (2, 1));
    let mut batch = new_packet(&data[..35], &addresses[0]);
    for index in 1..3 {
        batch.append_from(&new_packet(&data[35 * index..35 * (index + 1)], &addresses[index]), 0);
    }
    let failure = handle.handle().send(&batch, None).expect_err("one is refused");
    assert_eq!((failure.sent, failure.error.code()), (2, ErrorCode::HostUnreachable));
    assert_eq!(delivered_ports(&engine), [1, 3]);
}

/// Row 50.
#[test]
fn a_packet_that_is_wrong_ends_the_batch() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    let mut wrong = udp(2);
    wrong[0] = 0x75;
    assert_eq!(send(&handle, &[udp(1), wrong, udp(3)].concat(), 3), Err(ErrorCode::InvalidParameter));
    assert_eq!(delivered_ports(&engine), [1]);
    let mut batch = new_packet(&udp(1), &final_address());
    batch.append_from(&new_packet(&udp_with(2, &[7; 20])[..40], &final_address()), 0);
    batch.append_from(&new_packet(&udp(3), &final_address()), 0);
    let failure = handle.handle().send(&batch, None).expect_err("one is cut");
    assert_eq!((failure.sent, failure.error.code()), (1, ErrorCode::InsufficientBuffer));
    assert_eq!(delivered_ports(&engine), [1]);
}

/// Row 89.
#[test]
fn an_overlapped_read_waits_and_a_cancelled_one_takes_no_packet() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    let [first, second, third] = [(); 3].map(|()| handle.recv_overlapped(Some(100), 0, Some(80)).expect("it waits"));
    assert!(first.wait(Wait::Poll).is_none());
    assert!(first.wait(Wait::Until(Instant::now() + Duration::from_millis(1))).is_none());
    second.cancel();
    let error = second.wait(Wait::Poll).expect("it ended").error.expect("it failed");
    assert_eq!(error.code(), ErrorCode::OperationAborted);
    feed_lens(&engine, &[28, 29, 30]);
    assert_eq!(first.wait(Wait::Poll).expect("it is complete").data.len(), 28);
    assert!(first.wait(Wait::Poll).is_none(), "its packet is there once");
    third.cancel();
    assert_eq!(third.wait(Wait::Poll).expect("it is complete").data.len(), 29, "what it has stays");
    drop(handle.recv_overlapped(Some(100), 0, Some(80)).expect("it is complete at once"));
    drop(handle.recv_overlapped(Some(100), 0, Some(80)).expect("it waits"));
    feed_lens(&engine, &[31]);
    assert_eq!(recv_ex(&handle, 100, 80).read, Ok(31), "a read that was given up takes nothing");
}

#[test]
fn reads_that_wait_are_answered_in_their_order() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    let reads = [(); 3].map(|()| handle.recv_overlapped(Some(100), 0, Some(80)).expect("it waits"));
    feed_lens(&engine, &[28, 29, 30]);
    let lens = reads.map(|read| read.wait(Wait::Poll).expect("it is complete").data.len());
    assert_eq!(lens, [28, 29, 30]);
}

#[test]
fn a_blocked_raw_read_ends_with_a_packet_from_another_thread() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    let reader = handle.clone();
    let read = std::thread::spawn(move || recv_ex(&reader, 100, 800));
    feed_lens(&engine, &[28]);
    assert_eq!(read.join().expect("no panic").read, Ok(28));
}

#[test]
fn reading_and_sending_raw_counts() {
    let engine = Engine::default();
    let handle = raw(&engine, 0);
    feed_lens(&engine, &[28, 29, 300]);
    let outcome = recv_ex(&handle, 200, 800);
    assert_eq!(send(&handle, &outcome.buffer[..57], 2), Ok(57));
    assert!(recv_ex(&handle, 200, 800).read.is_err());
    let counts = handle.handle().statistics();
    assert_eq!((counts.received, counts.sent, counts.errors), (3, 2, 1));
    assert_eq!(raw(&engine, u64::from(Flags::SNIFF.0 as u32)).param(3).expect("a version"), 2);
}
