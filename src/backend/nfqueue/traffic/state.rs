//! What one lock guards of a handle: what was taken from the kernel, and what is to be answered.
use super::super::injection::carrier::{Arrived, Carriers};
use super::super::intake::arrival;
use super::super::intake::copies::Copies;
use super::super::intake::lines::Lines;
use super::super::intake::log::{Log, copy};
use super::super::intake::queue::{Change, Event, FLUSH_AT, MESSAGE_MAX, Queue, Verdict, Waiting, event};
use super::super::intake::token;
use super::super::kernel::netlink::{Message, Messages, Writer};
use super::super::kernel::sys::{Descriptor, Inbox};
use super::super::rules::ruleset::{FRAGMENT_TAG, Ruleset};
use super::super::sockets::names::Names;
use super::super::sockets::owners::Owners;
use super::super::tables::nft::Hook;
use super::backlog::Backlog;
use super::pace::Pace;
use super::refusal::Refusals;
use crate::address::{Flags, Layer};
use crate::batch::{Batch, Origin, PacketRef};
use crate::engine::{AgeWatch, Bypasses, OpenOptions, Overload, Statistics, TICKS_PER_MILLISECOND, Warning, time_ns};
use crate::filter::Filter;
use std::io::Result;
use std::sync::Arc;
use std::time::Duration;

/// How many messages are taken from the kernel in one call.
const AT_ONCE: usize = 64;
/// Bytes of what nftables announces at once.
const ANNOUNCEMENT_MAX: usize = 8192;
/// So many calls take what is there at most, so that a flood does not keep the program from its packets.
const CALLS_MAX: usize = 64;
/// How long what does not fit the program's batch may stay in the kernel, in ticks: 20 ms.
const LOOK_AGAIN: i64 = 200_000;

/// Where a handle's packets come from.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) queue: &'a Queue,
    pub(crate) ruleset: &'a Ruleset,
    pub(crate) log: Option<&'a Log>,
    pub(crate) copies: Option<&'a Copies>,
}

/// What is done with a message: the state, the message, and the program's batch with its length at the end.
type Visit<'a> = dyn FnMut(&mut State, &Message<'_>, Option<(&mut Batch, usize)>) + 'a;

pub(crate) struct State {
    pub(super) layer: Layer,
    pub(super) flags: Flags,
    on_overload: Overload,
    pub(crate) filter: Arc<Filter>,
    pub(crate) backlog: Backlog,
    pub(crate) carriers: Carriers,
    pub(super) bypasses: Bypasses,
    pub(crate) statistics: Statistics,
    pub(super) answers: Writer,
    pub(crate) lines: Lines,
    refusals: Refusals,
    /// The number of the next copy.
    next_copy: Option<u32>,
    pub(crate) is_ready: bool,
    /// Packets that wait seem to be gone.
    pub(crate) has_lost_places: bool,
    /// Whose flows are, if that is asked for.
    owners: Option<Owners>,
    /// Where the last packet that passed through came in, at layer NETWORK_FORWARD.
    pub(super) forwarded_from: u32,
    pub(crate) warnings: Vec<Warning>,
    age_watch: AgeWatch,
    pace: Pace,
    inbox: Inbox,
    /// Room for what nftables announces.
    pub(crate) announcement: Vec<u8>,
    looked: i64,
    pub(crate) has_ended_receiving: bool,
    pub(crate) has_ended_sending: bool,
    pub(crate) is_closed: bool,
}

