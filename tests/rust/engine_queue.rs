//! The queues of an engine's handles: limits, expiry, parameters, overload, flows that bypass.
use crate::engine_support::*;
use oxidivert::address::{Flags, Layer, Parameter};
use oxidivert::batch::{Batch, Origin};
use oxidivert::engine::{Engine, ErrorCode, Fate, Handle, Injection, OpenOptions, Overload, RawHandle, Received, Wait};
use oxidivert::packet::{Builder, FlowKey, Layout, TcpFlags};
use std::time::Duration;

fn set(handle: &Handle, parameter: Parameter, value: u64) {
    handle.set_parameter(parameter, value).expect("the value is allowed");
}

fn advance(engine: &Engine, milliseconds: u64) {
    engine.advance(Duration::from_millis(milliseconds)).expect("the clock is stepped");
}

fn open_passing(engine: &Engine, priority: i16, flags: Flags) -> Handle {
    let options = options("true", Layer::Network, priority, flags);
    engine.open(OpenOptions { on_overload: Overload::Pass, ..options }).expect("it opens")
}

/// Row 60.
#[test]
fn a_queue_that_is_too_long_loses_the_oldest() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    set(&handle, Parameter::QueueLength, 32);
    for port in 1..=40 {
        assert_eq!(feed(&engine, port), Fate::Diverted);
    }
    assert_eq!(received_ports(&handle), (9..=40).collect::<Vec<_>>());
    let counts = handle.statistics();
    assert_eq!((counts.overflowed, counts.overflowed_by_size), (8, 0));
    assert!(engine.take_delivered().is_empty());
}

/// Row 61.
#[test]
fn a_queue_of_too_many_bytes_loses_the_oldest_and_what_is_too_large_itself() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    set(&handle, Parameter::QueueSize, 65_535);
    let feed_sized = |port, len: usize| {
        engine.inject(&udp_with(port, &vec![0; len - 28]), &Injection::default());
    };
    for port in 1..=4 {
        feed_sized(port, 20_000);
    }
    feed_sized(9, 65_500);
    assert_eq!(received_ports(&handle), [2, 3, 4], "the large one drives nothing out");
    feed_sized(5, 65_472);
    assert_eq!(received_ports(&handle), [5], "an entry costs 63 bytes more than its packet");
    let counts = handle.statistics();
    assert_eq!((counts.overflowed, counts.overflowed_by_size), (2, 2));
    assert!(engine.take_delivered().is_empty());
}

/// Row 62.
#[test]
fn a_packet_expires_after_its_time_and_only_when_somebody_looks() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    set(&handle, Parameter::QueueTime, 100);
    feed(&engine, 1);
    advance(&engine, 100);
    assert_eq!(received_ports(&handle), [1]);
    feed(&engine, 2);
    advance(&engine, 101);
    assert_eq!(handle.statistics().expired, 0);
    let mut batch = Batch::new();
    assert_eq!(handle.receive(&mut batch, 1, Wait::Poll).expect("it is open"), Received::TimedOut);
    assert_eq!(handle.statistics().expired, 1);
    let raw = RawHandle::open(&engine, "true", 0, 1, 0).expect("it opens");
    feed(&engine, 3);
    advance(&engine, 2001);
    let read = raw.recv_overlapped(Some(100), 0, Some(80)).expect("it waits");
    assert!(read.wait(Wait::Poll).is_none());
    feed(&engine, 4);
    assert_eq!(port_of(&read.wait(Wait::Poll).expect("it is complete").data), 4);
}

/// Row 63.
#[test]
fn an_expired_packet_is_lost_also_when_the_handle_closes() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    feed(&engine, 1);
    advance(&engine, 1);
    feed(&engine, 2);
    advance(&engine, 2000);
    handle.close();
    assert_eq!(delivered_ports(&engine), [2]);
    let counts = handle.statistics();
    assert_eq!((counts.expired, counts.given_back), (1, 1));
}

/// Row 64.
#[test]
fn parameters_have_bounds_and_a_refused_one_keeps_its_value() {
    let engine = Engine::default();
    let handle = RawHandle::open(&engine, "true", 0, 0, 0).expect("it opens");
    for (param, default, min, max) in
        [(0, 4096, 32, 16_384), (1, 2000, 100, 16_000), (2, 4_194_304, 65_535, 33_554_432)]
    {
        assert_eq!(handle.param(param).expect("it is there"), default);
        for value in [min, max] {
            handle.set_param(param, value).expect("the bounds are allowed");
            assert_eq!(handle.param(param).expect("it is there"), value);
        }
        for value in [min - 1, max + 1, u64::MAX] {
            let code = handle.set_param(param, value).expect_err("it is out of range").code();
            assert_eq!(code, ErrorCode::InvalidParameter);
            assert_eq!(handle.param(param).expect("it is there"), max);
        }
    }
}

