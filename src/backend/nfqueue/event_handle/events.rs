//! Layers FLOW and SOCKET: what the programs at the control group tell, as the driver's events.
//!
//! Without SNIFF binds and connects that match are refused in the kernel, with EPERM; what else matches is told.
//!
//! | event | told by |
//! | --- | --- |
//! | BIND | a bind, with the port that was chosen |
//! | LISTEN, CONNECT | TCP's own; for UDP a connect |
//! | ACCEPT | a TCP connection that the other side asked for is there |
//! | CLOSE | a socket goes that any of these was told of |
//! | FLOW_ESTABLISHED | a TCP connection is there; the first datagram between a socket and another end |
//! | FLOW_DELETED | the connection or the socket is closed, and its last packets are gone |
use super::super::kernel::fault::{fault, program_fault};
use super::super::kernel::sys::{self, Descriptor};
use super::super::sockets::names::Names;
use super::super::sockets::owner;
use super::super::sockets::record::{Record, TCP, kind};
use super::super::sockets::watch::{Purpose, Watch};
use super::super::tables::registry::Registration;
use super::observed::{Feed, Observed, engine};
use crate::address::{Event, Flags, Layer};
use crate::backend::{Error, ErrorCode, OpenOptions};
use crate::engine::{Connection, Engine, Flow};
use crate::filter::Filter;
use crate::packet::{Transport, is_loopback};
use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a wait for events lasts at most.
const WAIT: Duration = Duration::from_secs(1);
/// How long the end of a flow is told behind the event, so that copies of its last packets come first.
const END_PAUSE: Duration = Duration::from_millis(30);
/// The state of a TCP connection that is over.
const STATE_CLOSED: u32 = 7;

/// What is known of a socket.
#[derive(Default)]
struct Known {
    process: u32,
    connection: Connection,
    /// A connection, rather than a bound address.
    is_connected: bool,
    flows: HashMap<SocketAddr, Flow>,
}

/// What is known of all sockets that were told of.
struct Sockets {
    watch: Watch,
    layer: Layer,
    known: HashMap<u64, Known>,
    /// Flows whose end is still to be told, and when.
    ending: VecDeque<(Instant, Flow)>,
    /// Who listens: the process and the socket, by the port.
    listeners: HashMap<u16, (u32, u64)>,
    names: Names,
}

/// Opens a handle of layer FLOW or SOCKET.
pub(crate) fn open(options: OpenOptions) -> Result<Observed, Error> {
    let failed = |error| program_fault("watching sockets by eBPF programs at the root control group", error);
    let refuses = options.layer == Layer::Socket && !options.flags.has(Flags::SNIFF);
    if refuses {
        verify_refusable(&options.filter)?;
    }
    let watch = Watch::start(match options.layer {
        Layer::Flow => Purpose::TellFlows,
        _ if refuses => Purpose::Refuse(&options.filter),
        _ => Purpose::Tell,
    })
    .map_err(|error| {
        if error.kind() == ErrorKind::Unsupported && error.raw_os_error().is_none() {
            let message = "a filter of operations that are refused asks nothing of loopback and timestamp on Linux";
            return Error::new(ErrorCode::NotSupported, message);
        }
        failed(error)
    })?;
    let engine = engine();
    let registration = Registration::new(&options, engine.now());
    let registration = registration.map_err(|error| fault("adding a table to nftables", error))?;
    let layer = options.layer;
    let names = Names::default();
    let sockets = Sockets {
        watch,
        layer,
        known: HashMap::new(),
        ending: VecDeque::new(),
        listeners: HashMap::new(),
        names: names.clone(),
    };
    Observed::open(engine, options, Some(registration), names, sockets)
}

/// Refuses a filter of operations that are to be refused if it may match one that the kernel lets nobody refuse: a program
/// that counts on it would not be safe.
fn verify_refusable(filter: &Filter) -> Result<(), Error> {
    let may_match = |event: Event| filter.may_match_event(event.number(), event != Event::SocketAccept);
    if may_match(Event::SocketListen) || may_match(Event::SocketAccept) {
        let message = "Linux refuses binds and connects, but not that a socket listens or accepts; say which are meant: add \
                       (event == BIND or event == CONNECT) to the filter, or open with SNIFF to be told of all";
        return Err(Error::new(ErrorCode::NotSupported, message));
    }
    Ok(())
}

impl Feed for Sockets {
    fn feed(&mut self, engine: &Engine, ended: &Descriptor) {
        let now = Instant::now();
        let wait = self.ending.front().map_or(WAIT, |(due, _)| due.saturating_duration_since(now));
        if sys::wait_readable(&[ended, self.watch.descriptor()], Some(wait)).is_err() {
            std::thread::sleep(WAIT);
        }
        let records = self.watch.take();
        // First of all, since processes end meanwhile.
        let taken = Instant::now();
        for record in &records {
            self.names.take_in(record, taken);
        }
        for record in &records {
            self.note(engine, record);
        }
        while self.ending.front().is_some_and(|(due, _)| *due <= Instant::now())
            && let Some((_, flow)) = self.ending.pop_front()
        {
            flow.end();
        }
    }
}

