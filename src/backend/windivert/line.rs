//! One handle of the driver with the thread that reads ahead on it.
//!
//! The thread alone posts reads and completes them, so that none is ever posted by a thread that ends. It reads as long as
//! somebody receives and little is queued, or always where what it reads may have to go on at once.
#![allow(unsafe_code, reason = "cancels reads")]
use super::account::{Operation, account};
use super::device::Device;
use super::event::{self, Event};
use super::intake::Intake;
use super::sender::Sender;
use super::slot::{Completion, PACKETS_LEN, Slot};
use crate::backend::{Error, Received, Wait};
use crate::batch::Batch;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, ERROR_NO_DATA, ERROR_OPERATION_ABORTED};
use windows_sys::Win32::System::IO::CancelIoEx;

/// Reads that are pending at a time.
const SLOTS: usize = 4;
/// How long a read that was just posted may take to bring what is queued.
const GRACE: Duration = Duration::from_millis(10);
/// How long a poll waits for the thread to look; it only ends a poll whose thread does not get to run.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// What thread and receivers share.
struct State {
    intake: Intake,
    /// Somebody has received.
    is_active: bool,
    /// The thread posts no reads, because nobody receives or much is queued.
    rests: bool,
    is_closing: bool,
    /// Receiving was shut down and the driver's queue is empty.
    has_ended: bool,
    /// What reading failed with.
    failed: Option<u32>,
    /// How often the thread was asked to look, and up to which question it has looked.
    asked: u64,
    looked: u64,
    waiters: usize,
    wakes: u64,
    wakes_next: bool,
}

