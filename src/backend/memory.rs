//! The engine as a system: its handles are a backend as they are.
use super::{
    Backend, Capabilities, Ending, Error, Mask, OpenOptions, Received, SendError, Statistics, System, Wait, Warning,
};
use crate::address::{Parameter, Shutdown};
use crate::batch::{Batch, Token};
use crate::engine::{Engine, Handle};
use crate::filter::Filter;
use crate::packet::FlowKey;
use std::sync::Arc;

impl System for Engine {
    fn open(&self, options: OpenOptions) -> Result<Arc<dyn Backend>, Error> {
        Ok(Arc::new(Self::open(self, options)?))
    }
}

impl Backend for Handle {
    fn name(&self) -> &'static str {
        "engine"
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
        Self::receive(self, batch, limit, wait)
    }

    fn send(&self, batch: &Batch, mask: Mask<'_>) -> Result<usize, SendError> {
        Self::send(self, batch, mask)
    }

    fn discard(&self, tokens: &[Token]) {
        Self::discard(self, tokens);
    }

    fn wake(&self) {
        Self::wake(self);
    }

    fn shutdown(&self, how: Shutdown) {
        // Of a closed handle nothing is left to be ended.
        drop(Self::shutdown(self, how));
    }

    /// Closes the handle; there is no output, so that an error changes nothing.
    fn close(&self, _ending: Ending) -> Result<(), Error> {
        Self::close(self);
        Ok(())
    }

    fn parameter(&self, parameter: Parameter) -> u64 {
        // A closed handle's are those that it would open with.
        let fallback = || parameter.bounds().map_or(2, |(default, ..)| default);
        Self::parameter(self, parameter).unwrap_or_else(|_| fallback())
    }

    fn set_parameter(&self, parameter: Parameter, value: u64) -> Result<(), Error> {
        Self::set_parameter(self, parameter, value)
    }

    fn set_filter(&self, filter: Arc<Filter>) -> Result<(), Error> {
        Self::set_filter(self, &filter)
    }

    fn bypass(&self, flow: FlowKey) -> Result<bool, Error> {
        Self::bypass(self, flow)
    }

    fn statistics(&self) -> Statistics {
        Self::statistics(self)
    }

    fn take_warnings(&self) -> Vec<Warning> {
        self.take_warning().into_iter().collect()
    }
}
