//! `Flow`: the connection that a packet belongs to.
use super::error::{OrRaise, refuse};
use super::ip::ip_object;
use crate::backend::{ErrorCode, HandleId};
use crate::packet::FlowKey;
use pyo3::prelude::*;

/// The flow that a packet belongs to: protocol, addresses and ports, whichever way the packet goes. Equal for all packets of a
/// flow and hashable, so that it can be the key of a table.
#[pyclass(frozen, module = "oxidivert", name = "Flow", eq, hash)]
pub(super) struct PyFlow {
    key: FlowKey,
    handle: HandleId,
}

impl PartialEq for PyFlow {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl std::hash::Hash for PyFlow {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl PyFlow {
    pub(super) const fn new(key: FlowKey, handle: HandleId) -> Self {
        Self { key, handle }
    }

    pub(super) const fn key(&self) -> &FlowKey {
        &self.key
    }
}

/// Address and port.
type End<'py> = (Bound<'py, PyAny>, u16);

#[pymethods]
impl PyFlow {
    /// IP protocol number.
    #[getter]
    const fn protocol(&self) -> u8 {
        self.key.protocol()
    }

    /// The two ends, each an address (`ipaddress`) and a port, 0 where the protocol has none; in the order of their numbers.
    #[getter]
    fn ends<'py>(&self, py: Python<'py>) -> PyResult<(End<'py>, End<'py>)> {
        let [lower, upper] = self.key.ends();
        Ok(((ip_object(py, lower.0)?, lower.1), (ip_object(py, upper.0)?, upper.1)))
    }

    /// Lets the rest of the flow, both directions, pass the handle that the packet was received from without Python, until the
    /// flow ends or the handle closes. False if too many flows pass already.
    ///
    /// What is queued of the flow goes on at once: send what was received of it first. HandleClosedError if the handle is
    /// closed or the packet came from none, DivertError 50 where the backend cannot.
    fn bypass(&self, py: Python<'_>) -> PyResult<bool> {
        let missing =
            || refuse(py, ErrorCode::InvalidHandle, "the packet is of no open handle, so there is nothing to pass");
        let handle = self.handle.handle().filter(|handle| !handle.is_closed()).ok_or_else(missing)?;
        py.detach(|| handle.backend().bypass(self.key)).or_raise(py)
    }

    fn __repr__(&self) -> String {
        let [lower, upper] = self.key.ends();
        format!("<Flow protocol {}, {} port {} and {} port {}>", self.protocol(), lower.0, lower.1, upper.0, upper.1)
    }
}
