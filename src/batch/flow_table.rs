//! A table of flows: who talks with whom, how much, and how fast.
//!
//! It is fed by packets, which bring the counts, and by the events of layer FLOW, which bring processes, begin and end; either
//! alone will do. Feeding costs one look-up, allocates for a new flow only, and never panics. Rates are sums that fade with a time
//! constant of a second, so that no clock need tick for flows that are silent.
#![expect(clippy::cast_precision_loss, reason = "rates and ranks need no more than 52 bits")]
use super::record::PacketRef;
use crate::address::{Address, Event, address_of};
use crate::packet::{FlowKey, Layout, Transport, field, read};
use std::collections::HashMap;
use std::net::IpAddr;

/// How fast rates fade: after so many nanoseconds a burst counts for 1/e.
const FADE_NS: f64 = 1e9;
/// What one packet or byte adds to a rate.
const PER_SECOND: f64 = 1e9 / FADE_NS;
/// A closed flow may still be spoken of for so long: the last acknowledgements come late.
const LINGER_NS: i64 = 1_000_000_000;

/// What went one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
}

/// One flow as its local end sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlowRow {
    /// IP protocol number.
    pub protocol: u8,
    /// The local end's address and port; port 0 where the protocol has none.
    pub local: (IpAddr, u16),
    /// The remote end's.
    pub remote: (IpAddr, u16),
    /// Whether the local end began it, as far as is known.
    pub outbound: bool,
    /// The process at the local end; 0 if unknown.
    pub process_id: u32,
    /// The endpoint's number; 0 if no event told of it.
    pub endpoint_id: u64,
    /// What the local end sent.
    pub sent: Count,
    /// What it received.
    pub received: Count,
    /// Bytes a second, both ways.
    pub bytes_per_second: f64,
    /// Packets a second, both ways.
    pub packets_per_second: f64,
    /// When the flow was first seen, in nanoseconds since the Unix epoch.
    pub started_ns: i64,
    /// When its last packet or event was.
    pub last_ns: i64,
    /// Whether it was seen to end.
    pub ended: bool,
}

/// What rows are sorted by; the largest come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// Bytes a second.
    Rate,
    /// Bytes.
    Bytes,
    /// Packets.
    Packets,
    /// When it was first seen: newest first.
    Newest,
}

/// An end of a flow that an event told of.
#[derive(Clone, Copy, Debug)]
struct Owner {
    endpoint_id: u64,
    process_id: u32,
    is_lower: bool,
    outbound: bool,
    ended: bool,
}

impl Owner {
    const fn is_same(&self, other: &Self) -> bool {
        self.endpoint_id == other.endpoint_id && self.is_lower == other.is_lower
    }
}

#[derive(Clone, Debug)]
struct Entry {
    /// By sender: the flow's lower and its upper end.
    counts: [Count; 2],
    byte_rate: f64,
    packet_rate: f64,
    started_ns: i64,
    last_ns: i64,
    /// Grows with every new flow, so that those that begin within one tick keep their order.
    number: u64,
    /// The local end as the first packet or event tells it.
    first: Owner,
    /// The ends that events told of; seldom more than one.
    owners: Vec<Owner>,
    /// Which ends of a TCP connection have sent their FIN.
    finished: [bool; 2],
    reset: bool,
}

impl Entry {
    const fn new(first: Owner, time_ns: i64, number: u64) -> Self {
        Self {
            counts: [Count { packets: 0, bytes: 0 }; 2],
            byte_rate: 0.0,
            packet_rate: 0.0,
            started_ns: time_ns,
            last_ns: time_ns,
            number,
            first,
            owners: Vec::new(),
            finished: [false; 2],
            reset: false,
        }
    }

    fn count(&mut self, is_lower: bool, len: usize, time_ns: i64) {
        let count = &mut self.counts[usize::from(!is_lower)];
        count.packets += 1;
        count.bytes += len as u64;
        let faded = fading(self.last_ns, time_ns);
        self.byte_rate = self.byte_rate * faded + len as f64 * PER_SECOND;
        self.packet_rate = self.packet_rate * faded + PER_SECOND;
        self.last_ns = self.last_ns.max(time_ns);
    }

    /// Whether packets told of the end.
    const fn is_closed(&self) -> bool {
        self.reset || self.finished[0] && self.finished[1]
    }

    /// Whether events are still to tell of its end.
    fn is_owned(&self) -> bool {
        self.owners.iter().any(|owner| !owner.ended)
    }

    fn has_ended(&self) -> bool {
        !self.is_owned() && (self.is_closed() || !self.owners.is_empty())
    }

