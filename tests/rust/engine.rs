//! The engine end to end, and as a backend.
use crate::engine_support::*;
use oxidivert::address::{Layer, Parameter, Shutdown};
use oxidivert::backend::{Backend, Ending, Handle, System};
use oxidivert::batch::{Batch, Origin, Slot};
use oxidivert::engine::{Engine, ErrorCode, Fate, Received, Wait};
use oxidivert::packet::{FlowKey, Layout, fields, verify_checksums, write};
use std::sync::Arc;
use std::time::Duration;

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

fn open_as_backend(engine: &Engine) -> Arc<dyn Backend> {
    let system: &dyn System = engine;
    system.open(options("udp", Layer::Network, 0, DIVERT)).expect("it opens")
}

#[test]
fn the_engine_is_a_backend_that_can_all() {
    let engine = Engine::default();
    let backend = open_as_backend(&engine);
    let can = backend.capabilities();
    assert!(can.has_queue && can.can_pass_on_overload && can.can_swap_filter && !can.is_finite);
    assert_eq!(backend.name(), "engine");
    backend.set_parameter(Parameter::QueueTime, 500).expect("it is allowed");
    assert_eq!(backend.parameter(Parameter::QueueTime), 500);
    feed(&engine, 1);
    engine.advance(Duration::from_millis(300)).expect("the clock is stepped");
    let mut batch = Batch::new();
    assert_eq!(backend.receive(&mut batch, 9, Wait::Forever).expect("it is open"), Received::Packets);
    assert_eq!(backend.take_warnings().len(), 1);
    let Origin::Received(token) = batch.records()[0].origin else { panic!("it was received") };
    backend.discard(&[token]);
    let flow = FlowKey::of(&udp(2), &Layout::parse(&udp(2)).expect("a packet")).expect("it is of a flow");
    assert!(backend.bypass(flow).expect("the engine can"));
    assert_eq!(feed(&engine, 2), Fate::Passed);
    backend.set_filter(options("tcp", Layer::Network, 0, DIVERT).filter).expect("it swaps");
    assert_eq!(feed(&engine, 1), Fate::Passed);
    backend.wake();
    assert_eq!(backend.receive(&mut batch, 9, Wait::Forever).expect("it is open"), Received::Woken);
    backend.shutdown(Shutdown::Both);
    assert_eq!(backend.receive(&mut batch, 9, Wait::Forever).expect("it is open"), Received::Ended);
    assert_eq!((backend.statistics().dropped, backend.statistics().bypassed), (1, 1));
    backend.close(Ending::Completed).expect("nothing can fail");
    let code = backend.receive(&mut batch, 9, Wait::Poll).expect_err("it is closed").code();
    assert_eq!(code, ErrorCode::InvalidHandle);
}

#[test]
fn what_was_given_back_to_a_handle_goes_on_when_it_closes() {
    let engine = Engine::default();
    let handle = Handle::new(open_as_backend(&engine), Layer::Network, 0, DIVERT);
    for port in 1..=4 {
        feed(&engine, port);
    }
    let mut batch = Batch::new();
    handle.receive(&mut batch, 3, Wait::Poll).expect("it is open");
    handle.give_back(&batch, 1);
    handle.close(Ending::Completed).expect("nothing can fail");
    assert_eq!(delivered_ports(&engine), [2, 3, 4], "the one in hand is dropped");
}
