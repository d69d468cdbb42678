//! `Packet`: a slot, its header views, and the attributes that go across headers.
use super::address::PyAddress;
use super::buffer::{BytesLike, PacketBuffer, copied};
use super::enums::{direction_member, is_outbound};
use super::error::OrRaise;
use super::flow::PyFlow;
use super::header::{PyIcmpHeader, PyIcmpv6Header, PyIpv4Header, PyIpv6Header, PyTcpHeader, PyUdpHeader};
use super::ip::{IpAddress, ip_object};
use super::process::{described, process_object};
use super::reference::reference_count;
use super::shared::SlotCell;
use crate::address::Address;
use crate::backend::{Handle, HandleId, Process};
use crate::batch::{Origin, Slot};
use crate::packet::{self, Endpoint, FlowKey, Layout, Transport};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyMemoryView};
use std::sync::OnceLock;

/// The views that a packet has handed out. They hold the slot and not the packet, so there is no cycle.
struct Views {
    address: PyOnceLock<Py<PyAddress>>,
    ipv4: PyOnceLock<Py<PyIpv4Header>>,
    ipv6: PyOnceLock<Py<PyIpv6Header>>,
    tcp: PyOnceLock<Py<PyTcpHeader>>,
    udp: PyOnceLock<Py<PyUdpHeader>>,
    icmp: PyOnceLock<Py<PyIcmpHeader>>,
    icmpv6: PyOnceLock<Py<PyIcmpv6Header>>,
}

impl Default for Views {
    fn default() -> Self {
        Self {
            address: PyOnceLock::new(),
            ipv4: PyOnceLock::new(),
            ipv6: PyOnceLock::new(),
            tcp: PyOnceLock::new(),
            udp: PyOnceLock::new(),
            icmp: PyOnceLock::new(),
            icmpv6: PyOnceLock::new(),
        }
    }
}

impl Views {
    /// How many views exist, or `None` if somebody else holds one of them.
    #[inline]
    fn count_unshared(&self, py: Python<'_>) -> Option<usize> {
        fn one<T>(view: &PyOnceLock<Py<T>>, py: Python<'_>) -> Option<usize> {
            match view.get(py) {
                None => Some(0),
                Some(view) => (reference_count(view.bind(py)) == 1).then_some(1),
            }
        }
        Some(
            one(&self.address, py)?
                + one(&self.ipv4, py)?
                + one(&self.ipv6, py)?
                + one(&self.tcp, py)?
                + one(&self.udp, py)?
                + one(&self.icmp, py)?
                + one(&self.icmpv6, py)?,
        )
    }
}

/// One packet: bytes, address, and typed views of its headers.
///
/// `Packet(data, address=None)` copies the bytes in; any bytes are taken, and what is no packet has no headers. Without an
/// address it gets `Address()`: NETWORK, outbound, checksums computed when sent. Edits keep every checksum right that was
/// right (RFC 1624); an unedited packet goes back byte for byte.
#[pyclass(frozen, module = "oxidivert", name = "Packet", weakref)]
pub(super) struct PyPacket {
    slot: SlotCell,
    views: OnceLock<Box<Views>>,
    /// The handle that it was received from, if any.
    handle: HandleId,
}

impl Drop for PyPacket {
    /// Without its packet object nobody can send what was received.
    fn drop(&mut self) {
        let received = self.slot.lock().origin().received();
        if let Some(token) = received {
            self.handle.release(token);
        }
    }
}

impl PyPacket {
    #[inline(always)]
    pub(super) fn new(slot: Slot, handle: HandleId) -> Self {
        Self { slot: SlotCell::new(slot), views: OnceLock::new(), handle }
    }

    pub(super) const fn slot(&self) -> &SlotCell {
        &self.slot
    }

    /// Whether nobody but the packet itself holds its slot or a view of it.
    #[inline]
    pub(super) fn is_unshared(&self, py: Python<'_>) -> bool {
        let views = self.views.get().map_or(Some(0), |views| views.count_unshared(py));
        views.is_some_and(|views| self.slot.is_held_by(views))
    }

    /// Whether it was received from this handle.
    pub(super) fn is_of(&self, handle: &Handle) -> bool {
        self.handle == handle.id()
    }

    fn views(&self) -> &Views {
        self.views.get_or_init(Box::default)
    }

    fn end_point(&self, py: Python<'_>, end: Endpoint) -> PyResult<Option<Py<PyAny>>> {
        let slot = self.slot.lock();
        let address = slot.layout().ok().and_then(|layout| packet::read_addr(slot.bytes(), layout, end));
        drop(slot);
        address.map(|address| ip_object(py, address).map(Bound::unbind)).transpose()
    }

    fn set_end_point(&self, py: Python<'_>, end: Endpoint, value: &IpAddress) -> PyResult<()> {
        let mut slot = self.slot.lock();
        let (bytes, layout) = slot.edit().or_raise(py)?;
        packet::write_addr(bytes, layout, end, value.0).or_raise(py)
    }

