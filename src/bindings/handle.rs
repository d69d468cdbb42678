//! `Handle` and `open`.
use super::address::PyAddress;
use super::batch::PyBatch;
use super::buffer::BytesLike;
use super::enums::{flag_member, layer_member};
use super::error::{OrRaise, OverloadWarning, refuse};
use super::event::item;
use super::filter::PyFilter;
use super::filter_source::Dialect;
use super::input::Selection;
use super::packet::PyPacket;
use super::run::{OnError, receive, run, run_passthrough};
use super::statistics::PyStatistics;
use crate::address::{Parameter, Shutdown};
use crate::backend::{Ending, ErrorCode, Handle, WarningKind};
use crate::batch::{Batch, Origin};
use crate::packet::ParseError;
use pyo3::exceptions::{PyResourceWarning, PyTypeError, PyUserWarning, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyType;
use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Largest batch, as the driver's.
const BATCH_MAX: usize = 255;

/// An open handle: receives the packets that its filter matches, and sends.
///
/// Made by `open`. A context manager, like a file: leaving the block closes it; an exception that leaves the block discards a
/// replay's output. May be used from any thread; `close` and `shutdown` wake every waiter.
#[pyclass(frozen, module = "oxidivert", name = "Handle", weakref)]
pub(super) struct PyHandle {
    core: Arc<Handle>,
    filter: Mutex<Py<PyFilter>>,
    /// Used again by every send of one packet.
    outgoing: Mutex<Batch>,
}

/// A time-out in seconds as the instant when it is over.
fn deadline(timeout: Option<f64>) -> PyResult<Option<Instant>> {
    let Some(seconds) = timeout else { return Ok(None) };
    let wait = Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("timeout is {seconds} seconds; it is 0 or more, or None")))?;
    Ok(Instant::now().checked_add(wait))
}

impl PyHandle {
    pub(super) fn new(core: Handle, filter: Bound<'_, PyFilter>) -> Self {
        Self { core: Arc::new(core), filter: Mutex::new(filter.unbind()), outgoing: Mutex::default() }
    }

    fn receive_one(&self, py: Python<'_>, deadline: Option<Instant>) -> PyResult<Option<Py<PyAny>>> {
        let mut batch = Batch::new();
        if !receive(py, &self.core, &mut batch, 1, deadline)? {
            return Ok(None);
        }
        item(py, &batch, 0).map(Some)
    }

    fn parameter(&self, parameter: Parameter) -> u64 {
        self.core.backend().parameter(parameter)
    }

    fn outgoing(&self) -> MutexGuard<'_, Batch> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the one packet that `fill` appends.
    fn send_one(&self, py: Python<'_>, fill: impl FnOnce(&mut Batch) -> Result<(), ParseError>) -> PyResult<()> {
        let mut batch = std::mem::take(&mut *self.outgoing());
        batch.clear();
        fill(&mut batch).or_raise(py)?;
        let sent = py.detach(|| {
            let sent = self.core.send(&mut batch, None);
            *self.outgoing() = batch;
            sent
        });
        sent.or_raise(py).map(|_| ())
    }

    fn send_packet(&self, py: Python<'_>, packet: &PyPacket, address: Option<&PyAddress>) -> PyResult<()> {
        let given = address.map(PyAddress::record);
        self.send_one(py, |batch| {
            packet.slot().lock().append_to(batch)?;
            if let (Some(address), Some(record)) = (given, batch.records_mut().last_mut()) {
                record.address = address;
                record.changed = true;
            }
            Ok(())
        })?;
        let mut slot = packet.slot().lock();
        if let Origin::Received(token) = slot.origin() {
            slot.set_origin(Origin::Injected(Some(token)));
        }
        Ok(())
    }

    fn send_bytes(&self, py: Python<'_>, bytes: &[u8], address: &PyAddress) -> PyResult<()> {
        self.send_one(py, |batch| {
            batch.push_parsed(bytes, &address.record(), 0, Origin::Injected(None))?;
            if let Some(record) = batch.records_mut().last_mut() {
                // A new packet counts as changed.
                record.changed = true;
            }
            Ok(())
        })
    }

    fn end(&self, py: Python<'_>, ending: Ending) -> PyResult<()> {
        py.detach(|| self.core.close(ending)).or_raise(py)?;
        warn(py, &self.core)
    }
}

