//! The helper functions over plain bytes, answer for answer with WinDivert's.
use super::address::PyAddress;
use super::buffer::{BytesLike, overwrite};
use super::error::OrRaise;
use super::filter::PyFilter;
use crate::filter;
use crate::packet;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyString};

/// Where the headers of a packet lie, in bytes from the start of the data; None for what is absent.
#[pyclass(frozen, module = "oxidivert.helpers", name = "ParsedPacket", eq)]
#[derive(PartialEq, Eq)]
pub(super) struct PyParsedPacket {
    offset: usize,
    strict: packet::Strict,
}

impl PyParsedPacket {
    fn header(&self, transport: packet::Transport) -> Option<usize> {
        self.strict.layout.offset_of(transport).map(|offset| self.offset + offset)
    }
}

#[pymethods]
impl PyParsedPacket {
    /// Offset of the IPv4 header.
    #[getter]
    fn ipv4(&self) -> Option<usize> {
        (!self.strict.layout.is_ipv6()).then_some(self.offset)
    }

    /// Offset of the IPv6 header.
    #[getter]
    fn ipv6(&self) -> Option<usize> {
        self.strict.layout.is_ipv6().then_some(self.offset)
    }

    /// Offset of the ICMP header.
    #[getter]
    fn icmp(&self) -> Option<usize> {
        self.header(packet::Transport::Icmp)
    }

    /// Offset of the ICMPv6 header.
    #[getter]
    fn icmpv6(&self) -> Option<usize> {
        self.header(packet::Transport::Icmpv6)
    }

    /// Offset of the TCP header.
    #[getter]
    fn tcp(&self) -> Option<usize> {
        self.header(packet::Transport::Tcp)
    }

    /// Offset of the UDP header.
    #[getter]
    fn udp(&self) -> Option<usize> {
        self.header(packet::Transport::Udp)
    }

    /// Offset of the payload.
    #[getter]
    fn payload(&self) -> Option<usize> {
        let layout = &self.strict.layout;
        (layout.payload_len() > 0).then(|| self.offset + layout.payload_offset())
    }

    /// Offset of what follows behind the packet: the next packet of a batch, or padding.
    #[getter]
    fn next(&self) -> Option<usize> {
        (self.strict.next_len > 0).then(|| self.offset + self.strict.layout.total_len())
    }

    /// Final IP protocol number.
    #[getter]
    const fn protocol(&self) -> u8 {
        self.strict.layout.protocol()
    }

    /// Length of the payload in bytes.
    #[getter]
    const fn payload_len(&self) -> usize {
        self.strict.layout.payload_len()
    }

    /// Length of what follows behind the packet, in bytes.
    #[getter]
    const fn next_len(&self) -> usize {
        self.strict.next_len
    }

    fn __repr__(&self) -> String {
        let layout = &self.strict.layout;
        format!(
            "<ParsedPacket at {} protocol={} payload_len={} next_len={}>",
            self.offset,
            layout.protocol(),
            layout.payload_len(),
            self.strict.next_len
        )
    }
}

/// Parses the packet that `data` begins with; None if it has no usable IP header or is cut short.
#[pyfunction]
pub(super) fn parse_packet(data: BytesLike<'_>) -> Option<PyParsedPacket> {
    packet::parse_strict(data.as_slice()).ok().map(|strict| PyParsedPacket { offset: 0, strict })
}

/// The packets that lie back to back in some data.
#[pyclass(module = "oxidivert.helpers", name = "_ParsedBatch")]
pub(super) struct PyParsedBatch {
    data: Vec<u8>,
    offset: usize,
}

#[pymethods]
impl PyParsedBatch {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&mut self) -> Option<PyParsedPacket> {
        let strict = packet::parse_strict(self.data.get(self.offset..)?).ok()?;
        let parsed = PyParsedPacket { offset: self.offset, strict };
        self.offset += strict.layout.total_len();
        Some(parsed)
    }
}

/// Iterates over the packets that lie back to back in `data`, up to the first that does not parse.
#[pyfunction]
pub(super) fn parse_batch(data: BytesLike<'_>) -> PyParsedBatch {
    PyParsedBatch { data: data.into_vec(), offset: 0 }
}

/// Calculates the checksums of the first packet in `data`, in place, and sets the address's checksum flags.
///
/// `flags` (`ChecksumFlag`) name those to leave alone. False for bytes that are no packet, and for first fragments and
/// truncated packets, of which the IPv4 header checksum is written all the same.
#[pyfunction]
#[pyo3(signature = (data, address=None, flags=0))]
pub(super) fn calc_checksums(
    data: &Bound<'_, PyByteArray>,
    address: Option<&Bound<'_, PyAddress>>,
    flags: u64,
) -> bool {
    let mut bytes = data.to_vec();
    let filled = packet::fill_checksums(&mut bytes, flags);
    overwrite(data, &bytes);
    if let Some(address) = address {
        address.get().change(|record| crate::batch::note_filled(record, &filled));
    }
    filled.complete
}

/// Lowers the TTL or hop limit of the first packet in `data` by one, in place; False, and nothing changed, if it is 0 or 1
/// or the bytes are no packet.
#[pyfunction]
pub(super) fn decrement_ttl(data: &Bound<'_, PyByteArray>) -> bool {
    let mut bytes = data.to_vec();
    let done = packet::decrement_ttl(&mut bytes);
    overwrite(data, &bytes);
    done
}

