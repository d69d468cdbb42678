//! What layers without packets tell: flows that begin and end, socket operations, handles that open and close.
//!
//! Events are matched like packets and queued without bytes, but for REFLECT, whose bytes are the handle's filter
//! object with a NUL behind it. What an event does not tell is zero.
use super::member::{Meeting, Member};
use super::priority::Ladder;
use super::traveller::{Fragments, Traveller};
use crate::address::{Address, Event, Flags, IpWords, Layer};
use crate::batch::Batch;
use crate::packet::Layout;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// TCP's protocol number, which a socket that listens always has.
const TCP: u8 = 6;

/// What a flow or socket is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The IP protocol number.
    pub protocol: u8,
    /// This side; `None` if unknown.
    pub local: Option<SocketAddr>,
    /// The other side; `None` if there is none or it is unknown.
    pub remote: Option<SocketAddr>,
    /// The process; 0 if unknown.
    pub process_id: u32,
    /// The endpoint.
    pub endpoint_id: u64,
    /// The endpoint that it came from.
    pub parent_endpoint_id: u64,
    /// Whether this side began; of meaning for flows only.
    pub outbound: bool,
    /// Whether both sides are this host.
    pub loopback: bool,
}

impl Default for Connection {
    /// An outbound TCP connection of which nothing is known.
    fn default() -> Self {
        Self {
            protocol: TCP,
            local: None,
            remote: None,
            process_id: 0,
            endpoint_id: 0,
            parent_endpoint_id: 0,
            outbound: true,
            loopback: false,
        }
    }
}

/// An address as words, the first one least significant; IPv4 is mapped.
pub(super) fn words(address: IpAddr) -> IpWords {
    let bits = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    [0, 32, 64, 96].map(|shift| (bits >> shift) as u32)
}

impl Connection {
    fn address(&self, layer: Layer, event: Event, now: i64) -> Address {
        let has_remote = !matches!(event, Event::SocketBind | Event::SocketListen);
        let remote = self.remote.filter(|_| has_remote);
        let mut address = Address::default();
        address.set_timestamp(now);
        address.set_layer(layer);
        address.set_event(event);
        address.set_outbound(if layer == Layer::Flow { self.outbound } else { event != Event::SocketAccept });
        address.set_loopback(self.loopback);
        address.set_ipv6(self.local.or(self.remote).is_some_and(|end| end.is_ipv6()));
        address.set_endpoint_id(self.endpoint_id);
        address.set_process_id(self.process_id);
        address.set_protocol(if event == Event::SocketListen { TCP } else { self.protocol });
        if let Some(local) = self.local {
            address.set_local_addr(words(local.ip()));
            address.set_local_port(local.port());
        }
        if let Some(remote) = remote {
            address.set_remote_addr(words(remote.ip()));
            address.set_remote_port(remote.port());
        }
        // The release of a bound address, which has no other side, has no parent either.
        if remote.is_some() || layer == Layer::Flow {
            address.set_parent_endpoint_id(self.parent_endpoint_id);
        }
        address
    }
}

fn traveller(bytes: &[u8], address: Address) -> Traveller<'_> {
    Traveller { bytes, layout: Some(&Layout::EMPTY), address, fragments: Fragments::Any, process_id: 0 }
}

/// Lets a handle have an event that it matches.
fn offer(member: &mut Member, event: &Traveller<'_>) -> Meeting {
    let meeting = member.meet(event, &Layout::EMPTY);
    if matches!(meeting, Meeting::Takes) {
        // Events are copies, so that overload lets nothing go on.
        member.enqueue(event, Layout::EMPTY, &mut Batch::new());
    }
    meeting
}

/// A flow that began and has not ended.
#[derive(Debug)]
struct ActiveFlow {
    connection: Connection,
    /// How many handles had been opened when it began.
    opened: u64,
}

/// The flows that have not ended.
#[derive(Debug, Default)]
pub(super) struct Flows {
    active: HashMap<u64, ActiveFlow>,
    begun: u64,
}

impl Flows {
    /// Tells the handles of a flow that begins; its number.
    pub(super) fn begin(&mut self, ladder: &mut Ladder<Member>, connection: Connection, opened: u64, now: i64) -> u64 {
        self.begun += 1;
        self.active.insert(self.begun, ActiveFlow { connection, opened });
        let address = connection.address(Layer::Flow, Event::FlowEstablished, now);
        for (_, member) in ladder.iter_mut() {
            offer(member, &traveller(&[], address));
        }
        self.begun
    }

    /// Tells those that were open when it began of its end. False if it has ended before.
    pub(super) fn end(&mut self, ladder: &mut Ladder<Member>, number: u64, now: i64) -> bool {
        let Some(flow) = self.active.remove(&number) else { return false };
        let address = flow.connection.address(Layer::Flow, Event::FlowDeleted, now);
        for (_, member) in ladder.iter_mut().filter(|(rank, _)| rank.opened() <= flow.opened) {
            offer(member, &traveller(&[], address));
        }
        true
    }
}

/// Tells the handles of a socket operation; whether it is allowed. The first that matches and does not only watch
/// blocks it, and those below never hear of it. A close is never blocked.
pub(super) fn socket_event(ladder: &mut Ladder<Member>, connection: &Connection, event: Event, now: i64) -> bool {
    let is_close = event == Event::SocketClose;
    let mut address = connection.address(Layer::Socket, event, now);
    address.set_sniffed(is_close);
    for (_, member) in ladder.iter_mut() {
        if is_close && member.flags.has(Flags::DROP) {
            continue;
        }
        let meeting = offer(member, &traveller(&[], address));
        if !matches!(meeting, Meeting::Skips) && !is_close && !member.flags.has(Flags::SNIFF) {
            return false;
        }
    }
    true
}

/// A handle as REFLECT tells of it.
#[derive(Debug)]
pub(super) struct Subject {
    address: Address,
    object: Vec<u8>,
    opened: u64,
}

impl Subject {
    pub(super) fn new(member: &Member, opened: u64) -> Self {
        let mut address = Address::default();
        address.set_outbound(false);
        address.set_layer(Layer::Reflect);
        address.set_sniffed(true);
        address.set_reflect_timestamp(member.opened_at);
        address.set_reflect_process_id(member.process_id);
        address.set_reflect_layer(u32::from(member.layer.number()));
        address.set_reflect_flags(member.flags.0);
        address.set_reflect_priority(member.priority);
        let mut object = member.filter.object().into_bytes();
        object.push(0);
        Self { address, object, opened }
    }

    fn event(&self, event: Event, now: i64) -> Traveller<'_> {
        let mut address = self.address;
        address.set_event(event);
        address.set_timestamp(now);
        traveller(&self.object, address)
    }

    /// Tells all observers that this handle opened or closed.
    pub(super) fn report(&self, observers: &mut Ladder<Member>, event: Event, now: i64) {
        for (_, observer) in observers.iter_mut() {
            offer(observer, &self.event(event, now));
        }
    }
}

/// Tells a new observer which handles are open, in the order in which they were opened.
pub(super) fn report_open_handles(mut subjects: Vec<Subject>, observer: &mut Member, now: i64) {
    subjects.sort_by_key(|subject| subject.opened);
    for subject in &subjects {
        offer(observer, &subject.event(Event::ReflectOpen, now));
    }
}
