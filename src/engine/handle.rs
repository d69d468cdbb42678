//! An open handle of an engine, usable from any thread. Clones share one handle, which closes with the last of them.
use super::error::{Error, ErrorCode};
use super::options::{Mask, Received, SendError, Wait};
use super::priority::Rank;
use super::send::verify_sender;
use super::state::{Shared, State};
use super::statistics::Statistics;
use super::sync::{Mutex, lock};
use super::wait::{Bell, Waited};
use super::warning::Warning;
use crate::address::{Flags, Layer, Parameter, Shutdown};
use crate::batch::{Batch, Token};
use crate::filter::Filter;
use crate::packet::FlowKey;
use std::sync::Arc;

/// An open handle of an [`Engine`](super::Engine).
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    layer: Layer,
    rank: Rank,
    priority: i16,
    flags: Flags,
    bell: Arc<Bell>,
    /// The counts at the time of closing.
    last_statistics: Mutex<Statistics>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Inner {
    fn close(&self) {
        let mut state = self.shared.lock();
        let now = self.shared.ticker.now();
        if let Some(statistics) = state.close(self.layer, self.rank, now) {
            *lock(&self.last_statistics) = statistics;
        }
    }
}

impl Handle {
    pub(super) fn new(
        shared: Arc<Shared>,
        rank: Rank,
        bell: Arc<Bell>,
        layer: Layer,
        priority: i16,
        flags: Flags,
    ) -> Self {
        let last_statistics = Mutex::new(Statistics::default());
        Self { inner: Arc::new(Inner { shared, layer, rank, priority, flags, bell, last_statistics }) }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    pub(super) fn rank(&self) -> Rank {
        self.inner.rank
    }

    /// The layer.
    pub fn layer(&self) -> Layer {
        self.inner.layer
    }

    /// The priority.
    pub fn priority(&self) -> i16 {
        self.inner.priority
    }

    /// The open flags.
    pub fn flags(&self) -> Flags {
        self.inner.flags
    }

    /// Runs `visit` on the handle as the chain knows it; [`InvalidHandle`](ErrorCode::InvalidHandle) if it is closed.
    fn with<T>(&self, visit: impl FnOnce(&mut super::member::Member, i64) -> Result<T, Error>) -> Result<T, Error> {
        let mut state = self.shared().lock();
        let now = self.shared().ticker.now();
        visit(state.ladders.of(self.layer()).get_mut(self.inner.rank).ok_or_else(Error::closed)?, now)
    }

    /// Appends up to `limit` packets or events (at least one) and waits for the first one only.
    ///
    /// A handle with SEND_ONLY fails with 87, a closed one with 6, one that is closed meanwhile with 995.
    pub fn receive(&self, batch: &mut Batch, limit: usize, wait: Wait) -> Result<Received, Error> {
        let Inner { shared, layer, rank, bell, .. } = &*self.inner;
        let attempt = |state: &mut State, has_waited: bool| match state.ladders.of(*layer).get_mut(*rank) {
            Some(member) => member.receive(batch, limit.max(1), shared.ticker.now()),
            None if has_waited => Some(Err(Error::closed_meanwhile())),
            None => Some(Err(Error::closed())),
        };
        match bell.wait_for(&shared.state, wait, attempt) {
            Waited::Done(outcome) => outcome,
            Waited::TimedOut => Ok(Received::TimedOut),
            Waited::Woken => Ok(Received::Woken),
        }
    }

    /// Sends the packets of a batch that `mask` selects, in order; how many went out.
    ///
    /// A hard error (122: shorter than its IP header says; 87) ends it at that packet, what went before is out. A
    /// packet that the stack refuses (1232: an impostor whose time to live ran out) is left out, the rest goes on, and
    /// the last such error is told. A closed handle fails with 6, one whose sending was shut down with 232, one with
    /// RECV_ONLY with 87.
    pub fn send(&self, batch: &Batch, mask: Mask<'_>) -> Result<usize, SendError> {
        let Inner { shared, layer, rank, .. } = &*self.inner;
        let mut state = shared.lock();
        let member = state.ladders.of(*layer).get_mut(*rank).ok_or_else(Error::closed)?;
        let selected = || match mask {
            None => batch.len(),
            Some(mask) => mask.iter().take(batch.len()).filter(|is_selected| **is_selected).count(),
        };
        verify_sender(member, selected)?;
        let now = shared.ticker.now();
        state.way(*layer, *rank, now).ok_or_else(Error::closed)?.send(batch, mask)
    }

    /// Says that packets handed out under these tokens will never be sent.
    pub fn discard(&self, tokens: &[Token]) {
        // A closed handle has counted them already.
        let _ = self.with(|member, _| {
            let count = member.in_hand.min(tokens.len() as u64);
            member.in_hand -= count;
            member.statistics.dropped += count;
            Ok(())
        });
    }

    /// Ends every wait of this handle with [`Received::Woken`]; if nobody waits, the next one.
    pub fn wake(&self) {
        let _state = self.shared().lock();
        self.inner.bell.wake();
    }

    /// Ends receiving, sending or both, for good; what is queued can still be received.
    pub fn shutdown(&self, how: Shutdown) -> Result<(), Error> {
        self.with(|member, now| {
            member.has_ended_sending |= how.ends_sending();
            if how.ends_receiving() {
                member.end_receiving();
                member.serve_reads(now);
                member.bell.ring_all();
            }
            Ok(())
        })
    }

    /// Closes the handle and lets what nobody received go on; a second call does nothing.
    pub fn close(&self) {
        self.inner.close();
    }

    /// A parameter's value.
    pub fn parameter(&self, parameter: Parameter) -> Result<u64, Error> {
        self.with(|member, _| Ok(member.parameter(parameter)))
    }

    /// Sets a parameter; a value out of range or a read-only parameter fails with 87 and changes nothing. Nothing is
    /// discarded before the next packet comes.
    pub fn set_parameter(&self, parameter: Parameter, value: u64) -> Result<(), Error> {
        self.with(|member, _| {
            parameter.verify(value).map_err(|message| Error::new(ErrorCode::InvalidParameter, message))?;
            member.queue.limits.set(parameter, value);
            Ok(())
        })
    }

    /// Puts another filter in the old one's place; the handle's place in the chain and its queue stay.
    pub fn set_filter(&self, filter: &Filter) -> Result<(), Error> {
        let mut state = self.shared().lock();
        let now = self.shared().ticker.now();
        state.set_filter(self.layer(), self.inner.rank, filter, now)
    }

    /// Lets a flow pass this handle unseen, both directions, until it ends or the handle closes; what is queued of it
    /// goes on at once. What was received of it and is sent later comes behind what passes meanwhile: send it first.
    ///
    /// False if the handle lets too many flows pass already. A flow ends with a TCP reset, after two seconds of silence
    /// once both sides have sent a FIN, and after an hour of silence on any TCP connection, three minutes otherwise.
    pub fn bypass(&self, flow: FlowKey) -> Result<bool, Error> {
        let mut state = self.shared().lock();
        let now = self.shared().ticker.now();
        state.bypass(self.layer(), self.inner.rank, flow, now)
    }

    /// What was counted so far; of a closed handle, what was counted when it closed.
    pub fn statistics(&self) -> Statistics {
        let counted = self.with(|member, _| Ok(member.statistics));
        counted.unwrap_or_else(|_| *lock(&self.inner.last_statistics))
    }

    /// The warning that packets grow old in the queue, once.
    pub fn take_warning(&self) -> Option<Warning> {
        self.with(|member, _| Ok(member.age_watch.take())).ok().flatten()
    }
}
