//! What handles count.

/// What a handle's end of the system has counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets that the handle could have matched.
    pub seen: u64,
    /// Packets that the system handed over although the filter does not match them, and that went on at once: none where the
    /// system can ask the whole filter itself.
    pub unmatched: u64,
    /// Packets handed out.
    pub received: u64,
    /// Packets sent, re-injected or new.
    pub sent: u64,
    /// Of those sent, how many had been changed.
    pub modified: u64,
    /// Packets received and never sent, and those that a handle with DROP dropped.
    pub dropped: u64,
    /// Packets dropped because the queue was full.
    pub overflowed: u64,
    /// Of those overflowed, how many because of their bytes rather than their number.
    pub overflowed_by_size: u64,
    /// Packets that waited too long in the queue.
    pub expired: u64,
    /// Packets that a system which counts no losses has probably lost, estimated from the age of those that came.
    pub suspected_loss: u64,
    /// Packets that passed unseen because the queue was full.
    pub passed_on_overload: u64,
    /// Packets that passed unseen because their flow bypasses the handle.
    pub bypassed: u64,
    /// Packets that were still queued when the handle closed, and went on.
    pub given_back: u64,
    /// Packets that could not be sent, or not be read.
    pub errors: u64,
    /// Checksums computed on sending because the address said that they were not final.
    pub checksums_computed: u64,
}
