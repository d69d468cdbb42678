//! The slot that a `Packet`, its header views and its memoryviews hold together. Nothing in it points back to them.
use super::error::OrRaise;
use crate::batch::Slot;
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// A slot behind a lock, with the count of memoryviews that look at its bytes.
///
/// The lock is never held while Python code runs, nor while the interpreter is detached.
pub(super) struct SharedSlot {
    slot: Mutex<Slot>,
    exports: AtomicUsize,
}

impl SharedSlot {
    #[inline(always)]
    pub(super) const fn new(slot: Slot) -> Self {
        Self { slot: Mutex::new(slot), exports: AtomicUsize::new(0) }
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a memoryview in.
    pub(super) fn add_export(&self) {
        self.exports.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a memoryview out.
    pub(super) fn remove_export(&self) {
        self.exports.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A packet's slot: within the packet until the first view or memoryview needs it, from then on shared with them.
///
/// Most packets are looked at through `Packet` alone; they cost one allocation less.
pub(super) struct SlotCell {
    own: SharedSlot,
    shared: OnceLock<Arc<SharedSlot>>,
}

impl SlotCell {
    #[inline(always)]
    pub(super) const fn new(slot: Slot) -> Self {
        Self { own: SharedSlot::new(slot), shared: OnceLock::new() }
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, Slot> {
        if let Some(shared) = self.shared.get() {
            return shared.lock();
        }
        let own = self.own.lock();
        match self.shared.get() {
            // Another thread shared the slot while we waited for the lock.
            Some(shared) => shared.lock(),
            None => own,
        }
    }

    /// The slot, to be held by a view.
    pub(super) fn share(&self) -> Arc<SharedSlot> {
        let mut own = self.own.lock();
        let shared = self.shared.get_or_init(|| Arc::new(SharedSlot::new(std::mem::take(&mut *own))));
        Arc::clone(shared)
    }

    /// Whether nobody but the packet and this many views holds the slot.
    #[inline]
    pub(super) fn is_held_by(&self, views: usize) -> bool {
        self.shared.get().is_none_or(|shared| Arc::strong_count(shared) == views + 1)
    }

    /// Refuses a change of size while a memoryview looks at the bytes, as `bytearray` does. The slot must be locked.
    pub(super) fn verify_resizable(&self, new_len: usize, old_len: usize) -> PyResult<()> {
        let exports = self.shared.get().map_or(0, |shared| shared.exports.load(Ordering::Acquire));
        if new_len != old_len && exports > 0 {
            return Err(PyBufferError::new_err(
                "the packet's size cannot change while a memoryview of its data or payload exists; release it first",
            ));
        }
        Ok(())
    }

    /// Replaces all bytes; they must be a packet.
    pub(super) fn replace(&self, py: Python<'_>, bytes: &[u8]) -> PyResult<()> {
        let mut slot = self.lock();
        self.verify_resizable(bytes.len(), slot.bytes().len())?;
        crate::packet::Layout::parse(bytes).or_raise(py)?;
        slot.replace(bytes);
        Ok(())
    }
}