    fn look_up_process(&self) -> Option<Process> {
        let slot = self.slot.lock().clone();
        let known_id = slot.process_id();
        match (self.handle.handle(), slot.packet()) {
            (Some(handle), Ok(packet)) => handle.backend().process(packet, known_id),
            _ => described(self.handle, known_id),
        }
    }

    fn port(&self, end: Endpoint) -> Option<u16> {
        let slot = self.slot.lock();
        packet::read_port(slot.bytes(), slot.layout().ok()?, end)
    }

    fn set_port(&self, py: Python<'_>, end: Endpoint, value: u16) -> PyResult<()> {
        let mut slot = self.slot.lock();
        let (bytes, layout) = slot.edit().or_raise(py)?;
        packet::write_port(bytes, layout, end, value).or_raise(py)
    }

    #[inline]
    fn has(&self, present: impl FnOnce(&Layout) -> bool) -> bool {
        self.slot.lock().layout().is_ok_and(present)
    }
}

/// Getters that hand out a cached view.
macro_rules! view {
    ($self:ident, $py:ident, $field:ident, $class:ident, $present:expr) => {{
        if !$self.has($present) {
            return Ok(None);
        }
        let view = $self.views().$field.get_or_try_init($py, || Py::new($py, $class::new($self.slot.share())))?;
        Ok(Some(view.clone_ref($py)))
    }};
}

#[pymethods]
impl PyPacket {
    #[new]
    #[pyo3(signature = (data, address=None))]
    fn py_new(data: &Bound<'_, PyAny>, address: Option<&Bound<'_, PyAddress>>) -> PyResult<Self> {
        let record = match address {
            Some(address) => address.get().record(),
            None => Address::default(),
        };
        Ok(Self::new(Slot::new(copied(data)?, record, 0), HandleId::default()))
    }

    /// The live address record; assigning copies one in.
    #[getter]
    fn address(&self, py: Python<'_>) -> PyResult<Py<PyAddress>> {
        let make = || Py::new(py, PyAddress::of_packet(self.slot.share()));
        self.views().address.get_or_try_init(py, make).map(|view| view.clone_ref(py))
    }

    #[setter]
    fn set_address(&self, address: &Bound<'_, PyAddress>) {
        let record = address.get().record();
        *self.slot.lock().address_mut() = record;
    }

    /// The IPv4 header, or None.
    #[getter]
    fn ipv4(&self, py: Python<'_>) -> PyResult<Option<Py<PyIpv4Header>>> {
        view!(self, py, ipv4, PyIpv4Header, |layout| !layout.is_ipv6())
    }

    /// The IPv6 header, or None.
    #[getter]
    fn ipv6(&self, py: Python<'_>) -> PyResult<Option<Py<PyIpv6Header>>> {
        view!(self, py, ipv6, PyIpv6Header, Layout::is_ipv6)
    }

    /// The TCP header, or None.
    #[getter]
    fn tcp(&self, py: Python<'_>) -> PyResult<Option<Py<PyTcpHeader>>> {
        view!(self, py, tcp, PyTcpHeader, |layout| layout.has(Transport::Tcp))
    }

    /// The UDP header, or None.
    #[getter]
    fn udp(&self, py: Python<'_>) -> PyResult<Option<Py<PyUdpHeader>>> {
        view!(self, py, udp, PyUdpHeader, |layout| layout.has(Transport::Udp))
    }

    /// The ICMP header, or None.
    #[getter]
    fn icmp(&self, py: Python<'_>) -> PyResult<Option<Py<PyIcmpHeader>>> {
        view!(self, py, icmp, PyIcmpHeader, |layout| layout.has(Transport::Icmp))
    }

    /// The ICMPv6 header, or None.
    #[getter]
    fn icmpv6(&self, py: Python<'_>) -> PyResult<Option<Py<PyIcmpv6Header>>> {
        view!(self, py, icmpv6, PyIcmpv6Header, |layout| layout.has(Transport::Icmpv6))
    }

    /// Source address (`ipaddress`), or None if the bytes are no packet; settable from that or text.
    #[getter]
    fn src_addr(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.end_point(py, Endpoint::Source)
    }

    #[setter]
    fn set_src_addr(&self, py: Python<'_>, value: IpAddress) -> PyResult<()> {
        self.set_end_point(py, Endpoint::Source, &value)
    }

    /// Destination address (`ipaddress`), or None if the bytes are no packet; settable from that or text.
    #[getter]
    fn dst_addr(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.end_point(py, Endpoint::Destination)
    }

    #[setter]
    fn set_dst_addr(&self, py: Python<'_>, value: IpAddress) -> PyResult<()> {
        self.set_end_point(py, Endpoint::Destination, &value)
    }

    /// Source port of TCP or UDP, or None.
    #[getter]
    fn src_port(&self) -> Option<u16> {
        self.port(Endpoint::Source)
    }

    #[setter]
    fn set_src_port(&self, py: Python<'_>, value: u16) -> PyResult<()> {
        self.set_port(py, Endpoint::Source, value)
    }

    /// Destination port of TCP or UDP, or None.
    #[getter]
    fn dst_port(&self) -> Option<u16> {
        self.port(Endpoint::Destination)
    }

