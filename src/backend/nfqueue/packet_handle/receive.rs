//! Receiving from a handle: a look, a pause or a wait, and the next look.
use super::super::kernel::fault::fault;
use super::super::kernel::sys::{self, Descriptor};
use super::shared::Shared;
use crate::address::Flags;
use crate::backend::{Error, Received, Wait};
use crate::batch::Batch;
use std::time::{Duration, Instant};

impl Shared {
    /// One try to receive; `None` if there is nothing to do but wait.
    fn attempt(&self, batch: &mut Batch, limit: usize, has_waited: bool) -> Option<Result<Received, Error>> {
        let mut state = self.state_in_place();
        if state.is_closed {
            return Some(Err(if has_waited { Error::closed_meanwhile() } else { Error::closed() }));
        }
        if self.flags.has(Flags::SEND_ONLY) {
            return Some(Err(Error::send_only()));
        }
        match state.receive(self.source(), batch, limit.max(1), self.ticker.now()) {
            Err(error) => Some(Err(fault("reading the kernel's queue", error))),
            Ok(0) => state.has_ended_receiving.then_some(Ok(Received::Ended)),
            Ok(_) => Some(Ok(Received::Packets)),
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
            let pause = self.state().pause(self.ticker.now());
            let was_woken = match pause {
                Some(pause) => self.pause(time.map_or(pause, |time| time.min(pause)))?,
                None => self.wait(time)?,
            };
            if was_woken {
                return self.attempt(batch, limit, true).unwrap_or(Ok(Received::Woken));
            }
            has_waited = true;
        }
    }
}
