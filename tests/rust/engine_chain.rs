//! How packets pass the handles of an engine: modes, priorities, re-injection, loopback, directions, fragments.
use crate::engine_support::*;
use oxidivert::address::{Flags, Layer};
use oxidivert::batch::Batch;
use oxidivert::engine::{Engine, Fate, Injection};
use oxidivert::packet::{Builder, TcpFlags};

/// Row 11.
#[test]
fn a_divert_handle_takes_the_packet_away() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    assert_eq!(feed(&engine, 1), Fate::Diverted);
    assert!(engine.take_delivered().is_empty());
    let batch = receive(&handle);
    assert_eq!((batch.len(), batch.bytes(0)), (1, Some(&udp(1)[..])));
    assert!(!batch.records()[0].address.sniffed());
}

/// Row 12.
#[test]
fn a_sniffing_handle_gets_a_copy() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, Flags::SNIFF);
    assert_eq!(feed(&engine, 1), Fate::Passed);
    assert_eq!(delivered_ports(&engine), [1]);
    let batch = receive(&handle);
    assert_eq!((batch.len(), batch.bytes(0)), (1, Some(&udp(1)[..])));
    assert!(batch.records()[0].address.sniffed());
}

/// Row 13.
#[test]
fn a_dropping_handle_drops_and_queues_nothing() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, Flags::DROP);
    assert_eq!(feed(&engine, 1), Fate::Dropped);
    assert!(receive(&handle).is_empty() && engine.take_delivered().is_empty());
    assert_eq!(handle.statistics().dropped, 1);
}

/// Row 14.
#[test]
fn what_does_not_match_flows_on_untouched() {
    let engine = Engine::default();
    let handle = open(&engine, "udp", 0, DIVERT);
    let tcp = Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]).tcp(7, 80).flags(TcpFlags::SYN).build().expect("ok");
    assert_eq!(engine.inject(&tcp, &Injection::default()), Fate::Passed);
    assert_eq!(engine.take_delivered().bytes(0), Some(&tcp[..]));
    assert!(receive(&handle).is_empty());
}

/// Row 15.
#[test]
fn the_higher_priority_has_a_packet_until_it_sends_it() {
    let engine = Engine::default();
    let (low, high) = (open(&engine, "true", 0, DIVERT), open(&engine, "true", 10, DIVERT));
    feed(&engine, 1);
    assert!(receive(&low).is_empty());
    assert_eq!(pass(&high), [1]);
    assert_eq!(received_ports(&low), [1]);
}

/// Row 16.
#[test]
fn a_sent_packet_reaches_lower_handles_only() {
    let engine = Engine::default();
    let top = open(&engine, "true", 20, DIVERT);
    let (high, low) = (open(&engine, "true", 10, DIVERT), open(&engine, "true", 0, DIVERT));
    send_new(&high, 1);
    assert_eq!(received_ports(&low), [1]);
    assert!(receive(&high).is_empty() && receive(&top).is_empty());
}

/// Row 17.
#[test]
fn a_higher_sniffer_does_not_see_what_a_lower_handle_sends() {
    let engine = Engine::default();
    let (sniffer, handle) = (open(&engine, "true", 100, Flags::SNIFF), open(&engine, "true", 0, DIVERT));
    feed(&engine, 1);
    pass(&handle);
    assert_eq!(received_ports(&sniffer), [1]);
    assert_eq!(delivered_ports(&engine), [1]);
}

/// Row 18.
#[test]
fn a_lower_sniffer_sees_what_is_sent_and_not_what_is_dropped() {
    let engine = Engine::default();
    let (handle, sniffer) = (open(&engine, "true", 0, DIVERT), open(&engine, "true", -1, Flags::SNIFF));
    feed(&engine, 1);
    feed(&engine, 2);
    assert!(receive(&sniffer).is_empty());
    let batch = receive(&handle);
    assert_eq!(handle.send(&batch, Some(&[false, true])).expect("it sends"), 1);
    assert_eq!(received_ports(&sniffer), [2]);
}

/// Row 19.
#[test]
fn of_equal_priorities_the_one_opened_later_comes_first() {
    let engine = Engine::default();
    let (earlier, later) = (open(&engine, "true", 0, DIVERT), open(&engine, "true", 0, DIVERT));
    feed(&engine, 1);
    assert!(receive(&earlier).is_empty());
    assert_eq!(pass(&later), [1]);
    assert_eq!(pass(&earlier), [1]);
    assert_eq!(delivered_ports(&engine), [1]);
}