/// A handle of the driver.
pub(super) struct Line {
    device: Device,
    sender: Sender,
    state: Mutex<State>,
    ready: Condvar,
    /// Wakes the thread.
    bell: Event,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Line {
    /// Starts reading ahead on an open handle. `None` if Windows has no more events or threads; the handle stays open then.
    pub(super) fn start(device: Device, intake: Intake) -> Option<Arc<Self>> {
        let is_active = intake.is_selective();
        let state = State {
            intake,
            is_active,
            rests: true,
            is_closing: false,
            has_ended: false,
            failed: None,
            asked: 0,
            looked: 0,
            waiters: 0,
            wakes: 0,
            wakes_next: false,
        };
        let line = Arc::new(Self {
            device,
            sender: Sender::new(device),
            state: Mutex::new(state),
            ready: Condvar::new(),
            bell: Event::new(true)?,
            thread: Mutex::new(None),
        });
        let reading = Arc::clone(&line);
        let thread = thread::Builder::new().name(String::from("oxidivert")).spawn(move || reading.read()).ok()?;
        *line.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Some(line)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) const fn device(&self) -> &Device {
        &self.device
    }

    pub(super) const fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Runs `visit` on what came in, and lets the thread look at the outcome.
    pub(super) fn with_intake<T>(&self, visit: impl FnOnce(&mut Intake) -> T) -> T {
        let mut state = self.state();
        let outcome = visit(&mut state.intake);
        if state.intake.is_selective() && !state.is_active {
            state.is_active = true;
            self.bell.set();
        }
        outcome
    }

    /// Appends up to `limit` packets and waits for the first one only.
    pub(super) fn receive(&self, batch: &mut Batch, limit: usize, wait: Wait) -> Result<Received, Error> {
        let mut state = self.state();
        if std::mem::take(&mut state.wakes_next) {
            return Ok(Received::Woken);
        }
        let wakes = state.wakes;
        let (mut has_waited, mut question) = (false, None);
        loop {
            if state.is_closing {
                return Err(if has_waited { Error::closed_meanwhile() } else { Error::closed() });
            }
            if state.intake.hand_out(batch, limit, event::now()) > 0 {
                self.resume(&mut state);
                return Ok(Received::Packets);
            }
            if !state.intake.is_holding() {
                if let Some(code) = state.failed {
                    return Err(account(code, Operation::Receive, ""));
                }
                if state.has_ended {
                    return Ok(Received::Ended);
                }
            }
            if state.wakes != wakes {
                return Ok(Received::Woken);
            }
            // A poll, and a wait whose time is out before it began, wait for the thread to look once.
            let is_new = !state.is_active;
            self.activate(&mut state);
            let rest = match wait {
                Wait::Forever => None,
                Wait::Poll => Some(Duration::ZERO),
                Wait::Until(end) => Some(end.saturating_duration_since(Instant::now())),
            };
            let rest = match rest {
                Some(Duration::ZERO) if has_waited && question.is_none_or(|number| state.looked >= number) => {
                    return Ok(Received::TimedOut);
                }
                Some(rest) if rest.is_zero() || is_new => {
                    question.get_or_insert_with(|| {
                        state.asked += 1;
                        self.bell.set();
                        state.asked
                    });
                    Some(rest.max(LOOK_MAX))
                }
                rest => rest,
            };
            has_waited = true;
            // Nobody tells when a packet has waited for its process long enough.
            let held = state.intake.rest(event::now());
            let pause = held.into_iter().chain(rest).min();
            state = self.wait(state, pause);
            if question.is_some_and(|number| state.looked < number) && pause == Some(LOOK_MAX) {
                // The thread did not get to look in all that time.
                question = None;
            }
        }
    }

    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State>, rest: Option<Duration>) -> MutexGuard<'a, State> {
        state.waiters += 1;
        let mut state = match rest {
            None => self.ready.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(rest) => self.ready.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0,
        };
        state.waiters -= 1;
        state
    }

    /// Lets the thread post reads.
    fn activate(&self, state: &mut State) {
        state.is_active = true;
        if state.rests {
            self.bell.set();
        }
    }

    /// After packets were handed out: lets the thread go on, and the next receiver have what is left.
    fn resume(&self, state: &mut State) {
        if state.rests && state.intake.has_room() {
            self.bell.set();
        }
        self.call(state);
    }

    /// Wakes a receiver if something is queued; all of them if it may have to wait, since one may not wait for that long.
    fn call(&self, state: &State) {
        if state.waiters == 0 || state.intake.is_empty() {
            return;
        }
        if state.intake.is_holding() {
            self.ready.notify_all();
        } else {
            self.ready.notify_one();
        }
    }

    /// More is known of what packets wait for.
    pub(super) fn look_at_held(&self) {
        let state = self.state();
        if state.intake.is_holding() {
            self.ready.notify_all();
        }
    }

    /// Ends every wait; if nobody waits, the next one.
    pub(super) fn wake(&self) {
        let mut state = self.state();
        if state.waiters == 0 {
            state.wakes_next = true;
        } else {
            state.wakes += 1;
            self.ready.notify_all();
        }
    }

    /// The thread: posts reads, and takes over what they bring, until the handle is closed.
    fn read(&self) {
        let mut slots: Vec<Slot> = Vec::new();
        let mut pending: VecDeque<Slot> = VecDeque::new();
        let mut passed = Batch::new();
        loop {
            let (posts, asked) = {
                let mut state = self.state();
                if state.is_closing {
                    break;
                }
                let stopped = state.has_ended || state.failed.is_some();
                let posts = state.is_active && state.intake.has_room() && !stopped;
                state.rests = !posts;
                (posts, state.asked)
            };
            let is_fresh = posts && self.post(&mut slots, &mut pending);
            if is_fresh && self.is_asked(asked) {
                // What is queued comes at once, or as soon as another processor has done its part.
                if let Some(slot) = pending.front() {
                    slot.event().wait_for(GRACE);
                }
            }
            if pending.front().is_some_and(Slot::is_done) {
                self.complete(&mut slots, &mut pending, &mut passed);
                continue;
            }
            self.note_looked(asked);
            let mut events = vec![self.bell.handle()];
            events.extend(pending.front().map(|slot| slot.event().handle()));
            event::wait_any(&events);
        }
        self.cancel(&mut slots, &mut pending, &mut passed);
    }

    /// Posts all idle reads; whether there were any.
    fn post(&self, slots: &mut Vec<Slot>, pending: &mut VecDeque<Slot>) -> bool {
        while slots.len() + pending.len() < SLOTS {
            let Some(slot) = Slot::new(PACKETS_LEN) else { break };
            slots.push(slot);
        }
        let is_fresh = !slots.is_empty();
        for mut slot in slots.drain(..) {
            slot.post(&self.device);
            pending.push_back(slot);
        }
        is_fresh
    }

    fn is_asked(&self, asked: u64) -> bool {
        self.state().looked < asked
    }

    fn note_looked(&self, asked: u64) {
        let mut state = self.state();
        if state.looked < asked {
            state.looked = asked;
            self.ready.notify_all();
        }
    }

    /// Takes over what the oldest read has brought; reads are served in the order in which they were posted.
    fn complete(&self, slots: &mut Vec<Slot>, pending: &mut VecDeque<Slot>, passed: &mut Batch) {
        let Some(mut slot) = pending.pop_front() else { return };
        let completion = slot.complete(&self.device);
        let mut state = self.state();
        let now = event::now();
        if state.intake.timebase().is_old(now) {
            state.intake.set_timebase(event::timebase());
        }
        match completion {
            Completion::Filled(bytes, addresses) => state.intake.take(bytes, addresses, now, passed),
            Completion::Failed(ERROR_NO_DATA) => state.has_ended = true,
            Completion::Failed(ERROR_INSUFFICIENT_BUFFER) => state.intake.note_error(),
            Completion::Failed(ERROR_OPERATION_ABORTED) if state.is_closing => {}
            Completion::Failed(code) => state.failed = Some(code),
        }
        if state.has_ended || state.failed.is_some() {
            self.ready.notify_all();
        } else {
            self.call(&state);
        }
        drop(state);
        slots.push(slot);
        if !passed.is_empty() {
            // What cannot go on is lost, as it would be to a handle that the driver closed; it is counted.
            let (_, failure) = self.sender.send(passed, None);
            if failure.is_some() {
                self.state().intake.note_error();
            }
            passed.clear();
        }
    }

    /// Ends all pending reads and keeps what those bring that have succeeded after all.
    fn cancel(&self, slots: &mut Vec<Slot>, pending: &mut VecDeque<Slot>, passed: &mut Batch) {
        if !pending.is_empty() {
            // SAFETY: takes a handle and NULL for all reads on it. Its answer tells nothing: each read is asked below.
            unsafe { CancelIoEx(self.device.handle(), std::ptr::null()) };
        }
        while !pending.is_empty() {
            self.complete(slots, pending, passed);
        }
    }

    /// Ends reading: all waiters return, and the thread has ended when this does. Nothing is pending then.
    pub(super) fn stop(&self) {
        {
            let mut state = self.state();
            state.is_closing = true;
            self.ready.notify_all();
        }
        self.bell.set();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic there was told by Rust itself.
            drop(thread.join());
        }
    }
}
