//! What the tests of the engine share: short ways to open, feed, receive and look at what was delivered.
//!
//! Packets are told apart by their UDP source port.
use oxidivert::address::{Address, Flags, Layer};
use oxidivert::batch::{Batch, Origin};
use oxidivert::engine::{Engine, ErrorCode, Fate, Handle, Injection, OpenOptions, Overload, Received, Wait};
use oxidivert::filter::Filter;
use oxidivert::packet::Builder;
use std::sync::Arc;

/// A divert handle's flags.
pub const DIVERT: Flags = Flags(0);
/// The flags that layers FLOW and REFLECT need.
pub const WATCH: Flags = Flags::SNIFF.with(Flags::RECV_ONLY);

pub fn options(filter: &str, layer: Layer, priority: i16, flags: Flags) -> OpenOptions {
    let filter = Arc::new(Filter::compile(filter, layer).expect("the filter compiles"));
    OpenOptions { filter, layer, priority, flags, on_overload: Overload::Drop, track_processes: false }
}

pub fn open_on(engine: &Engine, layer: Layer, filter: &str, priority: i16, flags: Flags) -> Handle {
    engine.open(options(filter, layer, priority, flags)).expect("the handle opens")
}

pub fn open(engine: &Engine, filter: &str, priority: i16, flags: Flags) -> Handle {
    open_on(engine, Layer::Network, filter, priority, flags)
}

/// The code that opening fails with.
pub fn code_of_open(engine: &Engine, options: OpenOptions) -> ErrorCode {
    engine.open(options).err().expect("it does not open").code()
}

/// A UDP packet of 28 bytes and the payload, from this source port to port 53.
pub fn udp_with(port: u16, payload: &[u8]) -> Vec<u8> {
    Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]).udp(port, 53).payload(payload).build().expect("it builds")
}

pub fn udp(port: u16) -> Vec<u8> {
    udp_with(port, b"payload")
}

/// The UDP source port of a packet without IP options.
pub fn port_of(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[20], bytes[21]])
}

pub fn ports(batch: &Batch) -> Vec<u16> {
    batch.iter().map(|packet| port_of(packet.bytes)).collect()
}

pub fn feed(engine: &Engine, port: u16) -> Fate {
    engine.inject(&udp(port), &Injection::default())
}

/// All that is queued for a handle.
pub fn receive(handle: &Handle) -> Batch {
    let mut batch = Batch::new();
    let received = handle.receive(&mut batch, usize::MAX, Wait::Poll).expect("it receives");
    assert_eq!(received == Received::Packets, !batch.is_empty());
    batch
}

pub fn received_ports(handle: &Handle) -> Vec<u16> {
    ports(&receive(handle))
}

pub fn delivered_ports(engine: &Engine) -> Vec<u16> {
    ports(&engine.take_delivered())
}

/// Receives all and sends it on.
pub fn pass(handle: &Handle) -> Vec<u16> {
    let batch = receive(handle);
    handle.send(&batch, None).expect("it sends");
    ports(&batch)
}

/// One new packet, outbound, with an address that a program made.
pub fn new_packet(bytes: &[u8], address: &Address) -> Batch {
    let mut batch = Batch::new();
    batch.push_parsed(bytes, address, 0, Origin::Injected(None)).expect("a packet");
    batch
}

/// An outbound address whose checksums are final.
pub fn final_address() -> Address {
    let mut address = Address::default();
    address.set_ip_checksum(true);
    address.set_tcp_checksum(true);
    address.set_udp_checksum(true);
    address
}

/// Sends a new packet.
pub fn send_new(handle: &Handle, port: u16) {
    handle.send(&new_packet(&udp(port), &final_address()), None).expect("it sends");
}
