//! `FlowEvent`, `SocketEvent`, `ReflectEvent`: what handles on layers without packets yield.
use super::address::PyAddress;
use super::enums::{event_member, flag_member, layer_member};
use super::filter::PyFilter;
use super::ip::ip_from_words;
use super::packet::PyPacket;
use super::process::{described, process_object};
use crate::address::{Address, Layer};
use crate::backend::HandleId;
use crate::batch::{Batch, Slot};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;

/// What the packet or event at `index` of a batch is in Python; `handle` is the one that it was received from.
pub(super) fn item(py: Python<'_>, batch: &Batch, index: usize, handle: HandleId) -> PyResult<Py<PyAny>> {
    let missing = || PyIndexError::new_err(format!("the batch has {} packets", batch.len()));
    let record = batch.records().get(index).ok_or_else(missing)?;
    match record.address.layer() {
        Some(Layer::Flow) => Ok(Py::new(py, PyFlowEvent { record: record.address, handle })?.into_any()),
        Some(Layer::Socket) => Ok(Py::new(py, PySocketEvent { record: record.address, handle })?.into_any()),
        Some(Layer::Reflect) => {
            let object = batch.bytes(index).unwrap_or_default().to_vec();
            Ok(Py::new(py, PyReflectEvent { record: record.address, object })?.into_any())
        }
        _ => {
            let slot = Slot::from_batch(batch, index).ok_or_else(missing)?;
            Ok(Py::new(py, PyPacket::new(slot, handle))?.into_any())
        }
    }
}

/// A class of events: what all have, then what is its own.
macro_rules! event_class {
    ($class:ident { $($rest:tt)* }) => {
        #[pymethods]
        impl $class {
            /// A copy of the event's address record.
            #[getter]
            fn address(&self) -> PyAddress {
                PyAddress::new(self.record)
            }

            /// What happened.
            #[getter]
            fn event<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                event_member(py, self.record.event().unwrap_or_default())
            }

            /// When it happened, in ticks of the raw clock.
            #[getter]
            fn timestamp(&self) -> i64 {
                self.record.timestamp()
            }
            $($rest)*
        }
    };
}

/// A class of events about an endpoint of this host.
macro_rules! endpoint_event_class {
    ($(#[doc = $doc:literal])+ $class:ident $name:literal) => {
        $(#[doc = $doc])+
        #[pyclass(frozen, module = "oxidivert", name = $name)]
        pub(super) struct $class {
            record: Address,
            /// The handle that it was received from.
            handle: HandleId,
        }

        event_class! { $class {
            /// The process; 0 if unknown.
            #[getter]
            fn process_id(&self) -> u32 {
                self.record.process_id()
            }

            /// The process that did it, with name and path as far as the system tells, on Linux also when it is gone by then. None if
            /// unknown.
            #[getter]
            fn process<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
                process_object(py, || described(self.handle, self.record.process_id()))
            }

            /// The local address.
            #[getter]
            fn local_addr<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                ip_from_words(py, self.record.local_addr())
            }

            /// The remote address.
            #[getter]
            fn remote_addr<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                ip_from_words(py, self.record.remote_addr())
            }

            /// The local port, or the ICMP type.
            #[getter]
            fn local_port(&self) -> u16 {
                self.record.local_port()
            }

            /// The remote port.
            #[getter]
            fn remote_port(&self) -> u16 {
                self.record.remote_port()
            }

            /// The IP protocol number.
            #[getter]
            fn protocol(&self) -> u8 {
                self.record.protocol()
            }

            /// The endpoint's number.
            #[getter]
            fn endpoint_id(&self) -> u64 {
                self.record.endpoint_id()
            }

            /// The number of the endpoint that this one came from.
            #[getter]
            fn parent_endpoint_id(&self) -> u64 {
                self.record.parent_endpoint_id()
            }

            fn __repr__(&self) -> String {
                let event = self.record.event().unwrap_or_default().name();
                format!(
                    "<{} {event} process {}, protocol {}, ports {} and {}>",
                    $name,
                    self.record.process_id(),
                    self.record.protocol(),
                    self.record.local_port(),
                    self.record.remote_port()
                )
            }
        } }
    };
}

endpoint_event_class! {
    /// A flow that began or ended (layer FLOW).
    PyFlowEvent "FlowEvent"
}

endpoint_event_class! {
    /// A socket operation (layer SOCKET). Unless the handle only watches (SNIFF), the operation was blocked.
    PySocketEvent "SocketEvent"
}

impl PyFlowEvent {
    /// The event's address record.
    pub(super) const fn record(&self) -> &Address {
        &self.record
    }
}

/// A handle that opened or closed (layer REFLECT).
#[pyclass(frozen, module = "oxidivert", name = "ReflectEvent")]
pub(super) struct PyReflectEvent {
    record: Address,
    /// The handle's filter object.
    object: Vec<u8>,
}

event_class! { PyReflectEvent {
    /// The process that opened the handle.
    #[getter]
    fn process_id(&self) -> u32 {
        self.record.reflect_process_id()
    }

    /// The handle's layer.
    #[getter]
    fn layer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        layer_member(py, self.layer_of_handle())
    }

    /// The handle's priority.
    #[getter]
    fn priority(&self) -> i16 {
        self.record.reflect_priority()
    }

    /// The handle's open flags.
    #[getter]
    fn flags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        flag_member(py, self.record.reflect_flags())
    }

    /// The handle's filter; None if what the driver tells of it is no object.
    #[getter]
    fn filter(&self, py: Python<'_>) -> PyResult<Option<Py<PyFilter>>> {
        PyFilter::from_object(py, &self.object, self.layer_of_handle())
    }

    fn __repr__(&self) -> String {
        let event = self.record.event().unwrap_or_default().name();
        let (process, priority) = (self.record.reflect_process_id(), self.record.reflect_priority());
        format!("<ReflectEvent {event} process {process}, layer {}, priority {priority}>", self.layer_of_handle().name())
    }
} }

impl PyReflectEvent {
    fn layer_of_handle(&self) -> Layer {
        u8::try_from(self.record.reflect_layer()).ok().and_then(Layer::from_number).unwrap_or_default()
    }
}
