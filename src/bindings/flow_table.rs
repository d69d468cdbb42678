//! `FlowTable` and its rows.
use super::batch::PyBatch;
use super::event::PyFlowEvent;
use super::flow::PyFlow;
use super::ip::ip_object;
use super::packet::PyPacket;
use crate::batch::{FlowRow, FlowTable, SortBy};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// The flows that are under way: who talks with whom, which process that is, how much, and how fast.
///
/// Fed by packets, which bring the counts, and by the events of layer FLOW, which bring processes, begin and end; either alone will
/// do. `limit`: so many flows at most; packets of further ones are counted in `overflowed`. Needs about 300 bytes a flow and may
/// be used from any thread.
#[pyclass(frozen, module = "oxidivert", name = "FlowTable")]
pub(super) struct PyFlowTable {
    table: Mutex<FlowTable>,
}

impl PyFlowTable {
    fn lock(&self) -> MutexGuard<'_, FlowTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What rows can be sorted by.
const SORTS: [(&str, SortBy); 4] =
    [("rate", SortBy::Rate), ("bytes", SortBy::Bytes), ("packets", SortBy::Packets), ("newest", SortBy::Newest)];

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as i64)
}

#[pymethods]
impl PyFlowTable {
    #[new]
    #[pyo3(signature = (*, limit=65536))]
    fn new(limit: usize) -> Self {
        Self { table: Mutex::new(FlowTable::new(limit)) }
    }

    /// Counts a packet; whether a flow began with it. Fragments belong to no flow and are only counted.
    #[pyo3(signature = (packet, /))]
    fn add(&self, packet: &PyPacket) -> bool {
        let slot = packet.slot().lock();
        let mut table = self.lock();
        slot.packet().is_ok_and(|packet| table.add(packet, slot.time_ns(), slot.process_id()))
    }

    /// Counts the packets of a batch; the positions of those that a flow began with.
    #[pyo3(signature = (batch, /))]
    fn add_batch(&self, py: Python<'_>, batch: &PyBatch) -> PyResult<Vec<usize>> {
        let mut table = self.lock();
        let mut new = Vec::new();
        batch.visit(py, |position, packet, record| {
            if table.add(packet, record.time_ns, record.process_id) {
                new.push(position);
            }
        })?;
        Ok(new)
    }

    /// Takes an event of layer FLOW in. A flow that it ends stays until `prune`, since its last packets may be told of later.
    /// `time_ns` is when it happened, in nanoseconds since the Unix epoch; without it, now.
    #[pyo3(signature = (event, /, time_ns=None))]
    fn add_event(&self, event: &PyFlowEvent, time_ns: Option<i64>) {
        self.lock().add_event(event.record(), time_ns.unwrap_or_else(now_ns));
    }

    /// Says which process a flow's local end belongs to, where no event does. False if the flow is unknown.
    #[pyo3(signature = (flow, process_id, /))]
    fn set_process(&self, flow: &PyFlow, process_id: u32) -> bool {
        self.lock().set_process(flow.key(), process_id)
    }

    /// The process at a flow's local end, as an event or `set_process` told it; 0 if none did, None if the flow is unknown.
    #[pyo3(signature = (flow, /))]
    fn process_of(&self, flow: &PyFlow) -> Option<u32> {
        self.lock().process_of(flow.key())
    }

    /// The rows, those with the largest values first, `limit` at most. `sort`: "rate" (bytes a second), "bytes", "packets" or
    /// "newest". `now_ns` is the moment that rates are told for; without it, that of the last packet or event. Flows without
    /// packets, which only events told of, are left out without `silent`.
    ///
    /// A flow within this host has a row for each of its ends that an event told of.
    #[pyo3(signature = (limit=None, *, sort="rate", now_ns=None, silent=true))]
    fn rows(&self, limit: Option<usize>, sort: &str, now_ns: Option<i64>, silent: bool) -> PyResult<Vec<PyFlowRow>> {
        let sort_by = SORTS.iter().find(|(name, _)| *name == sort).map(|(_, sort_by)| *sort_by).ok_or_else(|| {
            PyValueError::new_err(format!("sort is 'rate', 'bytes', 'packets' or 'newest', not {sort:?}"))
        })?;
        let rows = self.lock().rows(now_ns, sort_by, limit.unwrap_or(usize::MAX), silent);
        Ok(rows.into_iter().map(|row| PyFlowRow { row }).collect())
    }

