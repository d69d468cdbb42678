//! Whose packets are, as long as a handle is open: socket events tell whose sockets are, from the moment when a process makes,
//! binds, connects or uses one, which is before its first packet; so that the owner is known when the packet comes, also if the
//! process is gone by then.
//!
//! What no event told of, such as sockets that are older than the handle, is looked up: the socket in the kernel's tables, its
//! process in `/proc`, for [`WAIT`] at most, while the packet and those behind it wait.
use super::names::Names;
use super::owner::{Tables, ends, of_socket};
use super::record::{Record, TCP, kind};
use super::watch::{Purpose, Watch};
use crate::batch::Batch;
use crate::engine::Warning;
use crate::packet::Transport;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a packet waits at most until its owner is known.
const WAIT: Duration = Duration::from_millis(50);
/// How long what was looked up without events counts, or that nothing was found.
const RECHECK: Duration = Duration::from_millis(500);
/// How long a socket is remembered that was closed: its last packets may still be on their way.
const LINGER: Duration = Duration::from_secs(3);
/// Sockets and flows that are remembered at most.
const REMEMBERED_MAX: usize = 1 << 16;

/// What is warned of where sockets cannot be followed.
const UNFOLLOWED: &str = "sockets cannot be followed, for which CAP_BPF is needed, so that the owners of packets are looked up \
                          when they come, which is slower and misses programs that are gone";

/// A flow as one of its ends sees it: the protocol, the port of its own, and the other end.
type Flow = (u8, u16, SocketAddr);

/// Whose a flow or a port is.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The socket; 0 if none was found.
    cookie: u64,
    process: u32,
    /// When it is to be looked up again, where no event will tell of its end.
    until: Option<Instant>,
}

/// Whose sockets, ports and flows are.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    events: Option<Watch>,
    tables: Option<Tables>,
    sockets: HashMap<u64, u32>,
    ports: HashMap<(u8, u16), Known>,
    flows: HashMap<Flow, Known>,
    closed: VecDeque<(Instant, u64)>,
    pub(crate) names: Names,
}

impl Owners {
    /// Begins to follow sockets; and a warning if it cannot: then owners are looked up only.
    pub(crate) fn start() -> (Self, Option<Warning>) {
        let (events, warning) = match Watch::start(Purpose::Owners) {
            Ok(events) => (Some(events), None),
            Err(error) => (None, Some(Warning::environment(format!("{UNFOLLOWED} ({error})")))),
        };
        (Self { events, tables: Tables::open().ok(), ..Self::default() }, warning)
    }

    /// Takes in what was told meanwhile.
    pub(crate) fn look(&mut self) {
        let Some(events) = &self.events else { return };
        let records = events.take();
        let now = Instant::now();
        for record in &records {
            self.names.take_in(record, now);
            self.take_in(record);
        }
        self.forget();
    }

    fn take_in(&mut self, record: &Record) {
        let Record { cookie, protocol, local, .. } = *record;
        if record.kind == kind::CLOSE {
            self.closed.push_back((Instant::now() + LINGER, cookie));
            return;
        }
        let port = (protocol, local.port());
        // A connection that came in belongs to whoever listened for it.
        let listening = (record.kind == kind::PASSIVE).then(|| self.ports.get(&port)).flatten();
        let told =
            [record.process, listening.map_or(0, |known| known.process)].into_iter().find(|process| *process != 0);
        let Some(process) = told.or_else(|| self.sockets.get(&cookie).copied()) else { return };
        self.sockets.insert(cookie, process);
        let known = Known { cookie, process, until: None };
        match record.kind {
            kind::BIND | kind::LISTEN if local.port() != 0 => {
                self.ports.insert(port, known);
            }
            kind::CONNECT | kind::ACTIVE | kind::PASSIVE | kind::SENT if local.port() != 0 => {
                if let Some(remote) = record.remote {
                    self.flows.insert((protocol, local.port(), remote), known);
                }
                if protocol != TCP {
                    self.ports.insert(port, known);
                }
            }
            _ => {}
        }
    }

    /// Forgets sockets that were closed some time ago, and everything that is too much.
    fn forget(&mut self) {
        let now = Instant::now();
        let mut gone = Vec::new();
        while self.closed.front().is_some_and(|(due, _)| *due <= now)
            && let Some((_, cookie)) = self.closed.pop_front()
        {
            self.sockets.remove(&cookie);
            gone.push(cookie);
        }
        if !gone.is_empty() {
            gone.sort_unstable();
            let stays = |known: &mut Known| gone.binary_search(&known.cookie).is_err();
            self.ports.retain(|_, known| stays(known));
            self.flows.retain(|_, known| stays(known));
        }
        if self.flows.len().max(self.sockets.len()).max(self.ports.len()) > REMEMBERED_MAX {
            self.flows.clear();
            self.sockets.clear();
            self.ports.clear();
        }
    }

    /// Writes down whose the packets of a batch are, from an index on.
    pub(crate) fn note(&mut self, batch: &mut Batch, from: usize) {
        if batch.len() == from {
            return;
        }
        self.look();
        let deadline = Instant::now() + WAIT;
        for index in from..batch.len() {
            let Some((protocol, local, remote)) = batch.packet(index).and_then(ends) else { continue };
            let process = self.owner(protocol, local, remote, deadline);
            if let Some(record) = batch.records_mut().get_mut(index) {
                record.process_id = process;
            }
        }
    }

    /// The process of the socket with these ends; 0 if it is not to be found.
    fn owner(&mut self, protocol: Transport, local: SocketAddr, remote: SocketAddr, deadline: Instant) -> u32 {
        let flow = (protocol.protocol(), local.port(), remote);
        if let Some(known) = self.flows.get(&flow)
            && known.until.is_none_or(|until| Instant::now() < until)
        {
            return known.process;
        }
        let known = self.look_up(protocol, local, remote, deadline);
        self.flows.insert(flow, known);
        known.process
    }

    fn look_up(&mut self, protocol: Transport, local: SocketAddr, remote: SocketAddr, deadline: Instant) -> Known {
        let recheck = Some(Instant::now() + RECHECK);
        let Some(socket) = self.tables.as_ref().and_then(|tables| tables.find(protocol, local, remote)) else {
            // The socket is gone; whoever had its port last is known while it lingers.
            let last = self.ports.get(&(protocol.protocol(), local.port()));
            return Known { cookie: 0, process: last.map_or(0, |known| known.process), until: recheck };
        };
        let cookie = socket.cookie;
        let told = self.sockets.get(&cookie).copied();
        let process = told.or_else(|| of_socket(socket, Some(deadline))).unwrap_or(0);
        let is_followed = self.events.is_some() && process != 0;
        if process != 0 {
            self.sockets.insert(cookie, process);
            self.names.meet(process, Instant::now());
        }
        Known { cookie, process, until: if is_followed { None } else { recheck } }
    }
}
