//! Handles above a backend: hands, what was given back, and workers.
use crate::engine_support::{DIVERT, delivered_ports, feed, options, port_of, ports, udp};
use oxidivert::address::{Address, Layer, Shutdown};
use oxidivert::backend::{Crew, Direct, Ending, Handle, Received, Round, Source, System, Wait};
use oxidivert::batch::{Batch, Origin, Token};
use oxidivert::engine::{Engine, Error};
use std::sync::{Arc, Mutex};
use std::thread;

fn open(engine: &Engine) -> Arc<Handle> {
    let backend = System::open(engine, options("true", Layer::Network, 0, DIVERT)).expect("it opens");
    Handle::new(backend, Layer::Network, 0, DIVERT)
}

fn port(batch: &Batch, index: usize) -> u16 {
    port_of(batch.bytes(index).expect("a packet"))
}

fn filled(count: u16) -> (Engine, Arc<Handle>) {
    let engine = Engine::default();
    let handle = open(&engine);
    for port in 1..=count {
        feed(&engine, port);
    }
    handle.shutdown(Shutdown::Receive).expect("it is open");
    (engine, handle)
}

/// Runs a loop over a source as the bindings do: even ports are sent, and `fail_at` ends it.
fn work(handle: &Handle, source: &mut impl Source, seen: &Mutex<Vec<u16>>, fail_at: Option<u16>) -> Result<u64, u16> {
    let mut round = Round::default();
    let mut handled = 0;
    loop {
        round.flush(handle).expect("it sends");
        match source.next(&mut round.batch).expect("it is open") {
            Received::Ended => return Ok(handled),
            Received::TimedOut | Received::Woken => continue,
            Received::Packets => {}
        }
        for index in 0..round.batch.len() {
            if source.is_stopped() {
                round.stop(handle, source, index);
                return Ok(handled);
            }
            handled += 1;
            let port = port(&round.batch, index);
            seen.lock().expect("no panic").push(port);
            if fail_at == Some(port) {
                round.stop(handle, source, index + 1);
                return Err(port);
            }
            round.decide(port.is_multiple_of(2));
        }
    }
}

#[test]
fn a_direct_loop_sends_what_was_decided_and_counts_the_rest_as_dropped() {
    let (engine, handle) = filled(10);
    let seen = Mutex::default();
    assert_eq!(work(&handle, &mut Direct::new(&handle, 4), &seen, None), Ok(10));
    assert_eq!(delivered_ports(&engine), [2, 4, 6, 8, 10]);
    assert_eq!(handle.backend().statistics().dropped, 5);
}

#[test]
fn a_loop_that_is_stopped_leaves_the_rest_at_the_head() {
    let (engine, handle) = filled(10);
    let seen = Mutex::default();
    assert_eq!(work(&handle, &mut Direct::new(&handle, 8), &seen, Some(5)), Err(5));
    assert_eq!(delivered_ports(&engine), [2, 4]);
    let mut batch = Batch::new();
    assert_eq!(handle.receive(&mut batch, 2, Wait::Poll).expect("it is open"), Received::Packets);
    assert_eq!((port(&batch, 0), port(&batch, 1)), (6, 7));
    handle.close(Ending::Completed).expect("nothing can fail");
    assert_eq!(delivered_ports(&engine), [8, 9, 10], "those in hand are dropped, the others go on");
}

/// A crew's workers and its dealer; what each worker said.
fn run_crew(handle: &Handle, workers: usize, fail_at: Option<u16>) -> (Vec<u16>, Vec<Result<u64, u16>>) {
    let (crew, seen) = (Crew::new(workers, 8), Mutex::default());
    let outcomes = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|number| {
                let (crew, seen) = (&crew, &seen);
                scope.spawn(move || work(handle, &mut crew.lane(number), seen, fail_at).inspect_err(|_| crew.stop()))
            })
            .collect();
        crew.deal(handle, || Ok::<(), Error>(())).expect("nothing fails");
        workers.into_iter().map(|worker| worker.join().expect("no panic")).collect()
    });
    handle.give_back(&crew.into_rest(), 0);
    (seen.into_inner().expect("no panic"), outcomes)
}

#[test]
fn a_crew_handles_each_packet_once() {
    let (engine, handle) = filled(400);
    let (mut seen, outcomes) = run_crew(&handle, 3, None);
    assert_eq!(outcomes.into_iter().map(|handled| handled.expect("none failed")).sum::<u64>(), 400);
    seen.sort_unstable();
    assert_eq!(seen, (1..=400).collect::<Vec<_>>());
    let mut delivered = delivered_ports(&engine);
    delivered.sort_unstable();
    assert_eq!(delivered, (1..=200).map(|half| half * 2).collect::<Vec<_>>());
}

#[test]
fn a_crew_that_is_stopped_leaves_what_nobody_was_handed_in_order() {
    for fail_at in [1, 57, 400] {
        let (engine, handle) = filled(400);
        let (seen, outcomes) = run_crew(&handle, 3, Some(fail_at));
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Err(fail_at)).count(), 1);
        let mut left = Batch::new();
        while handle.receive(&mut left, 64, Wait::Poll).expect("it is open") == Received::Packets {}
        let left = ports(&left);
        assert!(left.is_sorted(), "{left:?}");
        let mut all = [&seen[..], &left].concat();
        all.sort_unstable();
        assert_eq!(all, (1..=400).collect::<Vec<_>>());
        let sent = seen.iter().filter(|port| port.is_multiple_of(2) && **port != fail_at).count();
        assert_eq!(delivered_ports(&engine).len(), sent);
    }
}

#[test]
fn what_a_thread_sends_belongs_behind_the_packet_in_its_hand() {
    let (_engine, handle) = filled(2);
    let other = open(&Engine::default());
    let mut new = Batch::new();
    let origin = |handle: &Handle, batch: &mut Batch| {
        batch.clear();
        batch.push_parsed(&udp(1), &Address::default(), 0, Origin::Injected(None)).expect("a packet");
        handle.send(batch, None).expect("it sends");
        batch.records()[0].origin
    };
    assert_eq!(origin(&handle, &mut new), Origin::Injected(None));
    let hand = handle.hand();
    hand.hold(Some(Token(7)));
    assert_eq!(origin(&handle, &mut new), Origin::Injected(Some(Token(7))));
    assert_eq!(origin(&other, &mut new), Origin::Injected(None), "of another handle it is no place");
    thread::scope(|scope| {
        let sent = scope.spawn(|| origin(&handle, &mut Batch::new())).join();
        assert_eq!(sent.expect("no panic"), Origin::Injected(None), "other threads have other hands");
    });
    {
        let inner = other.hand();
        inner.hold(Some(Token(8)));
        assert_eq!(origin(&other, &mut new), Origin::Injected(Some(Token(8))));
    }
    assert_eq!(
        origin(&handle, &mut new),
        Origin::Injected(Some(Token(7))),
        "a loop within the loop gives the hand back"
    );
    drop(hand);
    assert_eq!(origin(&handle, &mut new), Origin::Injected(None));
}
