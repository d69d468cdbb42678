//! Which process a packet belongs to, looked up when asked: the kernel's socket tables tell the socket, `/proc` who has it.
//!
//! Source: `linux/inet_diag.h`. Best effort: a socket may have gone, and one that several processes share belongs to the first
//! of them that is found.
use super::super::Process;
use super::sys::{self, Descriptor};
use crate::address::Address;
use crate::batch::{Batch, PacketRef};
use crate::packet::field::array;
use crate::packet::{Endpoint, FlowKey, Transport, read_addr, read_port};
use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The request for a socket by its ends, and the length of what follows the frame.
const BY_FAMILY: u16 = 20;
const FRAME_LEN: usize = 16;
const REQUEST: u16 = 1;
/// Where a socket's number lies in the answer.
const INODE: usize = FRAME_LEN + 68;

/// An end of a connection.
type End = (IpAddr, u16);

/// The flows whose owners are remembered at most; then they are looked up anew.
const FLOWS_MAX: usize = 1 << 14;

/// Whose flows are, as long as a handle is open.
#[derive(Debug, Default)]
pub(super) struct Owners {
    known: HashMap<FlowKey, u32>,
}

impl Owners {
    /// Writes down whose the packets of a batch are, from an index on. Those of a flow that is met for the first time wait
    /// until its owner is looked up.
    pub(super) fn note(&mut self, batch: &mut Batch, from: usize) {
        for index in from..batch.len() {
            let Some(packet) = batch.packet(index) else { continue };
            let Some(key) = FlowKey::of(packet.bytes, packet.layout) else { continue };
            let id = self.known.get(&key).copied().unwrap_or_else(|| owner_id(packet).unwrap_or(0));
            // An owner that is not to be found yet may be found at the next packet.
            if id != 0 {
                if self.known.len() >= FLOWS_MAX {
                    self.known.clear();
                }
                self.known.insert(key, id);
            }
            if let Some(record) = batch.records_mut().get_mut(index) {
                record.process_id = id;
            }
        }
    }
}

/// The process that a packet belongs to.
pub(super) fn process(packet: PacketRef<'_>) -> Option<Process> {
    owner_id(packet).map(described)
}

fn owner_id(packet: PacketRef<'_>) -> Option<u32> {
    let PacketRef { bytes, layout, address } = packet;
    let protocol = layout.transport().filter(|transport| matches!(transport, Transport::Tcp | Transport::Udp))?;
    let end = |end| Some((read_addr(bytes, layout, end)?, read_port(bytes, layout, end)?));
    let (source, destination) = (end(Endpoint::Source)?, end(Endpoint::Destination)?);
    let (local, remote) = ends(address, source, destination);
    of_ends(protocol, local.into(), remote.into())
}

/// The process of the socket with these ends.
pub(super) fn of_ends(protocol: Transport, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    by_inode(inode(protocol, (local.ip(), local.port()), (remote.ip(), remote.port()))?)
}

/// This host's end and the other.
const fn ends(address: &Address, source: End, destination: End) -> (End, End) {
    if address.outbound() { (source, destination) } else { (destination, source) }
}

/// The number of the socket with these ends.
fn inode(protocol: Transport, local: End, remote: End) -> Option<u32> {
    let socket = sys::netlink_of(libc::NETLINK_SOCK_DIAG, &[]).ok()?;
    // Sockets for both versions carry IPv4 as well.
    ask(&socket, protocol, local, remote).filter(|inode| *inode != 0)
}

fn ask(socket: &Descriptor, protocol: Transport, local: End, remote: End) -> Option<u32> {
    let family = if local.0.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET } as u8;
    let mut request = vec![0; 4];
    request.extend_from_slice(&BY_FAMILY.to_ne_bytes());
    request.extend_from_slice(&REQUEST.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(&[family, protocol.protocol(), 0, 0]);
    request.extend_from_slice(&u32::MAX.to_ne_bytes());
    // UDP looks sockets up as a packet that arrives does, TCP as the socket itself is named.
    let (first, second) = if protocol == Transport::Udp { (remote, local) } else { (local, remote) };
    request.extend_from_slice(&first.1.to_be_bytes());
    request.extend_from_slice(&second.1.to_be_bytes());
    request.extend_from_slice(&words(first.0));
    request.extend_from_slice(&words(second.0));
    request.extend_from_slice(&[0; 4]);
    // No cookie.
    request.extend_from_slice(&[0xFF; 8]);
    let len = (request.len() as u32).to_ne_bytes();
    request.splice(..4, len);
    sys::send(socket, &request).ok()?;
    let mut answer = [0; 1024];
    let len = sys::receive(socket, &mut answer, false).ok()?;
    let kind = u16::from_ne_bytes(array(&answer, 4)?);
    (kind == BY_FAMILY && len > INODE).then(|| array(&answer, INODE).map(u32::from_ne_bytes))?
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

/// The process that has a socket.
fn by_inode(inode: u32) -> Option<u32> {
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    let processes = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut processes: Vec<u32> = processes.collect();
    // What asks is often about itself or young.
    processes.sort_unstable_by(|one, other| other.cmp(one));
    processes.into_iter().find(|process| {
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten();
        descriptors.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == wanted))
    })
}

/// A process with its name and its program, as far as they are told.
pub(super) fn described(id: u32) -> Process {
    let path = fs::read_link(format!("/proc/{id}/exe")).ok();
    let name = path.as_ref().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let own_name = || fs::read_to_string(format!("/proc/{id}/comm")).ok().map(|name| name.trim_end().to_owned());
    Process { id, name: name.or_else(own_name), path: path.and_then(|path| path.to_str().map(str::to_owned)) }
}
