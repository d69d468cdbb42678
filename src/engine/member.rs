//! A handle as the chain knows it: what it does with a packet that meets it, its queue, and what it counts.
use super::bypass::Bypasses;
use super::clock::{TICKS_PER_MILLISECOND, time_ns};
use super::error::{Error, ErrorCode};
use super::options::{OpenOptions, Overload, Received};
use super::queue::{Entry, Queue};
use super::read::{Completion, Read};
use super::statistics::{Loss, Statistics};
use super::traveller::Traveller;
use super::wait::Bell;
use super::warning::AgeWatch;
use crate::address::{Flags, Layer, Parameter};
use crate::batch::{Batch, Origin, PacketRef};
use crate::filter::Filter;
use crate::packet::{FlowKey, Layout};
use std::collections::VecDeque;
use std::sync::Arc;

/// What a handle does with a packet.
pub(super) enum Meeting {
    /// Nothing.
    Skips,
    /// It is gone.
    Drops,
    /// It or a copy is queued.
    Takes,
}

/// An open handle.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) layer: Layer,
    pub(super) priority: i16,
    pub(super) flags: Flags,
    pub(super) filter: Filter,
    on_overload: Overload,
    /// Whether packets are offered to it.
    captures: bool,
    pub(super) has_ended_receiving: bool,
    pub(super) has_ended_sending: bool,
    pub(super) queue: Queue,
    pub(super) bell: Arc<Bell>,
    /// Raw reads that wait; then the queue is empty.
    pub(super) reads: VecDeque<Arc<Read>>,
    pub(super) bypasses: Bypasses,
    pub(super) statistics: Statistics,
    /// Packets that were handed out and neither sent nor given up.
    pub(super) in_hand: u64,
    pub(super) age_watch: AgeWatch,
    /// When and by which process it was opened.
    pub(super) opened_at: i64,
    pub(super) process_id: u32,
}

impl Member {
    pub(super) fn new(options: &OpenOptions, captures: bool, opened_at: i64, process_id: u32) -> Self {
        Self {
            layer: options.layer,
            priority: options.priority,
            flags: options.flags,
            filter: (*options.filter).clone(),
            on_overload: options.on_overload,
            captures,
            has_ended_receiving: false,
            has_ended_sending: false,
            queue: Queue::new(options.layer),
            bell: Arc::new(Bell::new()),
            reads: VecDeque::new(),
            bypasses: Bypasses::default(),
            statistics: Statistics::default(),
            in_hand: 0,
            age_watch: AgeWatch::default(),
            opened_at,
            process_id,
        }
    }

    /// Whether what it queues are originals, which nobody else has.
    pub(super) const fn takes_originals(&self) -> bool {
        self.layer.has_packets() && self.flags.0 & (Flags::SNIFF.0 | Flags::DROP.0) == 0
    }

    /// Ends capturing; what is queued stays.
    pub(super) fn end_receiving(&mut self) {
        self.captures = false;
        self.has_ended_receiving = true;
    }

    /// What the handle does with a packet, before it does it.
    #[inline]
    pub(super) fn meet(&mut self, traveller: &Traveller<'_>, layout: &Layout) -> Meeting {
        if !self.captures || !traveller.fragments.admits(self.flags) {
            return Meeting::Skips;
        }
        self.statistics.seen += 1;
        if !self.bypasses.is_empty() && self.bypasses.lets_pass(traveller.bytes, layout, traveller.address.timestamp())
        {
            self.statistics.bypassed += 1;
            return Meeting::Skips;
        }
        if !self.filter.matches(PacketRef { bytes: traveller.bytes, layout, address: &traveller.address }) {
            return Meeting::Skips;
        }
        if self.flags.has(Flags::DROP) {
            self.statistics.dropped += 1;
            return Meeting::Drops;
        }
        Meeting::Takes
    }

    /// Queues a packet or event. What overload lets go on is appended to `passed`. False if this one cannot be queued
    /// at all and goes on.
    #[inline]
    pub(super) fn enqueue(&mut self, traveller: &Traveller<'_>, layout: Layout, passed: &mut Batch) -> bool {
        let lets_pass = self.on_overload == Overload::Pass && self.takes_originals();
        let now = traveller.address.timestamp();
        let Self { queue, statistics, .. } = self;
        let has_room = queue.make_room(traveller.bytes.len(), now, &mut |record, bytes, loss| {
            if statistics.note_loss(loss, lets_pass) {
                passed.push_again(record, bytes, Origin::Injected(None));
            }
        });
        if !has_room {
            return !statistics.note_loss(Loss::Size, lets_pass);
        }
        let mut address = traveller.address;
        if self.flags.has(Flags::SNIFF) {
            address.set_sniffed(true);
        }
        let entry = Entry {
            layout,
            address: &address,
            time_ns: time_ns(now),
            process_id: traveller.process_id,
            origin: self.queue.new_origin(self.takes_originals()),
        };
        let was_empty = self.queue.is_empty();
        self.queue.push(&entry, traveller.bytes);
        if !self.reads.is_empty() {
            self.serve_reads(now);
        } else if was_empty {
            self.bell.ring_one();
        }
        true
    }