impl State {
    pub(crate) fn new(options: &OpenOptions, queue: &Queue) -> Self {
        let tracks = options.track_processes && options.layer == Layer::Network;
        let (owners, warning) = tracks.then(Owners::start).unzip();
        let warnings = warning.flatten().into_iter().collect();
        Self {
            layer: options.layer,
            flags: options.flags,
            on_overload: options.on_overload,
            filter: Arc::clone(&options.filter),
            backlog: Backlog::new(options.layer),
            carriers: Carriers::new(queue.number),
            bypasses: Bypasses::default(),
            statistics: Statistics::default(),
            answers: Writer::default(),
            lines: Lines::default(),
            refusals: Refusals::default(),
            next_copy: None,
            is_ready: false,
            has_lost_places: false,
            owners,
            forwarded_from: 0,
            warnings,
            age_watch: AgeWatch::default(),
            pace: Pace::new(),
            inbox: Inbox::new(AT_ONCE, MESSAGE_MAX),
            announcement: vec![0; ANNOUNCEMENT_MAX],
            looked: 0,
            has_ended_receiving: false,
            has_ended_sending: false,
            is_closed: false,
        }
    }

    /// Whether packets are copies, which nobody waits for.
    pub(super) const fn is_copying(&self) -> bool {
        self.flags.has(Flags::SNIFF)
    }

    /// Whether what is received can be sent on.
    pub(super) const fn can_send(&self) -> bool {
        self.flags.0 & (Flags::RECV_ONLY.0 | Flags::SNIFF.0) == 0
    }

    /// The names of processes that are followed, if any are.
    pub(crate) fn names(&self) -> Option<Names> {
        self.owners.as_ref().map(|owners| owners.names.clone())
    }

    /// Takes packets from the kernel and hands up to `limit` out, the oldest first; how many.
    pub(crate) fn receive(&mut self, source: Source<'_>, batch: &mut Batch, limit: usize, now: i64) -> Result<usize> {
        let queue = source.queue;
        let before = batch.len();
        self.take(source, Some((batch, limit)), now)?;
        self.note_age(now);
        self.expire(queue, now);
        let room = limit - (batch.len() - before).min(limit);
        let can_send = self.can_send();
        let Self { backlog, lines, answers, .. } = self;
        backlog.hand_out(batch, room, |token| {
            if !can_send {
                return Origin::Injected(None);
            }
            if !lines.is_gone(token) {
                lines.note_held(queue, answers, token);
            }
            Origin::Received(token)
        });
        queue.flush(&mut self.answers)?;
        if let Some(owners) = &mut self.owners {
            owners.note(batch, before);
        }
        let count = batch.len() - before;
        self.statistics.received += count as u64;
        self.pace.note(count, now);
        Ok(count)
    }

    /// Takes what the kernel has, directly to the program's batch while nothing older waits, else to the backlog.
    pub(crate) fn take(&mut self, source: Source<'_>, direct: Option<(&mut Batch, usize)>, now: i64) -> Result<()> {
        let Source { queue, log, copies, .. } = source;
        // From wherever they come, the batch gets no more packets than are asked for.
        let mut direct = direct.map(|(batch, limit)| {
            let end = batch.len() + limit;
            (batch, end)
        });
        if let Some(copies) = copies {
            self.take_copies(queue, copies, direct.as_mut(), now);
        }
        if let Some(log) = log.filter(|_| copies.is_none_or(Copies::is_partial)) {
            let taken = self.drain(queue, &log.socket, direct.as_mut(), now, &mut |state, message, direct| {
                if let Some((waiting, number)) = copy(message) {
                    state.note_number(number);
                    state.meet(queue, &waiting, direct, now);
                }
            });
            taken?;
        }
        if self.is_copying() && self.carriers.under_way() == 0 {
            return Ok(());
        }
        self.drain(queue, &queue.socket, direct.as_mut(), now, &mut |state, message, direct| match event(message) {
            Some(Event::Packet(waiting)) => state.meet(queue, &waiting, direct, now),
            // The kernel dropped the packet meanwhile, as it does when any chain goes, and others with it.
            Some(Event::Failure) => {
                state.statistics.errors += 1;
                state.has_lost_places = true;
            }
            None => {}
        })
    }

