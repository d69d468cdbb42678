//! `Engine`: the driver's semantics in process, for users' tests.
use super::buffer::copied;
use super::enums::event_from;
use super::error::OrRaise;
use super::event::item;
use super::ip::IpAddress;
use super::packet::PyPacket;
use crate::backend::{HandleId, System};
use crate::batch::Batch;
use crate::engine::{Clock, Connection, Engine, Flow, Injection, Settings};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A small network stack in process, and handles on it that behave as WinDivert's: `open(..., backend=engine)`.
///
/// `inject` sends a packet on its way, which it has gone before the call returns, as far as no handle holds it; `delivered` lists
/// what reached the host or the wire. `flow` and `socket_event` tell handles of the other layers. Engines are independent of
/// each other, and everything may be used from any thread.
///
/// `clock`: "stepped" stands still but for `advance`, so that timestamps and queue times are the same in every run; "real" is
/// the system's.
#[pyclass(frozen, module = "oxidivert", name = "Engine")]
pub(super) struct PyEngine {
    core: Engine,
    delivered: Py<PyList>,
    /// Used again by every look at what was delivered.
    arrived: Mutex<Batch>,
}

impl PyEngine {
    /// The system to open handles on.
    pub(super) fn system(&self) -> Arc<dyn System> {
        Arc::new(self.core.clone())
    }
}

/// An end of a connection, if anything of it is known.
fn end(address: Option<IpAddress>, port: u16) -> Option<SocketAddr> {
    let unspecified = (port != 0).then_some(Ipv4Addr::UNSPECIFIED.into());
    address.map(|IpAddress(address)| address).or(unspecified).map(|address| SocketAddr::new(address, port))
}

#[pymethods]
impl PyEngine {
    #[new]
    #[pyo3(signature = (clock="stepped"))]
    fn py_new(py: Python<'_>, clock: &str) -> PyResult<Self> {
        let clock = match clock {
            "stepped" => Clock::Stepped,
            "real" => Clock::Real,
            _ => return Err(PyValueError::new_err(format!("clock is 'stepped' or 'real', not {clock:?}"))),
        };
        let core = Engine::new(Settings { clock, ..Settings::default() });
        Ok(Self { core, delivered: PyList::empty(py).unbind(), arrived: Mutex::default() })
    }

    /// Sends a packet, or the bytes of one, on its way: from this host's programs (`outbound`) or from the wire; with
    /// `loopback` between two addresses of this host, with `forwarded` through it (layer NETWORK_FORWARD). `reassembled`:
    /// it was put together from fragments. `process`: the number of the process that it belongs to.
    ///
    /// Its checksums are taken to be final. Bytes that are no packet pass untouched.
    #[pyo3(signature = (packet, outbound=true, *, loopback=false, forwarded=false, reassembled=false, interface_index=1, process=None))]
    #[expect(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "keyword arguments of Python")]
    fn inject(
        &self,
        py: Python<'_>,
        packet: &Bound<'_, PyAny>,
        outbound: bool,
        loopback: bool,
        forwarded: bool,
        reassembled: bool,
        interface_index: u32,
        process: Option<u32>,
    ) -> PyResult<()> {
        let bytes = match packet.cast::<PyPacket>() {
            Ok(packet) => packet.get().slot().lock().bytes().to_vec(),
            Err(_) => copied(packet)?,
        };
        let process_id = process.unwrap_or(0);
        let injection = Injection {
            outbound,
            loopback,
            forwarded,
            reassembled,
            interface_index,
            process_id,
            ..Injection::default()
        };
        py.detach(|| self.core.inject(&bytes, &injection));
        Ok(())
    }

    /// The packets that reached the host or the wire, in order; `packet.direction` tells which. Always the same list, so that a
    /// test may clear it between its steps.
    #[getter]
    fn delivered<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let delivered = self.delivered.bind(py).clone();
        let mut arrived = std::mem::take(&mut *self.arrived.lock().unwrap_or_else(PoisonError::into_inner));
        self.core.swap_delivered(&mut arrived);
        for index in 0..arrived.len() {
            delivered.append(item(py, &arrived, index, HandleId::default())?)?;
        }
        *self.arrived.lock().unwrap_or_else(PoisonError::into_inner) = arrived;
        Ok(delivered)
    }

    /// A flow begins: handles of layer FLOW are told, and told again when the answer's `end` is called.
    #[pyo3(signature = (*, local_addr=None, remote_addr=None, local_port=0, remote_port=0, protocol=6, process_id=0, endpoint_id=0, parent_endpoint_id=0, outbound=true, loopback=false))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn flow(
        &self,
        local_addr: Option<IpAddress>,
        remote_addr: Option<IpAddress>,
        local_port: u16,
        remote_port: u16,
        protocol: u8,
        process_id: u32,
        endpoint_id: u64,
        parent_endpoint_id: u64,
        outbound: bool,
        loopback: bool,
    ) -> PyEngineFlow {
        let (local, remote) = (end(local_addr, local_port), end(remote_addr, remote_port));
        let connection =
            Connection { protocol, local, remote, process_id, endpoint_id, parent_endpoint_id, outbound, loopback };
        PyEngineFlow { core: self.core.flow(&connection) }
    }

    /// A socket operation happens (`event`: SOCKET_BIND to SOCKET_CLOSE): handles of layer SOCKET are told. Whether they allow it.
    #[pyo3(signature = (event, *, local_addr=None, remote_addr=None, local_port=0, remote_port=0, protocol=6, process_id=0, endpoint_id=0, parent_endpoint_id=0, loopback=false))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn socket_event(
        &self,
        py: Python<'_>,
        event: i64,
        local_addr: Option<IpAddress>,
        remote_addr: Option<IpAddress>,
        local_port: u16,
        remote_port: u16,
        protocol: u8,
        process_id: u32,
        endpoint_id: u64,
        parent_endpoint_id: u64,
        loopback: bool,
    ) -> PyResult<bool> {
        let (local, remote) = (end(local_addr, local_port), end(remote_addr, remote_port));
        let outbound = true;
        let connection =
            Connection { protocol, local, remote, process_id, endpoint_id, parent_endpoint_id, outbound, loopback };
        self.core.socket_event(event_from(event)?, &connection).or_raise(py)
    }

    /// Moves a stepped clock on by so many seconds. DivertError 50 with the system's clock.
    fn advance(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let by = Duration::try_from_secs_f64(seconds)
            .map_err(|_| PyValueError::new_err(format!("the clock cannot move on by {seconds} seconds")))?;
        self.core.advance(by).or_raise(py)
    }

    fn __repr__(&self) -> String {
        format!("<Engine, {} packets delivered>", self.core.delivered_count())
    }
}

/// A flow that began on an engine.
#[pyclass(frozen, module = "oxidivert", name = "EngineFlow")]
pub(super) struct PyEngineFlow {
    core: Flow,
}

#[pymethods]
impl PyEngineFlow {
    /// The flow ends: handles of layer FLOW that were open when it began are told. False if it has ended before.
    fn end(&self) -> bool {
        self.core.end()
    }
}