/// Row 65.
#[test]
fn the_version_is_read_only_and_other_parameters_do_not_exist() {
    let engine = Engine::default();
    let handle = RawHandle::open(&engine, "true", 0, 0, 0).expect("it opens");
    let invalid = Err(ErrorCode::InvalidParameter);
    for param in [3, 4] {
        assert_eq!(handle.param(param).expect("it is there"), 2);
        assert_eq!(handle.set_param(param, 2).map_err(|error| error.code()), invalid);
    }
    assert_eq!(handle.param(5).map(drop).map_err(|error| error.code()), invalid);
    assert_eq!(handle.set_param(5, 1).map_err(|error| error.code()), invalid);
}

/// Row 66.
#[test]
fn a_lower_limit_acts_with_the_next_packet() {
    let engine = Engine::default();
    for feeds in [false, true] {
        let handle = open(&engine, "true", 0, DIVERT);
        for port in 1..=100 {
            feed(&engine, port);
        }
        set(&handle, Parameter::QueueLength, 32);
        if feeds {
            feed(&engine, 101);
            assert_eq!(received_ports(&handle), (70..=101).collect::<Vec<_>>());
        } else {
            assert_eq!(received_ports(&handle).len(), 100);
        }
        handle.close();
    }
}

#[test]
fn a_longer_time_saves_what_nobody_has_found_expired() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    feed(&engine, 1);
    advance(&engine, 5000);
    set(&handle, Parameter::QueueTime, 16_000);
    assert_eq!(received_ports(&handle), [1]);
}

#[test]
fn what_overload_lets_pass_goes_on_in_order_below_the_handle() {
    let engine = Engine::default();
    let (handle, low) = (open_passing(&engine, 0, DIVERT), open(&engine, "udp.SrcPort == 2", -1, DIVERT));
    set(&handle, Parameter::QueueLength, 32);
    set(&handle, Parameter::QueueSize, 65_535);
    for port in 1..=36 {
        assert_eq!(feed(&engine, port), Fate::Diverted);
    }
    assert_eq!(delivered_ports(&engine), [1, 3, 4]);
    let batch = receive(&low);
    assert_eq!((ports(&batch), batch.records()[0].address.sniffed()), (vec![2], false));
    assert_eq!(engine.inject(&udp_with(99, &vec![0; 65_472]), &Injection::default()), Fate::Passed);
    assert_eq!(delivered_ports(&engine), [99], "one that can never fit goes on itself");
    assert_eq!(received_ports(&handle), (5..=36).collect::<Vec<_>>());
    let counts = handle.statistics();
    assert_eq!((counts.passed_on_overload, counts.overflowed), (5, 0));
}

#[test]
fn overload_drops_copies_and_expired_packets_whatever_the_policy() {
    let engine = Engine::default();
    let sniffer = open_passing(&engine, 0, Flags::SNIFF);
    set(&sniffer, Parameter::QueueLength, 32);
    for port in 1..=33 {
        feed(&engine, port);
    }
    assert_eq!((engine.take_delivered().len(), sniffer.statistics().overflowed), (33, 1));
    let handle = open_passing(&engine, -1, DIVERT);
    feed(&engine, 1);
    advance(&engine, 2001);
    feed(&engine, 2);
    assert_eq!(received_ports(&handle), [2]);
    assert_eq!(handle.statistics().expired, 1);
    assert!(engine.take_delivered().is_empty());
}

#[test]
fn packets_that_grow_old_are_warned_of_once() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    for wait in [1000, 1001, 1500, 3000] {
        feed(&engine, 1);
        advance(&engine, wait);
        receive(&handle);
        let warning = handle.take_warning();
        assert_eq!(warning.is_some(), wait == 1001, "{wait} ms: {warning:?}");
        if let Some(warning) = warning {
            assert!(warning.message().contains("1001 ms") && warning.message().contains("2000 ms"), "{warning}");
        }
    }
}

#[test]
fn what_was_received_and_never_sent_counts_as_dropped() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    for port in 1..=5 {
        feed(&engine, port);
    }
    let batch = receive(&handle);
    handle.send(&batch, Some(&[true, true, false, false, false])).expect("it sends");
    let Origin::Received(token) = batch.records()[2].origin else { panic!("it was received") };
    handle.discard(&[token]);
    assert_eq!(handle.statistics().dropped, 1);
    handle.close();
    let counts = handle.statistics();
    assert_eq!((counts.received, counts.sent, counts.dropped), (5, 2, 3));
}

fn tcp(is_reply: bool, flags: TcpFlags) -> Vec<u8> {
    let ends = [([10, 0, 0, 1], 40_000), ([192, 0, 2, 1], 80)];
    let [(src, src_port), (dst, dst_port)] = if is_reply { [ends[1], ends[0]] } else { ends };
    Builder::ipv4(src, dst).tcp(src_port, dst_port).flags(flags).build().expect("it builds")
}

/// Whether a segment passes the handle.
fn passes(engine: &Engine, is_reply: bool, flags: TcpFlags) -> bool {
    let injection = Injection { outbound: !is_reply, ..Injection::default() };
    engine.inject(&tcp(is_reply, flags), &injection) == Fate::Passed
}