    fn note_end(&mut self, bytes: &[u8], layout: &Layout, is_lower: bool) {
        if !layout.has(Transport::Tcp) {
            return;
        }
        let is_set = |field| read(bytes, layout, field) == Some(1);
        if is_set(field::tcp::SYN) {
            // The ports are used again, or the connection is about to begin.
            self.finished = [false; 2];
            self.reset = false;
        }
        self.reset |= is_set(field::tcp::RST);
        self.finished[usize::from(!is_lower)] |= is_set(field::tcp::FIN);
    }

    fn total(&self) -> Count {
        let [lower, upper] = self.counts;
        Count { packets: lower.packets + upper.packets, bytes: lower.bytes + upper.bytes }
    }

    fn row(&self, key: &FlowKey, owner: &Owner, now_ns: i64) -> FlowRow {
        let [lower, upper] = key.ends();
        let (local, remote) = if owner.is_lower { (lower, upper) } else { (upper, lower) };
        let [from_lower, from_upper] = self.counts;
        let (sent, received) = if owner.is_lower { (from_lower, from_upper) } else { (from_upper, from_lower) };
        let faded = fading(self.last_ns, now_ns);
        FlowRow {
            protocol: key.protocol(),
            local,
            remote,
            outbound: owner.outbound,
            process_id: owner.process_id,
            endpoint_id: owner.endpoint_id,
            sent,
            received,
            bytes_per_second: self.byte_rate * faded,
            packets_per_second: self.packet_rate * faded,
            started_ns: self.started_ns,
            last_ns: self.last_ns,
            ended: owner.ended || self.is_closed(),
        }
    }

    /// A row for each local end that events told of, or one for what packets tell.
    fn rows<'a>(&'a self, key: &'a FlowKey, now_ns: i64) -> impl Iterator<Item = FlowRow> + 'a {
        let only = self.owners.is_empty().then_some(&self.first);
        self.owners.iter().chain(only).map(move |owner| self.row(key, owner, now_ns))
    }
}

/// What is left of a rate when time goes on from one moment to another.
fn fading(from_ns: i64, to_ns: i64) -> f64 {
    (-(to_ns.saturating_sub(from_ns).max(0) as f64) / FADE_NS).exp()
}

/// The flows that are under way.
#[derive(Clone, Debug)]
pub struct FlowTable {
    entries: HashMap<FlowKey, Entry>,
    limit: usize,
    begun: u64,
    overflowed: u64,
    without_flow: u64,
    last_ns: i64,
    /// Flows that ended and whose ports another one uses by now.
    replaced: Vec<FlowRow>,
}

