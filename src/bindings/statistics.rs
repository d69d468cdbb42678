//! `Statistics`: a snapshot of what a handle has counted.
use crate::backend::{Statistics, with_counts};
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

/// The counts: the getters and the text form, from the one table of all counts.
macro_rules! getters {
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

with_counts!(getters);
