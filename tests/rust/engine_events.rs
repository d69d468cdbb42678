//! Layers FLOW, SOCKET and REFLECT of the engine.
use crate::engine_support::*;
use oxidivert::address::{Address, Event, Flags, Layer};
use oxidivert::batch::Batch;
use oxidivert::engine::{Connection, Engine, ErrorCode, Handle, OpenOptions, RawHandle};
use oxidivert::filter::Filter;
use std::time::Duration;

fn connection() -> Connection {
    Connection {
        protocol: 6,
        local: Some("10.0.0.1:5000".parse().expect("an address")),
        remote: Some("192.0.2.1:443".parse().expect("an address")),
        process_id: 77,
        endpoint_id: 11,
        parent_endpoint_id: 12,
        ..Connection::default()
    }
}

fn addresses(handle: &Handle) -> Vec<Address> {
    receive(handle).records().iter().map(|record| record.address).collect()
}

fn events(handle: &Handle) -> Vec<Event> {
    addresses(handle).iter().map(|address| address.event().expect("it names one")).collect()
}

fn socket(engine: &Engine, event: Event) -> bool {
    engine.socket_event(event, &connection()).expect("it is a socket's")
}

const SOCKET_EVENTS: [Event; 5] =
    [Event::SocketBind, Event::SocketListen, Event::SocketConnect, Event::SocketAccept, Event::SocketClose];

/// Row 76.
#[test]
fn the_end_of_a_flow_is_told_to_those_that_were_there_at_its_beginning() {
    let engine = Engine::default();
    let early = open_on(&engine, Layer::Flow, "true", 0, WATCH);
    let flow = engine.flow(&connection());
    let late = open_on(&engine, Layer::Flow, "true", 0, WATCH);
    assert!(flow.end());
    assert!(!flow.end());
    assert_eq!(events(&early), [Event::FlowEstablished, Event::FlowDeleted]);
    assert!(events(&late).is_empty());
}

/// Row 77.
#[test]
fn the_end_of_a_flow_tells_what_its_beginning_told() {
    let engine = Engine::default();
    let both = open_on(&engine, Layer::Flow, "true", 0, WATCH);
    let end = open_on(&engine, Layer::Flow, "event == DELETED", 0, WATCH);
    let flow = engine.flow(&Connection { outbound: false, loopback: true, ..connection() });
    engine.advance(Duration::from_secs(1)).expect("the clock is stepped");
    flow.end();
    let both = addresses(&both);
    let end = addresses(&end);
    assert_eq!(end, [both[1]]);
    let mut expected = both[0];
    expected.set_event(Event::FlowDeleted);
    expected.set_timestamp(engine.now());
    assert_eq!(end[0], expected);
    assert_eq!((end[0].process_id(), end[0].local_port(), end[0].remote_port()), (77, 5000, 443));
    assert_eq!((end[0].endpoint_id(), end[0].parent_endpoint_id()), (11, 12));
    assert!(end[0].sniffed() && end[0].loopback() && !end[0].outbound() && !end[0].ipv6());
}

/// Row 78.
#[test]
fn a_socket_operation_that_matches_is_refused_and_told_but_a_close_never_refused() {
    let engine = Engine::default();
    let handle = open_on(&engine, Layer::Socket, "remotePort == 443", 0, Flags::RECV_ONLY);
    let low = open_on(&engine, Layer::Socket, "true", -1, WATCH);
    let high = open_on(&engine, Layer::Socket, "true", 1, WATCH);
    assert!(!socket(&engine, Event::SocketConnect));
    assert!(socket(&engine, Event::SocketClose));
    assert!(socket(&engine, Event::SocketBind), "a bind has no other side");
    let told = addresses(&handle);
    assert_eq!(told.iter().map(Address::sniffed).collect::<Vec<_>>(), [false, true]);
    assert_eq!(events(&high), [Event::SocketConnect, Event::SocketClose, Event::SocketBind]);
    let below = addresses(&low);
    assert_eq!(below.iter().map(Address::event).collect::<Vec<_>>(), [Event::SocketClose, Event::SocketBind].map(Some));
    assert!(below.iter().all(Address::sniffed));
}

/// Row 79.
#[test]
fn a_dropping_handle_refuses_socket_operations_and_tells_nothing() {
    let engine = Engine::default();
    let handle = open_on(&engine, Layer::Socket, "true", 0, Flags::DROP.with(Flags::RECV_ONLY));
    for event in SOCKET_EVENTS {
        assert_eq!(socket(&engine, event), event == Event::SocketClose);
    }
    assert!(events(&handle).is_empty());
    assert_eq!(handle.statistics().dropped, 4, "a close is none of them");
}

