//! The rows of the table of behaviours on a replay: handles that share it, directions, fragments, ends.
//!
//! Packets are told apart by their UDP source port.
use crate::captures::{enhanced, frame, inbound, interface, pcap, section, udp};
use crate::replay_support::*;
use oxidivert::address::{Flags, Layer, Parameter, Shutdown};
use oxidivert::backend::replay::{Replay, SharedBuffer};
use oxidivert::backend::{Backend, Ending, ErrorCode, OpenOptions, Overload, Received, System, Wait};
use oxidivert::batch::Batch;
use oxidivert::filter::Filter;
use oxidivert::packet::Builder;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DIVERT: Flags = Flags(0);

type End = Arc<dyn Backend>;

/// A replay of outbound packets with these ports.
fn replay_of(ports: impl IntoIterator<Item = u16>) -> (Replay, SharedBuffer) {
    let frames: Vec<Vec<u8>> = ports.into_iter().map(|port| frame(1, &udp(port), b"")).collect();
    replay(&pcap(1, &frames))
}

fn ports(batch: &Batch) -> Vec<u16> {
    batch.iter().map(|packet| u16::from_be_bytes([packet.bytes[20], packet.bytes[21]])).collect()
}

fn received(handle: &End) -> Vec<u16> {
    ports(&receive(handle, 64))
}

fn send_new(handle: &End, port: u16) {
    handle.send(&new_packet(&udp(port), true), None).expect("it sends");
}

/// Closes all handles, the last one last; the ports of the output.
fn written(handles: &[&End], buffer: &SharedBuffer) -> Vec<u16> {
    let (last, others) = handles.split_last().expect("there is one");
    for handle in others {
        handle.close(Ending::Completed).expect("it closes");
    }
    ports(&read(&completed(last, buffer)))
}

/// Row 10.
#[test]
fn a_filter_that_never_matches_captures_nothing_and_sends() {
    let (replay, buffer) = replay_of([1]);
    let (low, injector) = (open(&replay, "udp.SrcPort == 9", 0, DIVERT), open(&replay, "false", 10, DIVERT));
    send_new(&injector, 9);
    assert_eq!(received(&low), [9]);
    assert!(received(&injector).is_empty());
    assert_eq!(written(&[&low, &injector], &buffer), [1], "what was received and not sent is dropped");
}

/// Rows 16, 24.
#[test]
fn a_sent_packet_reaches_lower_handles_only() {
    let (replay, buffer) = replay_of([]);
    let [low, high, top] = [0, 10, 20].map(|priority| open(&replay, "true", priority, DIVERT));
    send_new(&high, 1);
    let batch = receive(&low, 64);
    assert_eq!(ports(&batch), [1]);
    low.send(&batch, None).expect("it sends");
    assert!(received(&high).is_empty() && received(&top).is_empty());
    assert_eq!(written(&[&low, &high, &top], &buffer), [1]);
}

/// Row 17.
#[test]
fn a_higher_sniffer_does_not_see_what_a_lower_handle_sends() {
    let (replay, buffer) = replay_of([1]);
    let (handle, sniffer) = (open(&replay, "true", 0, DIVERT), open(&replay, "true", 100, Flags::SNIFF));
    assert_eq!(received(&sniffer), [1]);
    let batch = receive(&handle, 64);
    handle.send(&batch, None).expect("it sends");
    send_new(&handle, 2);
    assert!(received(&sniffer).is_empty());
    assert_eq!(written(&[&handle, &sniffer], &buffer), [1, 2]);
}

/// Row 18.
#[test]
fn a_lower_sniffer_sees_what_is_sent_and_not_what_is_dropped() {
    let (replay, buffer) = replay_of([1, 2]);
    let (handle, sniffer) = (open(&replay, "true", 0, DIVERT), open(&replay, "true", -1, Flags::SNIFF));
    let batch = receive(&handle, 64);
    assert_eq!(handle.send(&batch, Some(&[false, true])).expect("it sends"), 1);
    assert_eq!(received(&sniffer), [2]);
    assert_eq!(written(&[&sniffer, &handle], &buffer), [2]);
}