fn key_of(bytes: &[u8]) -> FlowKey {
    FlowKey::of(bytes, &Layout::parse(bytes).expect("a packet")).expect("it belongs to a flow")
}

const FIN: TcpFlags = TcpFlags(TcpFlags::FIN.0 | TcpFlags::ACK.0);

fn bypassed_connection() -> (Engine, Handle) {
    let engine = Engine::default();
    let handle = open(&engine, "tcp", 0, DIVERT);
    assert!(handle.bypass(key_of(&tcp(false, TcpFlags::ACK))).expect("it is open"));
    (engine, handle)
}

#[test]
fn a_bypassed_flow_passes_unseen_both_ways_and_others_are_seen() {
    let (engine, handle) = bypassed_connection();
    let low = open(&engine, "tcp", -1, Flags::SNIFF);
    for is_reply in [false, true] {
        assert!(passes(&engine, is_reply, TcpFlags::ACK));
    }
    let other = Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]).tcp(40_001, 80).build().expect("it builds");
    assert_eq!(engine.inject(&other, &Injection::default()), Fate::Diverted);
    assert_eq!(receive(&handle).bytes(0), Some(&other[..]));
    assert_eq!(receive(&low).len(), 2);
    assert_eq!(handle.statistics().bypassed, 2);
}

#[test]
fn what_is_queued_of_a_bypassed_flow_goes_on_at_once_and_in_order() {
    let engine = Engine::default();
    let handle = open(&engine, "udp", 0, DIVERT);
    for port in [1, 2, 1, 1, 3] {
        feed(&engine, port);
    }
    let mut first = Batch::new();
    handle.receive(&mut first, 1, Wait::Poll).expect("it is open");
    assert!(handle.bypass(key_of(&udp(1))).expect("it is open"));
    assert_eq!(delivered_ports(&engine), [1, 1]);
    assert_eq!(received_ports(&handle), [2, 3]);
}

#[test]
fn a_bypass_ends_with_a_reset() {
    let (engine, _handle) = bypassed_connection();
    assert!(passes(&engine, true, TcpFlags::RST));
    assert!(!passes(&engine, false, TcpFlags::ACK));
}

#[test]
fn a_bypass_ends_soon_after_both_sides_have_finished() {
    let (engine, _handle) = bypassed_connection();
    assert!(passes(&engine, false, FIN));
    advance(&engine, 60_000);
    assert!(passes(&engine, true, FIN));
    advance(&engine, 2000);
    assert!(passes(&engine, false, TcpFlags::ACK), "the last acknowledgement");
    advance(&engine, 2001);
    assert!(!passes(&engine, false, TcpFlags::ACK));
}

#[test]
fn a_bypass_ends_with_the_next_connection_but_not_with_a_repeated_syn() {
    let (engine, _handle) = bypassed_connection();
    assert!(passes(&engine, false, TcpFlags::SYN));
    assert!(passes(&engine, false, FIN));
    assert!(!passes(&engine, false, TcpFlags::SYN));
    assert!(!passes(&engine, false, TcpFlags::ACK));
}

#[test]
fn a_bypass_ends_after_long_silence() {
    let (engine, _handle) = bypassed_connection();
    advance(&engine, 3_600_000);
    assert!(passes(&engine, false, TcpFlags::ACK));
    advance(&engine, 3_600_001);
    assert!(!passes(&engine, false, TcpFlags::ACK));
    let handle = open(&engine, "udp", 0, DIVERT);
    assert!(handle.bypass(key_of(&udp(1))).expect("it is open"));
    advance(&engine, 180_000);
    assert_eq!(feed(&engine, 1), Fate::Passed);
    advance(&engine, 180_001);
    assert_eq!(feed(&engine, 1), Fate::Diverted);
}

#[test]
fn a_bypass_ends_with_its_handle() {
    let (engine, handle) = bypassed_connection();
    handle.close();
    let again = open(&engine, "tcp", 0, DIVERT);
    assert!(!passes(&engine, false, TcpFlags::ACK));
    assert_eq!(receive(&again).len(), 1);
    let code = handle.bypass(key_of(&udp(1))).expect_err("it is closed").code();
    assert_eq!(code, ErrorCode::InvalidHandle);
}

#[test]
fn too_many_bypassed_flows_are_refused_until_others_end() {
    let engine = Engine::default();
    let handle = open(&engine, "udp", 0, DIVERT);
    let key = |number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        key_of(&Builder::ipv4([10, a, b, c], [192, 0, 2, 1]).udp(1, 2).build().expect("it builds"))
    };
    for number in 0..65_536 {
        assert!(handle.bypass(key(number)).expect("it is open"));
    }
    assert!(!handle.bypass(key(65_536)).expect("it is open"));
    assert!(handle.bypass(key(0)).expect("it is open"), "this one passes already");
    advance(&engine, 180_001);
    assert!(handle.bypass(key(65_536)).expect("it is open"));
}
