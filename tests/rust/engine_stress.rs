//! One engine under eight threads that do everything at once to handles that come and go. Every packet carries a number; at the
//! end each was delivered once, or was lost for a reason that a handle counted.
//!
//! It runs for 2 seconds, or `OXIDIVERT_STRESS_SECONDS`; a watchdog ends the process if the threads get stuck.
use crate::engine_support::*;
use oxidivert::address::{Flags, Layer, Parameter, Shutdown};
use oxidivert::batch::Batch;
use oxidivert::engine::{
    Clock, Engine, Error, ErrorCode, Fate, Handle, Injection, OpenOptions, Overload, Received, Settings, Statistics,
    Wait,
};
use oxidivert::packet::Builder;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const THREADS: u64 = 8;
/// Handles that are open at any time.
const PLACES: usize = 6;
/// Far beyond what the slowest machine needs for what comes after the time is out.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the stress goes on.
fn stress_time() -> Duration {
    let seconds = std::env::var("OXIDIVERT_STRESS_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(2.0))
}

/// A packet with its number, which also tells its port, by which filters pick.
fn numbered(number: u64) -> Vec<u8> {
    let builder = Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]).udp(1, 1 + (number % 10) as u16);
    builder.payload(&number.to_be_bytes()).build().expect("it builds")
}

