//! Who waits for a handle's packets, and how they are woken.
use super::super::kernel::sys::{self, Descriptor};
use std::io::Result;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Those who wait.
pub(super) struct Waiters {
    /// One event for each waiter that is woken.
    woken: Descriptor,
    counts: Mutex<Counts>,
}

/// How many wait, and how often they were woken.
#[derive(Default)]
struct Counts {
    waiting: u64,
    wakes: u64,
    /// A wake that found nobody; the next who would wait takes it.
    has_wake_left: bool,
}

impl Waiters {
    /// Nobody yet; `woken` counts events one by one.
    pub(super) fn new(woken: Descriptor) -> Self {
        Self { woken, counts: Mutex::default() }
    }

    /// Whether anybody waits.
    pub(super) fn are_there(&self) -> bool {
        self.counts().waiting > 0
    }

    /// Waits by `wait`, which ends when the descriptor can be read or for reasons of its own; whether it was woken.
    pub(super) fn wait(&self, wait: impl FnOnce(&Descriptor) -> Result<()>) -> Result<bool> {
        let wakes = {
            let mut counts = self.counts();
            if std::mem::take(&mut counts.has_wake_left) {
                return Ok(true);
            }
            counts.waiting += 1;
            counts.wakes
        };
        let outcome = wait(&self.woken);
        let mut counts = self.counts();
        counts.waiting -= 1;
        let was_woken = counts.wakes != wakes;
        if was_woken {
            sys::take_events(&self.woken);
        }
        outcome.map(|()| was_woken)
    }

    /// Wakes all who wait, or the next who would.
    pub(super) fn wake(&self) {
        let mut counts = self.counts();
        counts.wakes += 1;
        counts.has_wake_left = counts.waiting == 0;
        sys::add_events(&self.woken, counts.waiting);
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_that_finds_nobody_is_taken_by_the_next_alone() -> Result<()> {
        let waiters = Waiters::new(sys::event_counter(true)?);
        waiters.wake();
        assert!(waiters.wait(|_| unreachable!("it was woken before"))?);
        let wait = |woken: &Descriptor| {
            assert!(!sys::is_readable(woken));
            Ok(())
        };
        assert!(!waiters.wait(wait)?);
        Ok(())
    }

    #[test]
    fn who_waits_is_there_and_is_woken() -> Result<()> {
        let waiters = Waiters::new(sys::event_counter(true)?);
        let wait = |woken: &Descriptor| {
            assert!(waiters.are_there());
            waiters.wake();
            assert!(sys::is_readable(woken));
            Ok(())
        };
        assert!(waiters.wait(wait)?);
        assert!(!waiters.are_there());
        assert!(waiters.wait(|_| Err(std::io::ErrorKind::Other.into())).is_err());
        assert!(!waiters.are_there());
        Ok(())
    }
}