/// Row 80.
#[test]
fn socket_events_tell_what_belongs_to_them() {
    let engine = Engine::default();
    let handle = open_on(&engine, Layer::Socket, "true", 0, WATCH);
    let udp = Connection { protocol: 17, ..connection() };
    for event in SOCKET_EVENTS {
        engine.socket_event(event, &udp).expect("it is a socket's");
    }
    engine.socket_event(Event::SocketClose, &Connection { remote: None, ..udp }).expect("it is a socket's");
    let told = addresses(&handle);
    let facts = |address: &Address| {
        let has_remote = address.remote_addr() != [0; 4] || address.remote_port() != 0;
        (address.protocol(), has_remote, address.parent_endpoint_id(), address.outbound())
    };
    assert_eq!(
        told.iter().map(facts).collect::<Vec<_>>(),
        [
            (17, false, 0, true),
            (6, false, 0, true),
            (17, true, 12, true),
            (17, true, 12, false),
            (17, true, 12, true),
            (17, false, 0, true),
        ]
    );
    assert!(told.iter().all(|address| address.local_port() == 5000 && address.endpoint_id() == 11));
    let code = engine.socket_event(Event::FlowDeleted, &udp).expect_err("it is a flow's").code();
    assert_eq!(code, ErrorCode::InvalidParameter);
}

/// Row 81.
#[test]
fn addresses_are_words_and_those_of_ipv4_are_mapped() {
    let engine = Engine::default();
    let handle = open_on(&engine, Layer::Flow, "true", 0, WATCH);
    engine.flow(&connection());
    engine.flow(&Connection {
        local: Some("[2001:db8::7]:1".parse().expect("an address")),
        remote: None,
        ..connection()
    });
    let told = addresses(&handle);
    assert_eq!(told[0].local_addr(), [0x0A00_0001, 0xFFFF, 0, 0]);
    assert_eq!(told[0].remote_addr(), [0xC000_0201, 0xFFFF, 0, 0]);
    assert_eq!(told[1].local_addr(), [7, 0, 0, 0x2001_0DB8]);
    assert_eq!(told[1].remote_addr(), [0; 4]);
    assert!(told[1].ipv6());
}

fn reflect(engine: &Engine, filter: &str) -> Handle {
    open_on(engine, Layer::Reflect, filter, 0, WATCH)
}

fn priorities(batch: &Batch) -> Vec<i16> {
    batch.records().iter().map(|record| record.address.reflect_priority()).collect()
}

/// Row 82.
#[test]
fn an_observer_is_told_of_all_open_handles_in_order_and_not_of_observers() {
    let engine = Engine::default();
    let _other = reflect(&engine, "true");
    let _handles = [
        open(&engine, "true", 5, DIVERT),
        open_on(&engine, Layer::Socket, "true", 9, WATCH),
        open_on(&engine, Layer::NetworkForward, "true", -3, Flags::SNIFF),
        open(&engine, "true", 7, DIVERT),
    ];
    engine.advance(Duration::from_millis(5)).expect("the clock is stepped");
    let observer = reflect(&engine, "true");
    let batch = receive(&observer);
    assert_eq!(priorities(&batch), [5, 9, -3, 7]);
    let address = batch.records()[1].address;
    assert_eq!((address.event(), address.layer()), (Some(Event::ReflectOpen), Some(Layer::Reflect)));
    assert_eq!((address.reflect_layer(), address.reflect_flags()), (3, 5));
    assert_eq!(address.reflect_timestamp() + 50_000, address.timestamp());
    assert_eq!(address.reflect_process_id(), std::process::id());
    assert!(address.sniffed() && !address.outbound());
    assert!(receive(&observer).is_empty());
}

/// Row 83.
#[test]
fn an_observer_is_told_when_handles_open_and_close() {
    let engine = Engine::default();
    let observer = reflect(&engine, "true");
    let handle = open(&engine, "tcp", 5, Flags::NO_INSTALL.with(Flags::FRAGMENTS));
    handle.close();
    handle.close();
    let batch = receive(&observer);
    let [opened, closed] = [0, 1].map(|index| batch.records()[index].address);
    assert_eq!((batch.len(), opened.event(), closed.event()), (2, Some(Event::ReflectOpen), Some(Event::ReflectClose)));
    assert_eq!(batch.bytes(0), batch.bytes(1));
    assert_eq!(opened.as_bytes()[16..], closed.as_bytes()[16..]);
    assert_eq!(opened.reflect_flags(), 0x30);
}

