//! An open handle, usable from any thread.
//!
//! One lock guards the state; nobody holds it while waiting. Who waits is woken by the kernel's queue or by a counter that
//! has one event for each waiter.
use super::super::{
    Backend, Capabilities, Ending, Error, ErrorCode, Mask, OpenOptions, Received, SendError, Statistics, Wait,
};
use super::fault::fault;
use super::queue::{Queue, losses};
use super::ruleset::{Mode, Ruleset};
use super::state::State;
use super::sys::{self, Descriptor};
use crate::address::{Flags, Parameter, Shutdown};
use crate::batch::{Batch, Token};
use crate::engine::{Clock, Ticker};
use crate::filter::Filter;
use crate::packet::FlowKey;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The version of the driver whose semantics are kept.
const VERSION: (u64, u64) = (2, 2);
/// Packets that programs may hold beyond what the queue's length says, before the kernel drops.
const HELD_MAX: u32 = 1 << 16;
/// Bytes of the socket's buffer: what comes while nobody looks.
const BUFFER: i32 = 1 << 25;
/// How long a packet that was being taken when the handle closed may need to come.
const CLOSE_PAUSE: Duration = Duration::from_millis(2);

pub(super) struct Handle {
    queue: Queue,
    ruleset: Ruleset,
    ticker: Ticker,
    woken: Descriptor,
    state: Mutex<State>,
    waits: Mutex<Waits>,
}

/// Who waits, and how often they were woken.
#[derive(Default)]
struct Waits {
    waiting: u64,
    wakes: u64,
    /// A wake that found nobody; the next who would wait takes it.
    has_wake_left: bool,
}

