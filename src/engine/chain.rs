//! How a packet walks down the handles of its layer, and where it arrives.
//!
//! Rules: handles by rank; a copy for those that sniff, the end of the walk at the first that drops or
//! diverts. A sent packet begins strictly below its sender. Each handle on the way costs its filter.
use super::clock::time_ns;
use super::inject::{ends, fragments_rule};
use super::member::{Meeting, Member};
use super::priority::Ladder;
use crate::address::{Address, Flags};
use crate::batch::{Batch, Origin, Record};
use crate::packet::{Layout, has_loopback_addrs};
use std::collections::HashSet;
use std::net::IpAddr;

/// What became of a packet that was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrived at the host or on the wire.
    Passed,
    /// A handle has it.
    Diverted,
    /// A handle dropped it.
    Dropped,
}

/// Which handles may see an inbound packet, by their flag FRAGMENTS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fragments {
    /// All.
    Any,
    /// A fragment: those that have the flag.
    Wanted,
    /// What fragments were put together to: those that lack it.
    Unwanted,
}

impl Fragments {
    #[inline]
    pub(super) const fn admits(self, flags: Flags) -> bool {
        match self {
            Self::Any => true,
            Self::Wanted => flags.has(Flags::FRAGMENTS),
            Self::Unwanted => !flags.has(Flags::FRAGMENTS),
        }
    }

    /// The rule for a packet on the inbound path of layer NETWORK; on all others, [`Any`](Self::Any) holds.
    #[inline]
    pub(super) const fn of_inbound(layout: &Layout, is_reassembled: bool) -> Self {
        if layout.is_fragment() {
            Self::Wanted
        } else if is_reassembled {
            Self::Unwanted
        } else {
            Self::Any
        }
    }
}

/// A packet on its way down.
#[derive(Clone, Copy)]
pub(super) struct Traveller<'a> {
    pub(super) bytes: &'a [u8],
    /// Nothing if no handle may see it: it is no whole packet, or inbound and from this host.
    pub(super) layout: Option<&'a Layout>,
    /// As handles see it, but for the mark of copies; its timestamp is the walk's.
    pub(super) address: Address,
    pub(super) fragments: Fragments,
    pub(super) process_id: u32,
}

impl<'a> Traveller<'a> {
    /// Gives it the offset table of its bytes, and says which handles may see it; its address is known.
    #[inline(always)]
    pub(super) fn show(&mut self, layout: Option<&'a Layout>, is_reassembled: bool) {
        let is_invisible = self.address.loopback() && !self.address.outbound();
        self.layout = layout.filter(|_| !is_invisible);
        let rule = |layout| fragments_rule(&self.address, layout, is_reassembled);
        self.fragments = self.layout.map_or(Fragments::Any, rule);
    }

    /// A queued packet that goes on, seen at `now`.
    fn again(record: &'a Record, bytes: &'a [u8], fragments: Fragments, now: i64) -> Self {
        let mut address = record.address;
        address.set_timestamp(now);
        Self { bytes, layout: Some(&record.layout), address, fragments, process_id: record.process_id }
    }
}

/// What reached the host or the wire.
#[derive(Debug)]
pub(super) struct Exit {
    pub(super) packets: Batch,
    pub(super) count: u64,
    pub(super) keeps: bool,
}

impl Default for Exit {
    fn default() -> Self {
        Self { packets: Batch::new(), count: 0, keeps: true }
    }
}

impl Exit {
    #[inline]
    fn deliver(&mut self, traveller: &Traveller<'_>) {
        self.count += 1;
        if self.keeps {
            let layout =
                traveller.layout.copied().unwrap_or_else(|| Layout::parse(traveller.bytes).unwrap_or(Layout::EMPTY));
            let time_ns = time_ns(traveller.address.timestamp());
            self.packets.push(traveller.bytes, layout, &traveller.address, time_ns, Origin::Injected(None));
            if let Some(record) = self.packets.records_mut().last_mut() {
                record.process_id = traveller.process_id;
            }
        }
    }
}

/// Addresses that are this host's, since packets stayed within it.
#[derive(Debug, Default)]
pub(super) struct Host {
    addresses: HashSet<IpAddr>,
}

/// The most addresses that a host remembers.
const ADDRESSES_MAX: usize = 1024;

impl Host {
    pub(super) fn learn(&mut self, address: IpAddr) {
        if self.addresses.len() < ADDRESSES_MAX {
            self.addresses.insert(address);
        }
    }

    /// Whether a packet stays within this host.
    #[inline]
    pub(super) fn keeps(&self, bytes: &[u8], layout: &Layout) -> bool {
        has_loopback_addrs(bytes, layout) || !self.addresses.is_empty() && self.has_both_ends(bytes, layout)
    }

    #[inline(never)]
    fn has_both_ends(&self, bytes: &[u8], layout: &Layout) -> bool {
        let ends = ends(bytes, layout);
        ends.is_some_and(|(src_addr, dst_addr)| [src_addr, dst_addr].iter().all(|end| self.addresses.contains(end)))
    }
}

impl Ladder<Member> {
    /// Sends a packet down, from the handle at index `from` on.
    #[inline]
    pub(super) fn descend(&mut self, from: usize, traveller: &Traveller<'_>, exit: &mut Exit) -> Fate {
        let Some(layout) = traveller.layout else {
            exit.deliver(traveller);
            return Fate::Passed;
        };
        let mut next = from;
        while let Some(member) = self.at_mut(next) {
            next += 1;
            match member.meet(traveller, layout) {
                Meeting::Drops => return Fate::Dropped,
                Meeting::Takes if self.queues(next - 1, traveller, *layout, exit) => return Fate::Diverted,
                Meeting::Takes | Meeting::Skips => {}
            }
        }
        exit.deliver(traveller);
        Fate::Passed
    }

    /// Queues a packet or its copy at the handle at an index. Whether the packet goes no further.
    #[inline(never)]
    fn queues(&mut self, index: usize, traveller: &Traveller<'_>, layout: Layout, exit: &mut Exit) -> bool {
        let Some(member) = self.at_mut(index) else { return false };
        let is_original = member.takes_originals();
        let mut passed = Batch::new();
        let is_queued = member.enqueue(traveller, layout, &mut passed);
        if !passed.is_empty() {
            self.pass_on(index + 1, &passed, traveller.address.timestamp(), exit);
        }
        is_original && is_queued
    }

    /// Lets packets that were queued go on, from the handle at index `from` on.
    #[cold]
    #[inline(never)]
    pub(super) fn pass_on(&mut self, from: usize, passed: &Batch, now: i64, exit: &mut Exit) {
        for (index, record) in passed.records().iter().enumerate() {
            let bytes = passed.bytes(index).unwrap_or_default();
            let fragments = fragments_rule(&record.address, &record.layout, false);
            self.descend(from, &Traveller::again(record, bytes, fragments, now), exit);
        }
    }
}
