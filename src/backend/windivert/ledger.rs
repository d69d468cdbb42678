//! What a handle counts of packets that were handed out: sent, dropped, given back. Knows no Windows.
use crate::engine::Statistics;

/// What a batch did that was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Packets that went out.
    pub(super) gone: usize,
    /// Of those, how many had been changed.
    pub(super) modified: u64,
    /// Of those, how many had been received.
    pub(super) re_injected: u64,
    /// Packets that did not go out.
    pub(super) failed: u64,
}

/// The counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ledger {
    counts: Statistics,
    /// Packets handed out and neither sent nor given up.
    in_hand: u64,
}

impl Ledger {
    /// Originals were handed out.
    pub(super) fn note_handed_out(&mut self, count: usize) {
        self.in_hand += count as u64;
    }

    /// A batch was sent, or could not be.
    pub(super) fn note_sent(&mut self, sent: &Sent) {
        self.counts.sent += sent.gone as u64;
        self.counts.modified += sent.modified;
        self.counts.errors += sent.failed;
        self.in_hand = self.in_hand.saturating_sub(sent.re_injected);
    }

    /// Packets that were handed out will never be sent.
    pub(super) fn note_discarded(&mut self, count: usize) {
        let count = self.in_hand.min(count as u64);
        self.in_hand -= count;
        self.counts.dropped += count;
    }

    /// The handle was closed, and gave so many packets back.
    pub(super) fn note_closed(&mut self, given_back: usize) {
        self.counts.given_back += given_back as u64;
        self.counts.dropped += std::mem::take(&mut self.in_hand);
    }

    /// These counts and those of what came in.
    pub(super) fn with(&self, intakes: impl Iterator<Item = Statistics>) -> Statistics {
        intakes.fold(self.counts, |sum, one| sum + one)
    }

    /// Takes over what an intake has counted that is no more.
    pub(super) fn retire(&mut self, counts: &Statistics) {
        self.counts = self.counts + *counts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_in_hand_are_sent_dropped_or_dropped_by_the_close() {
        let mut ledger = Ledger::default();
        ledger.note_handed_out(5);
        ledger.note_sent(&Sent { gone: 2, modified: 1, re_injected: 1, failed: 0 });
        ledger.note_discarded(2);
        ledger.note_closed(7);
        let counts = ledger.with([Statistics { received: 5, expired: 3, ..Statistics::default() }].into_iter());
        assert_eq!((counts.sent, counts.modified, counts.dropped, counts.given_back), (2, 1, 4, 7));
        assert_eq!((counts.received, counts.expired), (5, 3));
    }

    #[test]
    fn no_more_is_given_up_than_is_in_hand() {
        let mut ledger = Ledger::default();
        ledger.note_discarded(3);
        assert_eq!(ledger.with(std::iter::empty()), Statistics::default());
    }
}
