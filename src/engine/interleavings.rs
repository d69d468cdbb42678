//! Waiting, waking and ending under every interleaving of a few threads, by loom: nobody sleeps while there is
//! something to do, and no packet is lost or doubled.
use super::{Engine, ErrorCode, Handle, Injection, OpenOptions, Overload, RawHandle, Received, Wait};
use crate::address::{Flags, Layer, Shutdown};
use crate::batch::Batch;
use crate::filter::Filter;
use crate::packet::Builder;
use loom::thread::{self, JoinHandle};
use std::sync::Arc;

/// More switches than these between threads find nothing new and take for ever.
const PREEMPTIONS: usize = 3;

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(model);
}

fn open(engine: &Engine, priority: i16) -> Handle {
    let filter = Arc::new(Filter::compile("true", Layer::Network).expect("it compiles"));
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

fn feed(engine: &Engine, count: u16) {
    for port in 1..=count {
        let packet = Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]).udp(port, 53).build().expect("it builds");
        engine.inject(&packet, &Injection::default());
    }
}

/// Another thread that receives once and sends what it got; how many packets, or how it ended.
fn worker(handle: &Handle, limit: usize) -> JoinHandle<Result<(Received, usize), ErrorCode>> {
    let handle = handle.clone();
    thread::spawn(move || {
        let mut batch = Batch::new();
        let received = handle.receive(&mut batch, limit, Wait::Forever).map_err(|error| error.code())?;
        handle.send(&batch, None).map_err(|failure| failure.error.code())?;
        Ok((received, batch.len()))
    })
}

fn join(thread: JoinHandle<Result<(Received, usize), ErrorCode>>) -> Result<(Received, usize), ErrorCode> {
    thread.join().expect("no panic")
}

#[test]
fn two_waiters_share_what_comes() {
    explore(|| {
        let engine = Engine::default();
        let handle = open(&engine, 0);
        let workers = [worker(&handle, 1), worker(&handle, 1)];
        feed(&engine, 2);
        for worker in workers {
            assert_eq!(join(worker), Ok((Received::Packets, 1)));
        }
        assert_eq!(engine.delivered_count(), 2);
    });
}

#[test]
fn whoever_leaves_packets_wakes_the_next() {
    explore(|| {
        let engine = Engine::default();
        let (high, low) = (open(&engine, 1), open(&engine, 0));
        feed(&engine, 2);
        let workers = [worker(&low, 1), worker(&low, 1)];
        // Both packets come under one lock, of which only the first finds the queue empty.
        let mut batch = Batch::new();
        high.receive(&mut batch, 2, Wait::Poll).expect("it is open");
        high.send(&batch, None).expect("it sends");
        for worker in workers {
            assert_eq!(join(worker), Ok((Received::Packets, 1)));
        }
    });
}

#[test]
fn a_receive_shutdown_ends_every_wait_behind_the_packets() {
    explore(|| {
        let engine = Engine::default();
        let handle = open(&engine, 0);
        let workers = [worker(&handle, 2), worker(&handle, 2)];
        feed(&engine, 1);
        handle.shutdown(Shutdown::Receive).expect("it is open");
        let mut counts = workers.map(|worker| join(worker).expect("it is open"));
        counts.sort_by_key(|(_, count)| *count);
        assert_eq!(counts, [(Received::Ended, 0), (Received::Packets, 1)]);
    });
}

#[test]
fn a_close_ends_every_wait_and_what_it_had_arrives_once() {
    explore(|| {
        let engine = Engine::default();
        let handle = open(&engine, 0);
        let reader = handle.clone();
        let waiting =
            thread::spawn(move || reader.receive(&mut Batch::new(), 1, Wait::Forever).map_err(|error| error.code()));
        feed(&engine, 2);
        handle.close();
        let taken = match waiting.join().expect("no panic") {
            Ok(received) => u64::from(received == Received::Packets),
            Err(code) => {
                assert!(matches!(code, ErrorCode::OperationAborted | ErrorCode::InvalidHandle));
                0
            }
        };
        assert_eq!(engine.delivered_count() + taken, 2);
    });
}

#[test]
fn a_wake_is_never_lost() {
    explore(|| {
        let engine = Engine::default();
        let handle = open(&engine, 0);
        let waiting = worker(&handle, 1);
        handle.wake();
        assert_eq!(join(waiting), Ok((Received::Woken, 0)));
    });
}

#[test]
fn a_raw_read_is_answered_or_cancelled_and_takes_at_most_one_packet() {
    explore(|| {
        let engine = Engine::default();
        let raw = RawHandle::open(&engine, "true", 0, 0, 0).expect("it opens");
        let read = raw.recv_overlapped(Some(100), 0, Some(800)).expect("it waits");
        let feeder = {
            let engine = engine.clone();
            thread::spawn(move || feed(&engine, 2))
        };
        read.cancel();
        let completion = read.wait(Wait::Forever).expect("it ended");
        feeder.join().expect("no panic");
        assert_eq!(completion.addresses.is_empty(), completion.error.is_some());
        raw.close().expect("it is open");
        assert_eq!(engine.delivered_count() + completion.addresses.len() as u64, 2);
    });
}
