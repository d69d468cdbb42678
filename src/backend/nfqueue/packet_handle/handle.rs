//! An open handle as the rest of the crate knows it.
use super::super::kernel::fault::fault;
use super::super::sockets::owner;
use super::keeper;
use super::shared::Shared;
use crate::address::{Parameter, Shutdown};
use crate::backend::{
    Backend, Capabilities, Ending, Error, ErrorCode, Mask, OpenOptions, Process, Received, SendError, Statistics, Wait,
    Warning,
};
use crate::batch::{Batch, PacketRef, Token};
use crate::filter::Filter;
use crate::packet::FlowKey;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The version of the driver whose semantics are kept.
const VERSION: (u64, u64) = (2, 2);

/// A handle, and the thread that looks after it.
pub(crate) struct Handle {
    shared: Arc<Shared>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    pub(crate) fn open(options: &OpenOptions) -> Result<Self, Error> {
        let shared = Arc::new(Shared::open(options)?);
        let keeper = keeper::start(&shared).map_err(|error| fault("starting a thread", error))?;
        Ok(Self { shared, keeper: Mutex::new(Some(keeper)) })
    }
}

impl Backend for Handle {
    fn name(&self) -> &'static str {
        "nfqueue"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            has_queue: true,
            can_pass_on_overload: true,
            can_swap_filter: true,
            is_finite: false,
            waits_to_send: false,
        }
    }

    fn receive(&self, batch: &mut Batch, limit: usize, wait: Wait) -> Result<Received, Error> {
        self.shared.receive(batch, limit, wait)
    }

    fn send(&self, batch: &Batch, mask: Mask<'_>) -> Result<usize, SendError> {
        let shared = &*self.shared;
        shared.verify_own()?;
        let mut state = shared.state_in_place();
        if state.is_closed {
            return Err(Error::closed().into());
        }
        state.send(shared.source(), batch, mask, shared.ticker.now())
    }

    fn discard(&self, tokens: &[Token]) {
        let mut state = self.shared.state();
        if !state.is_closed && !self.shared.ruleset.is_foreign() {
            // If the queue is gone, so are its packets.
            drop(state.discard(&self.shared.queue, tokens));
        }
    }

    fn keeps_received(&self) -> bool {
        true
    }

    fn release(&self, tokens: &[Token]) {
        self.shared.release(tokens);
    }

    fn wake(&self) {
        self.shared.wake();
    }

    fn shutdown(&self, how: Shutdown) {
        self.shared.shutdown(how);
    }

    fn close(&self, _ending: Ending) -> Result<(), Error> {
        let ended = self.shared.end();
        self.shared.wake();
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper.filter(|_| !self.shared.ruleset.is_foreign()) {
            // A thread that panicked has ended as well.
            drop(keeper.join());
        }
        ended.map_err(|error| fault("removing the rules from nftables", error))
    }

    fn parameter(&self, parameter: Parameter) -> u64 {
        let value = self.shared.state().backlog.queue.limits.value(parameter);
        value.unwrap_or(if parameter == Parameter::VersionMajor { VERSION.0 } else { VERSION.1 })
    }

    fn set_parameter(&self, parameter: Parameter, value: u64) -> Result<(), Error> {
        parameter.verify(value).map_err(|message| Error::new(ErrorCode::InvalidParameter, message))?;
        self.shared.state().backlog.queue.limits.set(parameter, value);
        Ok(())
    }

    fn set_filter(&self, filter: Arc<Filter>) -> Result<(), Error> {
        self.shared.set_filter(filter)
    }

    fn bypass(&self, flow: FlowKey) -> Result<bool, Error> {
        let shared = &*self.shared;
        shared.verify_own()?;
        let mut state = shared.state();
        if state.is_closed {
            return Err(Error::closed());
        }
        let now = shared.ticker.now();
        state.bypass(&shared.queue, flow, now).map_err(|error| fault("answering the kernel", error))
    }

    fn process(&self, packet: PacketRef<'_>, known_id: u32) -> Option<Process> {
        let id = if known_id == 0 { owner::of_packet(packet)? } else { known_id };
        Some(self.describe(id))
    }

    fn describe(&self, id: u32) -> Process {
        // Looked up without the lock.
        let names = self.shared.state().names();
        names.map_or_else(|| owner::described(id), |names| names.process(id))
    }

    fn descriptor(&self) -> Result<Option<i32>, Error> {
        self.shared.descriptor().map(Some)
    }

    fn statistics(&self) -> Statistics {
        self.shared.statistics()
    }

    fn take_warnings(&self) -> Vec<Warning> {
        self.shared.state().take_warnings()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Whoever forgot to close cannot be told.
        drop(self.close(Ending::Aborted));
    }
}
