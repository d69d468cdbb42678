//! A loop's batch in hand: what was decided about its packets, and what becomes of them.
use super::{Error, ErrorCode, Handle, Received, SendError, Wait};
use crate::batch::{Batch, Token};
use std::time::{Duration, Instant};

/// How long a wait may keep the main thread from noticing a signal.
pub const SLICE: Duration = Duration::from_millis(50);

/// Where a loop gets its packets from, and where those go that it does not hand out.
pub trait Source {
    /// Appends packets to a batch, and waits for the first one, but not for long where signals are to be noticed.
    fn next(&mut self, batch: &mut Batch) -> Result<Received, Error>;

    /// Whether the loop is to end before the next packet.
    fn is_stopped(&self) -> bool {
        false
    }

    /// The number, from 1, of the packet at `index` of the last batch, which is the `handled`-th that this loop hands out.
    fn number(&self, index: usize, handled: u64) -> u64 {
        let _ = index;
        handled
    }

    /// Takes back the packets of the last batch from index `from` on.
    fn take_back(&mut self, batch: &Batch, from: usize);
}

/// The handle itself as a source.
pub struct Direct<'a> {
    handle: &'a Handle,
    limit: usize,
}

impl<'a> Direct<'a> {
    /// A source of batches of up to `limit` packets.
    pub const fn new(handle: &'a Handle, limit: usize) -> Self {
        Self { handle, limit }
    }
}

impl Source for Direct<'_> {
    fn next(&mut self, batch: &mut Batch) -> Result<Received, Error> {
        self.handle.receive(batch, self.limit, Wait::Until(Instant::now() + SLICE))
    }

    fn take_back(&mut self, batch: &Batch, from: usize) {
        self.handle.give_back(batch, from);
    }
}

/// A batch in hand and what was decided about its packets.
#[derive(Default)]
pub struct Round {
    /// The packets.
    pub batch: Batch,
    mask: Vec<bool>,
    dropped: Vec<Token>,
}

impl Round {
    /// Decides whether the next packet is sent.
    #[inline]
    pub fn decide(&mut self, send: bool) {
        self.mask.push(send);
    }

    /// Sends what was decided to be sent, gives up the rest, and empties the round. Packets that nothing was decided about
    /// count as dropped.
    pub fn flush(&mut self, handle: &Handle) -> Result<(), SendError> {
        let mut outcome = Ok(());
        if !self.batch.is_empty() && handle.re_injects() {
            self.mask.resize(self.batch.len(), false);
            self.dropped.clear();
            let dropped = self.batch.records().iter().zip(&self.mask).filter(|(_, send)| !**send);
            self.dropped.extend(dropped.filter_map(|(record, _)| record.origin.received()));
            outcome = handle.send(&mut self.batch, Some(&self.mask)).map(|_| ());
            if !self.dropped.is_empty() {
                handle.backend().discard(&self.dropped);
            }
        }
        self.batch.clear();
        self.mask.clear();
        outcome
    }

    /// Ends the loop within a round: the packets from index `from` on go back to their source, those before it where it was
    /// decided that they go.
    pub fn stop(&mut self, handle: &Handle, source: &mut impl Source, from: usize) {
        source.take_back(&self.batch, from);
        self.batch.truncate(from);
        self.mask.truncate(from);
        // Why the loop ends matters more than a failure to send what was decided before.
        drop(self.flush(handle));
    }
}

/// Whether an error means that the handle was closed or shut down while a loop ran.
pub const fn is_end(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::InvalidHandle | ErrorCode::NoData | ErrorCode::OperationAborted)
}
