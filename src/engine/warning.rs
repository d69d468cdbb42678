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

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
