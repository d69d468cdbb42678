//! How a packet walks down the handles of its layer, and where it arrives.
//!
//! Rules: handles by rank; a copy for those that sniff, the end of the walk at the first that drops or
//! diverts. A sent packet begins strictly below its sender. Each handle on the way costs its filter.
use super::clock::time_ns;
use super::member::{Meeting, Member};
use super::priority::Ladder;
use super::traveller::{Traveller, fragments_rule};
use crate::batch::{Batch, Origin};
use crate::packet::Layout;

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
