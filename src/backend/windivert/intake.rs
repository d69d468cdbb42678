//! What becomes of packets once the driver has handed them over: the exact filter, flows that bypass the handle, the queue
//! of what was read ahead, and the counts. Knows no Windows.
use super::cut::cut;
use super::hold::{Hold, Shared};
use super::loss::LossEstimate;
use super::timebase::Timebase;
use crate::address::{Address, Flags, Layer, Parameter};
use crate::batch::{Batch, Origin, PacketRef};
use crate::engine::{AgeWatch, Bypasses, Entry, Loss, Queue, Statistics, Warning};
use crate::filter::Filter;
use crate::packet::{FlowKey, Layout};
use std::time::Duration;

/// What is queued beyond this many packets stays with the driver.
const READ_AHEAD: usize = 255;

/// How a handle looks at what comes.
pub(super) struct Intake {
    layer: Layer,
    flags: Flags,
    /// What matches, where the driver's filter matches more.
    exact: Option<Filter>,
    bypasses: Bypasses,
    queue: Queue,
    /// Whose packets wait until their process is known, if processes are tracked.
    hold: Option<Hold>,
    timebase: Timebase,
    loss: LossEstimate,
    statistics: Statistics,
    age_watch: AgeWatch,
}

impl Intake {
    pub(super) fn new(layer: Layer, flags: Flags, filter: &Filter, timebase: Timebase) -> Self {
        Self {
            layer,
            flags,
            exact: (!filter.superset_is_exact()).then(|| filter.clone()),
            bypasses: Bypasses::default(),
            queue: Queue::with_ticks(layer, timebase.ticks_per_millisecond()),
            hold: None,
            timebase,
            loss: LossEstimate::default(),
            statistics: Statistics::default(),
            age_watch: AgeWatch::default(),
        }
    }

    /// Has the first packet of each connection wait until its process is known.
    pub(super) fn track(&mut self, sockets: Shared) {
        self.hold = Some(Hold::new(sockets, self.timebase.ticks_per_millisecond()));
    }

    /// Whether what the driver hands over may have to go on at once, so that it is read though nobody receives.
    pub(super) fn is_selective(&self) -> bool {
        self.exact.is_some() || !self.bypasses.is_empty()
    }

    /// Whether more may be read ahead. While packets wait for their process others are not to wait for them.
    pub(super) fn has_room(&self) -> bool {
        self.is_selective() || self.is_holding() || self.queue.len() < READ_AHEAD
    }

    /// Whether packets that are queued may be waiting for their process.
    pub(super) fn is_holding(&self) -> bool {
        self.hold.as_ref().is_some_and(Hold::is_holding) && !self.queue.is_empty()
    }

    /// How long no packet stops waiting by itself; `None` if none waits.
    pub(super) fn rest(&self, now: i64) -> Option<Duration> {
        self.hold.as_ref().filter(|_| !self.queue.is_empty())?.rest(now)
    }