/// WinDivert's 64-bit hash of the headers of the first packet in `data`; 0 for bytes that are no whole packet.
#[pyfunction]
#[pyo3(signature = (data, seed=0))]
pub(super) fn hash_packet(data: BytesLike<'_>, seed: u64) -> u64 {
    let bytes = data.as_slice();
    packet::parse_strict(bytes).map_or(0, |strict| packet::hash(bytes, &strict.layout, seed))
}

/// Compiles a filter for a layer to WinDivert's object string. FilterError says what is wrong and where.
#[pyfunction]
#[pyo3(signature = (text, layer=0))]
pub(super) fn compile_filter(py: Python<'_>, text: &str, layer: i64) -> PyResult<String> {
    filter::compile_object(text.as_bytes(), raw_layer(layer)).or_raise(py)
}

/// A filter, or a compiled object string, in normal form. FilterError says what is wrong and where.
#[pyfunction]
#[pyo3(signature = (text, layer=0))]
pub(super) fn format_filter(py: Python<'_>, text: &str, layer: i64) -> PyResult<String> {
    filter::format(text.as_bytes(), raw_layer(layer)).or_raise(py)
}

/// A layer number as the helpers take it: not checked, since the filter is refused later.
fn raw_layer(layer: i64) -> u8 {
    u8::try_from(layer).unwrap_or(u8::MAX)
}

/// Whether a packet (None on event layers) with its address matches a filter: text, an object string or a `Filter`.
///
/// ValueError where the library reports an error rather than "no match": a bad filter, a field that the layer lacks, bytes
/// that are no packet, an address that does not fit.
#[pyfunction]
pub(super) fn eval_filter(
    filter: &Bound<'_, PyAny>,
    data: Option<BytesLike<'_>>,
    address: &Bound<'_, PyAddress>,
) -> PyResult<bool> {
    let record = address.get().record();
    let bytes = data.as_ref().map(BytesLike::as_slice);
    let answer = match filter.cast::<PyFilter>() {
        Ok(filter) => filter.get().core().evaluate(bytes, &record),
        Err(_) => filter::evaluate_text(filter.cast::<PyString>()?.to_str()?.as_bytes(), bytes, &record),
    };
    answer.map_err(|error| PyValueError::new_err(error.to_string()))
}

/// An IPv4 address in text as a number in host order. ValueError on refusal.
#[pyfunction]
pub(super) fn parse_ipv4_address(text: &str) -> PyResult<u32> {
    packet::parse_ipv4_address(text).ok_or_else(|| PyValueError::new_err(format!("{text:?} is no IPv4 address")))
}

/// An IPv6 address in text as four words in host order, the first one least significant. ValueError on refusal.
#[pyfunction]
pub(super) fn parse_ipv6_address(text: &str) -> PyResult<(u32, u32, u32, u32)> {
    packet::parse_ipv6_address(text)
        .map(|[a, b, c, d]| (a, b, c, d))
        .ok_or_else(|| PyValueError::new_err(format!("{text:?} is no IPv6 address")))
}

/// An IPv4 address, a number in host order, as text.
#[pyfunction]
pub(super) fn format_ipv4_address(address: u32) -> String {
    packet::format_ipv4_address(address)
}

/// An IPv6 address, four words in host order with the first one least significant, as text.
#[pyfunction]
pub(super) fn format_ipv6_address(words: [u32; 4]) -> String {
    packet::format_ipv6_address(words)
}

/// Swaps the bytes of a 16-bit number between network and host order.
#[pyfunction]
pub(super) const fn ntohs(value: u16) -> u16 {
    value.swap_bytes()
}

/// Swaps the bytes of a 16-bit number between host and network order.
#[pyfunction]
pub(super) const fn htons(value: u16) -> u16 {
    value.swap_bytes()
}

/// Swaps the bytes of a 32-bit number between network and host order.
#[pyfunction]
pub(super) const fn ntohl(value: u32) -> u32 {
    value.swap_bytes()
}

/// Swaps the bytes of a 32-bit number between host and network order.
#[pyfunction]
pub(super) const fn htonl(value: u32) -> u32 {
    value.swap_bytes()
}

/// Swaps the bytes of a 64-bit number between network and host order.
#[pyfunction]
pub(super) const fn ntohll(value: u64) -> u64 {
    value.swap_bytes()
}

/// Swaps the bytes of a 64-bit number between host and network order.
#[pyfunction]
pub(super) const fn htonll(value: u64) -> u64 {
    value.swap_bytes()
}

/// Reverses all 16 bytes of an IPv6 address of four words: network to host order.
#[pyfunction]
pub(super) fn ntoh_ipv6_address(words: [u32; 4]) -> (u32, u32, u32, u32) {
    let [a, b, c, d] = words.map(u32::swap_bytes);
    (d, c, b, a)
}

/// Reverses all 16 bytes of an IPv6 address of four words: host to network order.
#[pyfunction]
pub(super) fn hton_ipv6_address(words: [u32; 4]) -> (u32, u32, u32, u32) {
    ntoh_ipv6_address(words)
}
