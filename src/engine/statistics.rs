//! What handles count.
use std::ops::Add;

/// The one table of all counts: names and meanings.
macro_rules! with_counts {
    ($visit:ident) => {
        $visit! {
            seen, "Packets that the handle could have matched.";
            unmatched, "Packets that the system handed over although the filter does not match them: none where it asks the whole filter.";
            received, "Packets handed out.";
            sent, "Packets sent, re-injected or new.";
            modified, "Of those sent, how many had been changed.";
            dropped, "Packets received and never sent.";
            overflowed, "Packets dropped because the queue was full.";
            overflowed_by_size, "Of those overflowed, how many because of their bytes rather than their number.";
            expired, "Packets that waited too long in the queue.";
            suspected_loss, "Packets probably lost by a driver that counts none, estimated from the age of those that came.";
            passed_on_overload, "Packets that passed unseen because the queue was full (on_overload=\"pass\").";
            bypassed, "Packets that passed unseen because their flow bypasses the handle.";
            given_back, "Packets that were still queued when the handle closed, and went on.";
            errors, "Packets that could not be sent, or not be read.";
            checksums_computed, "Checksums computed on sending because the address said that they were not final.";
        }
    };
}
#[cfg(feature = "python")]
pub(crate) use with_counts;

macro_rules! statistics {
    ($($name:ident, $doc:literal;)*) => {
        /// What a handle's end of the system has counted since it was opened.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Statistics {
            $(
                #[doc = $doc]
                pub $name: u64,
            )*
        }

        impl Add for Statistics {
            type Output = Self;

            /// The sums of all counts.
            fn add(self, other: Self) -> Self {
                Self { $($name: self.$name.saturating_add(other.$name),)* }
            }
        }
    };
}

with_counts!(statistics);

/// Why an entry was lost to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It waited too long.
    Expired,
    /// There were too many.
    Length,
    /// There were too many bytes.
    Size,
}

impl Statistics {
    /// Counts what a queue lost; whether it goes on, as packets may that there was no room for if overload `lets_pass` them.
    pub(crate) const fn note_loss(&mut self, loss: Loss, lets_pass: bool) -> bool {
        match loss {
            Loss::Expired => self.expired += 1,
            Loss::Length | Loss::Size if lets_pass => {
                self.passed_on_overload += 1;
                return true;
            }
            Loss::Length => self.overflowed += 1,
            Loss::Size => {
                self.overflowed += 1;
                self.overflowed_by_size += 1;
            }
        }
        false
    }
}