/// Row 20.
#[test]
fn of_equal_priorities_the_later_one_does_not_see_what_the_earlier_sends() {
    let engine = Engine::default();
    let (earlier, later) = (open(&engine, "true", 0, DIVERT), open(&engine, "true", 0, DIVERT));
    send_new(&earlier, 1);
    assert!(receive(&later).is_empty());
    send_new(&later, 2);
    assert_eq!(received_ports(&earlier), [2]);
    assert_eq!(delivered_ports(&engine), [1]);
}

/// Row 21.
#[test]
fn a_dropping_handle_hides_packets_from_those_below() {
    let engine = Engine::default();
    let (_drop, low) = (open(&engine, "true", 5, Flags::DROP), open(&engine, "true", 0, DIVERT));
    feed(&engine, 1);
    assert!(receive(&low).is_empty() && engine.take_delivered().is_empty());
}

/// Row 22.
#[test]
fn a_dropping_handle_may_send() {
    let engine = Engine::default();
    let (dropping, low) = (open(&engine, "true", 5, Flags::DROP), open(&engine, "true", 0, DIVERT));
    send_new(&dropping, 1);
    assert_eq!(received_ports(&low), [1]);
}

/// Row 23.
#[test]
fn sniffers_take_nothing_from_those_below() {
    let engine = Engine::default();
    let sniffers = [3, 2].map(|priority| open(&engine, "true", priority, Flags::SNIFF));
    let handle = open(&engine, "true", 1, DIVERT);
    feed(&engine, 1);
    for handle in [&sniffers[0], &sniffers[1], &handle] {
        assert_eq!(received_ports(handle), [1]);
    }
}

/// Row 24.
#[test]
fn a_handle_does_not_see_what_it_sends_itself() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    send_new(&handle, 1);
    assert!(receive(&handle).is_empty());
    assert_eq!(delivered_ports(&engine), [1]);
}

/// Row 25.
#[test]
fn a_packet_sent_to_this_host_does_not_come_back_inbound() {
    let engine = Engine::default();
    let handle = open(&engine, "inbound", 0, DIVERT);
    let sender = open(&engine, "false", 10, DIVERT);
    let bytes = Builder::ipv4([127, 0, 0, 1], [127, 0, 0, 1]).udp(1, 2).build().expect("it builds");
    sender.send(&new_packet(&bytes, &final_address()), None).expect("it sends");
    assert!(receive(&handle).is_empty());
    let delivered = engine.take_delivered();
    assert_eq!(delivered.len(), 1);
    assert!(delivered.records()[0].address.loopback());
}

/// Row 26.
#[test]
fn a_packet_within_this_host_is_captured_once_outbound() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    let low = open(&engine, "loopback", -1, DIVERT);
    let loopback = Injection { loopback: true, ..Injection::default() };
    assert_eq!(engine.inject(&udp(1), &loopback), Fate::Diverted);
    assert_eq!(engine.inject(&udp(1), &Injection { outbound: false, ..loopback }), Fate::Passed);
    let batch = receive(&handle);
    assert_eq!(batch.len(), 1);
    assert!(batch.records()[0].address.loopback() && batch.records()[0].address.outbound());
    handle.send(&batch, None).expect("it sends");
    assert!(receive(&low).records()[0].address.loopback(), "both addresses are known as this host's");
}

/// Row 27.
#[test]
fn the_direction_comes_from_the_path() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    engine.inject(&udp(1), &Injection::default());
    engine.inject(&udp(1), &Injection::inbound());
    let batch = receive(&handle);
    let [out, mut inbound] = [0, 1].map(|index| batch.records()[index].address);
    assert!(out.outbound() && !inbound.outbound());
    inbound.set_outbound(true);
    assert_eq!(out, inbound);
}

/// Row 28.
#[test]
fn a_sent_packet_goes_the_way_that_its_address_says() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    let low = open(&engine, "true", -1, Flags::SNIFF);
    engine.inject(&udp(1), &Injection::inbound());
    let mut batch = receive(&handle);
    batch.records_mut()[0].address.set_outbound(true);
    handle.send(&batch, None).expect("it sends");
    assert!(engine.take_delivered().records()[0].address.outbound());
    assert!(receive(&low).records()[0].address.outbound());
}

/// Row 29.
#[test]
fn a_forwarded_packet_meets_handles_of_its_layer_only() {
    let engine = Engine::default();
    let network = open(&engine, "true", 100, DIVERT);
    let forward = open_on(&engine, Layer::NetworkForward, "true", 0, DIVERT);
    let injection = Injection {
        outbound: false,
        loopback: true,
        interface_index: 4,
        subinterface_index: 5,
        ..Injection::forwarded()
    };
    engine.inject(&udp(1), &injection);
    assert!(receive(&network).is_empty());
    let batch = receive(&forward);
    let address = batch.records()[0].address;
    assert_eq!(address.layer(), Some(Layer::NetworkForward));
    assert!(address.outbound() && !address.loopback());
    assert_eq!((address.interface_index(), address.subinterface_index()), (4, 0));
    forward.send(&batch, None).expect("it sends");
    assert_eq!(delivered_ports(&engine), [1]);
    assert!(receive(&network).is_empty());
}

