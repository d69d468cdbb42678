//! What a handle's table says: at which hooks its chains stand, what the kernel asks of packets there, and where those that
//! match go.
//!
//! It stands on [`tables`](super::tables), which carries it out, and on [`intake`](super::intake) and
//! [`injection`](super::injection), whose queues, logs, copies and carriers the rules name.
mod extras;
mod program;
pub(super) mod questions;
pub(super) mod ruleset;
mod standing;
