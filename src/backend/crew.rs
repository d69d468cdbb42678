//! Several workers behind one handle: the packets are dealt out by flow, so that each flow keeps its order.
//!
//! One thread, the dealer, receives; each worker has a lane of its own. A lane that is full holds the dealer up, so that
//! what does not fit waits in the handle's queue, by that queue's rules. Whoever stops the crew leaves what no worker has
//! handed out yet to be put back to the head of the queue, in order.
use super::round::{SLICE, Source};
use super::{Error, Handle, Received, Wait};
use crate::batch::{Batch, Record};
use crate::packet::flow_hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How many batches a lane holds before the dealer waits.
const LANE_BATCHES: usize = 2;

/// Packets that wait for one worker, and the order in which they came.
#[derive(Default)]
struct Lane {
    batch: Batch,
    numbers: Vec<u64>,
    /// The worker has packets in hand.
    is_busy: bool,
}

#[derive(Default)]
struct State {
    lanes: Vec<Lane>,
    /// Packets that workers took and did not hand out.
    returned: Lane,
    dealt: u64,
    /// No more packets will be dealt.
    has_ended: bool,
}

/// Workers and their lanes.
pub struct Crew {
    state: Mutex<State>,
    /// One for each worker: its lane has packets, or it is to end.
    filled: Vec<Condvar>,
    /// A worker took packets, or has none in hand any more.
    taken: Condvar,
    is_stopped: AtomicBool,
    limit: usize,
}

impl Crew {
    /// A crew of so many workers, each of which takes batches of up to `limit` packets.
    pub fn new(workers: usize, limit: usize) -> Self {
        let lanes = std::iter::repeat_with(Lane::default).take(workers).collect();
        let filled = std::iter::repeat_with(Condvar::new).take(workers).collect();
        let state = Mutex::new(State { lanes, ..State::default() });
        Self { state, filled, taken: Condvar::new(), is_stopped: AtomicBool::new(false), limit }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives from the handle and deals out, until the packets end, a worker stops the crew or `check` fails. `check` is
    /// called after each wait, which is a short one.
    pub fn deal<E: From<Error>>(&self, handle: &Handle, mut check: impl FnMut() -> Result<(), E>) -> Result<(), E> {
        let is_finite = handle.backend().capabilities().is_finite;
        let mut incoming = Batch::new();
        let outcome = loop {
            if let Err(error) = check() {
                self.stop();
                break Err(error);
            }
            if self.is_stopped() {
                break Ok(());
            }
            if !self.has_room(is_finite) {
                continue;
            }
            incoming.clear();
            match handle.receive(&mut incoming, self.limit, Wait::Until(Instant::now() + SLICE)) {
                Ok(Received::Packets) => self.hand_out(&incoming),
                Ok(Received::TimedOut | Received::Woken) => {}
                Ok(Received::Ended) => break Ok(()),
                Err(error) if super::round::is_end(error.code()) => break Ok(()),
                Err(error) => break Err(error.into()),
            }
        };
        self.lock().has_ended = true;
        self.filled.iter().for_each(Condvar::notify_one);
        outcome
    }

    /// Whether all lanes can take a batch more, after a short wait. A capture is read on only when all that was read before
    /// is decided.
    fn has_room(&self, is_finite: bool) -> bool {
        let deadline = Instant::now() + SLICE;
        let mut state = self.lock();
        loop {
            let is_idle = |lane: &Lane| lane.batch.is_empty() && !lane.is_busy;
            let has_room = |lane: &Lane| lane.batch.len() < LANE_BATCHES * self.limit;
            let is_open = |lane: &Lane| if is_finite { is_idle(lane) } else { has_room(lane) };
            if state.lanes.iter().all(is_open) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_stopped() {
                return false;
            }
            state = self.taken.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn hand_out(&self, incoming: &Batch) {
        let mut state = self.lock();
        let workers = self.filled.len();
        let mut was_dealt = vec![false; workers];
        for (index, record) in incoming.records().iter().enumerate() {
            let bytes = incoming.bytes(index).unwrap_or_default();
            let place = usize::try_from(order_key(record, bytes) % workers as u64).unwrap_or(0);
            let number = state.dealt;
            state.dealt += 1;
            if let (Some(lane), Some(was_dealt)) = (state.lanes.get_mut(place), was_dealt.get_mut(place)) {
                lane.batch.append_from(incoming, index);
                lane.numbers.push(number);
                *was_dealt = true;
            }
        }
        for (filled, _) in self.filled.iter().zip(was_dealt).filter(|(_, was_dealt)| *was_dealt) {
            filled.notify_one();
        }
    }

    /// Whether the workers are to end before their next packet.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Has everybody end.
    pub fn stop(&self) {
        let _state = self.lock();
        self.is_stopped.store(true, Ordering::Relaxed);
        self.filled.iter().for_each(Condvar::notify_one);
        self.taken.notify_all();
    }

    /// What a worker takes its packets from.
    pub fn lane(&self, worker: usize) -> LaneSource<'_> {
        LaneSource { crew: self, worker, numbers: Vec::new(), has_ended: false }
    }

    /// What was dealt and not handed out, in the order of its receipt; to be asked for when all workers have ended.
    pub fn into_rest(self) -> Batch {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut lanes = std::mem::take(&mut state.lanes);
        lanes.push(state.returned);
        let mut order: Vec<(u64, usize, usize)> = Vec::new();
        for (place, lane) in lanes.iter().enumerate() {
            order.extend(lane.numbers.iter().enumerate().map(|(index, number)| (*number, place, index)));
        }
        order.sort_unstable();
        let mut rest = Batch::new();
        for (_, place, index) in order {
            if let Some(lane) = lanes.get(place) {
                rest.append_from(&lane.batch, index);
            }
        }
        rest
    }
}

/// Packets and events with the same key keep their order.
fn order_key(record: &Record, bytes: &[u8]) -> u64 {
    match record.address.layer() {
        Some(layer) if !layer.has_packets() => record.address.endpoint_id(),
        _ => flow_hash(bytes, &record.layout),
    }
}

/// One worker's lane as its source. A worker that leaves it before its end stops the crew, however that comes: with an error,
/// at a shutdown, by a panic. Else the dealer would wait for a lane that nobody empties.
pub struct LaneSource<'a> {
    crew: &'a Crew,
    worker: usize,
    /// The order of the packets in hand.
    numbers: Vec<u64>,
    has_ended: bool,
}

impl LaneSource<'_> {
    fn end(&mut self) -> Received {
        self.has_ended = true;
        Received::Ended
    }
}