/// Both fragments of a UDP packet, and the packet.
fn fragmented() -> [Vec<u8>; 3] {
    let whole = udp_with(1, &[7; 24]);
    let mut first = [&whole[..20], &whole[20..36]].concat();
    let mut second = [&whole[..20], &whole[36..]].concat();
    for (packet, word) in [(&mut first, 0x2000_u16), (&mut second, 2)] {
        let len = packet.len() as u16;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet[6..8].copy_from_slice(&word.to_be_bytes());
    }
    [first, second, whole]
}

fn feed_fragmented(engine: &Engine, injection: Injection) {
    let [first, second, whole] = fragmented();
    engine.inject(&first, &injection);
    engine.inject(&second, &injection);
    engine.inject(&whole, &Injection { reassembled: true, ..injection });
}

fn lens(batch: &Batch) -> Vec<usize> {
    batch.iter().map(|packet| packet.bytes.len()).collect()
}

/// Row 30.
#[test]
fn without_fragments_only_the_reassembled_packet_is_seen() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    feed_fragmented(&engine, Injection::inbound());
    assert_eq!(lens(&receive(&handle)), [52]);
    assert_eq!(lens(&engine.take_delivered()), [36, 36]);
}

/// Row 31.
#[test]
fn with_fragments_each_fragment_is_seen_and_not_the_reassembled_packet() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, Flags::FRAGMENTS);
    feed_fragmented(&engine, Injection::inbound());
    engine.inject(&udp(1), &Injection::inbound());
    assert_eq!(lens(&receive(&handle)), [36, 36, 35]);
    assert_eq!(lens(&engine.take_delivered()), [52]);
}

/// Row 32.
#[test]
fn outbound_and_forwarded_fragments_are_seen_with_either_flag() {
    for flags in [DIVERT, Flags::FRAGMENTS] {
        let engine = Engine::default();
        let network = open(&engine, "fragment", 0, flags);
        let forward = open_on(&engine, Layer::NetworkForward, "fragment", 0, flags);
        feed_fragmented(&engine, Injection::default());
        feed_fragmented(&engine, Injection::forwarded());
        assert_eq!(lens(&receive(&network)), [36, 36]);
        assert_eq!(lens(&receive(&forward)), [36, 36]);
    }
}

/// Row 33.
#[test]
fn transport_fields_do_not_match_later_fragments() {
    let engine = Engine::default();
    let udp = open(&engine, "udp and fragment", 1, Flags::FRAGMENTS);
    let fragment = open(&engine, "fragment", 0, Flags::FRAGMENTS);
    feed_fragmented(&engine, Injection::inbound());
    assert_eq!(lens(&receive(&udp)), [36]);
    assert_eq!(lens(&receive(&fragment)), [36]);
}

/// Row 34.
#[test]
fn a_packet_of_another_length_than_it_says_passes_untouched() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    let longer = [&udp(1)[..], &[0]].concat();
    let ipv6 = Builder::ipv6([0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 2]).udp(1, 2).payload(b"x").build();
    let ipv6 = ipv6.expect("it builds");
    for bytes in [&longer[..], &udp(1)[..34], &ipv6[..48], b"no packet", &[]] {
        assert_eq!(engine.inject(bytes, &Injection::default()), Fate::Passed);
        let delivered = engine.take_delivered();
        assert_eq!((delivered.len(), delivered.bytes(0)), (1, Some(bytes)));
    }
    assert!(receive(&handle).is_empty());
    engine.inject(&ipv6, &Injection::default());
    assert!(receive(&handle).records()[0].address.ipv6());
}

/// Row 88.
#[test]
fn what_an_address_does_not_tell_is_zero() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 1, Flags::SNIFF);
    let low = open(&engine, "true", 0, DIVERT);
    feed(&engine, 1);
    let mut batch = receive(&low);
    let mut noise = batch.records()[0].address;
    noise.set_remote_addr([u32::MAX; 4]);
    batch.records_mut()[0].address = noise;
    let lower = open(&engine, "true", -1, DIVERT);
    low.send(&batch, None).expect("it sends");
    for address in [receive(&handle).records()[0].address, receive(&lower).records()[0].address] {
        assert_eq!(address.as_bytes()[24..], [0; 56]);
        assert_eq!(address.as_bytes()[11..16], [0; 5]);
    }
}

