//! What a firewall answers a packet with that it does not let through: a TCP reset, or "destination unreachable".
//!
//! Both answer as the packet's destination would, so that its sender learns at once what it would else wait for. What must
//! not be answered gets none (RFC 1122 §3.2.2, RFC 4443 §2.4, RFC 9293 §3.10.7): error messages and resets, which would
//! begin an endless exchange, what went to or claims to come from more than one host, and fragments but the first, which
//! lack the header that an answer is about. Never panics.
use super::build::Builder;
use super::edit::{Endpoint, read, read_addr, read_port};
use super::field::{tcp, u8_at};
use super::layout::{Layout, Transport};
use super::spec::TcpFlags;
use std::net::IpAddr;

/// The identification of answers over IPv4: they are never fragmented, so that any number will do, and this one is easily seen.
const IDENTIFICATION: u16 = 0xDEAD;
/// Code "port unreachable" of ICMP and of ICMPv6.
const PORT_UNREACHABLE: (u8, u8) = (3, 4);
const ICMP: u8 = Transport::Icmp.protocol();
const ICMPV6: u8 = Transport::Icmpv6.protocol();
/// Messages of ICMP that tell of errors: unreachable, source quench, redirect, time exceeded, parameter problem.
const ICMP_ERRORS: [u8; 5] = [3, 4, 5, 11, 12];
/// The first type of ICMPv6 that tells of no error.
const ICMPV6_INFORMATION: u8 = 128;

/// The reset that answers a TCP segment, addresses and ports swapped; `None` if there is nothing to answer.
///
/// It continues where the segment's receiver would: its sequence number is what the segment acknowledges, and 0 if it
/// acknowledges nothing; it acknowledges all that the segment takes up of the sequence, SYN and FIN included.
pub fn reset(packet: &[u8]) -> Option<Vec<u8>> {
    let layout = Layout::parse(packet).ok()?;
    let read = |field| read(packet, &layout, field);
    let ends = answerable_ends(packet, &layout)?;
    let seq = read(tcp::SEQ)?;
    let is_acknowledging = read(tcp::ACK)? != 0;
    let taken_up = layout.payload_len() as u32 + read(tcp::SYN)? + read(tcp::FIN)?;
    let port = |end| read_port(packet, &layout, end);
    between(ends)
        .tcp(port(Endpoint::Destination)?, port(Endpoint::Source)?)
        .flags(TcpFlags::RST | TcpFlags::ACK)
        .seq(if is_acknowledging { read(tcp::ACK_NUMBER)? } else { 0 })
        .ack_number(seq.wrapping_add(taken_up))
        .window(0)
        .build()
        .ok()
}

/// The "destination unreachable" that answers a packet and quotes it, addresses swapped; `None` if there is nothing to answer.
///
/// Without a code it says that the port is unreachable.
pub fn unreachable(packet: &[u8], code: Option<u8>) -> Option<Vec<u8>> {
    let layout = Layout::parse(packet).ok()?;
    let ends = answerable_ends(packet, &layout)?;
    let port_unreachable = if layout.is_ipv6() { PORT_UNREACHABLE.1 } else { PORT_UNREACHABLE.0 };
    between(ends).icmp_unreachable(code.unwrap_or(port_unreachable), packet).build().ok()
}

/// A packet from the first end to the second.
fn between((from, to): (IpAddr, IpAddr)) -> Builder {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Builder::ipv4(from, to).id(IDENTIFICATION),
        (from, to) => Builder::ipv6(mapped(from), mapped(to)),
    }
}

fn mapped(address: IpAddr) -> std::net::Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Where an answer comes from and where it goes, if the packet may be answered.
fn answerable_ends(packet: &[u8], layout: &Layout) -> Option<(IpAddr, IpAddr)> {
    let is_later_fragment = layout.fragment_offset() != 0;
    if is_later_fragment || is_error(packet, layout) || read(packet, layout, tcp::RST) == Some(1) {
        return None;
    }
    let src = read_addr(packet, layout, Endpoint::Source).filter(|src| !src.is_unspecified() && is_one_host(*src))?;
    let dst = read_addr(packet, layout, Endpoint::Destination).filter(|dst| is_one_host(*dst))?;
    Some((dst, src))
}

/// Whether the packet itself tells of an error, or might: its type may be cut off.
fn is_error(packet: &[u8], layout: &Layout) -> bool {
    let message_type = packet.get(..layout.end_offset()).and_then(|packet| u8_at(packet, layout.transport_offset()));
    match (layout.protocol(), layout.is_ipv6()) {
        (ICMP, false) => message_type.is_none_or(|value| ICMP_ERRORS.contains(&value)),
        (ICMPV6, true) => message_type.is_none_or(|value| value < ICMPV6_INFORMATION),
        _ => false,
    }
}

/// Whether an address is that of one host. Of a network's own broadcast address only its hosts can tell.
fn is_one_host(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !address.is_multicast() && !is_broadcast
}
