//! New packets: each enters the stack exactly below the handle that sends it.
//!
//! A packet that a program makes has no place in the kernel's queue. So a small packet, the carrier, is sent with a mark of its
//! own; the handle's chain queues it, no other chain looks at it, and its verdict puts the wanted bytes in its place. From
//! there on it is a packet like any other, which only chains of lower priority still see. A carrier has the addresses of the
//! wanted packet, so that it is routed alike, and its IP header's length.
use super::super::kernel::fault::fault;
use super::super::kernel::sys::{self, Descriptor};
use super::super::tables::nft::Hook;
use super::inlet::{Inlet, is_for_loopback};
use crate::engine::{Error, ErrorCode};
use crate::packet::field::{array, put, u8_at};
use crate::packet::{Layout, fill_checksums};
use std::collections::HashMap;
use std::io;

/// The protocol number of carriers, one that is set aside for experiments (RFC 3692).
pub(crate) const PROTOCOL: u8 = 253;
/// What of a mark tells carriers from other packets; the rest is the number of the queue.
pub(crate) const MASK: u32 = 0xFFFF_0000;
const TAG: u32 = 0x0D16_0000;

/// The mark of a queue's carriers.
pub(crate) const fn mark(queue: u16) -> u32 {
    TAG | queue as u32
}

/// The time to live of carriers, which never leave the host.
const HOPS: u8 = 64;
/// The length of an IPv6 header without extensions.
const IPV6_HEADER_LEN: usize = 40;
/// The extension header that is read before a packet's destination is known.
const HOP_BY_HOP: u8 = 0;

/// Which way a new packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From this host.
    Out,
    /// To this host or through it, as if it had come in at this interface.
    In(u32),
}

impl Way {
    /// Whether a packet, or its carrier, enters where this host's own packets do: what goes to loopback has no other way in.
    pub(crate) fn is_by_output(self, packet: &[u8]) -> bool {
        self == Self::Out || is_for_loopback(packet)
    }
}

/// A carrier that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// Its packet goes on from here.
    Here(Vec<u8>),
    /// Only fragments enter so early, before they are put together.
    TooEarly,
}

/// Whether a packet is a part of another one.
fn is_fragment(bytes: &[u8]) -> bool {
    Layout::parse(bytes).is_ok_and(|layout| layout.is_fragment())
}

/// The sockets that carriers are sent by, and what they stand for.
#[derive(Debug, Default)]
pub(crate) struct Carriers {
    mark: u32,
    ipv4: Option<Descriptor>,
    ipv6: Option<Descriptor>,
    inlet: Option<Inlet>,
    wanted: HashMap<u64, Vec<u8>>,
    last: u64,
}

impl Carriers {
    pub(crate) fn new(queue: u16) -> Self {
        Self { mark: mark(queue), ..Self::default() }
    }

    /// How many are on their way.
    pub(crate) fn under_way(&self) -> usize {
        self.wanted.len()
    }

    /// Sends a carrier for a packet.
    pub(crate) fn launch(&mut self, bytes: &[u8], way: Way) -> Result<(), Error> {
        let number = self.last + 1;
        let carrier = carrier_of(bytes, number).ok_or_else(|| {
            Error::new(ErrorCode::InvalidParameter, "the packet has no whole IP header, so that it cannot be sent")
        })?;
        self.last = number;
        self.wanted.insert(number, bytes.to_vec());
        let sent = match way {
            Way::In(interface) if !way.is_by_output(&carrier) => self.send_in(&carrier, interface),
            _ => self.send_out(&carrier),
        };
        if sent.is_err() {
            self.wanted.remove(&number);
        }
        sent
    }

    /// What a carrier that came back stands for; `None` if it is none of ours.
    pub(crate) fn arrive(&mut self, bytes: &[u8], mark: u32, hook: Hook) -> Option<Arrived> {
        let protocol = if bytes.first()? >> 4 == 4 { u8_at(bytes, 9)? } else { last_protocol(bytes)? };
        if mark != self.mark || protocol != PROTOCOL {
            return None;
        }
        let number = array(bytes, bytes.len().checked_sub(8)?).map(u64::from_be_bytes)?;
        let wanted = self.wanted.get(&number)?;
        if hook == Hook::Prerouting && !is_fragment(wanted) {
            return Some(Arrived::TooEarly);
        }
        self.wanted.remove(&number).map(Arrived::Here)
    }