    /// Takes copies: all that are there, or as many as the program's batch takes.
    fn take_copies(&mut self, queue: &Queue, copies: &Copies, mut direct: Option<&mut (&mut Batch, usize)>, now: i64) {
        let is_due = self.is_due(direct.is_none(), now);
        let fits = |state: &Self, direct: Option<&(&mut Batch, usize)>| {
            is_due || state.backlog.is_empty() && direct.is_some_and(|(batch, end)| batch.len() < *end)
        };
        let mut takes_more = fits(self, direct.as_deref());
        if takes_more {
            copies.visit(|copy| {
                self.meet(queue, copy, direct.as_deref_mut().map(|(batch, end)| (&mut **batch, *end)), now);
                takes_more = fits(self, direct.as_deref());
                takes_more
            });
        }
        if takes_more {
            self.looked = now;
        }
    }

    /// Counts the copies that did not fit.
    fn note_number(&mut self, number: Option<u32>) {
        if let Some(number) = number {
            let lost = self.next_copy.map_or(0, |next| number.wrapping_sub(next));
            self.statistics.overflowed += u64::from(lost);
            self.next_copy = Some(number.wrapping_add(1));
        }
    }

    /// Takes what the kernel has while the program does not, and discards what is too old.
    pub(crate) fn look(&mut self, source: Source<'_>, now: i64) -> Result<()> {
        self.take(source, None, now)?;
        if let Some(owners) = &mut self.owners {
            owners.look();
        }
        self.note_age(now);
        self.expire(source.queue, now);
        source.queue.flush(&mut self.answers)
    }

    /// Nothing is there: how long packets are let gather before they are waited for. Copies have a way of their own.
    pub(crate) fn pause(&mut self, now: i64) -> Option<Duration> {
        if self.is_copying() { None } else { self.pace.pause(now) }
    }

    /// Remembers to warn if the first packet has waited for more than half of the time that it may.
    fn note_age(&mut self, now: i64) {
        let Some(age) = self.backlog.queue.age(now) else { return };
        let [age, limit] = [age, self.backlog.queue.limits.time()].map(|ticks| ticks / TICKS_PER_MILLISECOND as u64);
        self.age_watch.note(age, limit);
    }

