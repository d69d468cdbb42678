//! The engine's synchronisation primitives, all from here, so that loom's take their place under `cfg(loom)`.
//!
//! Lock order: the engine's state, then what belongs to one handle or one raw read. No lock is held while somebody
//! waits but the state's own, which its condition variable gives up meanwhile, and none while a caller's code runs.
#[cfg(loom)]
pub(super) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(loom))]
pub(super) use std::sync::{Condvar, Mutex, MutexGuard, atomic};

use std::sync::PoisonError;

/// Locks; a panic elsewhere leaves the state usable, since nothing in the engine panics half way.
#[inline]
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