    /// Whether a mark is that of this handle's carriers.
    pub(crate) const fn is_own(&self, mark: u32) -> bool {
        mark == self.mark
    }

    /// Gives up those that did not come back; how many.
    pub(crate) fn give_up(&mut self) -> usize {
        let count = self.wanted.len();
        self.wanted.clear();
        count
    }

    fn send_in(&mut self, carrier: &[u8], interface: u32) -> Result<(), Error> {
        if self.inlet.is_none() {
            self.inlet = Some(Inlet::open(self.mark)?);
        }
        self.inlet.as_mut().map_or(Ok(()), |inlet| inlet.send(carrier, interface))
    }

    fn send_out(&mut self, carrier: &[u8]) -> Result<(), Error> {
        let is_ipv6 = carrier.first().is_some_and(|byte| byte >> 4 == 6);
        let (slot, family) = if is_ipv6 { (&mut self.ipv6, libc::AF_INET6) } else { (&mut self.ipv4, libc::AF_INET) };
        if slot.is_none() {
            *slot = Some(raw_socket(family, self.mark).map_err(|error| fault("opening a raw socket", error))?);
        }
        let Some(socket) = slot else { return Ok(()) };
        let sent = if is_ipv6 { send_ipv6(socket, carrier) } else { send_ipv4(socket, carrier) };
        sent.map(|_| ()).map_err(refused)
    }
}

/// The stack refused the packet: it has no way to go, or a rule forbids it.
fn refused(error: io::Error) -> Error {
    Error::from_io(ErrorCode::DataNotAccepted, "the network stack did not take the packet", error)
}

fn raw_socket(family: i32, mark: u32) -> io::Result<Descriptor> {
    let socket = sys::socket(family, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
    sys::set_option(&socket, libc::SOL_SOCKET, libc::SO_MARK, mark as i32)?;
    sys::set_option(&socket, libc::SOL_SOCKET, libc::SO_BROADCAST, 1)?;
    sys::set_send_buffer(&socket, 1 << 22);
    Ok(socket)
}

fn send_ipv4(socket: &Descriptor, carrier: &[u8]) -> io::Result<usize> {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(array(carrier, 16).unwrap_or_default()) },
        sin_zero: [0; 8],
    };
    sys::send_to(socket, carrier, &address)
}

fn send_ipv6(socket: &Descriptor, carrier: &[u8]) -> io::Result<usize> {
    let address = libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as u16,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: array(carrier, 24).unwrap_or_default() },
        sin6_scope_id: 0,
    };
    sys::send_to(socket, carrier, &address)
}

/// The protocol behind an IPv6 header and a hop-by-hop header, if there is one.
fn last_protocol(bytes: &[u8]) -> Option<u8> {
    match u8_at(bytes, 6)? {
        HOP_BY_HOP => u8_at(bytes, IPV6_HEADER_LEN),
        protocol => Some(protocol),
    }
}

/// The carrier for a packet: its IP header with another protocol, whole and no fragment, and a number behind it.
fn carrier_of(bytes: &[u8], number: u64) -> Option<Vec<u8>> {
    let mut carrier;
    if bytes.first()? >> 4 == 4 {
        let header_len = usize::from(bytes.first()? & 0x0F) * 4;
        carrier = bytes.get(..header_len)?.to_vec();
        put(&mut carrier, 2, ((header_len + 8) as u16).to_be_bytes());
        put(&mut carrier, 6, [0; 2]);
        put(&mut carrier, 8, [HOPS, PROTOCOL]);
    } else {
        carrier = bytes.get(..IPV6_HEADER_LEN)?.to_vec();
        let mut protocol_at = 6;
        if u8_at(bytes, 6)? == HOP_BY_HOP {
            let len = (usize::from(u8_at(bytes, IPV6_HEADER_LEN + 1)?) + 1) * 8;
            carrier.extend_from_slice(bytes.get(IPV6_HEADER_LEN..IPV6_HEADER_LEN + len)?);
            protocol_at = IPV6_HEADER_LEN;
        }
        let payload_len = (carrier.len() - IPV6_HEADER_LEN + 8) as u16;
        put(&mut carrier, 4, payload_len.to_be_bytes());
        put(&mut carrier, protocol_at, [PROTOCOL]);
        put(&mut carrier, 7, [HOPS]);
    }
    carrier.extend_from_slice(&number.to_be_bytes());
    // Of raw sockets the kernel fills the header's checksum in itself, not of what comes in.
    fill_checksums(&mut carrier, 0);
    Some(carrier)
}