/// Row 84.
#[test]
fn an_observer_that_is_shut_down_at_once_has_the_whole_list() {
    let engine = Engine::default();
    let _handles: Vec<Handle> = (0..3).map(|priority| open(&engine, "true", priority, DIVERT)).collect();
    let observer = RawHandle::open(&engine, "true", 4, 0, 0x15).expect("it opens");
    observer.shutdown(3).expect("it is open");
    let _late = open(&engine, "true", 9, DIVERT);
    let mut seen = Vec::new();
    let code = loop {
        let mut address = Address::default();
        match observer.recv(Some(&mut [0; 1000]), Some(&mut address)) {
            Ok(_) => seen.push(address.reflect_priority()),
            Err(error) => break error.code(),
        }
    };
    assert_eq!((seen, code), (vec![0, 1, 2], ErrorCode::NoData));
}

/// Row 85.
#[test]
fn an_observer_is_told_the_filter_as_an_object_with_a_nul() {
    let engine = Engine::default();
    let text = "outbound and (tcp.DstPort == 80 or udp)";
    let _handle = open(&engine, text, 0, DIVERT);
    let observer = RawHandle::open(&engine, "true", 4, 0, 5).expect("it opens");
    let mut buffer = [0xEE; 1000];
    let mut address = Address::default();
    let len = observer.recv(Some(&mut buffer), Some(&mut address)).expect("one is open");
    let (nul, object) = buffer[..len].split_last().expect("it has bytes");
    assert_eq!(*nul, 0);
    let object = std::str::from_utf8(object).expect("it is text");
    assert!(object.starts_with("@WinDiv_"));
    let filter = Filter::compile(text, Layer::Network).expect("it compiles");
    let again = Filter::compile(object, Layer::Network).expect("it compiles");
    assert_eq!((again.object(), again.to_string()), (filter.object(), filter.to_string()));
}

/// Row 86.
#[test]
fn an_observer_is_told_of_what_its_filter_matches() {
    let engine = Engine::default();
    let by_priority = reflect(&engine, "priority < 0");
    let by_layer = reflect(&engine, "layer == FLOW");
    let by_process = reflect(&engine, "processId == 4711");
    let by_event = reflect(&engine, "event == CLOSE");
    let _own = open(&engine, "true", -5, DIVERT);
    let other = engine.open_as(options("true", Layer::Flow, 3, WATCH), 4711, Some(12)).expect("it opens");
    other.close();
    assert_eq!(priorities(&receive(&by_priority)), [-5]);
    assert_eq!(priorities(&receive(&by_layer)), [3, 3]);
    let of_process = receive(&by_process);
    assert_eq!(priorities(&of_process), [3, 3]);
    assert!(of_process.records().iter().all(|record| record.address.reflect_timestamp() == 12));
    assert_eq!(priorities(&receive(&by_event)), [3]);
    let initial = reflect(&engine, "event == CLOSE");
    assert!(receive(&initial).is_empty());
}

#[test]
fn a_refused_open_is_told_to_nobody() {
    let engine = Engine::default();
    let observer = reflect(&engine, "true");
    let mismatch = OpenOptions { layer: Layer::Network, ..options("true", Layer::Flow, 0, DIVERT) };
    assert_eq!(code_of_open(&engine, mismatch), ErrorCode::InvalidParameter);
    assert!(receive(&observer).is_empty());
}

#[test]
fn a_swapped_filter_is_told_as_a_new_handle_and_the_end_of_the_old() {
    let engine = Engine::default();
    let handle = open(&engine, "tcp", 3, DIVERT);
    let observer = reflect(&engine, "true");
    handle.set_filter(&Filter::compile("udp", Layer::Network).expect("it compiles")).expect("it swaps");
    handle.close();
    let batch = receive(&observer);
    let names: Vec<_> = batch.records().iter().map(|record| record.address.event().expect("it names one")).collect();
    let [open, close] = [Event::ReflectOpen, Event::ReflectClose];
    assert_eq!(names, [open, open, close, close]);
    assert_eq!((batch.bytes(0), batch.bytes(1)), (batch.bytes(2), batch.bytes(3)));
    assert_ne!(batch.bytes(0), batch.bytes(1));
}