impl Handle {
    pub(super) fn open(options: &OpenOptions) -> Result<Self, Error> {
        let ticker = Ticker::new(Clock::Real);
        let length = Parameter::QueueLength.bounds().map_or(0, |(_, _, most)| most as u32);
        let queue = Queue::open(length + HELD_MAX, BUFFER).map_err(|error| fault("making a packet queue", error))?;
        let mode = if options.flags.has(Flags::SEND_ONLY) { Mode::Pass } else { Mode::Queue };
        let woken = sys::event_counter(true).map_err(|error| fault("making an event counter", error))?;
        let state = Mutex::new(State::new(options, &queue));
        // Last, since packets are taken from here on.
        let ruleset = Ruleset::open(options, queue.number, mode, ticker.now())
            .map_err(|error| fault("adding rules to nftables", error))?;
        Ok(Self { queue, ruleset, ticker, woken, state, waits: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verify_own(&self) -> Result<(), Error> {
        if self.ruleset.is_foreign() {
            let message = "the handle belongs to the process that this one was forked from; open one here";
            return Err(Error::new(ErrorCode::InvalidHandle, message));
        }
        Ok(())
    }

    /// One try to receive; `None` if there is nothing to do but wait.
    fn attempt(&self, batch: &mut Batch, limit: usize, has_waited: bool) -> Option<Result<Received, Error>> {
        let mut state = self.state();
        if state.is_closed {
            return Some(Err(if has_waited { Error::closed_meanwhile() } else { Error::closed() }));
        }
        if state.flags.has(Flags::SEND_ONLY) {
            return Some(Err(Error::send_only()));
        }
        match state.receive(&self.queue, batch, limit.max(1), self.ticker.now()) {
            Err(error) => Some(Err(fault("reading the kernel's queue", error))),
            Ok(0) => state.has_ended_receiving.then_some(Ok(Received::Ended)),
            Ok(_) => Some(Ok(Received::Packets)),
        }
    }

    /// Waits for a packet or a wake; whether it was woken.
    fn wait(&self, time: Option<Duration>) -> Result<bool, Error> {
        let wakes = {
            let mut waits = self.waits();
            if std::mem::take(&mut waits.has_wake_left) {
                return Ok(true);
            }
            waits.waiting += 1;
            waits.wakes
        };
        let outcome = sys::wait_readable(&[&self.queue.socket, &self.woken], time);
        let mut waits = self.waits();
        waits.waiting -= 1;
        let was_woken = waits.wakes != wakes;
        if was_woken {
            sys::take_events(&self.woken);
        }
        outcome.map_err(|error| fault("waiting for packets", error))?;
        Ok(was_woken)
    }

    fn end(&self) -> io::Result<()> {
        let mut state = self.state();
        if std::mem::replace(&mut state.is_closed, true) || self.ruleset.is_foreign() {
            return Ok(());
        }
        // First no packet is taken any more, then what was taken and not received goes on, then the chains go.
        self.ruleset.replace(Mode::Pass)?;
        state.give_back(&self.queue, self.ticker.now())?;
        drop(state);
        std::thread::sleep(CLOSE_PAUSE);
        let mut state = self.state();
        state.give_back(&self.queue, self.ticker.now())?;
        let (full, unread) = losses(self.queue.number);
        state.statistics.overflowed += full + unread;
        drop(state);
        self.ruleset.remove()?;
        self.queue.release()
    }
}

impl Backend for Handle {
    fn name(&self) -> &'static str {
        "nfqueue"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            has_queue: true,
            can_pass_on_overload: true,
            can_swap_filter: true,
            is_finite: false,
            waits_to_send: false,
        }
    }

    fn receive(&self, batch: &mut Batch, limit: usize, wait: Wait) -> Result<Received, Error> {
        self.verify_own()?;
        let mut has_waited = false;
        loop {
            if let Some(outcome) = self.attempt(batch, limit, has_waited) {
                return outcome;
            }
            let time = match wait {
                Wait::Poll => return Ok(Received::TimedOut),
                Wait::Forever => None,
                Wait::Until(deadline) => match deadline.saturating_duration_since(Instant::now()) {
                    Duration::ZERO => return Ok(Received::TimedOut),
                    left => Some(left),
                },
            };
            if self.wait(time)? {
                return self.attempt(batch, limit, true).unwrap_or(Ok(Received::Woken));
            }
            has_waited = true;
        }
    }

    fn send(&self, batch: &Batch, mask: Mask<'_>) -> Result<usize, SendError> {
        self.verify_own()?;
        let mut state = self.state();
        if state.is_closed {
            return Err(Error::closed().into());
        }
        state.send(&self.queue, batch, mask, self.ticker.now())
    }

    fn discard(&self, tokens: &[Token]) {
        let mut state = self.state();
        if !state.is_closed && !self.ruleset.is_foreign() {
            // If the queue is gone, so are its packets.
            drop(state.discard(&self.queue, tokens));
        }
    }

    fn wake(&self) {
        let mut waits = self.waits();
        waits.wakes += 1;
        waits.has_wake_left = waits.waiting == 0;
        sys::add_events(&self.woken, waits.waiting);
    }

    fn shutdown(&self, how: Shutdown) {
        {
            let mut state = self.state();
            if state.is_closed || self.ruleset.is_foreign() {
                return;
            }
            if how.ends_receiving() && !state.has_ended_receiving {
                // If the rules stay, packets still come and are let go on.
                drop(self.ruleset.replace(Mode::Pass));
                drop(state.take(&self.queue, None, self.ticker.now()));
                state.has_ended_receiving = true;
            }
            state.has_ended_sending |= how.ends_sending();
        }
        self.wake();
    }

    fn close(&self, _ending: Ending) -> Result<(), Error> {
        let ended = self.end();
        self.wake();
        ended.map_err(|error| fault("removing the rules from nftables", error))
    }

    fn parameter(&self, parameter: Parameter) -> u64 {
        let value = self.state().backlog.queue.limits.value(parameter);
        value.unwrap_or(if parameter == Parameter::VersionMajor { VERSION.0 } else { VERSION.1 })
    }

    fn set_parameter(&self, parameter: Parameter, value: u64) -> Result<(), Error> {
        parameter.verify(value).map_err(|message| Error::new(ErrorCode::InvalidParameter, message))?;
        self.state().backlog.queue.limits.set(parameter, value);
        Ok(())
    }

    fn set_filter(&self, filter: Arc<Filter>) -> Result<(), Error> {
        let mut state = self.state();
        if state.is_closed {
            return Err(Error::closed());
        }
        state.filter = filter;
        Ok(())
    }

    fn bypass(&self, flow: FlowKey) -> Result<bool, Error> {
        let mut state = self.state();
        if state.is_closed {
            return Err(Error::closed());
        }
        let now = self.ticker.now();
        state.bypass(&self.queue, flow, now).map_err(|error| fault("answering the kernel", error))
    }

    fn statistics(&self) -> Statistics {
        let state = self.state();
        let mut statistics = state.statistics;
        if !state.is_closed {
            let (full, unread) = losses(self.queue.number);
            statistics.overflowed += full + unread;
        }
        statistics
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Whoever forgot to close cannot be told.
        drop(self.end());
    }
}
