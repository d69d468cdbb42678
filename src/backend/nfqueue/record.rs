//! What the programs at the control group write of a socket operation.
use crate::packet::field::array;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Length of a record.
pub(super) const RECORD_LEN: usize = 80;

/// What a record is about.
pub(super) mod kind {
    pub(in super::super) const BIND: u32 = 1;
    pub(in super::super) const CONNECT: u32 = 2;
    pub(in super::super) const LISTEN: u32 = 3;
    pub(in super::super) const CLOSE: u32 = 4;
    /// A TCP connection is there that this side asked for, or the other.
    pub(in super::super) const ACTIVE: u32 = 5;
    pub(in super::super) const PASSIVE: u32 = 6;
    /// A TCP connection is in another state.
    pub(in super::super) const STATE: u32 = 7;
    /// A datagram goes to an end for the first time, or comes from one.
    pub(in super::super) const SENT: u32 = 8;
    pub(in super::super) const RECEIVED: u32 = 9;
    /// A process makes a socket its own: it makes it, or connects it.
    pub(in super::super) const OWNER: u32 = 10;
}

/// Where the parts of a record lie, in bytes.
pub(super) mod place {
    pub(in super::super) const COOKIE: i16 = 0;
    pub(in super::super) const NAMESPACE: i16 = 8;
    pub(in super::super) const PROCESS: i16 = 16;
    pub(in super::super) const KIND: i16 = 20;
    pub(in super::super) const FAMILY: i16 = 24;
    pub(in super::super) const PROTOCOL: i16 = 28;
    pub(in super::super) const LOCAL: i16 = 32;
    pub(in super::super) const REMOTE: i16 = 48;
    pub(in super::super) const LOCAL_PORT: i16 = 64;
    pub(in super::super) const REMOTE_PORT: i16 = 68;
    pub(in super::super) const STATE: i16 = 72;
}

/// A TCP connection's protocol.
pub(super) const TCP: u8 = 6;

/// A record as the programs write it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) cookie: u64,
    pub(super) namespace: u64,
    pub(super) process: u32,
    pub(super) kind: u32,
    pub(super) protocol: u8,
    pub(super) local: SocketAddr,
    pub(super) remote: Option<SocketAddr>,
    pub(super) state: u32,
}

impl Record {
    /// Reads one; `None` if it is about no IP socket.
    pub(super) fn read(bytes: &[u8; RECORD_LEN]) -> Option<Self> {
        let word = |at: i16| array(bytes, at as usize).map(u32::from_ne_bytes);
        let wide = |at: i16| array(bytes, at as usize).map(u64::from_ne_bytes);
        let is_ipv6 = match word(place::FAMILY)? as i32 {
            libc::AF_INET => false,
            libc::AF_INET6 => true,
            _ => return None,
        };
        let ip = |at: i16| {
            let at = at as usize;
            Some(if is_ipv6 {
                let address = Ipv6Addr::from(array::<16>(bytes, at)?);
                address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
            } else {
                IpAddr::V4(Ipv4Addr::from(array::<4>(bytes, at)?))
            })
        };
        let kind = word(place::KIND)?;
        // Ports of the other side come in network order, in one half of the word or the other.
        let raw = word(place::REMOTE_PORT)?;
        let remote_port = u16::from_be(if raw > 0xFFFF { (raw >> 16) as u16 } else { raw as u16 });
        let has_remote = !matches!(kind, kind::BIND | kind::LISTEN | kind::CLOSE | kind::OWNER);
        Some(Self {
            cookie: wide(place::COOKIE)?,
            namespace: wide(place::NAMESPACE)?,
            process: word(place::PROCESS)?,
            kind,
            protocol: word(place::PROTOCOL)? as u8,
            local: SocketAddr::new(ip(place::LOCAL)?, word(place::LOCAL_PORT)? as u16),
            remote: if has_remote { Some(SocketAddr::new(ip(place::REMOTE)?, remote_port)) } else { None },
            state: word(place::STATE)?,
        })
    }
}
