//! The clock that stamps packets and lets them expire: the system's, or one that the test advances.
//!
//! It counts ticks of 100 ns since the Unix epoch and never goes back. A stepped clock starts at [`STEPPED_START`] and
//! stands still between calls. Neither has to do with how long a receive waits, which is real time.
use super::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Ticks in a second.
pub const TICKS_PER_SECOND: i64 = 10_000_000;
/// Nanoseconds in a tick.
pub(crate) const NANOSECONDS_PER_TICK: i64 = 1_000_000_000 / TICKS_PER_SECOND;
/// Ticks in a millisecond.
pub(crate) const TICKS_PER_MILLISECOND: i64 = TICKS_PER_SECOND / 1000;
/// Where a stepped clock starts: the first second of the year 2000, UTC, in ticks.
pub const STEPPED_START: i64 = 946_684_800 * TICKS_PER_SECOND;

/// Which clock an engine has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// It moves only when it is advanced.
    #[default]
    Stepped,
    /// The system's.
    Real,
}

/// A running clock.
pub(crate) enum Ticker {
    Stepped(AtomicI64),
    /// What the system's clock told at one instant; from there on only the steady clock counts.
    Real {
        start: Instant,
        ticks: i64,
    },
}

impl Ticker {
    pub(crate) fn new(clock: Clock) -> Self {
        match clock {
            Clock::Stepped => Self::Stepped(AtomicI64::new(STEPPED_START)),
            Clock::Real => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Self::Real { start: Instant::now(), ticks: ticks_of(since_epoch) }
            }
        }
    }

    #[inline]
    pub(crate) fn now(&self) -> i64 {
        match self {
            Self::Stepped(ticks) => ticks.load(Ordering::Relaxed),
            Self::Real { start, ticks } => ticks.saturating_add(ticks_of(start.elapsed())),
        }
    }

    /// Moves a stepped clock on; false for the system's.
    pub(crate) fn advance(&self, by: Duration) -> bool {
        let Self::Stepped(ticks) = self else { return false };
        let advanced = |now: i64| Some(now.saturating_add(ticks_of(by)));
        // The function always answers, so that there is no failure.
        ticks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, advanced).is_ok()
    }
}

/// A duration in ticks, rounded down.
fn ticks_of(duration: Duration) -> i64 {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let rest = i64::from(duration.subsec_nanos()) / NANOSECONDS_PER_TICK;
    seconds.saturating_mul(TICKS_PER_SECOND).saturating_add(rest)
}

/// Nanoseconds since the Unix epoch.
#[inline]
pub(crate) const fn time_ns(ticks: i64) -> i64 {
    ticks.saturating_mul(NANOSECONDS_PER_TICK)
}
