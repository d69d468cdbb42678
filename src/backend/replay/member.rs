//! One handle of a replay, and how a packet is found in a record and offered to the handles.
use super::direction::Directions;
use super::format::RecordMeta;
use super::place::State;
use crate::address::{Address, Flags, Layer, Parameter};
use crate::backend::Statistics;
use crate::batch::{Batch, Origin, PacketRef, Token};
use crate::engine::{Bypasses, Ladder, Rank};
use crate::filter::Filter;
use crate::packet::{self, Endpoint, Layout};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// A packet in a handle's queue.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The place that waits for it; a copy has none.
    pub(super) token: Option<u64>,
    /// Its bytes within the places' buffer.
    pub(super) bytes: Range<usize>,
    pub(super) layout: Layout,
    pub(super) address: Address,
    pub(super) time_ns: i64,
}

/// A handle.
pub(super) struct Member {
    pub(super) id: Rank,
    pub(super) layer: Layer,
    pub(super) flags: Flags,
    pub(super) filter: Arc<Filter>,
    pub(super) bypasses: Bypasses,
    pub(super) queue: VecDeque<Entry>,
    pub(super) statistics: Statistics,
    pub(super) is_woken: bool,
    pub(super) has_ended_receiving: bool,
    pub(super) has_ended_sending: bool,
    pub(super) parameters: [u64; Parameter::ALL.len()],
}

impl Member {
    /// Whether packets are offered to it.
    pub(super) fn takes_packets(&self) -> bool {
        !self.has_ended_receiving && !self.flags.has(Flags::SEND_ONLY)
    }
}

/// What happens to a packet on its way down.
pub(super) enum Fate {
    Passed,
    Dropped,
    Queued { owner: Rank },
}

/// A packet on its way down.
pub(super) struct Traveller<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) layout: Layout,
    pub(super) address: Address,
    pub(super) time_ns: i64,
}

pub(super) const fn state_of(fate: &Fate) -> State {
    match *fate {
        Fate::Passed => State::Settled,
        Fate::Dropped => State::Dropped,
        Fate::Queued { owner } => State::Waiting { owner, handed_out: false },
    }
}

/// The IP packet of a record: the length of the link header before it, and the packet with its address.
#[inline]
pub(super) fn find_packet<'a>(
    raw: &'a [u8],
    meta: &RecordMeta,
    directions: &Directions,
) -> Option<(usize, Traveller<'a>)> {
    let frame = raw.get(meta.data_offset..meta.data_offset + meta.data_len)?;
    let located = meta.link_type()?.locate(frame)?;
    let bytes = frame.get(located.offset..)?;
    let layout = Layout::parse(bytes).ok()?.without_rest();
    let bytes = bytes.get(..layout.total_len().min(bytes.len()))?;
    let src_addr = packet::read_addr(bytes, &layout, Endpoint::Source)?;
    let dst_addr = packet::read_addr(bytes, &layout, Endpoint::Destination)?;
    let told = meta.is_outbound.or(located.is_outbound);
    // Captures hold one that stays within the host once, and some say inbound; the driver shows it outbound only.
    let is_loopback = packet::is_loopback(src_addr, dst_addr);
    let mut address = Address::default();
    address.set_outbound(is_loopback || told.unwrap_or_else(|| directions.is_outbound(src_addr)));
    address.set_loopback(is_loopback);
    address.set_ipv6(layout.is_ipv6());
    address.set_ip_checksum(true);
    address.set_tcp_checksum(true);
    address.set_udp_checksum(true);
    address.set_interface_index(meta.interface.saturating_add(1));
    address.set_timestamp(meta.time_ns / 100);
    Some((located.offset, Traveller { bytes, layout, address, time_ns: meta.time_ns }))
}

/// Offers a packet to the handles from index `from` on, until one takes it. Its bytes will lie at `offset` of the buffer.
#[inline]
pub(super) fn descend(
    members: &mut Ladder<Member>,
    from: usize,
    traveller: &Traveller<'_>,
    token: u64,
    offset: usize,
) -> Fate {
    for member in members.iter_mut().skip(from).map(|(_, member)| member).filter(|member| member.takes_packets()) {
        let mut address = traveller.address;
        address.set_layer(member.layer);
        if member.layer == Layer::NetworkForward {
            address.set_outbound(true);
            address.set_loopback(false);
        }
        member.statistics.seen += 1;
        if !member.bypasses.is_empty()
            && member.bypasses.lets_pass(traveller.bytes, &traveller.layout, address.timestamp())
        {
            member.statistics.bypassed += 1;
            continue;
        }
        let packet = PacketRef { bytes: traveller.bytes, layout: &traveller.layout, address: &address };
        if !member.filter.matches(packet) {
            continue;
        }
        if member.flags.has(Flags::DROP) {
            member.statistics.dropped += 1;
            return Fate::Dropped;
        }
        let is_copy = member.flags.has(Flags::SNIFF);
        address.set_sniffed(is_copy);
        member.queue.push_back(Entry {
            token: (!is_copy).then_some(token),
            bytes: offset..offset + traveller.bytes.len(),
            layout: traveller.layout,
            address,
            time_ns: traveller.time_ns,
        });
        if !is_copy {
            return Fate::Queued { owner: member.id };
        }
    }
    Fate::Passed
}

/// Takes the packet that a handle was just given out of its queue and into the batch of whoever asked for it.
#[inline]
pub(super) fn take_back(members: &mut Ladder<Member>, id: Rank, traveller: &Traveller<'_>, batch: &mut Batch) {
    let Some(member) = members.get_mut(id) else { return };
    let Some(entry) = member.queue.pop_back() else { return };
    let origin = entry.token.map_or(Origin::Injected(None), |token| Origin::Received(Token(token)));
    batch.push(traveller.bytes, entry.layout, &entry.address, entry.time_ns, origin);
    member.statistics.received += 1;
}
