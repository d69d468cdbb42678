//! Shutdown and close of an engine's handles, from this thread and from others.
use crate::engine_support::*;
use oxidivert::address::{Address, Flags, Layer, Shutdown};
use oxidivert::batch::Batch;
use oxidivert::engine::{
    Clock, Engine, Error, ErrorCode, Fate, Handle, Injection, RawHandle, Received, Settings, Wait,
};
use oxidivert::packet::Builder;
use std::sync::Mutex;
use std::time::{Duration, Instant};

fn code_of_receive(handle: &Handle) -> Result<Received, ErrorCode> {
    handle.receive(&mut Batch::new(), 64, Wait::Forever).map_err(|error| error.code())
}

/// Opens a handle and runs `act` on it once another thread waits for its packets; what that one got. It may be late, so
/// that `act` comes first and the answer is `missed`; then there is another try with more patience.
fn while_waiting(missed: Result<Received, ErrorCode>, act: impl Fn(&Handle)) -> Result<Received, ErrorCode> {
    let engine = Engine::default();
    for patience in [1, 10, 100, 1000, 5000] {
        let handle = open(&engine, "true", 0, DIVERT);
        let answer = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| code_of_receive(&handle));
            std::thread::sleep(Duration::from_millis(patience));
            act(&handle);
            waiting.join().expect("no panic")
        });
        if answer != missed {
            return answer;
        }
    }
    missed
}

/// Row 67.
#[test]
fn after_a_receive_shutdown_what_is_queued_can_be_received_and_then_no_more() {
    let engine = Engine::default();
    let raw = RawHandle::open(&engine, "true", 0, 0, 0).expect("it opens");
    for port in 1..=3 {
        feed(&engine, port);
    }
    raw.shutdown(1).expect("it is open");
    let recv = || raw.recv(Some(&mut [0; 100]), None).map_err(|error| error.code());
    for _ in 0..3 {
        assert_eq!(recv(), Ok(35));
    }
    assert_eq!(recv(), Err(ErrorCode::NoData));
    assert_eq!(recv(), Err(ErrorCode::NoData));
    assert_eq!(code_of_receive(raw.handle()), Ok(Received::Ended));
}

/// Row 68.
#[test]
fn after_a_receive_shutdown_traffic_flows_on() {
    let engine = Engine::default();
    for flags in [DIVERT, Flags::DROP, Flags::SNIFF] {
        let handle = open(&engine, "true", 0, flags);
        handle.shutdown(Shutdown::Receive).expect("it is open");
        assert_eq!(feed(&engine, 1), Fate::Passed);
        assert!(receive_ended(&handle));
        send_new(&handle, 2);
        assert_eq!(delivered_ports(&engine), [1, 2]);
    }
}

fn receive_ended(handle: &Handle) -> bool {
    handle.receive(&mut Batch::new(), 64, Wait::Poll).expect("it is open") == Received::Ended
}

/// Row 69.
#[test]
fn a_receive_shutdown_wakes_whoever_waits() {
    let engine = Engine::default();
    let raw = RawHandle::open(&engine, "true", 0, 1, 0).expect("it opens");
    let reads = [(); 2].map(|()| raw.recv_overlapped(Some(100), 0, Some(80)).expect("it waits"));
    let shut_down = |handle: &Handle| handle.shutdown(Shutdown::Receive).expect("it is open");
    assert_eq!(while_waiting(Ok(Received::TimedOut), shut_down), Ok(Received::Ended));
    raw.shutdown(3).expect("it is open");
    for read in reads {
        let error = read.wait(Wait::Forever).expect("it ended").error.expect("it failed");
        assert_eq!(error.code(), ErrorCode::NoData);
    }
}

/// Row 70.
#[test]
fn a_send_shutdown_leaves_receiving_alone() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    handle.shutdown(Shutdown::Send).expect("it is open");
    feed(&engine, 1);
    let batch = receive(&handle);
    assert_eq!(batch.len(), 1);
    let failure = handle.send(&batch, None).expect_err("it does not send");
    assert_eq!((failure.sent, failure.error.code()), (0, ErrorCode::NoData));
    let raw = RawHandle::open(&engine, "true", 0, 0, 0).expect("it opens");
    raw.shutdown(2).expect("it is open");
    let code = raw.send(Some(&udp(1)), Some(&Address::default())).expect_err("it does not send").code();
    assert_eq!(code, ErrorCode::NoData);
    assert!(engine.take_delivered().is_empty());
}

/// Row 71.
#[test]
fn a_shutdown_is_one_of_three_and_may_be_repeated() {
    let engine = Engine::default();
    let raw = RawHandle::open(&engine, "true", 0, 0, 0).expect("it opens");
    for how in [0, 4, 257] {
        assert_eq!(raw.shutdown(how).expect_err("there is none").code(), ErrorCode::InvalidParameter);
    }
    for how in [1, 1, 2, 3] {
        raw.shutdown(how).expect("it is open");
    }
}

