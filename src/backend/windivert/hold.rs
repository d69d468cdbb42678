//! Packets that wait in the queue until the owner of their connection is known, and how long. Knows no Windows.
use super::sockets::{Connection, Sockets};
use crate::batch::{Batch, PacketRef};
use crate::engine::Queue;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the first packet of a connection waits at most.
const HOLD_MS: u64 = 50;
/// The most connections without a known owner that are remembered; those beyond are held once more.
const UNKNOWN_MAX: usize = 1 << 14;

/// What is known of sockets, by whoever reads the events and whoever asks.
pub(super) type Shared = Arc<Mutex<Sockets>>;

/// Locks what is known.
pub(super) fn lock(sockets: &Mutex<Sockets>) -> MutexGuard<'_, Sockets> {
    sockets.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which connections' packets wait.
#[derive(Debug)]
pub(super) struct Hold {
    sockets: Shared,
    /// Connections whose owner was not known, and until when their packets wait, or waited: one that was let go is not
    /// held again.
    unknown: HashMap<Connection, i64>,
    /// When those are let go that wait, in the order in which they began to; some may have been found meanwhile.
    ends: VecDeque<i64>,
    ticks_per_millisecond: u64,
}

impl Hold {
    pub(super) fn new(sockets: Shared, ticks_per_millisecond: u64) -> Self {
        Self { sockets, unknown: HashMap::new(), ends: VecDeque::new(), ticks_per_millisecond }
    }

    /// The process that a packet belongs to which has just come; 0 if it has none or has to wait.
    pub(super) fn note(&mut self, packet: PacketRef<'_>, now: i64) -> u32 {
        let Some((connection, begins)) = Connection::of(packet) else { return 0 };
        let found = {
            let mut sockets = lock(&self.sockets);
            if begins {
                sockets.begin(&connection);
            }
            sockets.find(&connection, now)
        };
        if let Some(id) = found {
            // The next connection between these ends is a new one.
            self.unknown.remove(&connection);
            return id;
        }
        if !self.unknown.contains_key(&connection) {
            if self.unknown.len() >= UNKNOWN_MAX {
                self.unknown.retain(|_, end| *end > now);
            }
            let hold = HOLD_MS.saturating_mul(self.ticks_per_millisecond);
            let end = packet.address.timestamp().min(now).saturating_add_unsigned(hold);
            self.unknown.insert(connection, end);
            self.ends.push_back(end);
        }
        0
    }

    /// Lets those go that have waited for long enough.
    fn expire(&mut self, now: i64) {
        while self.ends.front().is_some_and(|end| *end <= now) {
            self.ends.pop_front();
        }
    }

    /// Whether a packet may be waiting.
    pub(super) fn is_holding(&self) -> bool {
        !self.ends.is_empty()
    }

    /// How long nothing is let go by time; `None` if nothing waits.
    pub(super) fn rest(&self, now: i64) -> Option<Duration> {
        let end = *self.ends.front()?;
        let ticks = end.saturating_sub(now).max(0) as u64;
        Some(Duration::from_micros(ticks.saturating_mul(1000).div_ceil(self.ticks_per_millisecond.max(1))))
    }

    /// Appends up to `limit` queued packets to a batch whose process is known or that have waited for it long enough, in
    /// order; how many.
    pub(super) fn hand_out(&mut self, queue: &mut Queue, batch: &mut Batch, limit: usize, now: i64) -> usize {
        self.expire(now);
        let look = self.look(now);
        let before = batch.len();
        if self.is_holding() {
            queue.remove_selected(|record, bytes| {
                if batch.len() - before >= limit {
                    return false;
                }
                let packet = PacketRef { bytes, layout: &record.layout, address: &record.address };
                let Some(process_id) = look.settle(packet, record.process_id) else { return false };
                batch.push_again(record, bytes, record.origin);
                set_process(batch, batch.len() - 1, process_id);
                true
            });
        } else {
            queue.hand_out(batch, limit);
            for index in before..batch.len() {
                let known_id = batch.records().get(index).map_or(0, |record| record.process_id);
                let process_id = batch.packet(index).and_then(|packet| look.settle(packet, known_id));
                set_process(batch, index, process_id.unwrap_or_default());
            }
        }
        batch.len() - before
    }

    /// Looks at packets that were queued.
    fn look(&self, now: i64) -> Look<'_> {
        Look { sockets: lock(&self.sockets), unknown: &self.unknown, now }
    }
}

/// One look at queued packets: what is known does not change meanwhile, so that packets of a connection keep their order.
struct Look<'a> {
    sockets: MutexGuard<'a, Sockets>,
    unknown: &'a HashMap<Connection, i64>,
    now: i64,
}

impl Look<'_> {
    /// The process that a packet belongs to, 0 if it is not to be found; `None` if the packet still waits. `known_id` is what
    /// was found when it came. It waits for those of its connection that wait though its own process was known then.
    fn settle(&self, packet: PacketRef<'_>, known_id: u32) -> Option<u32> {
        let Some((connection, _)) = Connection::of(packet) else { return Some(0) };
        let found = self.sockets.find(&connection, self.now);
        let waits = || self.unknown.get(&connection).is_some_and(|end| *end > self.now);
        match found {
            Some(id) => Some(if known_id == 0 { id } else { known_id }),
            None if waits() => None,
            None => Some(known_id),
        }
    }
}

fn set_process(batch: &mut Batch, index: usize, process_id: u32) {
    if let Some(record) = batch.records_mut().get_mut(index) {
        record.process_id = process_id;
    }
}

