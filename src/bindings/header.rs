//! The header views: typed attributes over a shared slot, one class a header, all from one table.
//!
//! A view holds the slot and never the packet. If the packet is changed so that its header is gone, reading gives
//! `PacketError`, as writing does.
use super::error::{OrRaise, PacketError};
use super::ip::{IpAddress, ip_object};
use super::shared::SharedSlot;
use crate::packet::{self, Endpoint, Field, fields};
use pyo3::prelude::*;
use std::sync::Arc;

#[inline]
fn read(slot: &SharedSlot, field: Field) -> PyResult<u32> {
    let slot = slot.lock();
    slot.layout().ok().and_then(|layout| packet::read(slot.bytes(), layout, field)).ok_or_else(gone)
}

#[inline]
fn write(py: Python<'_>, slot: &SharedSlot, field: Field, value: u32) -> PyResult<()> {
    let mut slot = slot.lock();
    let (bytes, layout) = slot.edit().or_raise(py)?;
    packet::write(bytes, layout, field, value).or_raise(py)
}

#[cold]
fn gone() -> PyErr {
    PacketError::new_err(
        "the packet no longer has this header, since it was changed; take the header from the packet anew",
    )
}

/// Conversions between a field's number and its Python type.
trait FieldType: Sized {
    fn from_number(number: u32) -> Self;
    fn into_number(self) -> u32;
}

impl FieldType for u32 {
    #[inline]
    fn from_number(number: u32) -> Self {
        number
    }

    #[inline]
    fn into_number(self) -> u32 {
        self
    }
}

impl FieldType for bool {
    #[inline]
    fn from_number(number: u32) -> Self {
        number != 0
    }

    #[inline]
    fn into_number(self) -> u32 {
        u32::from(self)
    }
}

/// Declares a view: class, Python name, documentation; settable fields; fields that can only be read; further methods.
macro_rules! header {
    (
        $class:ident, $python:literal, $header:ident, $doc:literal,
        { $($name:ident $set:ident: $type:ty = $field:ident, $field_doc:literal;)* }
        read_only { $($fixed:ident: $fixed_type:ty = $fixed_field:ident, $fixed_doc:literal;)* }
        with { $($rest:tt)* }
    ) => {
        #[doc = $doc]
        #[pyclass(frozen, module = "oxidivert", name = $python)]
        pub(super) struct $class {
            slot: Arc<SharedSlot>,
        }

        impl $class {
            pub(super) const fn new(slot: Arc<SharedSlot>) -> Self {
                Self { slot }
            }
        }

        #[pymethods]
        impl $class {
            $(
                #[doc = $field_doc]
                #[getter]
                fn $name(&self) -> PyResult<$type> {
                    read(&self.slot, fields::$header::$field).map(FieldType::from_number)
                }

                #[setter($name)]
                fn $set(&self, py: Python<'_>, value: $type) -> PyResult<()> {
                    write(py, &self.slot, fields::$header::$field, FieldType::into_number(value))
                }
            )*
            $(
                #[doc = $fixed_doc]
                #[getter]
                fn $fixed(&self) -> PyResult<$fixed_type> {
                    read(&self.slot, fields::$header::$fixed_field).map(FieldType::from_number)
                }
            )*
            $($rest)*

            fn __repr__(&self) -> String {
                let slot = self.slot.lock();
                let mut text = String::from(concat!("<", $python));
                for (name, field) in [
                    $((stringify!($name), fields::$header::$field),)*
                    $((stringify!($fixed), fields::$header::$fixed_field),)*
                ] {
                    if let Some(value) = slot.layout().ok().and_then(|layout| packet::read(slot.bytes(), layout, field)) {
                        text.push_str(&format!(" {name}={value}"));
                    }
                }
                text + ">"
            }
        }
    };
}

fn address(py: Python<'_>, slot: &SharedSlot, end: Endpoint) -> PyResult<Py<PyAny>> {
    let slot = slot.lock();
    let address = slot.layout().ok().and_then(|layout| packet::read_addr(slot.bytes(), layout, end));
    drop(slot);
    ip_object(py, address.ok_or_else(gone)?).map(Bound::unbind)
}

fn set_address(py: Python<'_>, slot: &SharedSlot, end: Endpoint, value: &IpAddress) -> PyResult<()> {
    let mut slot = slot.lock();
    let (bytes, layout) = slot.edit().or_raise(py)?;
    packet::write_addr(bytes, layout, end, value.0).or_raise(py)
}

/// Like `header`, with the two addresses that IP headers have.
macro_rules! ip_header {
    ($($table:tt)*) => {
        header! { $($table)* with {
            /// Source address (`ipaddress`); settable from that or text.
            #[getter]
            fn src_addr(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                address(py, &self.slot, Endpoint::Source)
            }

            #[setter]
            fn set_src_addr(&self, py: Python<'_>, value: IpAddress) -> PyResult<()> {
                set_address(py, &self.slot, Endpoint::Source, &value)
            }

            /// Destination address (`ipaddress`); settable from that or text.
            #[getter]
            fn dst_addr(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                address(py, &self.slot, Endpoint::Destination)
            }

            #[setter]
            fn set_dst_addr(&self, py: Python<'_>, value: IpAddress) -> PyResult<()> {
                set_address(py, &self.slot, Endpoint::Destination, &value)
            }
        } }
    };
}

