//! Which process a packet belongs to, looked up when asked: the kernel's socket tables tell the socket, `/proc` who has it.
//!
//! Source: `linux/inet_diag.h`. Best effort: a socket may have gone, and one that several processes share belongs to the first
//! of them that is found.
use super::super::kernel::sys::{self, Descriptor};
use crate::backend::Process;
use crate::batch::PacketRef;
use crate::packet::Transport;
use crate::packet::field::array;
use std::fs;
use std::io::Result;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Instant;

/// The request for a socket by its ends, and the length of what follows the frame.
const BY_FAMILY: u16 = 20;
const FRAME_LEN: usize = 16;
const REQUEST: u16 = 1;
/// Where a socket's number lies in the answer.
const INODE: usize = FRAME_LEN + 68;
/// Likewise its cookie, in two words, the lower first.
const COOKIE: usize = FRAME_LEN + 44;
/// What the system says behind the path of a program whose file is gone.
const DELETED: &str = " (deleted)";

/// The process that a packet belongs to.
pub(crate) fn of_packet(packet: PacketRef<'_>) -> Option<u32> {
    let (protocol, local, remote) = ends(packet)?;
    of_ends(protocol, local, remote)
}

/// The process of the socket with these ends.
pub(crate) fn of_ends(protocol: Transport, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    of_socket(Tables::open().ok()?.find(protocol, local, remote)?, None)
}

/// A packet's protocol, this host's end and the other; `None` for what has no ports.
pub(super) fn ends(packet: PacketRef<'_>) -> Option<(Transport, SocketAddr, SocketAddr)> {
    let (local, remote) = packet.ends()?;
    Some((packet.layout.transport()?, local, remote))
}

/// A socket as the kernel's tables name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) cookie: u64,
    inode: u32,
}

/// The kernel's socket tables.
#[derive(Debug)]
pub(super) struct Tables {
    socket: Descriptor,
}

impl Tables {
    pub(super) fn open() -> Result<Self> {
        Ok(Self { socket: sys::netlink_of(libc::NETLINK_SOCK_DIAG, &[])? })
    }

    /// The socket with these ends, or that waits for what comes to them; sockets for both versions carry IPv4 as well.
    pub(super) fn find(&self, protocol: Transport, local: SocketAddr, remote: SocketAddr) -> Option<Socket> {
        let family = if local.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET } as u8;
        let mut request = vec![0; 4];
        request.extend_from_slice(&BY_FAMILY.to_ne_bytes());
        request.extend_from_slice(&REQUEST.to_ne_bytes());
        request.extend_from_slice(&[0; 8]);
        request.extend_from_slice(&[family, protocol.protocol(), 0, 0]);
        request.extend_from_slice(&u32::MAX.to_ne_bytes());
        // UDP looks sockets up as a packet that arrives does, TCP as the socket itself is named.
        let (first, second) = if protocol == Transport::Udp { (remote, local) } else { (local, remote) };
        request.extend_from_slice(&first.port().to_be_bytes());
        request.extend_from_slice(&second.port().to_be_bytes());
        request.extend_from_slice(&words(first.ip()));
        request.extend_from_slice(&words(second.ip()));
        request.extend_from_slice(&[0; 4]);
        // Whatever its cookie.
        request.extend_from_slice(&[0xFF; 8]);
        let len = (request.len() as u32).to_ne_bytes();
        request.splice(..4, len);
        sys::send(&self.socket, &request).ok()?;
        let mut answer = [0; 1024];
        let len = sys::receive(&self.socket, &mut answer, false).ok()?;
        let kind = u16::from_ne_bytes(array(&answer, 4)?);
        let (inode, cookie) = (array(&answer, INODE)?, array(&answer, COOKIE)?);
        let found = Socket { cookie: u64::from_ne_bytes(cookie), inode: u32::from_ne_bytes(inode) };
        (kind == BY_FAMILY && len > INODE && found.inode != 0).then_some(found)
    }
}

fn words(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let [first, second, third, fourth] = address.octets();
            [first, second, third, fourth, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// The process that has a socket; no longer looked for than until `deadline`.
pub(super) fn of_socket(Socket { inode, .. }: Socket, deadline: Option<Instant>) -> Option<u32> {
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    let processes = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut processes: Vec<u32> = processes.collect();
    // What asks is often about itself or young.
    processes.sort_unstable_by(|one, other| other.cmp(one));
    let is_in_time = |_: &u32| deadline.is_none_or(|deadline| Instant::now() < deadline);
    processes.into_iter().take_while(is_in_time).find(|process| {
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten();
        descriptors.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == wanted))
    })
}

/// A process with its name and its program, as far as they are told.
pub(crate) fn described(id: u32) -> Process {
    let target = fs::read_link(format!("/proc/{id}/exe")).ok();
    let path = target.and_then(|path| path.to_str().map(|path| path.strip_suffix(DELETED).unwrap_or(path).to_owned()));
    let name = path.as_ref().and_then(|path| path.rsplit('/').next()).map(str::to_owned);
    let own_name = || fs::read_to_string(format!("/proc/{id}/comm")).ok().map(|name| name.trim_end().to_owned());
    Process { id, name: name.or_else(own_name), path }
}
