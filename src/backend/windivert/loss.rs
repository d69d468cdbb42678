//! How many packets the driver has probably lost, which counts none: estimated from the age and the spacing of those that came.

/// What is known of the last packet that came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LossEstimate {
    last: Option<i64>,
    /// How far apart packets were when several came together.
    spacing: Option<u64>,
    suspected: u64,
}

impl LossEstimate {
    /// Takes note of packets that came together: their stamps in order, and when they were read. The driver drops what is
    /// older than `limit` ticks, so that packets that come when nearly that old are the rest of more; how many more is
    /// taken from the gap before them and their own spacing.
    pub(super) fn note(&mut self, stamps: impl Iterator<Item = i64>, now: i64, limit: u64) {
        let (mut first, mut newest, mut count) = (None, 0, 0_u64);
        for stamp in stamps {
            first.get_or_insert(stamp);
            newest = stamp;
            count += 1;
        }
        let Some(first) = first else { return };
        let is_late = now.abs_diff(first) > limit / 8 * 7;
        if count > 1 {
            self.spacing = Some((newest.abs_diff(first) / (count - 1)).max(1));
        }
        if let (true, Some(last), Some(spacing)) = (is_late, self.last, self.spacing) {
            let gap = first.saturating_sub(last).max(0) as u64;
            // One spacing lies between neighbours; only what is missing beyond it was lost.
            self.suspected = self.suspected.saturating_add((gap / spacing).saturating_sub(1));
        }
        self.last = Some(newest);
    }

    /// How many packets were probably lost so far.
    pub(super) const fn suspected(&self) -> u64 {
        self.suspected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_before_old_packets_is_a_loss_and_one_before_young_ones_is_a_pause() {
        let mut estimate = LossEstimate::default();
        estimate.note((0..100).map(|index| index * 10), 1000, 20_000);
        assert_eq!(estimate.suspected(), 0);
        // Read in time, long after the last: nothing was sent meanwhile.
        estimate.note((0..100).map(|index| 50_000 + index * 10), 51_000, 20_000);
        assert_eq!(estimate.suspected(), 0);
        // Read when nearly expired, 10 000 ticks after the last: a thousand are missing.
        estimate.note((0..100).map(|index| 61_000 + index * 10), 80_500, 20_000);
        assert!((900..=1100).contains(&estimate.suspected()), "{}", estimate.suspected());
    }

    #[test]
    fn stamps_of_any_kind_are_taken() {
        let mut estimate = LossEstimate::default();
        estimate.note([i64::MIN, i64::MAX].into_iter(), i64::MAX, 1);
        estimate.note([i64::MIN].into_iter(), i64::MAX, 0);
        estimate.note(std::iter::empty(), 0, 0);
    }
}