    /// The warnings that are due, once.
    pub(crate) fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings).into_iter().chain(self.age_watch.take()).collect()
    }

    /// Whether everything is to be looked through. A program that is busy takes its batch; the rest is looked through now and
    /// then, so that what is too much is dropped here, oldest first, rather than by the kernel.
    fn is_due(&self, is_idle: bool, now: i64) -> bool {
        now.abs_diff(self.looked) >= LOOK_AGAIN as u64 || is_idle || self.carriers.under_way() > 0
    }

    /// Reads messages from a socket and has each visited.
    fn drain(
        &mut self,
        queue: &Queue,
        socket: &Descriptor,
        mut direct: Option<&mut (&mut Batch, usize)>,
        now: i64,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let is_due = self.is_due(direct.is_none(), now);
        let mut inbox = std::mem::replace(&mut self.inbox, Inbox::new(0, 1));
        let mut outcome = Ok(());
        for _ in 0..CALLS_MAX {
            let room = direct.as_deref().map_or(0, |(batch, end)| end.saturating_sub(batch.len()));
            let fits = if self.backlog.is_empty() { room } else { 0 };
            if fits == 0 && !is_due {
                break;
            }
            let at_once = if is_due { AT_ONCE } else { fits.min(AT_ONCE) };
            let count = match inbox.fill(socket, at_once) {
                Ok(count) => count,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            };
            for index in 0..count {
                for message in Messages::new(inbox.message(index)) {
                    let direct = direct.as_deref_mut().map(|(batch, end)| (&mut **batch, *end));
                    visit(self, &message, direct);
                }
            }
            if count < at_once {
                self.looked = now;
                break;
            }
            if self.answers.bytes().len() > FLUSH_AT {
                outcome = outcome.and(queue.flush(&mut self.answers));
            }
        }
        self.inbox = inbox;
        outcome
    }

    /// A packet came.
    fn meet(&mut self, queue: &Queue, waiting: &Waiting<'_>, direct: Option<(&mut Batch, usize)>, now: i64) {
        if self.carriers.is_own(waiting.mark)
            && let Some(arrived) = self.carriers.arrive(waiting.bytes, waiting.mark, waiting.hook)
        {
            let priority = (waiting.hook == Hook::Prerouting).then_some(FRAGMENT_TAG);
            let change = match &arrived {
                Arrived::Here(bytes) => Some(Change { bytes, mark: Some(0), priority }),
                Arrived::TooEarly => None,
            };
            queue.answer(&mut self.answers, waiting.place, Verdict::Accept, change);
            return;
        }
        if !self.is_copying() {
            self.lines.note(waiting.place);
        }
        if waiting.hook == Hook::Forward {
            self.forwarded_from = waiting.interface_in;
        }
        self.statistics.seen += 1;
        let Some(layout) = arrival::layout(waiting) else {
            self.statistics.unmatched += 1;
            return self.pass_by(queue, waiting);
        };
        let address = arrival::address(waiting, layout.is_ipv6(), self.layer, self.flags, now);
        let packet = PacketRef { bytes: waiting.bytes, layout: &layout, address: &address };
        if self.takes(packet, now) {
            self.keep(queue, waiting, packet, direct, now);
        } else {
            self.pass_by(queue, waiting);
        }
    }

    /// A packet that the handle does not take.
    fn pass_by(&mut self, queue: &Queue, waiting: &Waiting<'_>) {
        if !self.is_copying() {
            queue.answer(&mut self.answers, waiting.place, Verdict::Accept, None);
        }
    }

    /// Whether the handle takes a packet.
    fn takes(&mut self, packet: PacketRef<'_>, now: i64) -> bool {
        if self.has_ended_receiving {
            return false;
        }
        if !self.bypasses.is_empty() && self.bypasses.lets_pass(packet.bytes, packet.layout, now) {
            self.statistics.bypassed += 1;
            return false;
        }
        let matches = self.filter.matches(packet);
        self.statistics.unmatched += u64::from(!matches);
        matches
    }

    /// Hands a packet to the program or keeps it for it.
    fn keep(
        &mut self,
        queue: &Queue,
        waiting: &Waiting<'_>,
        packet: PacketRef<'_>,
        direct: Option<(&mut Batch, usize)>,
        now: i64,
    ) {
        let PacketRef { bytes, layout, address } = packet;
        let token = token::token(waiting, address.interface_index());
        let time_ns = waiting.time_ns.unwrap_or_else(|| time_ns(address.timestamp()));
        if self.flags.has(Flags::DROP) {
            self.statistics.dropped += 1;
            queue.answer(&mut self.answers, waiting.place, Verdict::Drop, None);
            return;
        }
        let can_send = self.can_send();
        if !can_send && !self.is_copying() {
            // It will never be sent, so that the kernel need not wait: its copy is the program's.
            queue.answer(&mut self.answers, waiting.place, Verdict::Drop, None);
        }
        // What a handle that closes gives back goes on as it is.
        let may_be_refused = waiting.is_cut && can_send && !self.is_closed;
        if may_be_refused && self.refusals.refuses(packet, &mut self.carriers, now) {
            self.statistics.dropped += 1;
            queue.answer(&mut self.answers, waiting.place, Verdict::Drop, None);
            return;
        }
        if let Some((batch, end)) = direct
            && self.backlog.is_empty()
            && batch.len() < end
        {
            let mut origin = Origin::Injected(None);
            if can_send {
                self.lines.note_held(queue, &mut self.answers, token);
                origin = Origin::Received(token);
            }
            batch.push(bytes, *layout, address, time_ns, origin);
            return;
        }
        let Self { backlog, statistics, answers, on_overload, lines, .. } = self;
        let lets_pass = *on_overload == Overload::Pass && can_send;
        backlog.push(packet, time_ns, token, now, &mut |token, loss| {
            let is_gone = lines.is_gone(token);
            let goes_on = statistics.note_loss(loss, lets_pass && !is_gone);
            if can_send && !is_gone {
                let verdict = if goes_on { Verdict::Accept } else { Verdict::Drop };
                queue.answer(answers, token::place(token), verdict, None);
            }
        });
    }
}
