//! What the programs at the control group write of a socket operation.
use crate::packet::field::array;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Length of a record.
pub(super) const RECORD_LEN: usize = 96;
/// Length of the name of a thread, which ends with a zero.
pub(super) const NAME_LEN: usize = 16;

/// What a record is about.
pub(crate) mod kind {
    pub(crate) const BIND: u32 = 1;
    pub(crate) const CONNECT: u32 = 2;
    pub(crate) const LISTEN: u32 = 3;
    pub(crate) const CLOSE: u32 = 4;
    /// A TCP connection is there that this side asked for, or the other.
    pub(crate) const ACTIVE: u32 = 5;
    pub(crate) const PASSIVE: u32 = 6;
    /// A TCP connection is in another state.
    pub(crate) const STATE: u32 = 7;
    /// A datagram goes to an end for the first time, or comes from one.
    pub(crate) const SENT: u32 = 8;
    pub(crate) const RECEIVED: u32 = 9;
    /// A process makes a socket its own: it makes it, or connects it.
    pub(crate) const OWNER: u32 = 10;
}

/// Where the parts of a record lie, in bytes.
pub(super) mod place {
    pub(crate) const COOKIE: i16 = 0;
    pub(crate) const NAMESPACE: i16 = 8;
    pub(crate) const PROCESS: i16 = 16;
    pub(crate) const KIND: i16 = 20;
    pub(crate) const FAMILY: i16 = 24;
    pub(crate) const PROTOCOL: i16 = 28;
    pub(crate) const LOCAL: i16 = 32;
    pub(crate) const REMOTE: i16 = 48;
    pub(crate) const LOCAL_PORT: i16 = 64;
    pub(crate) const REMOTE_PORT: i16 = 68;
    pub(crate) const STATE: i16 = 72;
    pub(crate) const THREAD: i16 = 76;
    pub(crate) const NAME: i16 = 80;
}

/// A TCP connection's protocol.
pub(crate) const TCP: u8 = 6;

/// A record as the programs write it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) cookie: u64,
    pub(super) namespace: u64,
    pub(crate) process: u32,
    pub(crate) kind: u32,
    pub(crate) protocol: u8,
    pub(crate) local: SocketAddr,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) state: u32,
    /// The thread that runs, which has the process's number if it is the first.
    pub(super) thread: u32,
    /// What the thread is called; zeros where it is not told.
    pub(super) name: [u8; NAME_LEN],
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
            thread: word(place::THREAD)?,
            name: array(bytes, place::NAME as usize)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    fn written() -> Result<[u8; RECORD_LEN], Box<dyn Error>> {
        let mut bytes = [0; RECORD_LEN];
        let mut write = |at: i16, part: &[u8]| -> Result<(), Box<dyn Error>> {
            let at = at as usize;
            bytes.get_mut(at..at + part.len()).ok_or("outside")?.copy_from_slice(part);
            Ok(())
        };
        write(place::COOKIE, &7_u64.to_ne_bytes())?;
        write(place::NAMESPACE, &8_u64.to_ne_bytes())?;
        write(place::PROCESS, &100_u32.to_ne_bytes())?;
        write(place::KIND, &kind::CONNECT.to_ne_bytes())?;
        write(place::FAMILY, &(libc::AF_INET as u32).to_ne_bytes())?;
        write(place::PROTOCOL, &u32::from(TCP).to_ne_bytes())?;
        write(place::LOCAL, &[10, 9, 0, 1])?;
        write(place::REMOTE, &[10, 9, 0, 2])?;
        write(place::LOCAL_PORT, &40_000_u32.to_ne_bytes())?;
        write(place::REMOTE_PORT, &u32::from(80_u16.to_be()).to_ne_bytes())?;
        write(place::STATE, &2_u32.to_ne_bytes())?;
        write(place::THREAD, &101_u32.to_ne_bytes())?;
        write(place::NAME, b"fifteen-letters\0")?;
        Ok(bytes)
    }

    #[test]
    fn every_part_lies_where_it_is_read() -> Result<(), Box<dyn Error>> {
        let record = Record::read(&written()?).ok_or("no record")?;
        assert_eq!((record.cookie, record.namespace, record.kind), (7, 8, kind::CONNECT));
        assert_eq!((record.process, record.thread), (100, 101));
        assert_eq!((record.protocol, record.state), (TCP, 2));
        assert_eq!((record.local, record.remote), ("10.9.0.1:40000".parse()?, Some("10.9.0.2:80".parse()?)));
        assert_eq!(record.name, *b"fifteen-letters\0");
        Ok(())
    }

    #[test]
    fn a_record_of_no_ip_socket_is_none() -> Result<(), Box<dyn Error>> {
        let mut bytes = written()?;
        *bytes.get_mut(place::FAMILY as usize).ok_or("outside")? = libc::AF_UNIX as u8;
        assert!(Record::read(&bytes).is_none());
        Ok(())
    }
}
