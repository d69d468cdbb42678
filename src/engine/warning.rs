//! What users are warned of once: nothing failed, but something is worth knowing.
use std::fmt;

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningKind {
    /// Packets grow old in the queue and will be lost.
    Overload,
    /// A source or a system is not as one expects.
    Environment,
}

/// A warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    kind: WarningKind,
    message: String,
}

impl Warning {
    /// A warning that packets grow old in the queue.
    pub fn overload(message: impl Into<String>) -> Self {
        Self { kind: WarningKind::Overload, message: message.into() }
    }

    /// A warning about a source or a system.
    pub fn environment(message: impl Into<String>) -> Self {
        Self { kind: WarningKind::Environment, message: message.into() }
    }

    /// What it is about.
    pub const fn kind(&self) -> WarningKind {
        self.kind
    }

    /// What is so, and what to do.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Watches how old the packets of a queue grow, and warns once.
#[derive(Debug, Default)]
pub(crate) struct AgeWatch {
    due: Option<Warning>,
    has_warned: bool,
}

impl AgeWatch {
    /// The first packet has waited for `age_ms` milliseconds of the `limit_ms` that it may.
    #[inline]
    pub(crate) fn note(&mut self, age_ms: u64, limit_ms: u64) {
        if !self.has_warned && age_ms > limit_ms / 2 {
            self.warn(age_ms, limit_ms);
        }
    }

    /// One that has warned if this one has, for a queue that takes the place of another.
    #[cfg(any(test, all(windows, target_arch = "x86_64")))]
    pub(crate) const fn silenced(&self) -> Self {
        Self { due: None, has_warned: self.has_warned }
    }

    #[cold]
    fn warn(&mut self, age_ms: u64, limit_ms: u64) {
        self.has_warned = true;
        self.due = Some(Warning::overload(format!(
            "packets wait {age_ms} ms in the queue and are dropped after {limit_ms} ms; \
             receive faster, narrow the filter, or raise queue_time"
        )));
    }

    /// The warning that is due, once.
    pub(crate) const fn take(&mut self) -> Option<Warning> {
        self.due.take()
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