/// Row 20.
#[test]
fn of_equal_priorities_the_later_one_does_not_see_what_the_earlier_sends() {
    let (replay, buffer) = replay_of([]);
    let (earlier, later) = (open(&replay, "true", 0, DIVERT), open(&replay, "true", 0, DIVERT));
    send_new(&earlier, 1);
    assert!(received(&later).is_empty());
    send_new(&later, 2);
    assert_eq!(received(&earlier), [2]);
    assert_eq!(written(&[&earlier, &later], &buffer), [1]);
}

/// Rows 21, 22.
#[test]
fn a_dropping_handle_hides_packets_from_those_below_and_may_send() {
    let (replay, buffer) = replay_of([1]);
    let (low, dropping) = (open(&replay, "true", 0, DIVERT), open(&replay, "true", 5, Flags::DROP));
    assert!(received(&low).is_empty());
    send_new(&dropping, 2);
    let batch = receive(&low, 64);
    assert_eq!(ports(&batch), [2]);
    low.send(&batch, None).expect("it sends");
    assert_eq!(written(&[&dropping, &low], &buffer), [2]);
}

/// Row 23.
#[test]
fn sniffers_take_nothing_from_those_below() {
    let (replay, buffer) = replay_of([1]);
    let [first, second] = [3, 2].map(|priority| open(&replay, "true", priority, Flags::SNIFF));
    let handle = open(&replay, "true", 1, DIVERT);
    for handle in [&first, &second, &handle] {
        assert_eq!(received(handle), [1]);
    }
    assert_eq!(written(&[&first, &second, &handle], &buffer), [0_u16; 0]);
}

fn loopback(port: u16) -> Vec<u8> {
    Builder::ipv4([127, 0, 0, 1], [127, 0, 0, 1]).udp(port, 53).build().expect("it builds")
}

/// Row 25.
#[test]
fn a_packet_sent_to_this_host_does_not_come_back_inbound() {
    let (replay, buffer) = replay_of([]);
    let (handle, sender) = (open(&replay, "inbound", 0, DIVERT), open(&replay, "false", 10, DIVERT));
    sender.send(&new_packet(&loopback(1), true), None).expect("it sends");
    assert!(received(&handle).is_empty());
    assert_eq!(written(&[&handle, &sender], &buffer), [1]);
}

/// A capture of one interface, whose records tell their direction.
fn told(packets: &[(Vec<u8>, bool)]) -> Vec<u8> {
    let record = |(packet, is_outbound): &(Vec<u8>, bool)| {
        enhanced(false, 0, 1, &frame(1, packet, b""), Some(if *is_outbound { 2 } else { 1 }))
    };
    [section(false), interface(false, 1, 0), packets.iter().flat_map(record).collect()].concat()
}

/// Row 26.
#[test]
fn a_packet_within_this_host_is_captured_once_outbound() {
    let (replay, _buffer) = replay(&told(&[(loopback(1), false), (loopback(2), true)]));
    let handle = open(&replay, "outbound and loopback", 0, DIVERT);
    let batch = receive(&handle, 64);
    assert_eq!(ports(&batch), [1, 2]);
    assert!(batch.records().iter().all(|record| record.address.outbound() && record.address.loopback()));
}

/// Row 27.
#[test]
fn the_direction_comes_from_the_record() {
    let (replay, _buffer) = replay(&told(&[(udp(1), true), (udp(1), false)]));
    let batch = receive(&open(&replay, "true", 0, DIVERT), 64);
    let [out, mut inbound] = [0, 1].map(|index| batch.records()[index].address);
    assert!(out.outbound() && !inbound.outbound());
    inbound.set_outbound(true);
    assert_eq!(out, inbound);
}

/// Row 28.
#[test]
fn a_sent_packet_goes_the_way_that_its_address_says() {
    let (replay, buffer) = replay(&told(&[(inbound(1), false)]));
    let (low, handle) = (open(&replay, "outbound", -1, Flags::SNIFF), open(&replay, "true", 0, DIVERT));
    let mut batch = receive(&handle, 64);
    batch.records_mut()[0].address.set_outbound(true);
    handle.send(&batch, None).expect("it sends");
    handle.send(&new_packet(&inbound(2), true), None).expect("it sends");
    assert_eq!(received(&low), [1, 2]);
    low.close(Ending::Completed).expect("it closes");
    let all = read(&completed(&handle, &buffer));
    assert!(all.records()[1].address.outbound(), "a new record tells it too");
}

