//! `Batch`: a sequence of packets over one buffer.
//!
//! A batch and those that were selected from it share one state, in which each packet is known by its index. The state's lock
//! is never held while Python code may run, nor while the interpreter is detached but to send, which needs no Python.
use super::column::PyColumn;
use super::error::OrRaise;
use super::event::item;
use super::filter::PyFilter;
use super::filter_source::Dialect;
use super::input::{NewValues, Selection};
use super::mask::PyMask;
use super::packet::PyPacket;
use crate::address::Layer;
use crate::backend::{Handle, HandleId};
use crate::batch::{Batch, Origin, PacketRef, Record, Slot, Token};
use crate::filter::ColumnSource;
use crate::packet::ParseError;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Packets and their addresses over one buffer, as `recv_batch` gives them: a sequence.
///
/// A packet taken out of it is the same object each time, and goes out as it then is when the batch is sent. `column` reads a
/// value of all packets at once, `set_column` writes one, `matches` asks a filter, `select` picks packets.
#[pyclass(frozen, module = "oxidivert", name = "Batch", sequence)]
pub(super) struct PyBatch {
    state: Arc<Mutex<State>>,
    /// The indices of the packets that the batch consists of, in order; all of them if there is none.
    picks: Option<Box<[usize]>>,
    columns: Mutex<Columns>,
    /// The handle that the packets were received from.
    handle: HandleId,
}

/// What a batch and those selected from it have in common.
struct State {
    batch: Batch,
    /// The packets that were taken out, by index; shorter than the batch where none was taken out beyond.
    packets: Vec<Option<Py<PyPacket>>>,
    /// Grows with every change of a packet.
    revision: u64,
    handle: HandleId,
}

impl Drop for State {
    /// What was neither sent nor taken out, nobody can send any more; packets that were taken out see to themselves.
    fn drop(&mut self) {
        if let Some(handle) = self.handle.handle() {
            if handle.keeps_received() {
                let is_taken_out = |index: usize| self.packets.get(index).is_some_and(Option::is_some);
                let records = self.batch.records().iter().enumerate().filter(|(index, _)| !is_taken_out(*index));
                let tokens: Vec<Token> = records.filter_map(|(_, record)| record.origin.received()).collect();
                handle.backend().release(&tokens);
            }
            handle.keep_memory(std::mem::take(&mut self.batch));
        }
    }
}

