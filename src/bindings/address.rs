//! `Address` and its per-layer parts: a record of its own, or the live record of a packet.
use super::enums::{event_from, event_member, layer_from, layer_member};
use super::error::OrRaise;
use super::ip::{IpAddress, ip_from_words};
use super::shared::SharedSlot;
use crate::address::{Address, Layer};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::{Arc, Mutex, PoisonError};

/// Where the record lies.
#[derive(Clone)]
pub(super) enum Place {
    Own(Arc<Mutex<Address>>),
    Packet(Arc<SharedSlot>),
}

impl Place {
    fn own(address: Address) -> Self {
        Self::Own(Arc::new(Mutex::new(address)))
    }

    fn read(&self) -> Address {
        match self {
            Self::Own(address) => *address.lock().unwrap_or_else(PoisonError::into_inner),
            Self::Packet(slot) => *slot.lock().address(),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Address)) {
        match self {
            Self::Own(address) => change(&mut address.lock().unwrap_or_else(PoisonError::into_inner)),
            Self::Packet(slot) => change(slot.lock().address_mut()),
        }
    }
}

/// The 80-byte address record that travels with a packet or event.
///
/// Without arguments: layer NETWORK, outbound, nothing else set; checksum flags of 0 mean "computed when sent". The
/// timestamp is the raw clock, not Unix time (see `Packet.time_ns`).
#[pyclass(frozen, module = "oxidivert", name = "Address", eq)]
pub(super) struct PyAddress {
    place: Place,
}

impl PartialEq for PyAddress {
    fn eq(&self, other: &Self) -> bool {
        self.record() == other.record()
    }
}

impl PyAddress {
    pub(super) fn new(address: Address) -> Self {
        Self { place: Place::own(address) }
    }

    pub(super) const fn of_packet(slot: Arc<SharedSlot>) -> Self {
        Self { place: Place::Packet(slot) }
    }

    pub(super) fn record(&self) -> Address {
        self.place.read()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Address)) {
        self.place.change(change);
    }

    fn part<T>(&self, layers: &[Layer], make: impl FnOnce(Place) -> T) -> Option<T> {
        self.record().layer().filter(|layer| layers.contains(layer)).map(|_| make(self.place.clone()))
    }
}

/// One `#[pymethods]` block: plain fields from the table, then what is written out.
macro_rules! record_part {
    ($class:ident { $($name:ident $set:ident: $type:ty = $getter:ident, $setter:ident, $doc:literal;)* } { $($rest:tt)* }) => {
        #[pymethods]
        impl $class {
            $(
                #[doc = $doc]
                #[getter]
                fn $name(&self) -> $type {
                    self.place.read().$getter()
                }

                #[setter($name)]
                fn $set(&self, value: $type) {
                    self.place.change(|address| address.$setter(value));
                }
            )*
            $($rest)*
        }
    };
}

