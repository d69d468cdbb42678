//! Where packets come from and go to: one trait, a file or folder per system.
//!
//! A [`Backend`] is one open handle's end of a system: it hands out batches of matching packets and takes packets back. It
//! evaluates the handle's filter (or lets its system do so), keeps its own queue, and may be used from any thread. A
//! [`System`] opens handles.
mod error;
mod handle;
pub mod replay;

pub use error::{Error, ErrorCode, SendError};
pub use handle::Handle;

use crate::address::{Flags, Layer, Parameter, Shutdown};
use crate::batch::{Batch, Token};
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
}

/// What happens to packets that do not fit into the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overload {
    /// They are dropped and counted: fail closed.
    #[default]
    Drop,
    /// They go on unseen, and are counted.
    Pass,
}

/// What a backend can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Queue length, time and size have a meaning.
    pub has_queue: bool,
    /// [`Overload::Pass`] can be honoured.
    pub can_pass_on_overload: bool,
    /// The filter can be swapped without a gap.
    pub can_swap_filter: bool,
    /// The packets come to an end by themselves.
    pub is_finite: bool,
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
    /// [`Backend::wake`] was called.
    Woken,
    /// No packet will come any more: receiving was shut down, or a finite source ended.
    Ended,
}

/// How a handle is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order: outputs are completed.
    Completed,
    /// After an error: outputs are discarded.
    Aborted,
}

/// Which packets of a batch are meant: one `bool` each, all of them if there is no mask.
pub type Mask<'a> = Option<&'a [bool]>;

/// What a handle's end of the system has counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets that the handle could have matched.
    pub seen: u64,
    /// Packets handed out.
    pub received: u64,
    /// Packets sent, re-injected or new.
    pub sent: u64,
    /// Of those sent, how many had been changed.
    pub modified: u64,
    /// Packets received and never sent.
    pub dropped: u64,
    /// Packets dropped because the queue was full.
    pub overflowed: u64,
    /// Packets that waited too long in the queue.
    pub expired: u64,
    /// Packets that passed unseen because the queue was full.
    pub passed_on_overload: u64,
    /// Packets that could not be sent, or not be read.
    pub errors: u64,
    /// Checksums computed on sending because the address said that they were not final.
    pub checksums_computed: u64,
}

/// One open handle's end of a system.
pub trait Backend: Send + Sync {
    /// The backend's name, as users write it.
    fn name(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Appends up to `limit` packets that match, and waits for the first one only.
    fn receive(&self, batch: &mut Batch, limit: usize, wait: Wait) -> Result<Received, Error>;

    /// Sends the packets of a batch that `mask` selects, in order; how many went out. Packets of [`Origin::Received`] are
    /// re-injected; the backend forgets their tokens.
    ///
    /// [`Origin::Received`]: crate::batch::Origin::Received
    fn send(&self, batch: &Batch, mask: Mask<'_>) -> Result<usize, SendError>;

    /// Says that packets handed out under these tokens will never be sent.
    fn discard(&self, tokens: &[Token]);

    /// Makes every waiting [`receive`](Self::receive) return [`Received::Woken`].
    fn wake(&self);

    /// Ends receiving, sending or both, and wakes every waiter.
    fn shutdown(&self, how: Shutdown);

    /// Closes the handle's end, gives back what nobody received, and wakes every waiter. A second call does nothing.
    fn close(&self, ending: Ending) -> Result<(), Error>;

    /// A parameter's value.
    fn parameter(&self, parameter: Parameter) -> u64;

    /// Sets a parameter; a value out of range or a read-only parameter is refused.
    fn set_parameter(&self, parameter: Parameter, value: u64) -> Result<(), Error>;

    /// Puts another filter in the old one's place without missing a packet that either matches.
    fn set_filter(&self, filter: Arc<Filter>) -> Result<(), Error>;

    /// What was counted so far.
    fn statistics(&self) -> Statistics;

    /// Takes what users should be warned of once.
    fn take_warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Something that handles can be opened on: a capture, an engine, this machine's network stack.
pub trait System: Send + Sync {
    /// Opens a handle.
    fn open(&self, options: OpenOptions) -> Result<Arc<dyn Backend>, Error>;
}
