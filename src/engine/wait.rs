//! Waiting for a queue, and being woken. One bell a handle; whoever rings it holds the state's lock.
//!
//! A packet that comes into an *empty* queue rings one waiter, and whoever takes packets and leaves some rings the
//! next: so no packet lies in a queue while somebody sleeps, and none costs a system call while nobody does. A waiter
//! whose time is out tries once more before it goes, since the ring may have been its own.
use super::options::Wait;
use super::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use super::sync::{Condvar, Mutex, lock};
use std::sync::PoisonError;
use std::time::Instant;

/// How a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited<T> {
    /// The attempt succeeded.
    Done(T),
    TimedOut,
    Woken,
}

/// What waiters of one handle wait at. The counts are read and written under the state's lock only.
#[derive(Debug)]
pub(super) struct Bell {
    rung: Condvar,
    waiting: AtomicUsize,
    wakes: AtomicU64,
    /// A wake that found nobody; the next who would wait takes it.
    has_wake_left: AtomicBool,
}

impl Bell {
    pub(super) fn new() -> Self {
        Self {
            rung: Condvar::new(),
            waiting: AtomicUsize::new(0),
            wakes: AtomicU64::new(0),
            has_wake_left: AtomicBool::new(false),
        }
    }

    /// Calls `attempt` under the lock, now and after each ring, until it has an answer or the wait is over. It is told
    /// whether it was waited for.
    pub(super) fn wait_for<S, T>(
        &self,
        mutex: &Mutex<S>,
        wait: Wait,
        mut attempt: impl FnMut(&mut S, bool) -> Option<T>,
    ) -> Waited<T> {
        let mut state = lock(mutex);
        if let Some(answer) = attempt(&mut state, false) {
            return Waited::Done(answer);
        }
        if wait == Wait::Poll {
            return Waited::TimedOut;
        }
        if self.has_wake_left.swap(false, Ordering::Relaxed) {
            return Waited::Woken;
        }
        let wakes = self.wakes.load(Ordering::Relaxed);
        loop {
            let left = match wait {
                Wait::Until(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
                Wait::Poll | Wait::Forever => None,
            };
            if left.is_some_and(|left| left.is_zero()) {
                return Waited::TimedOut;
            }
            self.waiting.fetch_add(1, Ordering::Relaxed);
            state = match left {
                Some(left) => self.rung.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.rung.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            if let Some(answer) = attempt(&mut state, true) {
                return Waited::Done(answer);
            }
            if self.wakes.load(Ordering::Relaxed) != wakes {
                return Waited::Woken;
            }
        }
    }

    /// Somebody may have something to do.
    #[inline]
    pub(super) fn ring_one(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.rung.notify_one();
        }
    }

    /// Everybody must look.
    pub(super) fn ring_all(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.rung.notify_all();
        }
    }

    /// Ends every wait; if nobody waits, the next one.
    pub(super) fn wake(&self) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
        if self.waiting.load(Ordering::Relaxed) == 0 {
            self.has_wake_left.store(true, Ordering::Relaxed);
        }
        self.ring_all();
    }
}
