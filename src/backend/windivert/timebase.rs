//! The driver's time stamps, which count the performance counter's ticks, as Unix time.

/// One instant on both clocks, and how fast the counter runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timebase {
    ticks: i64,
    unix_ns: i64,
    /// Ticks a second, more than 0.
    frequency: i64,
}

impl Timebase {
    /// From one reading of both clocks.
    pub(super) const fn new(ticks: i64, unix_ns: i64, frequency: i64) -> Self {
        Self { ticks, unix_ns, frequency: if frequency > 0 { frequency } else { 1 } }
    }

    /// Nanoseconds since the Unix epoch.
    #[inline]
    pub(super) const fn unix_ns(&self, ticks: i64) -> i64 {
        let passed = ticks as i128 - self.ticks as i128;
        let passed_ns = passed * 1_000_000_000 / self.frequency as i128;
        let sum = self.unix_ns as i128 + passed_ns;
        if sum > i64::MAX as i128 {
            i64::MAX
        } else if sum < i64::MIN as i128 {
            i64::MIN
        } else {
            sum as i64
        }
    }

    /// Ticks in a millisecond, rounded down as the driver rounds them.
    pub(super) const fn ticks_per_millisecond(&self) -> u64 {
        let ticks = self.frequency / 1000;
        if ticks > 0 { ticks as u64 } else { 1 }
    }

    /// Whether both clocks should be read anew: they drift apart.
    pub(super) const fn is_old(&self, now: i64) -> bool {
        now.saturating_sub(self.ticks) / self.frequency >= 60
    }

    /// A tick count in units of 100 ns.
    pub(super) const fn hundred_ns(&self, ticks: i64) -> i64 {
        (ticks as i128 * 10_000_000 / self.frequency as i128) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_unix_time_at_any_frequency_and_never_overflow() {
        let base = Timebase::new(1000, 5_000_000_000, 10_000_000);
        assert_eq!(base.unix_ns(1000), 5_000_000_000);
        assert_eq!(base.unix_ns(1001), 5_000_000_100);
        assert_eq!(base.unix_ns(999), 4_999_999_900);
        assert_eq!(base.unix_ns(i64::MAX), i64::MAX);
        let odd = Timebase::new(0, 0, 3_579_545);
        assert_eq!(odd.unix_ns(3_579_545 * 7), 7_000_000_000);
        assert_eq!((odd.ticks_per_millisecond(), odd.hundred_ns(3_579_545)), (3579, 10_000_000));
        assert!(odd.is_old(3_579_545 * 60) && !odd.is_old(3_579_545 * 59));
        assert_eq!(Timebase::new(0, 0, 0).ticks_per_millisecond(), 1);
    }
}
