//! The lock over a handle's state, and what else is to happen when it is given up.
use super::super::kernel::sys::{self, Descriptor};
use super::super::traffic::state::State;
use std::sync::MutexGuard;

/// The state, whose lock is held; when it is given up, `ready` tells whether packets wait.
pub(super) struct Guard<'a> {
    pub(super) state: MutexGuard<'a, State>,
    pub(super) ready: &'a Descriptor,
}

impl std::ops::Deref for Guard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl std::ops::DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let is_ready = !self.state.backlog.is_empty() || self.state.is_closed || self.state.has_ended_receiving;
        if is_ready != std::mem::replace(&mut self.state.is_ready, is_ready) {
            if is_ready { sys::add_events(self.ready, 1) } else { sys::take_events(self.ready) }
        }
    }
}
