//! Where packets come from and go to: one trait, a file or folder per system.
//!
//! A [`Backend`] is one open handle's end of a system: it hands out batches of matching packets and takes packets back. It
//! evaluates the handle's filter (or lets its system do so), keeps its own queue, and may be used from any thread. A
//! [`System`] opens handles.
mod crew;
mod hand;
mod handle;
mod memory;
#[cfg(target_os = "linux")]
pub mod nfqueue;
mod process;
pub mod replay;
mod round;
pub mod windivert;

#[cfg(feature = "python")]
pub(crate) use crate::engine::with_counts;
pub use crate::engine::{
    Error, ErrorCode, Mask, OpenOptions, Overload, Received, SendError, Statistics, Wait, Warning, WarningKind,
};
pub use crew::{Crew, LaneSource, block_signals};
pub use hand::Hand;
pub use handle::{Handle, HandleId};
pub use process::Process;
pub use round::{Direct, Round, SLICE, Source, is_end};

use crate::address::{Parameter, Shutdown};
use crate::batch::{Batch, PacketRef, Token};
use crate::filter::Filter;
use crate::packet::FlowKey;
use std::sync::Arc;

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
    /// Sending may take as long as the system likes.
    pub waits_to_send: bool,
}

/// How a handle is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order: outputs are completed.
    Completed,
    /// After an error: outputs are discarded.
    Aborted,
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

    /// Whether the system keeps received packets until they are sent or discarded, so that it must know of those that a
    /// program just lets go.
    fn keeps_received(&self) -> bool {
        false
    }

    /// Says that a program let packets go that it had received; such a system need not be told at once.
    fn release(&self, tokens: &[Token]) {
        let _ = tokens;
    }

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

    /// Lets a flow pass this handle unseen, both directions, until it ends or the handle closes. False if too many pass
    /// already; 50 where the backend cannot.
    fn bypass(&self, flow: FlowKey) -> Result<bool, Error> {
        let _ = flow;
        let message = format!("the backend {} lets no flow bypass its handles", self.name());
        Err(Error::new(ErrorCode::NotSupported, message))
    }

    /// The process that a packet belongs to, looked up now; `None` if it is not to be found or the backend cannot tell.
    /// `known_id` is the number that came with the packet, 0 if none did.
    fn process(&self, packet: PacketRef<'_>, known_id: u32) -> Option<Process> {
        let _ = packet;
        (known_id != 0).then(|| self.describe(known_id))
    }

    /// The process of this number, with name and path as far as the system tells.
    fn describe(&self, id: u32) -> Process {
        Process::from_id(id)
    }

    /// A descriptor that can be read while packets wait, of a system that has such. It is made when it is first asked for.
    fn descriptor(&self) -> Result<Option<i32>, Error> {
        Ok(None)
    }

    /// What was counted so far.
    fn statistics(&self) -> Statistics;

    /// Takes what users should be warned of once.
    fn take_warnings(&self) -> Vec<Warning> {
        Vec::new()
    }
}

/// Something that handles can be opened on: a capture, an engine, this machine's network stack.
pub trait System: Send + Sync {
    /// Opens a handle.
    fn open(&self, options: OpenOptions) -> Result<Arc<dyn Backend>, Error>;
}
