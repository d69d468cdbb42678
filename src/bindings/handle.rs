//! `Handle` and `open`.
use super::address::PyAddress;
use super::batch::PyBatch;
use super::buffer::BytesLike;
use super::callback::OnError;
use super::enums::{flag_member, layer_member};
use super::error::{OrRaise, refuse};
use super::event::item;
use super::filter::PyFilter;
use super::filter_source::Dialect;
use super::input::Selection;
use super::outgoing::Outgoing;
use super::packet::PyPacket;
use super::receive::{receive, receive_slice, warn};
use super::run::{Plan, run_passthrough, work};
use super::statistics::PyStatistics;
use super::workers::run_workers;
use crate::address::{Parameter, Shutdown};
use crate::backend::{Direct, Ending, ErrorCode, Handle, SLICE};
use crate::batch::Batch;
use pyo3::call::PyCallArgs;
use pyo3::exceptions::{PyResourceWarning, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyType;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Largest batch, as the driver's.
const BATCH_MAX: usize = 255;
/// More threads than this help nobody.
const WORKERS_MAX: usize = 64;

/// An open handle: receives the packets that its filter matches, and sends.
///
/// Made by `open`. A context manager, like a file: leaving the block closes it; an exception that leaves the block discards a
/// replay's output. May be used from any thread; `close` and `shutdown` wake every waiter.
#[pyclass(frozen, module = "oxidivert", name = "Handle", weakref)]
pub(super) struct PyHandle {
    core: Arc<Handle>,
    filter: Mutex<Py<PyFilter>>,
    outgoing: Outgoing,
}

/// A time-out in seconds as the instant when it is over.
fn deadline(timeout: Option<f64>) -> PyResult<Option<Instant>> {
    let Some(seconds) = timeout else { return Ok(None) };
    let wait = Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("timeout is {seconds} seconds; it is 0 or more, or None")))?;
    Ok(Instant::now().checked_add(wait))
}

impl PyHandle {
    pub(super) fn new(core: Arc<Handle>, filter: Bound<'_, PyFilter>) -> Self {
        Self { core, filter: Mutex::new(filter.unbind()), outgoing: Outgoing::default() }
    }

    fn receive_one(&self, py: Python<'_>, deadline: Option<Instant>) -> PyResult<Option<Py<PyAny>>> {
        let mut batch = Batch::new();
        if !receive(py, &self.core, &mut batch, 1, deadline)? {
            return Ok(None);
        }
        item(py, &batch, 0, self.core.id()).map(Some)
    }

    fn parameter(&self, parameter: Parameter) -> u64 {
        self.core.backend().parameter(parameter)
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
            // Whatever else there is to warn of comes too late, and the interpreter may be at its end.
            let ended = py.detach(|| self.core.close(Ending::Completed)).or_raise(py);
            for error in [warned, ended].into_iter().filter_map(Result::err) {
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
        let mut batch = self.core.new_batch();
        receive(py, &self.core, &mut batch, batch_limit(limit)?, deadline(timeout)?)?;
        Ok(PyBatch::new(batch, self.core.id()))
    }

    /// Sends a packet, or bytes with an address.
    ///
    /// The first send of a received packet re-injects it; later ones, and packets made here, inject new ones.
    #[pyo3(signature = (packet, address=None))]
    fn send(&self, py: Python<'_>, packet: &Bound<'_, PyAny>, address: Option<&Bound<'_, PyAddress>>) -> PyResult<()> {
        let address = address.map(Bound::get);
        if let Ok(packet) = packet.cast::<PyPacket>() {
            return self.outgoing.send_packet(py, &self.core, packet.get(), address);
        }
        let bytes: BytesLike<'_> = packet.extract()?;
        let Some(address) = address else {
            return Err(PyTypeError::new_err("bytes need an address: send(data, Address())"));
        };
        self.outgoing.send_bytes(py, &self.core, bytes.as_slice(), address)
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
    /// TypeError. On handles with SNIFF, DROP or RECV_ONLY and on event layers nothing is sent. An exception in it, by
    /// `on_error`: "raise" drops the packet, sends those that were decided, leaves the rest to be received, and raises; "drop"
    /// and "pass" log it and drop the packet or send its original bytes.
    ///
    /// `workers`: so many threads (1 to 64) call it, which helps callbacks that wait; the packets of a flow keep their order.
    #[pyo3(signature = (callback, *, batch=64, workers=1, on_error="raise"))]
    fn run(
        &self,
        py: Python<'_>,
        callback: &Bound<'_, PyAny>,
        batch: usize,
        workers: usize,
        on_error: &str,
    ) -> PyResult<u64> {
        if !(1..=WORKERS_MAX).contains(&workers) {
            return Err(PyValueError::new_err(format!("run has 1 to {WORKERS_MAX} workers, not {workers}")));
        }
        let plan = Plan { limit: batch_limit(batch)?, workers, on_error: OnError::from_text(on_error)? };
        if !callback.is_callable() {
            return Err(PyTypeError::new_err("run needs a callable that takes a packet"));
        }
        let handled = match workers {
            1 => work(&self.core, callback, &mut Direct::new(&self.core, plan.limit), plan.on_error)?,
            _ => run_workers(py, &self.core, callback, plan)?,
        };
        warn(py, &self.core)?;
        Ok(handled)
    }

    /// `recv` for asyncio. A wait that is cancelled loses no packet; many tasks may wait.
    #[pyo3(signature = (timeout=None))]
    fn recv_async<'py>(slf: &Bound<'py, Self>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        in_asyncio(slf, "recv", (slf, timeout))
    }

    /// `recv_batch` for asyncio.
    #[pyo3(signature = (limit=64, timeout=None))]
    fn recv_batch_async<'py>(
        slf: &Bound<'py, Self>,
        limit: usize,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        in_asyncio(slf, "recv_batch", (slf, limit, timeout))
    }

