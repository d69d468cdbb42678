//! `oxidivert.build`: packets from keyword arguments, lengths and checksums right.
use super::buffer::BytesLike;
use super::error::OrRaise;
use super::ip::IpAddress;
use super::packet::PyPacket;
use crate::address::Address;
use crate::backend::HandleId;
use crate::batch::Slot;
use crate::packet::{self, Builder, TcpFlags, TcpOption};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::net::IpAddr;

/// What all packets have.
struct Ip {
    src_addr: IpAddress,
    dst_addr: IpAddress,
    ttl: u8,
    tos: u8,
    id: Option<u16>,
    dont_fragment: bool,
    flow_label: Option<u32>,
}

impl Ip {
    fn builder(&self) -> PyResult<Builder> {
        let mut builder = match (self.src_addr.0, self.dst_addr.0) {
            (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => Builder::ipv4(src_addr, dst_addr),
            (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => Builder::ipv6(src_addr, dst_addr),
            _ => return Err(PyValueError::new_err("source and destination must be of one IP version")),
        };
        builder = builder.ttl(self.ttl).tos(self.tos);
        if let Some(id) = self.id {
            builder = builder.id(id);
        }
        if self.dont_fragment {
            builder = builder.dont_fragment();
        }
        if let Some(flow_label) = self.flow_label {
            builder = builder.flow_label(flow_label);
        }
        Ok(builder)
    }
}

/// Finishes the packet: outbound, its checksums final.
fn finish(py: Python<'_>, builder: &Builder) -> PyResult<PyPacket> {
    let bytes = builder.build().or_raise(py)?;
    let mut address = Address::default();
    address.set_ipv6(bytes.first().is_some_and(|byte| byte >> 4 == 6));
    address.set_ip_checksum(true);
    address.set_tcp_checksum(true);
    address.set_udp_checksum(true);
    Ok(PyPacket::new(Slot::new(bytes, address, 0), HandleId::default()))
}

/// Declares a function that builds a packet: its own arguments, then those that all packets have.
macro_rules! builds {
    ($(#[doc = $doc:literal])* $name:ident($py:ident, $builder:ident, [$($argument:ident: $type:ty),*], [$($option:ident = $default:tt: $option_type:ty),*]) $body:block) => {
        $(#[doc = $doc])*
        #[doc = ""]
        #[doc = "The addresses, both IPv4 or both IPv6, are text or `ipaddress` objects. `ttl` is the hop limit and `tos` the traffic"]
        #[doc = "class under IPv6; `id` and `dont_fragment` are of IPv4, `flow_label` is of IPv6. The packet is outbound and its"]
        #[doc = "checksums are final. PacketError if a value does not fit."]
        #[pyfunction]
        #[pyo3(signature = (src_addr, dst_addr, $($argument,)* *, $($option = $default,)* ttl=64, tos=0, id=None, dont_fragment=false, flow_label=None))]
        #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "keyword arguments of Python")]
        pub(super) fn $name(
            $py: Python<'_>,
            src_addr: IpAddress,
            dst_addr: IpAddress,
            $($argument: $type,)*
            $($option: $option_type,)*
            ttl: u8,
            tos: u8,
            id: Option<u16>,
            dont_fragment: bool,
            flow_label: Option<u32>,
        ) -> PyResult<PyPacket> {
            let $builder = Ip { src_addr, dst_addr, ttl, tos, id, dont_fragment, flow_label }.builder()?;
            let builder = $body;
            finish($py, &builder)
        }
    };
}

builds! {
    /// A TCP packet (RFC 9293).
    ///
    /// Options in this order, where given: `mss` (bytes), `window_scale` (shift count), `sack_permitted`, `timestamps` (value
    /// and echo reply), then the bytes of `options`; together at most 40 bytes.
    tcp(py, builder, [src_port: u16, dst_port: u16], [
        payload = None: Option<BytesLike<'_>>, seq = 0: u32, ack_number = 0: u32, syn = false: bool, ack = false: bool,
        fin = false: bool, rst = false: bool, psh = false: bool, urg = false: bool, ece = false: bool, cwr = false: bool,
        window = 65535: u16, urgent_pointer = 0: u16, mss = None: Option<u16>, window_scale = None: Option<u8>,
        sack_permitted = false: bool, timestamps = None: Option<(u32, u32)>, options = None: Option<BytesLike<'_>>
    ]) {
        let flags = [
            (syn, TcpFlags::SYN), (ack, TcpFlags::ACK), (fin, TcpFlags::FIN), (rst, TcpFlags::RST), (psh, TcpFlags::PSH),
            (urg, TcpFlags::URG), (ece, TcpFlags::ECE), (cwr, TcpFlags::CWR),
        ];
        let flags = flags.iter().filter(|(is_set, _)| *is_set).fold(TcpFlags(0), |all, (_, flag)| all | *flag);
        let options = [
            mss.map(TcpOption::MaximumSegmentSize),
            window_scale.map(TcpOption::WindowScale),
            sack_permitted.then_some(TcpOption::SackPermitted),
            timestamps.map(|(value, echo_reply)| TcpOption::Timestamps { value, echo_reply }),
            options.map(|bytes| TcpOption::Raw(bytes.into_vec())),
        ];
        let builder = builder.tcp(src_port, dst_port).flags(flags).seq(seq).ack_number(ack_number).window(window);
        let builder = builder.urgent_pointer(urgent_pointer);
        let builder = options.into_iter().flatten().fold(builder, Builder::option);
        with_payload(builder, payload)
    }
}

builds! {
    /// A UDP packet (RFC 768).
    udp(py, builder, [src_port: u16, dst_port: u16], [payload = None: Option<BytesLike<'_>>]) {
        with_payload(builder.udp(src_port, dst_port), payload)
    }
}

builds! {
    /// An ICMP packet (RFC 792), or ICMPv6 (RFC 4443) between IPv6 addresses; `body` is the four bytes behind the checksum.
    icmp(py, builder, [r#type: u8], [code = 0: u8, body = 0: u32, payload = None: Option<BytesLike<'_>>]) {
        with_payload(builder.icmp(r#type, code, body), payload)
    }
}

builds! {
    /// An ICMP or ICMPv6 echo request, or the reply to one.
    icmp_echo(py, builder, [], [
        identifier = 0: u16, sequence = 0: u16, reply = false: bool, payload = None: Option<BytesLike<'_>>
    ]) {
        let builder = if reply {
            builder.icmp_echo_reply(identifier, sequence)
        } else {
            builder.icmp_echo_request(identifier, sequence)
        };
        with_payload(builder, payload)
    }
}

builds! {
    /// An ICMP or ICMPv6 "destination unreachable" that quotes as much of `packet` as the RFCs want.
    icmp_unreachable(py, builder, [packet: &Bound<'_, PyAny>], [code = 0: u8]) {
        match packet.cast::<PyPacket>() {
            Ok(packet) => builder.icmp_unreachable(code, packet.get().slot().lock().bytes()),
            Err(_) => builder.icmp_unreachable(code, packet.extract::<BytesLike<'_>>()?.as_slice()),
        }
    }
}

builds! {
    /// A packet of any other IP protocol.
    other(py, builder, [protocol: u8], [payload = None: Option<BytesLike<'_>>]) {
        with_payload(builder.protocol(protocol), payload)
    }
}

/// The TCP reset that answers a packet as its destination would, to be sent back: addresses, ports and direction are swapped,
/// and its checksums are final.
///
/// None if there is nothing to answer: no TCP, a reset, a fragment but the first, or not from one host to another.
#[pyfunction]
#[pyo3(signature = (packet, /))]
pub(super) fn reset(packet: &PyPacket) -> Option<PyPacket> {
    answered(packet, packet::reset)
}

/// The ICMP or ICMPv6 "destination unreachable" that answers a packet as its destination would, to be sent back: addresses and
/// direction are swapped, and its checksums are final. `code` says why; without one, that the port is unreachable.
///
/// None if there is nothing to answer: an error message, a TCP reset, a fragment but the first, or not from one host to
/// another.
#[pyfunction]
#[pyo3(signature = (packet, /, *, code=None))]
pub(super) fn unreachable(packet: &PyPacket, code: Option<u8>) -> Option<PyPacket> {
    answered(packet, |bytes| packet::unreachable(bytes, code))
}

/// The answer to a packet: it goes back the way that the packet came, on the same interface.
fn answered(packet: &PyPacket, answer: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Option<PyPacket> {
    let slot = packet.slot().lock();
    let bytes = answer(slot.bytes())?;
    let mut address = *slot.address();
    // Within this host everything is outbound, there and back.
    address.set_outbound(!address.outbound() || address.loopback());
    address.set_sniffed(false);
    address.set_ipv6(bytes.first().is_some_and(|byte| byte >> 4 == 6));
    address.set_ip_checksum(true);
    address.set_tcp_checksum(true);
    address.set_udp_checksum(true);
    Some(PyPacket::new(Slot::new(bytes, address, slot.time_ns()), HandleId::default()))
}

fn with_payload(builder: Builder, payload: Option<BytesLike<'_>>) -> Builder {
    match payload {
        Some(payload) => builder.payload(payload.as_slice()),
        None => builder,
    }
}
