//! Handles of layers that have events: an engine of their own keeps queue, filter and order, and a thread feeds it with what
//! the kernel tells.
use super::super::kernel::fault::fault;
use super::super::kernel::sys::{self, Descriptor};
use super::super::sockets::names::Names;
use super::super::tables::registry::Registration;
use crate::address::{Parameter, Shutdown};
use crate::backend::{
    Backend, Capabilities, Ending, Error, Mask, OpenOptions, Process, Received, SendError, Statistics, Wait,
    block_signals,
};
use crate::batch::{Batch, Token};
use crate::engine::{Clock, Engine, Handle, Settings};
use crate::filter::Filter;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// What feeds an engine: runs until the descriptor can be read.
pub(super) trait Feed: Send + 'static {
    /// Tells the engine what has happened since the last time, after waiting for it or for the descriptor.
    fn feed(&mut self, engine: &Engine, ended: &Descriptor);
}

/// A handle of a layer that has events.
pub(crate) struct Observed {
    handle: Handle,
    /// Of all but observers of handles, who are not to be seen themselves.
    registration: Option<Registration>,
    /// Names of processes that were told of.
    names: Names,
    ended: Arc<Descriptor>,
    feeder: Mutex<Option<JoinHandle<()>>>,
}

/// An engine for one handle.
pub(super) fn engine() -> Engine {
    Engine::new(Settings { clock: Clock::Real, ..Settings::default() })
}

impl Observed {
    /// Opens a handle on an engine, and has a thread feed it.
    pub(super) fn open(
        engine: Engine,
        options: OpenOptions,
        registration: Option<Registration>,
        names: Names,
        mut feed: impl Feed,
    ) -> Result<Self, Error> {
        let handle = engine.open(options)?;
        let ended = sys::event_counter(false).map_err(|error| fault("making an event counter", error))?;
        let ended = Arc::new(ended);
        let until = Arc::clone(&ended);
        let feeder = Builder::new()
            .name("oxidivert-events".to_owned())
            .spawn(move || {
                block_signals();
                while !sys::is_readable(&until) {
                    feed.feed(&engine, &until);
                }
            })
            .map_err(|error| fault("starting a thread", error))?;
        Ok(Self { handle, registration, names, ended, feeder: Mutex::new(Some(feeder)) })
    }
}

impl Backend for Observed {
    fn name(&self) -> &'static str {
        "nfqueue"
    }

    fn capabilities(&self) -> Capabilities {
        Backend::capabilities(&self.handle)
    }

    fn receive(&self, batch: &mut Batch, limit: usize, wait: Wait) -> Result<Received, Error> {
        self.handle.receive(batch, limit, wait)
    }

    fn send(&self, batch: &Batch, mask: Mask<'_>) -> Result<usize, SendError> {
        self.handle.send(batch, mask)
    }

    fn discard(&self, tokens: &[Token]) {
        self.handle.discard(tokens);
    }

    fn wake(&self) {
        self.handle.wake();
    }

    fn shutdown(&self, how: Shutdown) {
        Backend::shutdown(&self.handle, how);
    }

    fn close(&self, ending: Ending) -> Result<(), Error> {
        Backend::close(&self.handle, ending)?;
        let Some(feeder) = self.feeder.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        if self.ended.is_foreign() {
            return Ok(());
        }
        sys::add_events(&self.ended, 1);
        // A thread that panicked has ended as well.
        drop(feeder.join());
        let removed = self.registration.as_ref().map_or(Ok(()), Registration::remove);
        removed.map_err(|error| fault("removing a table from nftables", error))
    }

    fn parameter(&self, parameter: Parameter) -> u64 {
        Backend::parameter(&self.handle, parameter)
    }

    fn set_parameter(&self, parameter: Parameter, value: u64) -> Result<(), Error> {
        self.handle.set_parameter(parameter, value)
    }

    fn set_filter(&self, filter: Arc<Filter>) -> Result<(), Error> {
        Backend::set_filter(&self.handle, filter)
    }

    fn describe(&self, id: u32) -> Process {
        self.names.process(id)
    }

    fn statistics(&self) -> Statistics {
        self.handle.statistics()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        // Whoever forgot to close cannot be told.
        drop(self.close(Ending::Aborted));
    }
}