impl Drop for PyHandle {
    fn drop(&mut self) {
        if self.core.is_closed() {
            return;
        }
        Python::attach(|py| {
            // The handle may be collected because an exception is on its way, which must not be lost.
            let pending = PyErr::take(py);
            let class = py.get_type::<PyResourceWarning>();
            let warned = PyErr::warn(py, &class, c"an open handle was collected; close it, best by a with block", 1);
            for error in [warned, self.end(py, Ending::Completed)].into_iter().filter_map(Result::err) {
                error.write_unraisable(py, None);
            }
            if let Some(pending) = pending {
                pending.restore(py);
            }
        });
    }
}

#[pymethods]
impl PyHandle {
    /// Waits for a packet: `timeout` seconds, 0 polls, None waits as long as it takes. None only when the time is out.
    ///
    /// HandleShutdownError (232) after a receive shutdown or the end of a replay, HandleClosedError after close.
    #[pyo3(signature = (timeout=None))]
    fn recv(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        self.receive_one(py, deadline(timeout)?)
    }

    /// Waits like `recv` for at least one packet, and takes up to `limit` (1 to 255) that are there.
    ///
    /// An empty batch when the time is out.
    #[pyo3(signature = (limit=64, timeout=None))]
    fn recv_batch(&self, py: Python<'_>, limit: usize, timeout: Option<f64>) -> PyResult<PyBatch> {
        let mut batch = Batch::new();
        receive(py, &self.core, &mut batch, batch_limit(limit)?, deadline(timeout)?)?;
        Ok(PyBatch::new(batch))
    }

    /// Sends a packet, or bytes with an address.
    ///
    /// The first send of a received packet re-injects it; later ones, and packets made here, inject new ones.
    #[pyo3(signature = (packet, address=None))]
    fn send(&self, py: Python<'_>, packet: &Bound<'_, PyAny>, address: Option<&Bound<'_, PyAddress>>) -> PyResult<()> {
        let address = address.map(Bound::get);
        if let Ok(packet) = packet.cast::<PyPacket>() {
            return self.send_packet(py, packet.get(), address);
        }
        let bytes: BytesLike<'_> = packet.extract()?;
        let Some(address) = address else {
            return Err(PyTypeError::new_err("bytes need an address: send(data, Address())"));
        };
        self.send_bytes(py, bytes.as_slice(), address)
    }

    /// Sends the packets of a batch that `mask` (one truth value each, default all) selects; how many went out.
    ///
    /// A failure in the middle raises DivertError with `sent`.
    #[pyo3(signature = (batch, mask=None))]
    fn send_batch(&self, py: Python<'_>, batch: &Bound<'_, PyBatch>, mask: Option<Selection<'_>>) -> PyResult<usize> {
        batch.get().send(py, &self.core, mask.as_ref())
    }

    /// Calls `callback(packet)` for every packet, in a loop that runs in Rust, until the handle is shut down or closed or
    /// the replay ends; how many packets were handled.
    ///
    /// The callback returns None or True to send the packet on as it now is, or False to drop it; anything else is a
    /// TypeError. An exception in it, by `on_error`: "raise" drops the packet, sends those that were decided, leaves the rest
    /// to be received, and raises; "drop" and "pass" log it and drop the packet or send its original bytes.
    #[pyo3(signature = (callback, *, batch=64, workers=1, on_error="raise"))]
    fn run(
        &self,
        py: Python<'_>,
        callback: &Bound<'_, PyAny>,
        batch: usize,
        workers: usize,
        on_error: &str,
    ) -> PyResult<u64> {
        if workers != 1 {
            return Err(refuse(py, ErrorCode::NotSupported, "run has one worker so far; give workers=1"));
        }
        let handled = run(py, &self.core, callback, batch_limit(batch)?, OnError::from_text(on_error)?)?;
        warn(py, &self.core)?;
        Ok(handled)
    }

    /// Ends receiving, sending or both (`Shutdown`), and wakes every waiter.
    fn shutdown(&self, py: Python<'_>, how: i64) -> PyResult<()> {
        let how = u8::try_from(how)
            .ok()
            .and_then(Shutdown::from_number)
            .ok_or_else(|| refuse(py, ErrorCode::InvalidParameter, "shutdown takes Shutdown.RECV, SEND or BOTH"))?;
        self.core.shutdown(how).or_raise(py)
    }