/// Row 29.
#[test]
fn a_forwarded_packet_is_outbound_and_not_loopback() {
    let (replay, _buffer) = replay(&told(&[(loopback(1), false)]));
    let layer = Layer::NetworkForward;
    let filter = Arc::new(Filter::compile("true", layer).expect("it compiles"));
    let options =
        OpenOptions { filter, layer, priority: 0, flags: DIVERT, on_overload: Overload::Drop, track_processes: false };
    let batch = receive(&replay.open(options).expect("it opens"), 64);
    let address = batch.records()[0].address;
    assert_eq!((address.layer(), address.outbound(), address.loopback()), (Some(layer), true, false));
    assert_eq!((address.interface_index(), address.subinterface_index()), (1, 0));
}

/// Both fragments of a packet.
fn fragments() -> [Vec<u8>; 2] {
    let whole = Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]).udp(1, 53).payload(&[7; 24]).build().expect("it builds");
    [(&whole[20..36], 0x2000_u16), (&whole[36..], 2)].map(|(part, word)| {
        let mut packet = [&whole[..20], part].concat();
        let len = packet.len() as u16;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet[6..8].copy_from_slice(&word.to_be_bytes());
        packet
    })
}

/// Rows 31, 32, 33.
#[test]
fn fragments_are_seen_and_transport_fields_match_the_first_only() {
    for (is_outbound, flags) in [(false, Flags::FRAGMENTS), (true, Flags::FRAGMENTS), (true, DIVERT)] {
        for (filter, count) in [("fragment", 2), ("udp and fragment", 1)] {
            let packets = fragments().map(|packet| (packet, is_outbound));
            let (replay, _buffer) = replay(&told(&packets));
            let batch = receive(&open(&replay, filter, 0, flags), 64);
            assert_eq!(batch.len(), count, "{filter}");
            assert_eq!(batch.bytes(0), Some(&packets[0].0[..]));
        }
    }
}

/// Rows 64, 65.
#[test]
fn parameters_have_bounds_and_the_version_stays() {
    let (replay, _buffer) = replay_of([]);
    let handle = open(&replay, "true", 0, DIVERT);
    for parameter in Parameter::ALL {
        let Some((default, min, max)) = parameter.bounds() else {
            assert_eq!(handle.parameter(parameter), 2);
            assert!(handle.set_parameter(parameter, 2).is_err());
            continue;
        };
        assert_eq!(handle.parameter(parameter), default);
        for value in [min, max] {
            handle.set_parameter(parameter, value).expect("the bounds are allowed");
            assert_eq!(handle.parameter(parameter), value);
        }
        for value in [min - 1, max + 1] {
            let code = handle.set_parameter(parameter, value).expect_err("it is out of range").code();
            assert_eq!((code, handle.parameter(parameter)), (ErrorCode::InvalidParameter, max));
        }
    }
}

/// Row 67.
#[test]
fn after_a_receive_shutdown_what_is_queued_can_be_received_and_then_no_more() {
    let (replay, _buffer) = replay_of([1, 2, 3]);
    let (low, high) = (open(&replay, "true", -1, DIVERT), open(&replay, "udp.SrcPort != 3", 1, DIVERT));
    let batch = receive(&high, 2);
    high.send(&batch, None).expect("it sends");
    low.shutdown(Shutdown::Receive);
    assert_eq!(received(&low), [1, 2]);
    for _ in 0..2 {
        assert_eq!(low.receive(&mut Batch::new(), 64, Wait::Forever).expect("it is open"), Received::Ended);
    }
}

/// Row 68.
#[test]
fn after_a_receive_shutdown_traffic_flows_on() {
    for flags in [DIVERT, Flags::DROP, Flags::SNIFF] {
        let (replay, buffer) = replay_of([1]);
        let handle = open(&replay, "true", 0, flags);
        handle.shutdown(Shutdown::Receive);
        assert_eq!(written(&[&handle], &buffer), [1]);
    }
}

