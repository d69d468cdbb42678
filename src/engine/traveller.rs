//! A packet on its way down the handles of its layer: as they see it, and which of them may.
use crate::address::{Address, Flags};
use crate::batch::Record;
use crate::packet::Layout;

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
    pub(super) fn again(record: &'a Record, bytes: &'a [u8], fragments: Fragments, now: i64) -> Self {
        let mut address = record.address;
        address.set_timestamp(now);
        Self { bytes, layout: Some(&record.layout), address, fragments, process_id: record.process_id }
    }
}

/// Which handles may see a packet with this address, by their flag FRAGMENTS.
#[inline]
pub(super) const fn fragments_rule(address: &Address, layout: &Layout, is_reassembled: bool) -> Fragments {
    if address.outbound() { Fragments::Any } else { Fragments::of_inbound(layout, is_reassembled) }
}
