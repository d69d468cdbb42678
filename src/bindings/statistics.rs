//! `Statistics`: a snapshot of what a handle has counted.
use crate::backend::Statistics;
use pyo3::prelude::*;

/// What a handle has counted since it was opened: a snapshot.
#[pyclass(frozen, module = "oxidivert", name = "Statistics", eq)]
#[derive(PartialEq, Eq)]
pub(super) struct PyStatistics {
    core: Statistics,
}

impl PyStatistics {
    pub(super) const fn new(core: Statistics) -> Self {
        Self { core }
    }
}

/// The counts: the getters and the text form, from one table.
macro_rules! counts {
    ($($name:ident, $doc:literal;)*) => {
        #[pymethods]
        impl PyStatistics {
            $(
                #[doc = $doc]
                #[getter]
                const fn $name(&self) -> u64 {
                    self.core.$name
                }
            )*

            fn __repr__(&self) -> String {
                let counts = [$(format!("{}={}", stringify!($name), self.core.$name)),*];
                format!("<Statistics {}>", counts.join(" "))
            }
        }
    };
}

counts! {
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
