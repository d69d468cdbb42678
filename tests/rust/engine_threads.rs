//! One engine and many threads: nothing is lost, doubled or stuck, and a flow keeps its order.
use crate::engine_support::*;
use oxidivert::address::{Layer, Parameter, Shutdown};
use oxidivert::batch::Batch;
use oxidivert::engine::{Clock, Engine, Handle, Injection, Received, Settings, Wait};
use oxidivert::packet::Builder;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const FLOWS: u16 = 4;
const PACKETS_PER_FLOW: u32 = 4000;

/// A packet of a flow, with its number in it.
fn numbered(flow: u16, number: u32) -> Vec<u8> {
    let builder = Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]).udp(flow, 53);
    builder.payload(&number.to_be_bytes()).build().expect("it builds")
}

fn number_of(bytes: &[u8]) -> (u16, u32) {
    (port_of(bytes), u32::from_be_bytes([bytes[28], bytes[29], bytes[30], bytes[31]]))
}

/// Receives and sends until there is nothing more.
fn work(handle: &Handle, limit: usize) {
    let mut batch = Batch::new();
    while let Ok(received) = handle.receive(&mut batch, limit, Wait::Forever) {
        match received {
            Received::Packets => assert_eq!(handle.send(&batch, None).expect("it sends"), batch.len()),
            Received::Ended => return,
            Received::TimedOut | Received::Woken => {}
        }
        batch.clear();
    }
}

/// Swaps filters, sets parameters, wakes, opens and closes other handles, until told to stop.
fn disturb(engine: &Engine, handles: &[Handle], stop: &AtomicBool) {
    let filters = ["true", "udp", "udp and true"].map(|text| options(text, Layer::Network, 0, DIVERT).filter);
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        for (handle, filter) in handles.iter().zip(filters.iter().cycle().skip(round % 3)) {
            handle.set_filter(filter).expect("it is open");
            handle.set_parameter(Parameter::QueueLength, 16_384 - (round % 2) as u64).expect("it is allowed");
            handle.wake();
        }
        // It diverts and gives back what it was not asked for. One flow is less than its queue holds.
        let passing = open(engine, "udp.SrcPort == 0", 5, DIVERT);
        passing.set_parameter(Parameter::QueueTime, 16_000).expect("it is allowed");
        let mut batch = Batch::new();
        if passing.receive(&mut batch, 3, Wait::Poll).expect("it is open") == Received::Packets {
            passing.send(&batch, None).expect("it sends");
        }
        passing.close();
        std::thread::yield_now();
    }
}

/// How long the stress goes on: `OXIDIVERT_STRESS_SECONDS`, or a moment.
fn stress_time() -> Duration {
    let seconds = std::env::var("OXIDIVERT_STRESS_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(0.3))
}

#[test]
fn under_load_and_disturbance_every_packet_arrives_once() {
    let end = Instant::now() + stress_time();
    stress();
    while Instant::now() < end {
        stress();
    }
}

/// Four feed, six receive and send at three handles, one disturbs; then each packet is accounted for.
fn stress() {
    let engine = Engine::new(Settings { clock: Clock::Real, ..Settings::default() });
    let handles = [10, 0, -10].map(|priority| open(&engine, "true", priority, DIVERT));
    for handle in &handles {
        handle.set_parameter(Parameter::QueueLength, 16_384).expect("it is allowed");
        handle.set_parameter(Parameter::QueueSize, 33_554_432).expect("it is allowed");
        handle.set_parameter(Parameter::QueueTime, 16_000).expect("it is allowed");
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (handle, limits) in handles.iter().zip([[1, 64], [7, 255], [64, 64]]) {
            for limit in limits {
                scope.spawn(move || work(handle, limit));
            }
        }
        let disturber = scope.spawn(|| disturb(&engine, &handles, &stop));
        let feeders: Vec<_> = (0..FLOWS)
            .map(|flow| {
                let engine = &engine;
                scope.spawn(move || {
                    // Together fewer than a queue holds, so that nothing is lost to it.
                    for number in 0..PACKETS_PER_FLOW {
                        engine.inject(&numbered(flow, number), &Injection::default());
                    }
                })
            })
            .collect();
        for feeder in feeders {
            feeder.join().expect("no panic");
        }
        stop.store(true, Ordering::Relaxed);
        disturber.join().expect("no panic");
        // From above, so that what one sends on is still taken by the next.
        for handle in &handles {
            handle.shutdown(Shutdown::Receive).expect("it is open");
        }
    });
    let mut all: Vec<(u16, u32)> = engine.take_delivered().iter().map(|packet| number_of(packet.bytes)).collect();
    all.sort_unstable();
    let expected = (0..FLOWS).flat_map(|flow| (0..PACKETS_PER_FLOW).map(move |number| (flow, number)));
    assert!(all.into_iter().eq(expected), "each packet arrives once");
}

#[test]
fn one_worker_keeps_the_order_of_all_packets() {
    let engine = Engine::new(Settings { clock: Clock::Real, ..Settings::default() });
    let handles = [1, 0].map(|priority| open(&engine, "true", priority, DIVERT));
    std::thread::scope(|scope| {
        for handle in &handles {
            scope.spawn(move || work(handle, 16));
        }
        for number in 0..3000 {
            engine.inject(&numbered(1, number), &Injection::default());
        }
        let arrived_by = Instant::now() + Duration::from_secs(30);
        while engine.delivered_count() < 3000 && Instant::now() < arrived_by {
            std::thread::sleep(Duration::from_millis(1));
        }
        for handle in &handles {
            handle.shutdown(Shutdown::Receive).expect("it is open");
        }
    });
    assert!(engine.take_delivered().iter().map(|packet| number_of(packet.bytes).1).eq(0..3000));
}

#[test]
fn handles_that_close_under_load_lose_only_what_they_count() {
    let engine = Engine::new(Settings { clock: Clock::Real, ..Settings::default() });
    let mut lost = 0;
    std::thread::scope(|scope| {
        let feeder = scope.spawn(|| {
            for number in 0..20_000 {
                engine.inject(&numbered(1, number), &Injection::default());
            }
        });
        while !feeder.is_finished() {
            let handle = open(&engine, "true", 0, DIVERT);
            std::thread::yield_now();
            handle.close();
            lost += handle.statistics().overflowed + handle.statistics().expired;
        }
    });
    let mut numbers: Vec<u32> = engine.take_delivered().iter().map(|packet| number_of(packet.bytes).1).collect();
    assert_eq!(numbers.len() as u64 + lost, 20_000);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len() as u64 + lost, 20_000, "none is doubled");
}