    /// Discards what waited too long.
    pub(super) fn expire(&mut self, now: i64) {
        let Self { queue, statistics, .. } = self;
        queue.expire(now, &mut |_, _, loss| {
            statistics.note_loss(loss, false);
        });
    }

    /// Hands queued packets out; `None` if there is nothing to do but wait.
    #[inline]
    pub(super) fn receive(&mut self, batch: &mut Batch, limit: usize, now: i64) -> Option<Result<Received, Error>> {
        if self.flags.has(Flags::SEND_ONLY) {
            return Some(Err(Error::send_only()));
        }
        if self.hand_out(batch, limit, now) > 0 {
            return Some(Ok(Received::Packets));
        }
        self.has_ended_receiving.then_some(Ok(Received::Ended))
    }

    #[inline]
    fn hand_out(&mut self, batch: &mut Batch, limit: usize, now: i64) -> usize {
        self.note_age(now);
        self.expire(now);
        let count = self.queue.hand_out(batch, limit);
        self.statistics.received += count as u64;
        if self.takes_originals() {
            self.in_hand += count as u64;
        }
        if !self.queue.is_empty() {
            self.bell.ring_one();
        }
        count
    }

    /// Answers waiting reads in their order, as far as there are packets; all of them once none will come.
    pub(super) fn serve_reads(&mut self, now: i64) {
        self.note_age(now);
        self.expire(now);
        while !self.queue.is_empty() {
            let Some(read) = self.reads.pop_front() else { return };
            self.serve(&read);
        }
        if self.has_ended_receiving {
            for read in self.reads.drain(..) {
                read.fail(Error::new(ErrorCode::NoData, "receiving was shut down on this handle"));
            }
        }
    }

    /// Answers a read with the first packet and all that fit behind it.
    fn serve(&mut self, read: &Read) {
        let Some((record, bytes)) = self.queue.first() else { return };
        let mut completion = Completion::first(read, self.layer, record, bytes);
        self.queue.remove_first();
        if completion.error.is_some() {
            self.statistics.errors += 1;
        }
        let space = read.buffer_len.unwrap_or(0);
        while completion.error.is_none() && completion.addresses.len() < read.capacity {
            let Some((record, bytes)) = self.queue.first() else { break };
            if completion.data.len() + bytes.len() > space {
                break;
            }
            completion.data.extend_from_slice(bytes);
            completion.addresses.push(record.address);
            self.queue.remove_first();
        }
        let count = completion.addresses.len() as u64;
        self.statistics.received += count;
        if self.takes_originals() {
            self.in_hand += count;
        }
        read.complete(completion);
    }

    /// Lets a flow pass from now on; what is queued of it is taken out and appended to `passed`.
    pub(super) fn bypass(&mut self, flow: FlowKey, passed: &mut Batch, now: i64) -> bool {
        if !self.captures || !self.layer.has_packets() || !self.bypasses.insert(flow, now) {
            return false;
        }
        let takes_originals = self.takes_originals();
        let Self { queue, bypasses, statistics, .. } = self;
        queue.remove_selected(|record, bytes| {
            let is_bypassed = bypasses.lets_pass(bytes, &record.layout, now);
            if is_bypassed {
                statistics.bypassed += 1;
                if takes_originals {
                    passed.push_again(record, bytes, Origin::Injected(None));
                }
            }
            is_bypassed
        });
        true
    }

    /// Remembers to warn if the first packet has waited for more than half of the time that it may.
    #[inline]
    pub(super) fn note_age(&mut self, now: i64) {
        let Some(age) = self.queue.age(now) else { return };
        let [age, limit] = [age, self.queue.limits.time()].map(|ticks| ticks / TICKS_PER_MILLISECOND as u64);
        self.age_watch.note(age, limit);
    }

    /// A parameter's value.
    pub(super) fn parameter(&self, parameter: Parameter) -> u64 {
        self.queue.limits.value(parameter).unwrap_or_else(|| super::version(parameter))
    }
}
