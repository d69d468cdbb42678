//! What handles are opened, waited on and sent to with: plain values that every backend shares.
use super::error::Error;
use crate::address::{Flags, Layer};
use crate::filter::Filter;
use std::sync::Arc;
use std::time::Instant;

/// How a handle is to be opened; already checked by [`verify_open`](crate::address::verify_open).
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// What matches.
    pub filter: Arc<Filter>,
    /// The layer.
    pub layer: Layer,
    /// The priority; higher ones see packets first.
    pub priority: i16,
    /// The open flags.
    pub flags: Flags,
    /// What happens to packets that do not fit into the queue.
    pub on_overload: Overload,
    /// The first packet of a new flow waits until its process is known, but not for long. Of systems that tell the process
    /// of every packet, or of none, nothing changes.
    pub track_processes: bool,
}

/// What happens to packets that do not fit into the queue. Those that waited too long are dropped either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overload {
    /// They are dropped and counted: fail closed.
    #[default]
    Drop,
    /// They go on unseen, and are counted.
    Pass,
}

/// How long to wait for the first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Poll,
    /// Until this instant.
    Until(Instant),
    /// As long as it takes.
    Forever,
}

/// How a receive ended that is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// At least one packet was appended to the batch.
    Packets,
    /// The time is out.
    TimedOut,
    /// The waiters were woken.
    Woken,
    /// No packet will come any more: receiving was shut down, or a finite source ended.
    Ended,
}

/// Which packets of a batch are meant: one `bool` each, all of them if there is no mask.
pub type Mask<'a> = Option<&'a [bool]>;

/// A batch that was sent in part.
#[derive(Debug)]
pub struct SendError {
    /// How many packets went out.
    pub sent: usize,
    /// Why not all did.
    pub error: Error,
}

impl From<Error> for SendError {
    fn from(error: Error) -> Self {
        Self { sent: 0, error }
    }
}