impl Sockets {
    fn note(&mut self, engine: &Engine, record: &Record) {
        match record.kind {
            kind::BIND => self.operation(engine, Event::SocketBind, record, false),
            kind::LISTEN => {
                let owner = self.owner_of(record);
                self.listeners.insert(record.local.port(), (owner, record.cookie));
                self.operation(engine, Event::SocketListen, record, false);
            }
            kind::CONNECT => self.operation(engine, Event::SocketConnect, record, true),
            kind::ACTIVE | kind::SENT => self.establish(engine, record, true),
            kind::PASSIVE => {
                self.operation(engine, Event::SocketAccept, record, true);
                self.establish(engine, record, false);
            }
            kind::STATE if record.state == STATE_CLOSED => {
                if let Some(known) = self.known.get_mut(&record.cookie) {
                    let due = Instant::now() + END_PAUSE;
                    self.ending.extend(known.flows.drain().map(|(_, flow)| (due, flow)));
                }
            }
            kind::RECEIVED => self.establish(engine, record, false),
            kind::CLOSE => self.close(engine, record.cookie),
            kind::OWNER => self.known.entry(record.cookie).or_default().process = record.process,
            _ => {}
        }
    }

    /// The process of a socket: as told now or before, of the one that listens for it, or looked up.
    fn owner_of(&self, record: &Record) -> u32 {
        let before = || self.known.get(&record.cookie).map_or(0, |known| known.process);
        let listener = || match record.kind {
            kind::PASSIVE => self.listeners.get(&record.local.port()).map_or(0, |(process, _)| *process),
            _ => 0,
        };
        let looked_up = || {
            let transport = if record.protocol == TCP { Transport::Tcp } else { Transport::Udp };
            let found = record.remote.and_then(|remote| owner::of_ends(transport, record.local, remote)).unwrap_or(0);
            self.names.meet(found, Instant::now());
            found
        };
        let known = [record.process, before(), listener()].into_iter().find(|process| *process != 0);
        known.unwrap_or_else(looked_up)
    }

    fn connection(&self, record: &Record, outbound: bool) -> Connection {
        let parent = match record.kind {
            kind::PASSIVE => self.listeners.get(&record.local.port()).map_or(0, |(_, cookie)| *cookie),
            _ => 0,
        };
        let before = self.known.get(&record.cookie).and_then(|known| known.connection.local);
        // A hook that does not tell this side leaves what was told before.
        let local = if record.local.port() == 0 { before.or(Some(record.local)) } else { Some(record.local) };
        let ip = |end: Option<SocketAddr>| end.map(|end| end.ip());
        let stays = match (ip(local), ip(record.remote)) {
            (Some(local), Some(remote)) => is_loopback(local, remote),
            (Some(local), None) => local.is_loopback(),
            _ => false,
        };
        Connection {
            protocol: record.protocol,
            local,
            remote: record.remote,
            process_id: self.owner_of(record),
            endpoint_id: record.cookie,
            parent_endpoint_id: parent,
            outbound,
            loopback: stays,
        }
    }

    fn operation(&mut self, engine: &Engine, event: Event, record: &Record, is_connected: bool) {
        let connection = self.connection(record, event != Event::SocketAccept);
        let known = self.known.entry(record.cookie).or_default();
        known.process = connection.process_id;
        known.connection = connection;
        known.is_connected |= is_connected;
        if self.layer == Layer::Socket {
            // Only events of sockets are told.
            drop(engine.socket_event(event, &connection));
        }
    }

    fn establish(&mut self, engine: &Engine, record: &Record, outbound: bool) {
        let connection = self.connection(record, outbound);
        let known = self.known.entry(record.cookie).or_default();
        known.process = connection.process_id;
        if known.connection.local.is_none() {
            known.connection = connection;
        }
        if let Some(remote) = record.remote.filter(|_| self.layer == Layer::Flow) {
            known.flows.entry(remote).or_insert_with(|| engine.flow(&connection));
        }
    }

    fn close(&mut self, engine: &Engine, cookie: u64) {
        let Some(known) = self.known.remove(&cookie) else { return };
        self.listeners.retain(|_, (_, listener)| *listener != cookie);
        let due = Instant::now() + END_PAUSE;
        self.ending.extend(known.flows.into_values().map(|flow| (due, flow)));
        if self.layer == Layer::Socket && known.connection.local.is_some() {
            let mut connection = known.connection;
            if !known.is_connected {
                connection.remote = None;
            }
            drop(engine.socket_event(Event::SocketClose, &connection));
        }
    }
}