/// Row 87.
#[test]
fn each_handle_stamps_anew() {
    let engine = Engine::default();
    let (high, low) = (open(&engine, "true", 1, DIVERT), open(&engine, "true", 0, DIVERT));
    let mut stamps = Vec::new();
    for port in 0..3 {
        feed(&engine, port);
        engine.advance(std::time::Duration::from_millis(1)).expect("the clock is stepped");
    }
    let batch = receive(&high);
    stamps.extend(batch.records().iter().map(|record| record.address.timestamp()));
    high.send(&batch, None).expect("it sends");
    let sent_at = engine.now();
    let again: Vec<i64> = receive(&low).records().iter().map(|record| record.address.timestamp()).collect();
    assert_eq!(stamps, [0, 10_000, 20_000].map(|ticks| oxidivert::engine::STEPPED_START + ticks));
    assert_eq!(again, [sent_at; 3]);
}

/// Row 90.
#[test]
fn packets_that_come_together_are_told_apart() {
    let engine = Engine::default();
    let sniffer = open(&engine, "udp.SrcPort == 2", 5, Flags::SNIFF);
    let handle = open(&engine, "udp.SrcPort == 2", 0, DIVERT);
    let low = open(&engine, "udp.SrcPort == 3", -5, DIVERT);
    let mut unit = Batch::new();
    for port in 1..=3 {
        unit.append_from(&new_packet(&udp(port), &final_address()), 0);
    }
    assert_eq!(engine.inject_all(&unit, &Injection::default()), 1);
    assert_eq!(received_ports(&sniffer), [2]);
    assert_eq!(received_ports(&handle), [2]);
    assert_eq!(received_ports(&low), [3]);
    assert_eq!(delivered_ports(&engine), [1]);
}

#[test]
fn a_packet_of_another_driver_is_marked_until_a_handle_sends_it() {
    let engine = Engine::default();
    let (high, low) = (open(&engine, "impostor", 1, DIVERT), open(&engine, "true", 0, DIVERT));
    engine.inject(&udp(1), &Injection { impostor: true, ..Injection::default() });
    let batch = receive(&high);
    assert!(batch.records()[0].address.impostor());
    high.send(&batch, None).expect("it sends");
    assert!(!receive(&low).records()[0].address.impostor());
}

#[test]
fn a_swapped_filter_keeps_the_place_of_its_handle() {
    let engine = Engine::default();
    let earlier = open(&engine, "udp.SrcPort == 1", 0, DIVERT);
    let later = open(&engine, "true", 0, DIVERT);
    feed(&engine, 1);
    assert_eq!(pass(&later), [1]);
    later.set_filter(&options("udp.SrcPort == 2", Layer::Network, 0, DIVERT).filter).expect("it swaps");
    earlier.set_filter(&options("true", Layer::Network, 0, DIVERT).filter).expect("it swaps");
    feed(&engine, 2);
    feed(&engine, 3);
    assert_eq!(received_ports(&later), [2]);
    assert_eq!(received_ports(&earlier), [1, 3], "what was queued stays");
    let other_layer = options("true", Layer::Flow, 0, DIVERT).filter;
    let code = earlier.set_filter(&other_layer).expect_err("it is for another layer").code();
    assert_eq!(code, oxidivert::engine::ErrorCode::InvalidParameter);
}

#[test]
fn a_process_travels_with_its_packet() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    engine.inject(&udp(1), &Injection { process_id: 77, ..Injection::default() });
    let batch = receive(&handle);
    assert_eq!(batch.records()[0].process_id, 77);
    handle.send(&batch, None).expect("it sends");
    assert_eq!(engine.take_delivered().records()[0].process_id, 77);
}

#[test]
fn of_a_sent_address_only_direction_interface_and_checksums_count() {
    let engine = Engine::default();
    let (handle, low) = (open(&engine, "false", 1, DIVERT), open(&engine, "true", 0, DIVERT));
    let mut address = final_address();
    address.set_layer(Layer::Reflect);
    address.set_sniffed(true);
    address.set_loopback(true);
    address.set_ipv6(true);
    address.set_timestamp(1);
    address.set_interface_index(6);
    address.set_subinterface_index(7);
    handle.send(&new_packet(&udp(1), &address), None).expect("it sends");
    let seen = receive(&low).records()[0].address;
    assert_eq!((seen.layer(), seen.timestamp()), (Some(Layer::Network), engine.now()));
    assert!(!seen.sniffed() && !seen.loopback() && !seen.ipv6() && seen.outbound());
    assert_eq!((seen.interface_index(), seen.subinterface_index()), (6, 7));
}
