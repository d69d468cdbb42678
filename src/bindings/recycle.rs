//! The packet object and the argument tuple of the callback loop, used again while nobody else holds them.
//!
//! A new object and tuple cost as much as the rest of the call; see the loop's benchmark. On interpreters without the GIL a
//! reference count of one proves nothing, so there every packet is a new object.
#![expect(unsafe_code, reason = "reference counts are read through the interpreter's C interface")]
use super::packet::PyPacket;
use super::reference::reference_count;
use crate::backend::HandleId;
use crate::batch::{Batch, Slot};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// A packet object within the argument tuple that carries it to the callback.
struct Parcel<'py> {
    packet: Bound<'py, PyPacket>,
    arguments: Bound<'py, PyTuple>,
}

impl<'py> Parcel<'py> {
    /// Whether only the parcel holds the tuple.
    #[inline]
    fn has_own_arguments(&self) -> bool {
        reference_count(&self.arguments) == 1
    }

    /// Whether only the parcel holds the packet (itself and by its own tuple), and the packet's slot and views.
    #[inline]
    fn has_own_packet(&self) -> bool {
        reference_count(&self.packet) == 2 && self.packet.get().is_unshared(self.packet.py())
    }

    /// Puts a new packet into the tuple, which must be the parcel's own.
    fn replace_packet(&mut self, packet: Bound<'py, PyPacket>) -> PyResult<()> {
        let item = packet.clone().into_ptr();
        // SAFETY: the tuple has one item and nobody else sees it, and the call takes over the reference `item`.
        let answer = unsafe { ffi::PyTuple_SetItem(self.arguments.as_ptr(), 0, item) };
        self.packet = packet;
        if answer == 0 { Ok(()) } else { Err(PyErr::fetch(self.arguments.py())) }
    }
}

/// Hands out one packet after the other.
pub(super) struct Recycler<'py> {
    py: Python<'py>,
    has_gil: bool,
    parcel: Option<Parcel<'py>>,
    handle: HandleId,
}

impl<'py> Recycler<'py> {
    pub(super) fn new(py: Python<'py>, handle: HandleId) -> PyResult<Self> {
        let sys = py.import("sys")?;
        let has_gil = match sys.getattr_opt("_is_gil_enabled")? {
            Some(is_gil_enabled) => is_gil_enabled.call0()?.is_truthy()?,
            None => true,
        };
        Ok(Self { py, has_gil, parcel: None, handle })
    }

    /// Loads the packet at `index` of the batch; the packet object and the arguments to call with.
    #[inline]
    pub(super) fn load(
        &mut self,
        batch: &Batch,
        index: usize,
    ) -> PyResult<(&Bound<'py, PyPacket>, &Bound<'py, PyTuple>)> {
        match &mut self.parcel {
            Some(parcel) if self.has_gil && parcel.has_own_arguments() => {
                if parcel.has_own_packet() {
                    parcel.packet.get().slot().lock().load(batch, index);
                } else {
                    parcel.replace_packet(new_packet(self.py, batch, index, self.handle)?)?;
                }
            }
            _ => {
                let packet = new_packet(self.py, batch, index, self.handle)?;
                let arguments = PyTuple::new(self.py, [&packet])?;
                self.parcel = Some(Parcel { packet, arguments });
            }
        }
        let parcel = self.parcel.as_ref().ok_or_else(lost_packet)?;
        Ok((&parcel.packet, &parcel.arguments))
    }
}

fn new_packet<'py>(py: Python<'py>, batch: &Batch, index: usize, handle: HandleId) -> PyResult<Bound<'py, PyPacket>> {
    let slot = Slot::from_batch(batch, index).ok_or_else(lost_packet)?;
    Bound::new(py, PyPacket::new(slot, handle))
}

fn lost_packet() -> PyErr {
    pyo3::exceptions::PyRuntimeError::new_err("the loop lost its packet; please report this")
}