    /// Closes the handle, lets what nobody received go on, and wakes every waiter. A second call does nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.end(py, Ending::Completed)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.end(py, if kind.is_none() { Ending::Completed } else { Ending::Aborted })
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match self.receive_one(py, None) {
            Err(error)
                if error.is_instance_of::<super::error::HandleShutdownError>(py)
                    || error.is_instance_of::<super::error::HandleClosedError>(py) =>
            {
                Ok(None)
            }
            received => received,
        }
    }

    /// Puts another filter in the old one's place without missing a packet that either matches.
    ///
    /// `dialect` and `sets` are those of the text, as for `open`.
    #[pyo3(signature = (filter, *, dialect=Dialect::Extended, sets=None), text_signature = "($self, filter, *, dialect='extended', sets=None)")]
    fn set_filter<'py>(
        &self,
        filter: &Bound<'py, PyAny>,
        dialect: Dialect,
        sets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let py = filter.py();
        let filter = PyFilter::from_argument(filter, self.core.layer(), dialect, sets)?;
        let core = Arc::clone(filter.get().core());
        py.detach(|| self.core.backend().set_filter(core)).or_raise(py)?;
        *self.filter.lock().unwrap_or_else(PoisonError::into_inner) = filter.unbind();
        Ok(())
    }

    /// Whether the handle was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.core.is_closed()
    }

    /// The filter.
    #[getter]
    fn filter(&self, py: Python<'_>) -> Py<PyFilter> {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner).clone_ref(py)
    }

    /// The layer.
    #[getter]
    fn layer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        layer_member(py, self.core.layer())
    }

    /// The priority.
    #[getter]
    fn priority(&self) -> i16 {
        self.core.priority()
    }

    /// The open flags.
    #[getter]
    fn flags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        flag_member(py, self.core.flags().0)
    }

    /// The version of the driver, or of the semantics that the backend keeps: major and minor.
    #[getter]
    fn version(&self) -> (u64, u64) {
        (self.parameter(Parameter::VersionMajor), self.parameter(Parameter::VersionMinor))
    }

    /// The backend's name.
    #[getter]
    fn backend(&self) -> &'static str {
        self.core.backend().name()
    }

    /// Packets that fit into the queue, 32 to 16384.
    #[getter]
    fn queue_length(&self) -> u64 {
        self.parameter(Parameter::QueueLength)
    }

    #[setter]
    fn set_queue_length(&self, py: Python<'_>, value: u64) -> PyResult<()> {
        self.core.backend().set_parameter(Parameter::QueueLength, value).or_raise(py)
    }

    /// How long a packet may wait in the queue, 100 to 16000 milliseconds.
    #[getter]
    fn queue_time(&self) -> u64 {
        self.parameter(Parameter::QueueTime)
    }

    #[setter]
    fn set_queue_time(&self, py: Python<'_>, value: u64) -> PyResult<()> {
        self.core.backend().set_parameter(Parameter::QueueTime, value).or_raise(py)
    }

    /// Bytes that fit into the queue, 65535 to 33554432.
    #[getter]
    fn queue_size(&self) -> u64 {
        self.parameter(Parameter::QueueSize)
    }

    #[setter]
    fn set_queue_size(&self, py: Python<'_>, value: u64) -> PyResult<()> {
        self.core.backend().set_parameter(Parameter::QueueSize, value).or_raise(py)
    }

    /// What was counted so far, as a snapshot.
    #[getter]
    fn stats(&self) -> PyStatistics {
        PyStatistics::new(self.core.backend().statistics())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let filter = self.filter(py).bind(py).repr()?;
        let state = if self.core.is_closed() { "closed" } else { "open" };
        Ok(format!("<Handle {state} {filter} on {}>", self.backend()))
    }

    /// `Handle[Packet]` and the like, for annotations.
    #[classmethod]
    fn __class_getitem__<'py>(class: &Bound<'py, PyType>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        class.py().import("types")?.getattr("GenericAlias")?.call1((class, item))
    }
}

/// Passes on what the backend warns of.
fn warn(py: Python<'_>, core: &Handle) -> PyResult<()> {
    for warning in core.backend().take_warnings() {
        let class = match warning.kind() {
            WarningKind::Overload => py.get_type::<OverloadWarning>().into_any(),
            WarningKind::Environment => py.get_type::<PyUserWarning>().into_any(),
        };
        let text = CString::new(warning.message().replace('\0', " "))?;
        PyErr::warn(py, &class, &text, 1)?;
    }
    Ok(())
}

fn batch_limit(limit: usize) -> PyResult<usize> {
    if (1..=BATCH_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(PyValueError::new_err(format!("a batch has 1 to {BATCH_MAX} packets, not {limit}")))
    }
}

/// The loop of `run` with a callback in Rust that does nothing: what a callback's cost is measured against.
#[pyfunction]
#[pyo3(signature = (handle, batch=64))]
pub(super) fn _run_passthrough(py: Python<'_>, handle: &Bound<'_, PyHandle>, batch: usize) -> PyResult<u64> {
    run_passthrough(py, &handle.get().core, batch_limit(batch)?)
}
