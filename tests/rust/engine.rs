//! The engine end to end.
use crate::engine_support::*;
use oxidivert::batch::Slot;
use oxidivert::engine::{Engine, Fate};
use oxidivert::packet::{Layout, fields, verify_checksums, write};

#[test]
fn a_packet_passes_two_handles_by_priority_and_is_delivered_as_they_left_it() {
    let engine = Engine::default();
    let low = open(&engine, "udp", -5, DIVERT);
    let high = open(&engine, "udp", 5, DIVERT);
    assert_eq!(feed(&engine, 1), Fate::Diverted);
    assert!(receive(&low).is_empty());
    let mut batch = receive(&high);
    let mut slot = Slot::from_batch(&batch, 0).expect("a packet");
    let (bytes, layout) = slot.edit().expect("it parses");
    write(bytes, layout, fields::ipv4::TTL, 9).expect("it has a TTL");
    slot.store(&mut batch, 0).expect("a packet");
    assert_eq!(high.send(&batch, None).expect("it sends"), 1);
    assert!(engine.take_delivered().is_empty());
    assert_eq!(pass(&low), [1]);
    let delivered = engine.take_delivered();
    let bytes = delivered.bytes(0).expect("it arrived");
    assert_eq!((bytes[8], delivered.len()), (9, 1));
    assert!(verify_checksums(bytes, &Layout::parse(bytes).expect("a packet")));
    let counts = high.statistics();
    assert_eq!((counts.seen, counts.received, counts.sent, counts.modified), (1, 1, 1, 1));
}