#[cfg(test)]
mod tests {
    use super::super::intake::Intake;
    use super::super::intake::tests::{MILLISECOND, intake, packet, ports, take};
    use super::super::sockets::tests::event;
    use super::*;
    use crate::address::{Event, Flags};
    use crate::packet::{FlowKey, Layout};

    /// What was handed out: ports and processes.
    fn settled(intake: &mut Intake, limit: usize, now: i64) -> Vec<(u16, u32)> {
        let mut batch = Batch::new();
        intake.hand_out(&mut batch, limit, now);
        ports(&batch).into_iter().zip(batch.records().iter().map(|record| record.process_id)).collect()
    }

    /// An intake that tracks processes, and what is known of sockets.
    fn tracking() -> (Intake, Shared) {
        let sockets = Arc::new(Mutex::new(Sockets::new(MILLISECOND as u64)));
        let mut intake = intake("udp", Flags::default());
        intake.track(Arc::clone(&sockets));
        (intake, sockets)
    }

    /// A process tells of its connection that the packets to this port belong to.
    fn tell(sockets: &Shared, told: Event, port: u16, process_id: u32) {
        // The packets of these tests are outbound.
        let event = event(told, 17, [(1, 1), (2, port)], process_id, 7);
        lock(sockets).note_event(&event, 0);
    }

    #[test]
    fn a_packet_whose_process_was_told_before_comes_at_once_with_it() {
        let (mut intake, sockets) = tracking();
        tell(&sockets, Event::SocketConnect, 1, 44);
        take(&mut intake, &[(1, 0)], 0);
        assert!(!intake.is_holding());
        assert_eq!(settled(&mut intake, 9, 0), [(1, 44)]);
        // It is told though the connection was over before the packet was received.
        take(&mut intake, &[(1, 0)], 0);
        tell(&sockets, Event::FlowDeleted, 1, 44);
        assert_eq!(settled(&mut intake, 9, 0), [(1, 44)]);
    }

    #[test]
    fn a_packet_waits_until_its_process_is_told_and_others_do_not_wait_for_it() {
        let (mut intake, sockets) = tracking();
        tell(&sockets, Event::SocketConnect, 2, 55);
        take(&mut intake, &[(1, 0), (2, 0), (1, 1), (2, 1)], 1);
        assert_eq!(settled(&mut intake, 9, 20 * MILLISECOND), [(2, 55), (2, 55)]);
        assert!(intake.is_holding());
        assert_eq!(intake.rest(20 * MILLISECOND), Some(Duration::from_millis(30)));
        tell(&sockets, Event::FlowEstablished, 1, 44);
        take(&mut intake, &[(1, 2)], 2);
        assert_eq!(settled(&mut intake, 2, 20 * MILLISECOND), [(1, 44), (1, 44)]);
        assert_eq!(settled(&mut intake, 9, 20 * MILLISECOND), [(1, 44)]);
        assert_eq!((intake.is_holding(), intake.rest(0), intake.statistics().received), (false, None, 5));
    }

    #[test]
    fn a_packet_is_let_go_after_fifty_milliseconds_with_those_behind_it_and_its_flow_is_not_held_again() {
        let (mut intake, _) = tracking();
        take(&mut intake, &[(1, 0), (1, 10 * MILLISECOND)], 10 * MILLISECOND);
        assert_eq!(settled(&mut intake, 9, 50 * MILLISECOND - 1), []);
        assert_eq!(settled(&mut intake, 9, 50 * MILLISECOND), [(1, 0), (1, 0)]);
        take(&mut intake, &[(1, 60 * MILLISECOND)], 60 * MILLISECOND);
        assert_eq!(settled(&mut intake, 9, 60 * MILLISECOND), [(1, 0)]);
    }

    #[test]
    fn what_has_waited_with_the_driver_is_not_held_for_that_long_again() {
        let (mut intake, _) = tracking();
        take(&mut intake, &[(1, 0)], 80 * MILLISECOND);
        assert_eq!(settled(&mut intake, 9, 80 * MILLISECOND), [(1, 0)]);
    }

    #[test]
    fn a_flow_keeps_its_order_whatever_is_told_between_its_packets() {
        let (mut intake, sockets) = tracking();
        take(&mut intake, &[(1, 0)], 0);
        tell(&sockets, Event::SocketConnect, 1, 44);
        take(&mut intake, &[(1, 1)], 1);
        tell(&sockets, Event::SocketClose, 1, 44);
        // Not known any more, and so it waits, and with it the one whose process was known.
        take(&mut intake, &[(1, 2)], 2);
        assert_eq!(settled(&mut intake, 9, 3), []);
        assert_eq!(settled(&mut intake, 9, 51 * MILLISECOND), [(1, 0), (1, 44), (1, 0)]);
    }

    #[test]
    fn a_close_gives_back_what_waits_for_its_process_and_a_bypass_lets_it_pass() {
        let (mut intake, _) = tracking();
        take(&mut intake, &[(1, 0), (2, 0)], 0);
        let bytes = packet(1);
        let flow = FlowKey::of(&bytes, &Layout::parse(&bytes).unwrap()).unwrap();
        let mut passed = Batch::new();
        assert!(intake.bypass(flow, 0, &mut passed));
        assert_eq!(ports(&passed), [1]);
        assert_eq!(ports(&intake.give_back(0)), [2]);
        assert!(!intake.is_holding());
    }
}