/// Row 72.
#[test]
fn a_close_wakes_whoever_waits_and_later_calls_fail() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    let raw = RawHandle::open(&engine, "true", 0, 1, 0).expect("it opens");
    let read = raw.recv_overlapped(Some(100), 0, Some(80)).expect("it waits");
    assert_eq!(while_waiting(Err(ErrorCode::InvalidHandle), Handle::close), Err(ErrorCode::OperationAborted));
    handle.close();
    raw.close().expect("it is open");
    let error = read.wait(Wait::Forever).expect("it ended").error.expect("it failed");
    assert_eq!(error.code(), ErrorCode::OperationAborted);
    let codes = [
        code_of(raw.recv(Some(&mut [0; 100]), None)),
        code_of(raw.send(Some(&udp(1)), Some(&Address::default()))),
        code_of(raw.shutdown(3)),
        code_of(raw.param(0)),
        code_of(raw.set_param(0, 100)),
        code_of(raw.close()),
        code_of(handle.receive(&mut Batch::new(), 1, Wait::Forever)),
        code_of(handle.send(&Batch::new(), None).map_err(|failure| failure.error)),
        code_of(handle.set_filter(&options("true", Layer::Network, 0, DIVERT).filter)),
    ];
    assert_eq!(codes, [Some(ErrorCode::InvalidHandle); 9]);
    handle.close();
}

fn code_of<T>(outcome: Result<T, Error>) -> Option<ErrorCode> {
    outcome.err().map(|error| error.code())
}

/// Row 73.
#[test]
fn a_close_lets_what_is_queued_go_on_from_the_handles_place() {
    let engine = Engine::default();
    let (high, low) = (open(&engine, "true", 10, DIVERT), open(&engine, "true", 0, DIVERT));
    let above = open(&engine, "true", 20, Flags::SNIFF);
    for port in 1..=4 {
        feed(&engine, port);
    }
    let mut received = Batch::new();
    high.receive(&mut received, 1, Wait::Poll).expect("it is open");
    high.close();
    assert_eq!(received_ports(&low), [2, 3, 4]);
    assert_eq!(received_ports(&above), [1, 2, 3, 4]);
    let counts = high.statistics();
    assert_eq!((counts.given_back, counts.sent, counts.dropped), (3, 0, 1));
}

/// Row 74.
#[test]
fn a_close_discards_copies() {
    let engine = Engine::default();
    let sniffer = open(&engine, "true", 0, Flags::SNIFF);
    for port in 1..=3 {
        feed(&engine, port);
    }
    assert_eq!(delivered_ports(&engine), [1, 2, 3]);
    sniffer.close();
    assert!(engine.take_delivered().is_empty());
}

/// Row 75.
#[test]
fn of_several_readers_each_packet_goes_to_one() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
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
        for port in 1..=1000 {
            feed(&engine, port);
        }
        handle.shutdown(Shutdown::Receive).expect("it is open");
    });
    let mut all = all.into_inner().expect("no panic");
    all.sort_unstable();
    assert_eq!(all, (1..=1000).collect::<Vec<_>>());
}

#[test]
fn what_a_close_sends_on_is_repaired_and_loses_a_hop_like_any_other_impostor() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    let packet = |ttl| Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]).ttl(ttl).udp(1, 53).build().expect("it builds");
    let mut unfinished = packet(9);
    unfinished[26] ^= 0xFF;
    let impostor = Injection { impostor: true, udp_checksum: false, ..Injection::default() };
    engine.inject(&unfinished, &impostor);
    engine.inject(&packet(1), &impostor);
    handle.close();
    let delivered = engine.take_delivered();
    assert_eq!((delivered.len(), delivered.bytes(0)), (1, Some(&packet(8)[..])));
    assert_eq!(handle.statistics().errors, 1);
}

#[test]
fn a_wait_ends_when_its_time_is_out() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    let start = Instant::now();
    let wait = Wait::Until(start + Duration::from_millis(30));
    assert_eq!(handle.receive(&mut Batch::new(), 1, wait).expect("it is open"), Received::TimedOut);
    assert!(start.elapsed() >= Duration::from_millis(30));
}

#[test]
fn a_wake_ends_every_wait_and_if_there_is_none_the_next() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    assert_eq!(while_waiting(Ok(Received::TimedOut), Handle::wake), Ok(Received::Woken));
    handle.wake();
    assert_eq!(code_of_receive(&handle), Ok(Received::Woken));
    handle.wake();
    feed(&engine, 1);
    assert_eq!(code_of_receive(&handle), Ok(Received::Packets), "packets come first");
}

#[test]
fn the_real_clock_runs_by_itself() {
    let engine = Engine::new(Settings { clock: Clock::Real, ..Settings::default() });
    let handle = open(&engine, "true", 0, DIVERT);
    feed(&engine, 1);
    let first = receive(&handle).records()[0];
    assert_eq!(first.time_ns, first.address.timestamp() * 100);
    std::thread::sleep(Duration::from_millis(1));
    feed(&engine, 2);
    assert!(receive(&handle).records()[0].address.timestamp() >= first.address.timestamp() + 10_000);
    let code = engine.advance(Duration::from_secs(1)).expect_err("it advances by itself").code();
    assert_eq!(code, ErrorCode::NotSupported);
}