    /// Whether nothing is queued.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) const fn takes_originals(&self) -> bool {
        self.layer.has_packets() && self.flags.0 & Flags::SNIFF.0 == 0
    }

    /// Takes over what one read filled in. What is not for this handle and must go on is appended to `passed`.
    pub(super) fn take(&mut self, bytes: &[u8], addresses: &[Address], now: i64, passed: &mut Batch) {
        let limit = self.queue.limits.time();
        self.loss.note(addresses.iter().map(Address::timestamp), now, limit);
        for (item, address) in cut(self.layer, bytes, addresses.len()).zip(addresses) {
            self.take_one(item, address, now, passed);
        }
    }

    fn take_one(&mut self, bytes: &[u8], address: &Address, now: i64, passed: &mut Batch) {
        self.statistics.seen += 1;
        let layout = if self.layer.has_packets() { Layout::parse(bytes) } else { Ok(Layout::EMPTY) };
        let Ok(layout) = layout else {
            // No packet: nothing to show to anybody. A driver matches none such.
            self.statistics.errors += 1;
            return;
        };
        if !self.is_wanted(bytes, &layout, address) {
            if self.takes_originals() {
                passed.push(bytes, layout, address, 0, Origin::Injected(None));
            }
            return;
        }
        if self.flags.has(Flags::DROP) {
            self.statistics.dropped += 1;
            return;
        }
        let time_ns = self.timebase.unix_ns(address.timestamp());
        let mut entry = Entry { layout, address, time_ns, process_id: 0, origin: self.queue.new_origin(self.takes_originals()) };
        let Self { queue, statistics, hold, .. } = self;
        if queue.make_room(bytes.len(), now, &mut |_, _, loss| {
            statistics.note_loss(loss, false);
        }) {
            if let Some(hold) = hold {
                entry.process_id = hold.note(PacketRef { bytes, layout: &layout, address }, now);
            }
            queue.push(&entry, bytes);
        } else {
            statistics.note_loss(Loss::Size, false);
        }
    }

    fn is_wanted(&mut self, bytes: &[u8], layout: &Layout, address: &Address) -> bool {
        if !self.bypasses.is_empty() {
            let now = self.timebase.hundred_ns(address.timestamp());
            if self.bypasses.lets_pass(bytes, layout, now) {
                self.statistics.bypassed += 1;
                return false;
            }
        }
        let matches = self.exact.as_ref().is_none_or(|exact| exact.matches(PacketRef { bytes, layout, address }));
        self.statistics.unmatched += u64::from(!matches);
        matches
    }

    /// Hands out up to `limit` packets that are not too old and do not wait for their process; how many.
    pub(super) fn hand_out(&mut self, batch: &mut Batch, limit: usize, now: i64) -> usize {
        self.note_age(now);
        self.expire(now);
        let Self { queue, hold, .. } = self;
        let count = match hold {
            None => queue.hand_out(batch, limit),
            Some(hold) => hold.hand_out(queue, batch, limit, now),
        };
        self.statistics.received += count as u64;
        count
    }

    fn expire(&mut self, now: i64) {
        let Self { queue, statistics, .. } = self;
        queue.expire(now, &mut |_, _, loss| {
            statistics.note_loss(loss, false);
        });
    }

    /// Remembers to warn, once, if the first packet has waited for more than half of the time that it may.
    fn note_age(&mut self, now: i64) {
        let Some(age) = self.queue.age(now) else { return };
        let [age, limit] = [age, self.queue.limits.time()].map(|ticks| ticks / self.timebase.ticks_per_millisecond());
        self.age_watch.note(age, limit);
    }

    /// The warning that is due, once.
    pub(super) fn take_warning(&mut self) -> Option<Warning> {
        self.age_watch.take()
    }

    /// Takes everything out that is not too old and was taken out of the stack: its handle is closed.
    pub(super) fn give_back(&mut self, now: i64) -> Batch {
        self.expire(now);
        let mut batch = Batch::new();
        self.queue.hand_out(&mut batch, usize::MAX);
        batch.make_new(0);
        if !self.takes_originals() {
            batch.clear();
        }
        batch
    }

    /// Lets a flow pass from now on; what is queued of it is appended to `passed`.
    pub(super) fn bypass(&mut self, flow: FlowKey, now: i64, passed: &mut Batch) -> bool {
        let now = self.timebase.hundred_ns(now);
        if !self.layer.has_packets() || !self.bypasses.insert(flow, now) {
            return false;
        }
        let takes_originals = self.takes_originals();
        let Self { queue, bypasses, statistics, .. } = self;
        queue.remove_selected(|record, bytes| {
            let goes_on = bypasses.lets_pass(bytes, &record.layout, now);
            if goes_on {
                statistics.bypassed += 1;
                if takes_originals {
                    passed.push_again(record, bytes, Origin::Injected(None));
                }
            }
            goes_on
        });
        true
    }

    /// Counts packets that could not be read.
    pub(super) fn note_error(&mut self) {
        self.statistics.errors += 1;
    }

    /// Sets a parameter, as it was set in the driver.
    pub(super) fn set_parameter(&mut self, parameter: Parameter, value: u64) {
        self.queue.limits.set(parameter, value);
    }

    /// A parameter that was set.
    pub(super) fn parameter(&self, parameter: Parameter) -> Option<u64> {
        self.queue.limits.value(parameter)
    }

    /// Both clocks were read anew.
    pub(super) fn set_timebase(&mut self, timebase: Timebase) {
        self.timebase = timebase;
    }

    pub(super) const fn timebase(&self) -> Timebase {
        self.timebase
    }

    /// The counts.
    pub(super) fn statistics(&self) -> Statistics {
        Statistics { suspected_loss: self.loss.suspected(), ..self.statistics }
    }

    /// Lets the same flows pass as the intake that this one takes the place of.
    pub(super) fn succeed(&mut self, before: &Self) {
        self.bypasses = before.bypasses.clone();
        self.age_watch = before.age_watch.silenced();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::filter::Sets;
    use crate::packet::Builder;

    pub(in super::super) const MILLISECOND: i64 = 10_000;

    pub(in super::super) fn intake(filter: &str, flags: Flags) -> Intake {
        let filter = Filter::compile_extended(filter, Layer::Network, &Sets::default()).unwrap();
        Intake::new(Layer::Network, flags, &filter, Timebase::new(0, 0, 10_000_000))
    }

    pub(in super::super) fn packet(port: u16) -> Vec<u8> {
        Builder::ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, port).payload(b"x").build().unwrap()
    }

    fn stamped(ticks: i64) -> Address {
        let mut address = Address::default();
        address.set_timestamp(ticks);
        address
    }

    /// Takes packets to these ports that were stamped so; the ports of those that go on.
    pub(in super::super) fn take(intake: &mut Intake, packets: &[(u16, i64)], now: i64) -> Vec<u16> {
        let bytes: Vec<u8> = packets.iter().flat_map(|(port, _)| packet(*port)).collect();
        let addresses: Vec<Address> = packets.iter().map(|(_, ticks)| stamped(*ticks)).collect();
        let mut passed = Batch::new();
        intake.take(&bytes, &addresses, now, &mut passed);
        ports(&passed)
    }

    pub(in super::super) fn ports(batch: &Batch) -> Vec<u16> {
        (0..batch.len()).map(|index| u16::from_be_bytes(batch.bytes(index).unwrap()[22..24].try_into().unwrap())).collect()
    }

    fn received(intake: &mut Intake, limit: usize, now: i64) -> Vec<u16> {
        let mut batch = Batch::new();
        intake.hand_out(&mut batch, limit, now);
        ports(&batch)
    }

    #[test]
    fn packets_come_out_in_order_and_in_parts() {
        let mut intake = intake("udp", Flags::default());
        assert_eq!(take(&mut intake, &[(1, 0), (2, 0), (3, 0)], 0), Vec::<u16>::new());
        assert_eq!(received(&mut intake, 2, 0), [1, 2]);
        assert_eq!(received(&mut intake, 2, 0), [3]);
        let counts = intake.statistics();
        assert_eq!((counts.seen, counts.received), (3, 3));
    }

    #[test]
    fn what_was_read_ahead_expires_by_its_stamp() {
        let mut intake = intake("udp", Flags::default());
        take(&mut intake, &[(1, 0), (2, 1), (3, 2)], 2);
        assert_eq!(received(&mut intake, 9, 2000 * MILLISECOND + 1), [2, 3]);
        assert_eq!(intake.statistics().expired, 1);
        intake.set_parameter(Parameter::QueueTime, 100);
        take(&mut intake, &[(4, 0), (5, 1)], 1);
        assert_eq!(received(&mut intake, 9, 100 * MILLISECOND + 1), [5]);
    }

    #[test]
    fn only_what_is_not_too_old_is_given_back() {
        let mut intake = intake("udp", Flags::default());
        take(&mut intake, &[(1, 0), (2, 5)], 5);
        assert_eq!(ports(&intake.give_back(2000 * MILLISECOND + 1)), [2]);
        let mut copies = self::intake("udp", Flags::SNIFF);
        take(&mut copies, &[(1, 0)], 0);
        assert!(copies.give_back(0).is_empty());
    }

    #[test]
    fn what_only_the_driver_matches_goes_on_at_once_but_copies_are_forgotten() {
        let text = "udp and (udp.DstPort in {1, 3} and random8 >= 0)";
        let mut originals = intake(text, Flags::default());
        originals.exact = Some(Filter::compile("udp.DstPort == 1 or udp.DstPort == 3", Layer::Network).unwrap());
        assert!(originals.is_selective());
        assert_eq!(take(&mut originals, &[(1, 0), (2, 0), (3, 0), (4, 0)], 0), [2, 4]);
        assert_eq!(received(&mut originals, 9, 0), [1, 3]);
        let mut copies = intake(text, Flags::SNIFF);
        copies.exact.clone_from(&originals.exact);
        assert_eq!(take(&mut copies, &[(1, 0), (2, 0)], 0), Vec::<u16>::new());
        assert_eq!(received(&mut copies, 9, 0), [1]);
        let mut dropping = intake(text, Flags::DROP);
        dropping.exact.clone_from(&originals.exact);
        assert_eq!(take(&mut dropping, &[(1, 0), (2, 0)], 0), [2]);
        assert_eq!((received(&mut dropping, 9, 0), dropping.statistics().dropped), (vec![], 1));
    }

    #[test]
    fn a_flow_that_bypasses_goes_on_with_what_is_queued_of_it() {
        let mut intake = intake("udp", Flags::default());
        take(&mut intake, &[(1, 0), (2, 0), (1, 0)], 0);
        let bytes = packet(1);
        let flow = FlowKey::of(&bytes, &Layout::parse(&bytes).unwrap()).unwrap();
        let mut passed = Batch::new();
        assert!(intake.bypass(flow, 0, &mut passed));
        assert_eq!(ports(&passed), [1, 1]);
        assert_eq!(take(&mut intake, &[(1, 1), (2, 1)], 1), [1]);
        assert_eq!(received(&mut intake, 9, 1), [2, 2]);
        assert_eq!(intake.statistics().bypassed, 3);
    }

    #[test]
    fn a_user_is_warned_once_of_packets_that_grow_old() {
        let mut intake = intake("udp", Flags::default());
        take(&mut intake, &[(1, 0)], 0);
        received(&mut intake, 9, 1001 * MILLISECOND);
        let warning = intake.take_warning().unwrap();
        assert!(warning.message().starts_with("packets wait 1001 ms in the queue and are dropped after 2000 ms"));
        take(&mut intake, &[(1, 0)], 0);
        received(&mut intake, 9, 1001 * MILLISECOND);
        assert!(intake.take_warning().is_none());
    }

    #[test]
    fn more_is_read_ahead_only_while_little_is_queued_but_a_selective_handle_always_reads() {
        let mut intake = intake("udp", Flags::default());
        take(&mut intake, &[(1, 0); READ_AHEAD], 0);
        assert!(!intake.has_room());
        received(&mut intake, 1, 0);
        assert!(intake.has_room());
    }
}