fn number_of(bytes: &[u8]) -> u64 {
    bytes[28..36].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Numbers that look random and are the same in every run of a thread.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Which packets have come to their end, and how many of them how.
#[derive(Default)]
struct Ends {
    has_ended: Vec<bool>,
    delivered: u64,
    /// Received and not sent on, or never on the way since the sender was closed.
    kept: u64,
}

impl Ends {
    fn end(&mut self, number: u64) {
        let index = number as usize;
        if index >= self.has_ended.len() {
            self.has_ended.resize(index + 1, false);
        }
        assert!(!std::mem::replace(&mut self.has_ended[index], true), "packet {number} ends twice");
    }

    fn keep(&mut self, number: u64) {
        self.end(number);
        self.kept += 1;
    }
}

/// What became of the packets, as the threads and the closed handles tell.
#[derive(Default)]
struct Books {
    /// Numbers are given out from 1.
    numbers: AtomicU64,
    /// What a dropping handle dropped on the way in.
    dropped_on_entry: AtomicU64,
    ends: Mutex<Ends>,
    copies: AtomicU64,
    /// The sum of what closed handles counted, of those that divert and of those that drop.
    diverting: Mutex<Statistics>,
    dropping: Mutex<Statistics>,
    steps: AtomicUsize,
}

fn add(sum: &mut Statistics, counts: &Statistics) {
    sum.received += counts.received;
    sum.sent += counts.sent;
    sum.dropped += counts.dropped;
    sum.overflowed += counts.overflowed;
    sum.expired += counts.expired;
    sum.passed_on_overload += counts.passed_on_overload;
    sum.given_back += counts.given_back;
    sum.errors += counts.errors;
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The engine, its handles, and the books.
struct Stress {
    engine: Engine,
    places: [Mutex<Handle>; PLACES],
    books: Books,
}

fn open_any(engine: &Engine, dice: &mut Dice) -> Handle {
    let flags = [DIVERT, DIVERT, DIVERT, DIVERT, Flags::SNIFF, Flags::DROP][dice.roll(6) as usize];
    // A dropping handle takes little, so that the others have something to do.
    let filter = if flags == Flags::DROP { "udp.DstPort == 1".to_owned() } else { any_filter(dice) };
    let on_overload = if dice.roll(2) == 0 { Overload::Drop } else { Overload::Pass };
    let priority = dice.roll(7) as i16 - 3;
    let options = OpenOptions { on_overload, ..options(&filter, Layer::Network, priority, flags) };
    let handle = engine.open(options).expect("it opens");
    handle.set_parameter(Parameter::QueueTime, 100).expect("it is allowed");
    handle
}

fn any_filter(dice: &mut Dice) -> String {
    format!("udp.DstPort > {} and udp.DstPort < {}", 1 + dice.roll(4), 6 + dice.roll(6))
}

/// What may be refused since another thread closed the handle, and nothing else.
fn expect_open_or_closed(outcome: Result<(), Error>) {
    assert_eq!(outcome.err().map_or(ErrorCode::InvalidHandle, |error| error.code()), ErrorCode::InvalidHandle);
}

impl Stress {
    fn new() -> Self {
        let engine = Engine::new(Settings { clock: Clock::Real, ..Settings::default() });
        let mut dice = Dice(7);
        let places = [(); PLACES].map(|()| Mutex::new(open_any(&engine, &mut dice)));
        Self { engine, places, books: Books::default() }
    }

    fn any_handle(&self, dice: &mut Dice) -> Handle {
        locked(&self.places[dice.roll(PLACES as u64) as usize]).clone()
    }

    fn new_number(&self) -> u64 {
        self.books.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// One thing done to the engine.
    fn step(&self, dice: &mut Dice) {
        let handle = self.any_handle(dice);
        match dice.roll(40) {
            0..12 => {
                for _ in 0..=dice.roll(30) {
                    let fate = self.engine.inject(&numbered(self.new_number()), &Injection::default());
                    self.books.dropped_on_entry.fetch_add(u64::from(fate == Fate::Dropped), Ordering::Relaxed);
                }
            }
            12..26 => self.receive(&handle, dice),
            26..30 => {
                let number = self.new_number();
                if handle.send(&new_packet(&numbered(number), &final_address()), None).is_err() {
                    // It was closed or shut down, and the number never was on its way.
                    locked(&self.books.ends).keep(number);
                }
            }
            30..33 => {
                let filter = options(&any_filter(dice), Layer::Network, 0, DIVERT).filter;
                if handle.flags() != Flags::DROP {
                    expect_open_or_closed(handle.set_filter(&filter));
                }
            }
            33..36 => expect_open_or_closed(handle.set_parameter(Parameter::QueueLength, 32 + dice.roll(100))),
            36 => handle.wake(),
            37 => self.take_delivered(),
            38 => expect_open_or_closed(handle.shutdown([Shutdown::Receive, Shutdown::Both][dice.roll(2) as usize])),
            _ => self.reopen(dice),
        }
        self.books.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Receives, waiting a little, and sends some of it on.
    fn receive(&self, handle: &Handle, dice: &mut Dice) {
        let mut batch = Batch::new();
        let wait = Wait::Until(Instant::now() + Duration::from_micros(dice.roll(300)));
        match handle.receive(&mut batch, 1 + dice.roll(64) as usize, wait) {
            Ok(Received::Packets) => assert!(!batch.is_empty()),
            Ok(_) => assert!(batch.is_empty()),
            Err(error) => assert!(matches!(error.code(), ErrorCode::InvalidHandle | ErrorCode::OperationAborted)),
        }
        if handle.flags() == Flags::SNIFF {
            assert!(batch.records().iter().all(|record| record.address.sniffed()));
            self.books.copies.fetch_add(batch.len() as u64, Ordering::Relaxed);
            return;
        }
        let mask: Vec<bool> = (0..batch.len()).map(|_| dice.roll(8) > 0).collect();
        let is_sent = handle.send(&batch, Some(&mask)).is_ok();
        let mut ends = locked(&self.books.ends);
        let not_sent = batch.iter().zip(&mask).filter(|(_, is_selected)| !(is_sent && **is_selected));
        not_sent.for_each(|(packet, _)| ends.keep(number_of(packet.bytes)));
    }

    fn take_delivered(&self) {
        // The lock is taken later, so that a packet that was delivered later may be noted earlier.
        let delivered = self.engine.take_delivered();
        let mut ends = locked(&self.books.ends);
        delivered.iter().for_each(|packet| ends.end(number_of(packet.bytes)));
        ends.delivered += delivered.len() as u64;
    }

    /// Closes a handle and puts another in its place.
    fn reopen(&self, dice: &mut Dice) {
        let new = open_any(&self.engine, dice);
        let old = std::mem::replace(&mut *locked(&self.places[dice.roll(PLACES as u64) as usize]), new);
        self.retire(&old);
    }

    /// Closes a handle and takes its counts.
    fn retire(&self, handle: &Handle) {
        handle.close();
        handle.close();
        let sum = match handle.flags() {
            Flags::DROP => &self.books.dropping,
            Flags::SNIFF => return,
            _ => &self.books.diverting,
        };
        add(&mut locked(sum), &handle.statistics());
    }

    /// Closes what is open, and accounts for every number.
    fn settle(&self) {
        for place in &self.places {
            let handle = locked(place).clone();
            self.retire(&handle);
        }
        self.take_delivered();
        let ends = locked(&self.books.ends);
        let numbers = self.books.numbers.load(Ordering::Relaxed);
        assert!(ends.has_ended.len() as u64 <= numbers + 1, "none comes from nowhere");
        let (diverting, dropping) = (*locked(&self.books.diverting), *locked(&self.books.dropping));
        let lost = diverting.overflowed + diverting.expired + dropping.dropped;
        let accounted = ends.delivered + ends.kept + lost;
        assert_eq!(accounted, numbers, "each ends once, or is counted: {diverting:?} {dropping:?}");
        assert!(self.books.dropped_on_entry.load(Ordering::Relaxed) <= dropping.dropped);
        for (what, count) in [
            ("delivered", ends.delivered),
            ("kept", ends.kept),
            ("copies", self.books.copies.load(Ordering::Relaxed)),
            ("dropped", dropping.dropped),
            ("overflowed", diverting.overflowed),
            ("passed on overload", diverting.passed_on_overload),
            ("given back", diverting.given_back),
        ] {
            assert!(count > 0, "the stress leaves nothing out: {what}");
        }
    }
}

/// Tells the watchdog that all is over, also after a panic.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work`, and ends the process if it is still under way long after it should be: threads that are stuck cannot be
/// ended otherwise.
fn watched(time: Duration, steps: &AtomicUsize, work: impl FnOnce()) {
    let is_done = AtomicBool::new(false);
    let end = Instant::now() + time + PATIENCE;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                if Instant::now() > end {
                    let account = format!("the engine is stuck after {} steps\n", steps.load(Ordering::Relaxed));
                    let _ = std::io::stderr().write_all(account.as_bytes());
                    std::process::abort();
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let _done = Done(&is_done);
        work();
    });
}

#[test]
fn every_packet_is_accounted_for_whatever_eight_threads_do() {
    let time = stress_time();
    let stress = Stress::new();
    let end = Instant::now() + time;
    watched(time, &stress.books.steps, || {
        std::thread::scope(|scope| {
            for thread in 1..=THREADS {
                let stress = &stress;
                scope.spawn(move || {
                    let mut dice = Dice(thread.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                    while Instant::now() < end {
                        stress.step(&mut dice);
                    }
                });
            }
        });
        stress.settle();
    });
}
