//! Receiving from a handle: a look, a pause or a wait, and the next look.
use super::super::kernel::fault::fault;
use super::super::kernel::sys::{self, Descriptor};
use super::shared::Shared;
use crate::address::Flags;
use crate::backend::{Error, Received, Wait};
use crate::batch::Batch;
use std::time::{Duration, Instant};

/// What a try to receive came to.
enum Attempt {
    Done(Received),
    /// Nothing was there; for how long packets are let gather before they are waited for.
    Nothing(Option<Duration>),
}

impl Shared {
    /// One try to receive.
    fn attempt(&self, batch: &mut Batch, limit: usize, has_waited: bool) -> Result<Attempt, Error> {
        let mut state = self.state_in_place();
        if state.is_closed {
            return Err(if has_waited { Error::closed_meanwhile() } else { Error::closed() });
        }
        if self.flags.has(Flags::SEND_ONLY) {
            return Err(Error::send_only());
        }
        let now = self.ticker.now();
        match state.receive(self.source(), batch, limit.max(1), now) {
            Err(error) => Err(fault("reading the kernel's queue", error)),
            Ok(0) if state.has_ended_receiving => Ok(Attempt::Done(Received::Ended)),
            Ok(0) => Ok(Attempt::Nothing(state.pause(now))),
            Ok(_) => Ok(Attempt::Done(Received::Packets)),
        }
    }

    /// Lets packets gather, unless it is woken; whether it was.
    fn pause(&self, time: Duration) -> Result<bool, Error> {
        let outcome = self.waiters.wait(|woken| sys::wait_readable(&[woken, &self.ready], Some(time)));
        outcome.map_err(|error| fault("waiting for packets", error))
    }

    /// What can be read while there is something to be received.
    fn readable(&self) -> impl Iterator<Item = &Descriptor> {
        let source = self.log.as_ref().map_or(&self.queue.socket, |log| &log.socket);
        self.copies.iter().map(|copies| &*copies.descriptor).chain([source, &self.ready])
    }

    /// A descriptor that can be read while there is something to be received.
    pub(super) fn descriptor(&self) -> Result<i32, Error> {
        self.verify_own()?;
        if self.gathered.get().is_none() {
            let made = sys::gather(self.readable()).map_err(|error| fault("gathering descriptors", error))?;
            // Whoever asks at the same moment may have been first.
            drop(self.gathered.set(made));
        }
        self.gathered.get().map(Descriptor::raw).ok_or_else(Error::closed)
    }

    /// Waits for a packet or a wake; whether it was woken.
    fn wait(&self, time: Option<Duration>) -> Result<bool, Error> {
        let outcome = self.waiters.wait(|woken| {
            let all: Vec<_> = self.readable().chain([woken]).collect();
            let outcome = sys::wait_readable(&all, time);
            if let Some(copies) = &self.copies {
                copies.let_gather(woken);
            }
            outcome
        });
        outcome.map_err(|error| fault("waiting for packets", error))
    }

    pub(super) fn receive(&self, batch: &mut Batch, limit: usize, wait: Wait) -> Result<Received, Error> {
        self.verify_own()?;
        let (mut has_waited, mut has_paused) = (false, false);
        loop {
            let pause = match self.attempt(batch, limit, has_waited)? {
                Attempt::Done(outcome) => return Ok(outcome),
                Attempt::Nothing(pause) => pause.filter(|_| !has_paused),
            };
            let time = match wait {
                Wait::Poll => return Ok(Received::TimedOut),
                Wait::Forever => None,
                Wait::Until(deadline) => match deadline.saturating_duration_since(Instant::now()) {
                    Duration::ZERO => return Ok(Received::TimedOut),
                    left => Some(left),
                },
            };
            let was_woken = match pause {
                Some(pause) => self.pause(time.map_or(pause, |time| time.min(pause)))?,
                None => self.wait(time)?,
            };
            if was_woken {
                return self.attempt(batch, limit, true).map(|attempt| match attempt {
                    Attempt::Done(outcome) => outcome,
                    Attempt::Nothing(_) => Received::Woken,
                });
            }
            has_waited = true;
            has_paused = pause.is_some();
        }
    }
}