impl Drop for LaneSource<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.crew.stop();
        }
    }
}

impl Source for LaneSource<'_> {
    fn next(&mut self, batch: &mut Batch) -> Result<Received, Error> {
        let crew = self.crew;
        let Some(filled) = crew.filled.get(self.worker) else { return Ok(self.end()) };
        let mut state = crew.lock();
        self.numbers.clear();
        loop {
            let has_ended = state.has_ended;
            let Some(lane) = state.lanes.get_mut(self.worker) else { return Ok(self.end()) };
            lane.is_busy = false;
            if crew.is_stopped() {
                return Ok(self.end());
            }
            let count = lane.batch.len().min(crew.limit);
            if count > 0 {
                batch.append_run(&lane.batch, 0, count);
                lane.batch.remove_front(count);
                self.numbers.extend(lane.numbers.drain(..count));
                lane.is_busy = true;
                crew.taken.notify_one();
                return Ok(Received::Packets);
            }
            if has_ended {
                return Ok(self.end());
            }
            crew.taken.notify_one();
            state = filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_stopped(&self) -> bool {
        self.crew.is_stopped()
    }

    fn number(&self, index: usize, handled: u64) -> u64 {
        self.numbers.get(index).map_or(handled, |number| number + 1)
    }

    fn take_back(&mut self, batch: &Batch, from: usize) {
        let mut state = self.crew.lock();
        state.returned.batch.append_run(batch, from, batch.len().saturating_sub(from));
        state.returned.numbers.extend(self.numbers.drain(..).skip(from));
    }
}

/// Has this thread leave signals to others: the main thread is the one that Python handles them on.
pub fn block_signals() {
    #[cfg(unix)]
    if nix::sys::signal::SigSet::all().thread_block().is_err() {
        // Then signals interrupt waits of this thread, which go on.
    }
}