    #[setter]
    fn set_dst_port(&self, py: Python<'_>, value: u16) -> PyResult<()> {
        self.set_port(py, Endpoint::Destination, value)
    }

    /// Which way the packet goes (`Direction`); settable.
    #[getter]
    fn direction<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let outbound = self.slot.lock().address().outbound();
        direction_member(py, outbound)
    }

    #[setter]
    fn set_direction(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let outbound = is_outbound(value)?;
        self.slot.lock().address_mut().set_outbound(outbound);
        Ok(())
    }

    /// Final IP protocol number (6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6, …), or None if the bytes are no packet.
    #[getter]
    fn protocol(&self) -> Option<u8> {
        self.slot.lock().layout().ok().map(Layout::protocol)
    }

    /// Whether the packet is an IP fragment; an IPv6 atomic fragment counts.
    #[getter]
    fn is_fragment(&self) -> bool {
        self.has(Layout::is_fragment)
    }

    /// The process that the packet belongs to, as far as the backend knows: a live one looks it up when asked. None if it is not
    /// to be found. On an engine that is what `inject` was given.
    #[getter]
    fn process<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        process_object(py, || self.look_up_process())
    }

    /// The flow that the packet belongs to. None for fragments, which do not all tell it, and for bytes that are no packet.
    #[getter]
    fn flow(&self) -> Option<PyFlow> {
        let slot = self.slot.lock();
        let key = FlowKey::of(slot.bytes(), slot.layout().ok()?)?;
        Some(PyFlow::new(key, self.handle))
    }

    /// Capture time in nanoseconds since the Unix epoch; 0 if unknown.
    #[getter]
    fn time_ns(&self) -> i64 {
        self.slot.lock().time_ns()
    }

    /// All bytes, as a read-only memoryview; assigning replaces them (they must be a packet).
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        let end = self.slot.lock().bytes().len();
        PacketBuffer::view(py, self.slot.share(), 0..end)
    }

    #[setter]
    fn set_data(&self, py: Python<'_>, data: BytesLike<'_>) -> PyResult<()> {
        self.slot.replace(py, data.as_slice())
    }

    /// The payload, as a read-only memoryview; assigning one of any length fixes lengths and checksums.
    ///
    /// Assigning raises PacketError on a first fragment, a truncated packet, and where the result is too long.
    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        let range = self.slot.lock().layout().or_raise(py)?.payload_range();
        PacketBuffer::view(py, self.slot.share(), range)
    }

    #[setter]
    fn set_payload(&self, py: Python<'_>, data: BytesLike<'_>) -> PyResult<()> {
        let mut slot = self.slot.lock();
        let new_len = slot.layout().or_raise(py)?.payload_offset() + data.as_slice().len();
        self.slot.verify_resizable(new_len, slot.bytes().len())?;
        slot.set_payload(data.as_slice()).or_raise(py)
    }

    /// Calculates every checksum anew, except those that `flags` (`ChecksumFlag`) leave alone, and sets the address's
    /// checksum flags. False for a first fragment or a truncated packet, whose transport checksum cannot be known.
    #[pyo3(signature = (flags=0))]
    fn recalculate_checksums(&self, py: Python<'_>, flags: u64) -> PyResult<bool> {
        self.slot.lock().fill_checksums(flags).or_raise(py)
    }

    /// Whether the checksums in the bytes are right, whatever the address's flags say.
    #[getter]
    fn checksums_valid(&self) -> bool {
        let slot = self.slot.lock();
        slot.layout().is_ok_and(|layout| packet::verify_checksums(slot.bytes(), layout))
    }

    /// WinDivert's 64-bit hash of the headers; 0 for bytes that are no whole packet.
    #[pyo3(signature = (seed=0))]
    fn packet_hash(&self, seed: u64) -> u64 {
        let slot = self.slot.lock();
        match slot.layout() {
            Ok(layout) if !layout.is_truncated() => packet::hash(slot.bytes(), layout, seed),
            _ => 0,
        }
    }

    /// A packet of its own with the same bytes and address. Sending it injects a new packet.
    fn copy(&self) -> Self {
        let mut slot = self.slot.lock().clone();
        slot.set_origin(Origin::Injected(None));
        Self::new(slot, self.handle)
    }

    fn __copy__(&self) -> Self {
        self.copy()
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> Self {
        self.copy()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, pyo3::types::PyType>, (Bound<'py, PyBytes>, PyAddress)) {
        let slot = slf.get().slot.lock();
        (slf.get_type(), (PyBytes::new(slf.py(), slot.bytes()), PyAddress::new(*slot.address())))
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.slot.lock().bytes())
    }

    fn __len__(&self) -> usize {
        self.slot.lock().bytes().len()
    }

    fn __repr__(&self) -> String {
        let slot = self.slot.lock();
        match slot.layout() {
            Ok(layout) => format!("<Packet {}>", packet::summary(slot.bytes(), layout)),
            Err(error) => format!("<Packet of {} bytes: {error}>", slot.bytes().len()),
        }
    }
}