ip_header! {
    PyIpv4Header, "Ipv4Header", ipv4, "The IPv4 header of a packet (RFC 791). Edits keep its checksum right.",
    {
    tos set_tos: u32 = TOS, "Type of service, 0 to 255.";
    length set_length: u32 = LENGTH, "Total length in bytes, header included. Setting it parses the packet anew.";
    id set_id: u32 = ID, "Identification, 0 to 65535.";
    dont_fragment set_dont_fragment: bool = DONT_FRAGMENT, "Whether routers must not fragment the packet.";
    more_fragments set_more_fragments: bool = MORE_FRAGMENTS, "Whether more fragments follow. Setting it parses the packet anew.";
    fragment_offset set_fragment_offset: u32 = FRAGMENT_OFFSET,
        "Fragment offset in units of 8 bytes, 0 to 8191. Setting it parses the packet anew.";
    ttl set_ttl: u32 = TTL, "Time to live, 0 to 255 hops.";
    protocol set_protocol: u32 = PROTOCOL, "IP protocol number. Setting it parses the packet anew.";
    checksum set_checksum: u32 = CHECKSUM, "Header checksum as stored.";
    }
    read_only {
    header_length: u32 = HEADER_LENGTH, "Header length in 32-bit words, 5 to 15.";
    }
}

ip_header! {
    PyIpv6Header, "Ipv6Header", ipv6, "The IPv6 header of a packet (RFC 8200).",
    {
    traffic_class set_traffic_class: u32 = TRAFFIC_CLASS, "Traffic class, 0 to 255.";
    flow_label set_flow_label: u32 = FLOW_LABEL, "Flow label, the true 20 bits (filters read it otherwise).";
    length set_length: u32 = LENGTH, "Payload length in bytes, extension headers included. Setting it parses the packet anew.";
    next_header set_next_header: u32 = NEXT_HEADER, "Number of the first header behind this one. Setting it parses the packet anew.";
    hop_limit set_hop_limit: u32 = HOP_LIMIT, "Hop limit, 0 to 255 hops.";
    }
    read_only {
    }
}

header! {
    PyTcpHeader, "TcpHeader", tcp, "The TCP header of a packet (RFC 9293). Edits keep its checksum right.",
    {
    src_port set_src_port: u32 = SRC_PORT, "Source port.";
    dst_port set_dst_port: u32 = DST_PORT, "Destination port.";
    seq set_seq: u32 = SEQ, "Sequence number, 0 to 2**32 - 1.";
    ack_number set_ack_number: u32 = ACK_NUMBER, "Acknowledgement number, 0 to 2**32 - 1.";
    cwr set_cwr: bool = CWR, "Congestion window reduced.";
    ece set_ece: bool = ECE, "ECN echo.";
    urg set_urg: bool = URG, "Whether the urgent pointer counts.";
    ack set_ack: bool = ACK, "Whether the acknowledgement number counts.";
    psh set_psh: bool = PSH, "Push.";
    rst set_rst: bool = RST, "Reset.";
    syn set_syn: bool = SYN, "Synchronise.";
    fin set_fin: bool = FIN, "Finish.";
    window set_window: u32 = WINDOW, "Window as stored, unscaled.";
    checksum set_checksum: u32 = CHECKSUM, "Checksum as stored.";
    urgent_pointer set_urgent_pointer: u32 = URGENT_POINTER, "Urgent pointer.";
    }
    read_only {
    data_offset: u32 = DATA_OFFSET, "Header length in 32-bit words, 5 to 15.";
    }
    with {}
}

header! {
    PyUdpHeader, "UdpHeader", udp, "The UDP header of a packet (RFC 768). Edits keep its checksum right; 0 stays 0.",
    {
    src_port set_src_port: u32 = SRC_PORT, "Source port.";
    dst_port set_dst_port: u32 = DST_PORT, "Destination port.";
    length set_length: u32 = LENGTH, "Length in bytes, header included, as stored.";
    checksum set_checksum: u32 = CHECKSUM, "Checksum as stored; 0 over IPv4 means none.";
    }
    read_only {
    }
    with {}
}

header! {
    PyIcmpHeader, "IcmpHeader", icmp, "The ICMP header of a packet (RFC 792). Edits keep its checksum right.",
    {
    r#type set_type: u32 = TYPE, "Type: 8 echo request, 0 echo reply, 3 unreachable, …";
    code set_code: u32 = CODE, "Code.";
    checksum set_checksum: u32 = CHECKSUM, "Checksum as stored.";
    body set_body: u32 = BODY, "The four bytes behind the checksum as one number; for echo: identifier and sequence number.";
    }
    read_only {
    }
    with {}
}

header! {
    PyIcmpv6Header, "Icmpv6Header", icmpv6, "The ICMPv6 header of a packet (RFC 4443). Edits keep its checksum right.",
    {
    r#type set_type: u32 = TYPE, "Type: 128 echo request, 129 echo reply, 1 unreachable, …";
    code set_code: u32 = CODE, "Code.";
    checksum set_checksum: u32 = CHECKSUM, "Checksum as stored.";
    body set_body: u32 = BODY, "The four bytes behind the checksum as one number; for echo: identifier and sequence number.";
    }
    read_only {
    }
    with {}
}