    /// `send` for asyncio.
    #[pyo3(signature = (packet, address=None))]
    fn send_async<'py>(
        slf: &Bound<'py, Self>,
        packet: Bound<'py, PyAny>,
        address: Option<Bound<'py, PyAddress>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        in_asyncio(slf, "call", (slf, "send", packet, address))
    }

    /// `send_batch` for asyncio.
    #[pyo3(signature = (batch, mask=None))]
    fn send_batch_async<'py>(
        slf: &Bound<'py, Self>,
        batch: Bound<'py, PyBatch>,
        mask: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        in_asyncio(slf, "call", (slf, "send_batch", batch, mask))
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        in_asyncio(slf, "enter", (slf,))
    }

    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        kind: Bound<'py, PyAny>,
        value: Bound<'py, PyAny>,
        traceback: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        in_asyncio(slf, "leave", (slf, kind, value, traceback))
    }

    fn __aiter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        in_asyncio(slf, "next_item", (slf,))
    }

    /// Waits like `recv_batch`, for a short time and not beyond the next `_wake`; an empty batch if nothing came.
    fn _recv_slice(&self, py: Python<'_>, limit: usize) -> PyResult<PyBatch> {
        let mut batch = self.core.new_batch();
        receive_slice(py, &self.core, &mut batch, batch_limit(limit)?, Instant::now() + SLICE)?;
        Ok(PyBatch::new(batch, self.core.id()))
    }

    /// Ends the wait of a `_recv_slice`.
    fn _wake(&self, py: Python<'_>) {
        py.detach(|| self.core.backend().wake());
    }

    /// Puts a batch that nobody has looked at back to the head of the queue.
    fn _give_back(&self, batch: &Bound<'_, PyBatch>) {
        batch.get().give_back(&self.core);
    }

    /// Whether sending may take as long as the system likes.
    #[getter]
    fn _waits_to_send(&self) -> bool {
        self.core.backend().capabilities().waits_to_send
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
                    || error.is_instance_of::<super::error::HandleClosedError>(py)
                    || self.core.is_closed() =>
            {
                // Closed before, or while it waited: iteration ends silently either way.
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

    /// A descriptor that can be read while packets wait, for `select` and its kind; it belongs to the handle. DivertError 50 where
    /// the backend has none.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        self.core.backend().descriptor().or_raise(py)?.ok_or_else(|| {
            refuse(py, ErrorCode::NotSupported, format!("the backend {} has no descriptors", self.backend()))
        })
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

/// A coroutine of the package's asyncio half.
fn in_asyncio<'py>(
    slf: &Bound<'py, PyHandle>,
    name: &str,
    arguments: impl PyCallArgs<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    slf.py().import("oxidivert._aio")?.call_method1(name, arguments)
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
