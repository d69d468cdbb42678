//! `Batch`: a sequence of packets over one buffer.
use super::error::OrRaise;
use super::event::item;
use super::filter::PyFilter;
use super::filter_source::Dialect;
use super::mask::PyMask;
use super::packet::PyPacket;
use crate::address::Layer;
use crate::backend::Handle;
use crate::batch::{Batch, Origin, Slot};
use crate::packet::ParseError;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Packets and their addresses over one buffer, as `recv_batch` gives them: a sequence.
///
/// A packet taken out of it is the same object each time, and goes out as it then is when the batch is sent.
#[pyclass(frozen, module = "oxidivert", name = "Batch", sequence)]
pub(super) struct PyBatch {
    state: Mutex<State>,
}

struct State {
    batch: Batch,
    /// The packets that were taken out, by index.
    packets: Vec<Option<Py<PyPacket>>>,
}

impl PyBatch {
    pub(super) fn new(batch: Batch) -> Self {
        let packets = std::iter::repeat_with(|| None).take(batch.len()).collect();
        Self { state: Mutex::new(State { batch, packets }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The packet or event at `index`.
    fn item_at(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyAny>> {
        let mut event = Batch::new();
        {
            let state = self.lock();
            let layer = state.batch.records().get(index).and_then(|record| record.address.layer());
            if layer.is_some_and(|layer| !layer.has_packets()) {
                event.append_from(&state.batch, index);
            }
        }
        if !event.is_empty() {
            return item(py, &event, 0);
        }
        self.packet_at(py, index).map(Py::into_any)
    }

    fn packet_at(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyPacket>> {
        let slot = {
            let state = self.lock();
            if let Some(Some(packet)) = state.packets.get(index) {
                return Ok(packet.clone_ref(py));
            }
            let missing = || PyIndexError::new_err(format!("the batch has {} packets", state.batch.len()));
            Slot::from_batch(&state.batch, index).ok_or_else(missing)?
        };
        // Made without the lock: making an object may run the collector.
        let packet = Py::new(py, PyPacket::from_slot(slot))?;
        let mut state = self.lock();
        let place = state.packets.get_mut(index).ok_or_else(|| PyIndexError::new_err("the batch is shorter now"))?;
        Ok(place.get_or_insert(packet).clone_ref(py))
    }

    /// Sends the selected packets as they now are.
    pub(super) fn send(&self, py: Python<'_>, handle: &Handle, mask: Option<&[bool]>) -> PyResult<usize> {
        let mut state = self.lock();
        let State { batch, packets } = &mut *state;
        if mask.is_some_and(|mask| mask.len() != batch.len()) {
            let message = format!("the mask needs {} truth values, one for each packet", batch.len());
            return Err(PyValueError::new_err(message));
        }
        State::take_in_edits(batch, packets).or_raise(py)?;
        let mut outgoing = std::mem::take(batch);
        drop(state);
        let sent = py.detach(|| handle.send(&mut outgoing, mask));
        let mut state = self.lock();
        state.batch = outgoing;
        let count = sent.as_ref().map_or_else(|failure| failure.sent, |count| *count);
        state.mark_sent(mask, count);
        drop(state);
        sent.or_raise(py)
    }
}

impl State {
    /// Brings the packets that were taken out into the buffer as they now are.
    fn take_in_edits(batch: &mut Batch, packets: &[Option<Py<PyPacket>>]) -> Result<(), ParseError> {
        for (index, packet) in packets.iter().enumerate() {
            if let Some(packet) = packet {
                let slot = packet.get().slot().lock();
                slot.store(batch, index)?;
                if let Some(record) = batch.records_mut().get_mut(index) {
                    record.origin = slot.origin();
                }
            }
        }
        Ok(())
    }

    /// The first `count` selected packets were sent: sending them again injects copies.
    fn mark_sent(&mut self, mask: Option<&[bool]>, count: usize) {
        let selected = (0..self.batch.len()).filter(|index| mask.is_none_or(|mask| mask.get(*index) == Some(&true)));
        for index in selected.take(count) {
            let Some(record) = self.batch.records_mut().get_mut(index) else { continue };
            if let Origin::Received(token) = record.origin {
                record.origin = Origin::Injected(Some(token));
            }
            if let Some(Some(packet)) = self.packets.get(index) {
                packet.get().slot().lock().set_origin(record.origin);
            }
        }
    }
}

#[pymethods]
impl PyBatch {
    /// For each packet, as it now is, whether it matches a filter: text, an expression of `f` or a Filter.
    fn matches(&self, py: Python<'_>, filter: &Bound<'_, PyAny>) -> PyResult<PyMask> {
        let filter = PyFilter::from_argument(filter, Layer::Network, Dialect::Extended, None)?;
        let core = Arc::clone(filter.get().core());
        let mut state = self.lock();
        let State { batch, packets } = &mut *state;
        State::take_in_edits(batch, packets).or_raise(py)?;
        let mut mask = Vec::with_capacity(batch.len());
        core.matches_batch(batch, &mut mask);
        Ok(mask.into())
    }

    fn __len__(&self) -> usize {
        self.lock().packets.len()
    }

    fn __getitem__(&self, py: Python<'_>, index: isize) -> PyResult<Py<PyAny>> {
        let len = self.__len__();
        let place = if index < 0 { index.checked_add_unsigned(len) } else { Some(index) };
        match place.and_then(|place| usize::try_from(place).ok()) {
            Some(place) => self.item_at(py, place),
            None => Err(PyIndexError::new_err(format!("the batch has {len} packets"))),
        }
    }

    fn __iter__(slf: Py<Self>) -> PyBatchIterator {
        PyBatchIterator { batch: slf, next: AtomicUsize::new(0) }
    }

    fn __repr__(&self) -> String {
        format!("<Batch of {} packets>", self.__len__())
    }
}

/// Goes through the packets of a batch.
#[pyclass(frozen, module = "oxidivert._native", name = "_BatchIterator")]
pub(super) struct PyBatchIterator {
    batch: Py<PyBatch>,
    next: AtomicUsize,
}

#[pymethods]
impl PyBatchIterator {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let batch = self.batch.get();
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        if index < batch.__len__() { batch.item_at(py, index).map(Some) } else { Ok(None) }
    }
}