impl FlowTable {
    /// An empty table, which takes up so many flows at most.
    pub fn new(limit: usize) -> Self {
        Self {
            entries: HashMap::new(),
            limit,
            begun: 0,
            overflowed: 0,
            without_flow: 0,
            last_ns: 0,
            replaced: Vec::new(),
        }
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many flows there have been so far.
    pub const fn begun(&self) -> u64 {
        self.begun
    }

    /// Packets and events of flows that found no room.
    pub const fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Packets that belong to no flow: fragments, and bytes that are no packet.
    pub const fn without_flow(&self) -> u64 {
        self.without_flow
    }

    /// Counts a packet; whether a flow began with it. `process_id` is the process that it belongs to, 0 if unknown.
    pub fn add(&mut self, packet: PacketRef<'_>, time_ns: i64, process_id: u32) -> bool {
        let Some((key, from_lower)) = FlowKey::with_direction(packet.bytes, packet.layout) else {
            self.without_flow += 1;
            return false;
        };
        let outbound = packet.address.outbound();
        let is_lower = from_lower == outbound;
        let first = Owner { endpoint_id: 0, process_id, is_lower, outbound, ended: false };
        let Some((entry, is_new)) = self.entry(key, first, time_ns) else { return false };
        entry.note_end(packet.bytes, packet.layout, from_lower);
        entry.count(from_lower, packet.layout.total_len(), time_ns);
        if process_id != 0 && entry.first.process_id == 0 {
            entry.first.process_id = process_id;
        }
        is_new
    }

    /// Takes an event of layer FLOW in. A flow that it ends stays for a moment, since its last packets may be told of later.
    ///
    /// A flow is known by its endpoint's number besides protocol, addresses and ports, so that an end which is told late does
    /// not end the next flow between the same ports.
    pub fn add_event(&mut self, event: &Address, time_ns: i64) {
        let has_ports = matches!(event.protocol(), 6 | 17);
        let port = |port| if has_ports { port } else { 0 };
        let local = (address_of(event.local_addr()), port(event.local_port()));
        let remote = (address_of(event.remote_addr()), port(event.remote_port()));
        let key = FlowKey::between(event.protocol(), local, remote);
        let owner = Owner {
            endpoint_id: event.endpoint_id(),
            process_id: event.process_id(),
            is_lower: local == key.ends()[0],
            outbound: event.outbound(),
            ended: false,
        };
        match event.event() {
            Some(Event::FlowEstablished) => self.begin(key, owner, time_ns),
            Some(Event::FlowDeleted) => {
                let Some(entry) = self.entries.get_mut(&key) else { return };
                for other in entry.owners.iter_mut().filter(|other| other.is_same(&owner)) {
                    other.ended = true;
                    entry.last_ns = entry.last_ns.max(time_ns);
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, key: FlowKey, owner: Owner, time_ns: i64) {
        if self.entries.get(&key).is_some_and(|entry| entry.has_ended() && !entry.owners.is_empty())
            && let Some(entry) = self.entries.remove(&key)
        {
            self.replaced.extend(entry.rows(&key, time_ns));
        }
        if let Some((entry, _)) = self.entry(key, owner, time_ns) {
            entry.owners.retain(|other| !other.is_same(&owner));
            entry.owners.push(owner);
        }
    }

    /// Says which process the local end of a flow belongs to, where no event does. False if the flow is unknown.
    pub fn set_process(&mut self, key: &FlowKey, process_id: u32) -> bool {
        self.entries.get_mut(key).is_some_and(|entry| {
            entry.first.process_id = process_id;
            true
        })
    }

    /// The process at the local end of a flow, 0 if nobody has told; `None` if the flow is unknown.
    pub fn process_of(&self, key: &FlowKey) -> Option<u32> {
        let entry = self.entries.get(key)?;
        let told = entry.owners.iter().chain([&entry.first]).map(|owner| owner.process_id);
        Some(told.into_iter().find(|process_id| *process_id != 0).unwrap_or(0))
    }

    /// Takes out what is over: what ended a second ago or earlier, and what was silent for longer than `idle_ns`, unless an event
    /// is to tell of its end. Their rows, oldest first.
    pub fn prune(&mut self, now_ns: i64, idle_ns: i64) -> Vec<FlowRow> {
        let mut gone: Vec<_> = self.replaced.drain(..).map(|row| (0, row)).collect();
        self.entries.retain(|key, entry| {
            let patience = if entry.has_ended() { LINGER_NS.min(idle_ns) } else { idle_ns };
            let stays = entry.is_owned() || now_ns.saturating_sub(entry.last_ns) <= patience;
            if !stays {
                gone.extend(entry.rows(key, now_ns).map(|row| (entry.number, row)));
            }
            stays
        });
        gone.sort_by_key(|(number, _)| *number);
        gone.into_iter().map(|(_, row)| row).collect()
    }

    /// The rows at a moment, the first `limit` of those sorted so; without a moment, that of the last packet or event. Those
    /// without packets only `with_silent`.
    pub fn rows(&self, now_ns: Option<i64>, sort_by: SortBy, limit: usize, with_silent: bool) -> Vec<FlowRow> {
        let now_ns = now_ns.unwrap_or(self.last_ns);
        let shown = self.entries.iter().filter(|(_, entry)| with_silent || entry.total().packets > 0);
        let mut ranked: Vec<_> = shown.map(|item| (rank(item.1, sort_by, now_ns), item)).collect();
        let order = |one: &(Rank, _), other: &(Rank, _)| other.0.0.total_cmp(&one.0.0).then(other.0.1.cmp(&one.0.1));
        if limit < ranked.len() {
            // Only what is shown is sorted.
            ranked.select_nth_unstable_by(limit, order);
            ranked.truncate(limit);
        }
        ranked.sort_unstable_by(order);
        ranked.into_iter().flat_map(|(_, (key, entry))| entry.rows(key, now_ns)).take(limit).collect()
    }

    fn entry(&mut self, key: FlowKey, first: Owner, time_ns: i64) -> Option<(&mut Entry, bool)> {
        self.last_ns = self.last_ns.max(time_ns);
        let is_new = !self.entries.contains_key(&key);
        if is_new {
            if self.entries.len() >= self.limit {
                self.overflowed += 1;
                return None;
            }
            self.begun += 1;
        }
        let number = self.begun;
        Some((self.entries.entry(key).or_insert_with(|| Entry::new(first, time_ns, number)), is_new))
    }
}

/// What an entry is sorted by, and among equals the newer one first.
type Rank = (f64, u64);

fn rank(entry: &Entry, sort_by: SortBy, now_ns: i64) -> Rank {
    let value = match sort_by {
        SortBy::Rate => entry.byte_rate * fading(entry.last_ns, now_ns),
        SortBy::Bytes => entry.total().bytes as f64,
        SortBy::Packets => entry.total().packets as f64,
        SortBy::Newest => 0.0,
    };
    (value, entry.number)
}
