//! What the programs at the control group write of a socket operation.
use super::watch::{RECORD_LEN, kind};
use crate::packet::field::array;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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
        let word = |at: usize| array(bytes, at).map(u32::from_ne_bytes);
        let wide = |at: usize| array(bytes, at).map(u64::from_ne_bytes);
        let is_ipv6 = match word(24)? as i32 {
            libc::AF_INET => false,
            libc::AF_INET6 => true,
            _ => return None,
        };
        let ip = |at: usize| {
            Some(if is_ipv6 {
                let address = Ipv6Addr::from(array::<16>(bytes, at)?);
                address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
            } else {
                IpAddr::V4(Ipv4Addr::from(array::<4>(bytes, at)?))
            })
        };
        let kind = word(20)?;
        // Ports of the other side come in network order, in one half of the word or the other.
        let raw = word(68)?;
        let remote_port = u16::from_be(if raw > 0xFFFF { (raw >> 16) as u16 } else { raw as u16 });
        let has_remote = !matches!(kind, kind::BIND | kind::LISTEN | kind::CLOSE | kind::OWNER);
        Some(Self {
            cookie: wide(0)?,
            namespace: wide(8)?,
            process: word(16)?,
            kind,
            protocol: word(28)? as u8,
            local: SocketAddr::new(ip(32)?, word(64)? as u16),
            remote: if has_remote { Some(SocketAddr::new(ip(48)?, remote_port)) } else { None },
            state: word(72)?,
        })
    }
}