record_part! { PyAddress {
    timestamp set_timestamp: i64 = timestamp, set_timestamp, "Capture time in ticks of the raw clock (100 ns in replays).";
    sniffed set_sniffed: bool = sniffed, set_sniffed, "Whether the packet is a copy.";
    outbound set_outbound: bool = outbound, set_outbound, "Whether the packet leaves this host.";
    loopback set_loopback: bool = loopback, set_loopback, "Whether the packet stays within this host.";
    impostor set_impostor: bool = impostor, set_impostor, "Whether another driver made the packet.";
    ipv6 set_ipv6: bool = ipv6, set_ipv6, "Whether the packet is IPv6.";
    ip_checksum set_ip_checksum: bool = ip_checksum, set_ip_checksum,
        "Whether the IPv4 header checksum is final; if not it is computed when the packet is sent.";
    tcp_checksum set_tcp_checksum: bool = tcp_checksum, set_tcp_checksum,
        "Whether the TCP checksum is final; if not it is computed when the packet is sent.";
    udp_checksum set_udp_checksum: bool = udp_checksum, set_udp_checksum,
        "Whether the UDP checksum is final; if not it is computed when the packet is sent.";
} {
    #[new]
    #[pyo3(signature = (*, timestamp=0, layer=0, event=0, sniffed=false, outbound=true, loopback=false, impostor=false, ipv6=false, ip_checksum=false, tcp_checksum=false, udp_checksum=false))]
    #[expect(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "keyword arguments of Python")]
    fn py_new(
        timestamp: i64,
        layer: i64,
        event: i64,
        sniffed: bool,
        outbound: bool,
        loopback: bool,
        impostor: bool,
        ipv6: bool,
        ip_checksum: bool,
        tcp_checksum: bool,
        udp_checksum: bool,
    ) -> PyResult<Self> {
        let mut address = Address::default();
        address.set_timestamp(timestamp);
        address.set_layer(layer_from(layer)?);
        address.set_event(event_from(event)?);
        address.set_sniffed(sniffed);
        address.set_outbound(outbound);
        address.set_loopback(loopback);
        address.set_impostor(impostor);
        address.set_ipv6(ipv6);
        address.set_ip_checksum(ip_checksum);
        address.set_tcp_checksum(tcp_checksum);
        address.set_udp_checksum(udp_checksum);
        Ok(Self::new(address))
    }

    /// An address record from its 80 bytes. ValueError for another length, a layer above 4 or an event above 9.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: super::buffer::BytesLike<'_>) -> PyResult<Self> {
        Address::decode(data.as_slice()).or_raise(py).map(Self::new)
    }

    /// The layer.
    #[getter]
    fn layer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        layer_member(py, self.record().layer().unwrap_or_default())
    }

    #[setter]
    fn set_layer(&self, layer: i64) -> PyResult<()> {
        let layer = layer_from(layer)?;
        self.change(|address| address.set_layer(layer));
        Ok(())
    }

    /// The event.
    #[getter]
    fn event<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        event_member(py, self.record().event().unwrap_or_default())
    }

    #[setter]
    fn set_event(&self, event: i64) -> PyResult<()> {
        let event = event_from(event)?;
        self.change(|address| address.set_event(event));
        Ok(())
    }

    /// The part of layers NETWORK and NETWORK_FORWARD; None on other layers.
    #[getter]
    fn network(&self) -> Option<PyNetworkData> {
        self.part(&[Layer::Network, Layer::NetworkForward], |place| PyNetworkData { place })
    }

    /// The part of layer FLOW; None on other layers.
    #[getter]
    fn flow(&self) -> Option<PyEndpointData> {
        self.part(&[Layer::Flow], |place| PyEndpointData { place })
    }

    /// The part of layer SOCKET; None on other layers.
    #[getter]
    fn socket(&self) -> Option<PyEndpointData> {
        self.part(&[Layer::Socket], |place| PyEndpointData { place })
    }

    /// The part of layer REFLECT; None on other layers.
    #[getter]
    fn reflect(&self) -> Option<PyReflectData> {
        self.part(&[Layer::Reflect], |place| PyReflectData { place })
    }

    /// An address record of its own with the same content.
    fn copy(&self) -> Self {
        Self::new(self.record())
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.record().as_bytes())
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let from_bytes = slf.get_type().getattr("from_bytes")?;
        Ok((from_bytes, (slf.get().__bytes__(slf.py()),)))
    }

    fn __repr__(&self) -> String {
        use std::fmt::Write;
        let mut text = String::from("Address.from_bytes(bytes.fromhex('");
        for byte in self.record().as_bytes() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text + "'))"
    }
}}

/// The part of an address that packets have.
#[pyclass(frozen, module = "oxidivert", name = "NetworkData")]
pub(super) struct PyNetworkData {
    place: Place,
}

record_part! { PyNetworkData {
    interface_index set_interface_index: u32 = interface_index, set_interface_index, "Interface index.";
    subinterface_index set_subinterface_index: u32 = subinterface_index, set_subinterface_index, "Sub-interface index.";
} {} }

/// The part of an address that flow and socket events have.
#[pyclass(frozen, module = "oxidivert", name = "EndpointData")]
pub(super) struct PyEndpointData {
    place: Place,
}

record_part! { PyEndpointData {
    endpoint_id set_endpoint_id: u64 = endpoint_id, set_endpoint_id, "The endpoint's number.";
    parent_endpoint_id set_parent_endpoint_id: u64 = parent_endpoint_id, set_parent_endpoint_id,
        "The number of the endpoint that this one came from.";
    process_id set_process_id: u32 = process_id, set_process_id, "The process.";
    local_port set_local_port: u16 = local_port, set_local_port, "The local port, or the ICMP type.";
    remote_port set_remote_port: u16 = remote_port, set_remote_port, "The remote port.";
    protocol set_protocol: u8 = protocol, set_protocol, "The IP protocol number.";
} {
    /// The local address (`ipaddress`); settable from that or text. IPv4-mapped words read as IPv4.
    #[getter]
    fn local_addr<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        ip_from_words(py, self.place.read().local_addr())
    }

    #[setter]
    fn set_local_addr(&self, value: IpAddress) {
        self.place.change(|address| address.set_local_addr(value.mapped_words()));
    }

    /// The remote address (`ipaddress`); settable from that or text. IPv4-mapped words read as IPv4.
    #[getter]
    fn remote_addr<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        ip_from_words(py, self.place.read().remote_addr())
    }

    #[setter]
    fn set_remote_addr(&self, value: IpAddress) {
        self.place.change(|address| address.set_remote_addr(value.mapped_words()));
    }
} }

/// The part of an address that events about handles have.
#[pyclass(frozen, module = "oxidivert", name = "ReflectData")]
pub(super) struct PyReflectData {
    place: Place,
}

record_part! { PyReflectData {
    timestamp set_timestamp: i64 = reflect_timestamp, set_reflect_timestamp, "When the handle was opened, in ticks.";
    process_id set_process_id: u32 = reflect_process_id, set_reflect_process_id, "The process that opened the handle.";
    layer set_layer: u32 = reflect_layer, set_reflect_layer, "The handle's layer, as a number.";
    flags set_flags: u64 = reflect_flags, set_reflect_flags, "The handle's open flags, as a number.";
    priority set_priority: i16 = reflect_priority, set_reflect_priority, "The handle's priority.";
} {} }
