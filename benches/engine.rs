//! The engine: packets injected, received in batches and sent on, with more and more handles that they pass on the way.
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use oxidivert::address::{Flags, Layer};
use oxidivert::batch::Batch;
use oxidivert::engine::{Clock, Engine, Handle, Injection, OpenOptions, Overload, Received, Settings, Wait};
use oxidivert::filter::Filter;
use oxidivert::packet::{Builder, TcpFlags};
use std::sync::Arc;

const PACKETS: usize = 64;

fn open(engine: &Engine, filter: &str, priority: i16) -> Handle {
    let filter = Arc::new(Filter::compile(filter, Layer::Network).expect("it compiles"));
    let on_overload = Overload::Drop;
    let options = OpenOptions {
        filter,
        layer: Layer::Network,
        priority,
        flags: Flags::default(),
        on_overload,
        track_processes: false,
    };
    engine.open(options).expect("it opens")
}

/// Injects packets, receives and sends them at `handle`, and takes what was delivered.
fn round(engine: &Engine, packet: &[u8], handle: &Handle, batch: &mut Batch) {
    for _ in 0..PACKETS {
        engine.inject(packet, &Injection::default());
    }
    batch.clear();
    assert_eq!(handle.receive(batch, PACKETS, Wait::Poll).expect("it receives"), Received::Packets);
    assert_eq!(handle.send(batch, None).expect("it sends"), PACKETS);
    engine.swap_delivered(batch);
    assert_eq!(batch.len(), PACKETS);
}

fn pass(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine_pass");
    group.throughput(Throughput::Elements(PACKETS as u64));
    for (name, payload_len, handles, clock) in [
        ("1_handle", 60, 1, Clock::Stepped),
        ("2_handles", 60, 2, Clock::Stepped),
        ("8_handles", 60, 8, Clock::Stepped),
        ("real_clock", 60, 1, Clock::Real),
        ("1440_bytes", 1400, 1, Clock::Stepped),
    ] {
        let builder = Builder::ipv4([192, 0, 2, 1], [198, 51, 100, 2]).tcp(50_000, 443).flags(TcpFlags::ACK);
        let packet = builder.payload(&vec![7; payload_len]).build().expect("a packet");
        let engine = Engine::new(Settings { clock, ..Settings::default() });
        let handle = open(&engine, "outbound and tcp.DstPort == 443", 0);
        // Half of them meet the packet before the handle does, half behind it.
        let _passed: Vec<Handle> =
            (1..handles).map(|at| open(&engine, "outbound and tcp.DstPort == 80", at - handles / 2)).collect();
        let mut batch = Batch::new();
        group.bench_function(name, |bencher| bencher.iter(|| round(&engine, &packet, &handle, &mut batch)));
    }
    group.finish();
}

criterion_group!(benches, pass);
criterion_main!(benches);