/// What a receive gets that waits, since another handle has a packet, when `act` ends its wait.
fn while_waiting(act: impl Fn(&End)) -> Result<Received, ErrorCode> {
    for patience in [1, 10, 100, 1000] {
        let (replay, _buffer) = replay_of([1, 2]);
        let (low, high) = (open(&replay, "true", -1, DIVERT), open(&replay, "true", 1, DIVERT));
        high.send(&receive(&high, 1), None).expect("it sends");
        let answer = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| high.receive(&mut Batch::new(), 1, Wait::Forever));
            std::thread::sleep(Duration::from_millis(patience));
            act(&high);
            waiting.join().expect("no panic").map_err(|error| error.code())
        });
        low.close(Ending::Completed).expect("it closes");
        // The thread may be late, so that the handle was closed before it waited.
        if answer != Err(ErrorCode::InvalidHandle) {
            return answer;
        }
    }
    Err(ErrorCode::InvalidHandle)
}

/// Row 69.
#[test]
fn a_receive_shutdown_wakes_whoever_waits() {
    assert_eq!(while_waiting(|handle| handle.shutdown(Shutdown::Receive)), Ok(Received::Ended));
}

/// Row 72.
#[test]
fn a_close_wakes_whoever_waits_and_later_calls_fail() {
    let close = |handle: &End| handle.close(Ending::Completed).expect("it closes");
    assert_eq!(while_waiting(close), Err(ErrorCode::OperationAborted));
    let (replay, _buffer) = replay_of([1]);
    let handle = open(&replay, "true", 0, DIVERT);
    close(&handle);
    assert_eq!(code_of_receive(&handle), ErrorCode::InvalidHandle);
    let failure = handle.send(&new_packet(&udp(1), true), None).expect_err("it is closed");
    assert_eq!(failure.error.code(), ErrorCode::InvalidHandle);
    assert!(handle.set_parameter(Parameter::QueueLength, 100).is_err());
    close(&handle);
}

/// Row 70.
#[test]
fn a_send_shutdown_leaves_receiving_alone() {
    let (replay, buffer) = replay_of([1, 2]);
    let handle = open(&replay, "true", 0, DIVERT);
    handle.shutdown(Shutdown::Send);
    let batch = receive(&handle, 1);
    assert_eq!(ports(&batch), [1]);
    let failure = handle.send(&batch, None).expect_err("it does not send");
    assert_eq!((failure.sent, failure.error.code()), (0, ErrorCode::NoData));
    assert_eq!(written(&[&handle], &buffer), [2]);
}

/// Row 74.
#[test]
fn a_close_discards_copies() {
    let (replay, buffer) = replay_of([1, 2]);
    let (handle, sniffer) = (open(&replay, "true", -1, DIVERT), open(&replay, "true", 0, Flags::SNIFF));
    let batch = receive(&handle, 64);
    handle.send(&batch, None).expect("it sends");
    sniffer.close(Ending::Completed).expect("it closes");
    assert_eq!(written(&[&handle], &buffer), [1, 2]);
}

/// Row 75.
#[test]
fn of_several_readers_each_packet_goes_to_one() {
    let (replay, _buffer) = replay_of(1..=1000);
    let handle = open(&replay, "true", 0, Flags::SNIFF);
    let all = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for limit in [1, 1, 7, 64] {
            let (handle, all) = (&handle, &all);
            scope.spawn(move || {
                let mut batch = Batch::new();
                while handle.receive(&mut batch, limit, Wait::Forever).expect("it is open") == Received::Packets {
                    all.lock().expect("no panic").extend(ports(&batch));
                    batch.clear();
                }
            });
        }
    });
    let mut all = all.into_inner().expect("no panic");
    all.sort_unstable();
    assert_eq!(all, (1..=1000).collect::<Vec<_>>());
}

/// Row 88.
#[test]
fn what_an_address_does_not_tell_is_zero() {
    let (replay, _buffer) = replay_of([1]);
    let address = receive(&open(&replay, "true", 0, DIVERT), 1).records()[0].address;
    assert_eq!(address.as_bytes()[24..], [0; 56]);
    assert_eq!(address.as_bytes()[11..16], [0; 5]);
}