/// Columns that were read, and the state's revision that they are of.
#[derive(Default)]
struct Columns {
    revision: u64,
    columns: Vec<Py<PyColumn>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PyBatch {
    pub(super) fn new(batch: Batch, handle: HandleId) -> Self {
        let state = Arc::new(Mutex::new(State { batch, packets: Vec::new(), revision: 0, handle }));
        Self { state, picks: None, columns: Mutex::default(), handle }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// The state, in which packets that were taken out are as they now are.
    fn lock_current(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, State>> {
        let mut state = self.lock();
        state.take_in_edits().or_raise(py)?;
        Ok(state)
    }

    /// Likewise, where there are only packets.
    fn lock_packets(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, State>> {
        let state = self.lock_current(py)?;
        // All that a handle hands out is of one kind.
        if state.has_event(0) {
            return Err(PyValueError::new_err("events have no columns; look at their attributes one by one"));
        }
        Ok(state)
    }

    /// How many packets there are.
    fn len_in(&self, state: &State) -> usize {
        self.picks.as_ref().map_or(state.batch.len(), |picks| picks.len())
    }

    /// The index in the state of the packet at a position.
    fn index_of(&self, position: usize) -> usize {
        self.picks.as_ref().map_or(position, |picks| picks.get(position).copied().unwrap_or(usize::MAX))
    }

    /// The position of the packet with an index.
    fn position_of(&self, index: usize) -> usize {
        let picks = self.picks.as_ref();
        picks.and_then(|picks| picks.iter().position(|pick| *pick == index)).unwrap_or(index)
    }

    /// The packet or event at a position.
    fn item_at(&self, py: Python<'_>, position: usize) -> PyResult<Py<PyAny>> {
        let index = self.index_of(position);
        let mut event = Batch::new();
        {
            let state = self.lock();
            if state.has_event(index) {
                event.append_from(&state.batch, index);
            }
        }
        if !event.is_empty() {
            return item(py, &event, 0, self.handle);
        }
        self.packet_at(py, position).map(Py::into_any)
    }

    fn packet_at(&self, py: Python<'_>, position: usize) -> PyResult<Py<PyPacket>> {
        let index = self.index_of(position);
        let slot = {
            let state = self.lock();
            if let Some(Some(packet)) = state.packets.get(index) {
                return Ok(packet.clone_ref(py));
            }
            let missing = || PyIndexError::new_err(format!("the batch has {} packets", self.len_in(&state)));
            Slot::from_batch(&state.batch, index).ok_or_else(missing)?
        };
        // Made without the lock: making an object may run the collector.
        let packet = Py::new(py, PyPacket::new(slot, self.handle))?;
        let mut state = self.lock();
        if state.packets.len() <= index {
            let len = state.batch.len();
            state.packets.resize_with(len, || None);
        }
        let place = state.packets.get_mut(index).ok_or_else(|| PyIndexError::new_err("the batch is shorter now"))?;
        Ok(place.get_or_insert(packet).clone_ref(py))
    }

    /// Shows the packets as they now are, in order: position, packet, and what is known of it.
    pub(super) fn visit(&self, py: Python<'_>, mut visit: impl FnMut(usize, PacketRef<'_>, &Record)) -> PyResult<()> {
        let state = self.lock_packets(py)?;
        for position in 0..self.len_in(&state) {
            let index = self.index_of(position);
            if let (Some(packet), Some(record)) = (state.batch.packet(index), state.batch.records().get(index)) {
                visit(position, packet, record);
            }
        }
        Ok(())
    }

    /// Puts a batch that nobody has looked at back to the head of its handle's queue.
    pub(super) fn give_back(&self, handle: &Handle) {
        let batch = std::mem::take(&mut self.lock().batch);
        handle.give_back(&batch, 0);
    }

    /// Sends the selected packets as they now are.
    pub(super) fn send(&self, py: Python<'_>, handle: &Handle, mask: Option<&Selection<'_>>) -> PyResult<usize> {
        let state = self.lock_current(py)?;
        let mask = mask.map(|mask| mask.values(self.len_in(&state))).transpose()?;
        let whole = self.picks.as_ref().map(|picks| widen(picks, mask, state.batch.len()));
        drop(state);
        let mask = whole.as_deref().or(mask);
        let sent = py.detach(|| {
            let mut state = self.lock();
            if self.handle != handle.id() {
                return handle.send(&mut state.as_new(), mask);
            }
            let sent = handle.send(&mut state.batch, mask);
            state.mark_sent(mask, sent.as_ref().map_or_else(|failure| failure.sent, |count| *count));
            sent
        });
        self.lock().tell_origins();
        sent.or_raise(py)
    }

    /// The column of this name that was read before and is of this revision.
    fn known_column(&self, py: Python<'_>, name: &str, revision: u64) -> Option<Py<PyColumn>> {
        let known = locked(&self.columns);
        let mut columns = known.columns.iter().filter(|_| known.revision == revision);
        columns.find(|column| column.get().name() == name).map(|column| column.clone_ref(py))
    }

    fn remember_column(&self, py: Python<'_>, column: &Py<PyColumn>, revision: u64) {
        let mut known = locked(&self.columns);
        if known.revision != revision {
            *known = Columns { revision, columns: Vec::new() };
        }
        known.columns.push(column.clone_ref(py));
    }
}

/// A mask of all packets from one of some of them.
fn widen(picks: &[usize], mask: Option<&[bool]>, len: usize) -> Vec<bool> {
    let mut whole = vec![false; len];
    for (position, index) in picks.iter().enumerate() {
        let is_meant = mask.is_none_or(|mask| mask.get(position) == Some(&true));
        if let Some(place) = whole.get_mut(*index) {
            *place |= is_meant;
        }
    }
    whole
}

impl State {
    /// Whether there is no packet at an index, but an event.
    fn has_event(&self, index: usize) -> bool {
        let layer = self.batch.records().get(index).and_then(|record| record.address.layer());
        layer.is_some_and(|layer| !layer.has_packets())
    }

    /// Brings the packets that were taken out into the buffer as they now are.
    fn take_in_edits(&mut self) -> Result<(), ParseError> {
        for (index, packet) in self.packets.iter().enumerate() {
            let Some(packet) = packet else { continue };
            let slot = packet.get().slot().lock();
            if slot.is_changed() {
                self.revision += u64::from(!slot.is_in(&self.batch, index));
                slot.store(&mut self.batch, index)?;
            }
            let record = self.batch.records_mut().get_mut(index);
            // What was sent stays so, even where the packet does not know yet.
            if let Some(record) = record.filter(|_| !matches!(slot.origin(), Origin::Received(_))) {
                record.origin = slot.origin();
            }
        }
        Ok(())
    }

    /// The first `count` selected packets were sent: sending them again injects copies.
    fn mark_sent(&mut self, mask: Option<&[bool]>, count: usize) {
        let is_selected = |index: &usize| mask.is_none_or(|mask| mask.get(*index) == Some(&true));
        let records = self.batch.records_mut().iter_mut().enumerate().filter(|(index, _)| is_selected(index));
        for (_, record) in records.take(count) {
            if let Origin::Received(token) = record.origin {
                record.origin = Origin::Injected(Some(token));
            }
        }
    }

    /// The packets as new ones, for a handle that did not receive them.
    fn as_new(&self) -> Batch {
        let mut batch = self.batch.clone();
        batch.make_new(0);
        batch
    }

    /// Tells the packets that were taken out whether they were sent.
    fn tell_origins(&self) {
        for (packet, record) in self.packets.iter().zip(self.batch.records()) {
            if let (Some(packet), Origin::Injected(_)) = (packet, record.origin) {
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
        let state = self.lock_current(py)?;
        let positions = 0..self.len_in(&state);
        let packets = positions.map(|position| state.batch.packet(self.index_of(position)));
        let mask: Vec<_> = packets.map(|packet| packet.is_some_and(|packet| core.matches(packet))).collect();
        Ok(mask.into())
    }

    /// A value of each packet, as it now is: a field of the filter language (`tcp.DstPort`, `ip.SrcAddr`, `localAddr`,
    /// `outbound`, `tcp.Payload[0]`), `length`, `time_ns`, `direction` (0 outbound, 1 inbound), `src_addr`, `dst_addr`,
    /// `src_port`, `dst_port` or `protocol`.
    ///
    /// Read once; the same object until a packet changes. ValueError if there is no such column.
    fn column(&self, py: Python<'_>, name: &str) -> PyResult<Py<PyColumn>> {
        let state = self.lock_packets(py)?;
        let revision = state.revision;
        if let Some(column) = self.known_column(py, name, revision) {
            return Ok(column);
        }
        let source = ColumnSource::parse(name).or_raise(py)?;
        let positions = 0..self.len_in(&state);
        let column = source.extract(&state.batch, positions.map(|position| self.index_of(position)));
        drop(state);
        let column = Py::new(py, PyColumn::new(source, column))?;
        self.remember_column(py, &column, revision);
        Ok(column)
    }

    /// Gives the packets that `mask` selects (default all) a value each: one for all, a sequence, a Column or a buffer of
    /// integers with one for each packet of the batch. Checksums follow, as with every edit.
    ///
    /// Ports, addresses and other header fields can be set, but none that tells of the packet's structure: ValueError, with the
    /// list. If a packet lacks the header or its value does not fit, PacketError names it and no packet is changed.
    #[pyo3(signature = (name, values, mask=None))]
    fn set_column(&self, py: Python<'_>, name: &str, values: NewValues, mask: Option<Selection<'_>>) -> PyResult<()> {
        let source = ColumnSource::parse(name).or_raise(py)?;
        let mut guard = self.lock_packets(py)?;
        let state = &mut *guard;
        let len = self.len_in(state);
        let mask = mask.as_ref().map(|mask| mask.values(len)).transpose()?;
        values.verify_len(len)?;
        let positions = (0..len).filter(|position| mask.is_none_or(|mask| mask.get(*position) == Some(&true)));
        let indices = positions.clone().map(|position| self.index_of(position));
        let written = match &values {
            NewValues::One(value) => source.write_one(&mut state.batch, indices.clone(), *value),
            NewValues::Each(_) => {
                let edits = positions.map(|position| (self.index_of(position), values.at(position)));
                source.write(&mut state.batch, edits)
            }
        };
        written.map_err(|error| error.renumbered(|index| self.position_of(index))).or_raise(py)?;
        state.revision += 1;
        if state.packets.is_empty() {
            return Ok(());
        }
        for index in indices {
            if let Some(Some(packet)) = state.packets.get(index) {
                packet.get().slot().lock().follow(&state.batch, index);
            }
        }
        Ok(())
    }

    /// The packets that a mask means, as a batch. They are the same packets: what changes in one batch changes in the other,
    /// and what was sent by one is sent again by the other as a copy.
    fn select(&self, mask: Selection<'_>) -> PyResult<Self> {
        let len = self.__len__();
        let positions = mask.values(len)?.iter().enumerate().filter(|(_, is_meant)| **is_meant);
        let picks = positions.map(|(position, _)| self.index_of(position)).collect();
        let (state, handle) = (Arc::clone(&self.state), self.handle);
        Ok(Self { state, picks: Some(picks), columns: Mutex::default(), handle })
    }

    fn __len__(&self) -> usize {
        self.len_in(&self.lock())
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