    /// Takes out flows that ended more than a second ago, and those that were silent for longer than `idle_seconds`, unless an
    /// event is to tell of their end; their rows, oldest first. `now_ns` is the time, in nanoseconds since the Unix epoch.
    #[pyo3(signature = (now_ns, idle_seconds=60.0))]
    fn prune(&self, now_ns: i64, idle_seconds: f64) -> Vec<PyFlowRow> {
        let idle_ns = (idle_seconds.max(0.0) * 1e9) as i64;
        self.lock().prune(now_ns, idle_ns).into_iter().map(|row| PyFlowRow { row }).collect()
    }

    /// How many flows there have been so far.
    #[getter]
    fn begun(&self) -> u64 {
        self.lock().begun()
    }

    /// Packets and events of flows that found no room.
    #[getter]
    fn overflowed(&self) -> u64 {
        self.lock().overflowed()
    }

    /// Packets that belong to no flow: fragments, and bytes that are no packet.
    #[getter]
    fn without_flow(&self) -> u64 {
        self.lock().without_flow()
    }

    fn __len__(&self) -> usize {
        self.lock().len()
    }

    fn __repr__(&self) -> String {
        format!("<FlowTable of {} flows>", self.lock().len())
    }
}

/// One flow of a `FlowTable`, as its local end sees it: a snapshot.
#[pyclass(frozen, module = "oxidivert", name = "FlowRow")]
pub(super) struct PyFlowRow {
    row: FlowRow,
}

#[pymethods]
impl PyFlowRow {
    /// IP protocol number.
    #[getter]
    const fn protocol(&self) -> u8 {
        self.row.protocol
    }

    /// The local address.
    #[getter]
    fn local_addr<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        ip_object(py, self.row.local.0)
    }

    /// The local port; 0 where the protocol has none.
    #[getter]
    const fn local_port(&self) -> u16 {
        self.row.local.1
    }

    /// The remote address.
    #[getter]
    fn remote_addr<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        ip_object(py, self.row.remote.0)
    }

    /// The remote port; 0 where the protocol has none.
    #[getter]
    const fn remote_port(&self) -> u16 {
        self.row.remote.1
    }

    /// Whether the local end began the flow, as far as is known: by the event, else by the first packet that was seen.
    #[getter]
    const fn outbound(&self) -> bool {
        self.row.outbound
    }

    /// The process at the local end; 0 if unknown.
    #[getter]
    const fn process_id(&self) -> u32 {
        self.row.process_id
    }

    /// The endpoint's number; 0 if no event told of it.
    #[getter]
    const fn endpoint_id(&self) -> u64 {
        self.row.endpoint_id
    }

    /// Packets that the local end sent.
    #[getter]
    const fn packets_sent(&self) -> u64 {
        self.row.sent.packets
    }

    /// Packets that the local end received.
    #[getter]
    const fn packets_received(&self) -> u64 {
        self.row.received.packets
    }

    /// Bytes that the local end sent, IP headers included.
    #[getter]
    const fn bytes_sent(&self) -> u64 {
        self.row.sent.bytes
    }

    /// Bytes that the local end received, IP headers included.
    #[getter]
    const fn bytes_received(&self) -> u64 {
        self.row.received.bytes
    }

    /// Bytes a second, both ways: what came within about the last second.
    #[getter]
    const fn bytes_per_second(&self) -> f64 {
        self.row.bytes_per_second
    }

    /// Packets a second, both ways: what came within about the last second.
    #[getter]
    const fn packets_per_second(&self) -> f64 {
        self.row.packets_per_second
    }

    /// When the flow was first seen, in nanoseconds since the Unix epoch.
    #[getter]
    const fn started_ns(&self) -> i64 {
        self.row.started_ns
    }

    /// When its last packet or event was, in nanoseconds since the Unix epoch.
    #[getter]
    const fn last_ns(&self) -> i64 {
        self.row.last_ns
    }

    /// Whether it was seen to end: by an event, a reset, or a FIN each way.
    #[getter]
    const fn ended(&self) -> bool {
        self.row.ended
    }

    fn __repr__(&self) -> String {
        let row = &self.row;
        format!(
            "<FlowRow protocol {}, {} port {} to {} port {}, process {}>",
            row.protocol, row.local.0, row.local.1, row.remote.0, row.remote.1, row.process_id
        )
    }
}
