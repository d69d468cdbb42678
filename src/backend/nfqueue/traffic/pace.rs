//! How a program waits for more packets: at the queue, or, in a stream, by a pause.
//!
//! Whoever sends a packet has to wake the program that waits for it, and on a busy machine makes way for it. During a pause
//! nobody is woken, and what gathers is taken at once. That helps where packets come anyway. Where a sender goes on only when
//! its packets have arrived, a pause holds it up instead. From outside the two look alike, so that pauses are tried: they end
//! at once where they bring far too few packets, and soon where the pace is slower than without.
use crate::engine::{TICKS_PER_MILLISECOND, TICKS_PER_SECOND};
use std::time::Duration;

/// How long packets are let gather. The system's timers add 50 us, unless the program has set them otherwise.
const PAUSE: Duration = Duration::from_micros(100);
/// So many packets a second are a stream: ten or more gather in a pause.
const STREAM: i64 = 100_000;
/// How long a pace is measured for before it is believed, in ticks.
const WINDOW: i64 = 10 * TICKS_PER_MILLISECOND;
/// How long pauses are kept before waiting at the queue is tried anew, in ticks.
const KEPT: i64 = 20 * WINDOW;
/// How long pauses are left out after they slowed a stream down, in ticks: at first, and at most.
const LEFT_OUT: (i64, i64) = (2 * WINDOW, 2 * TICKS_PER_SECOND);
/// So many more pauses that brought too few packets than such that did not show that packets do not come anyway.
const POOR_MAX: i32 = 4;

/// The pace of the packets, and whether pauses helped it.
#[derive(Debug)]
pub(crate) struct Pace {
    pauses: bool,
    /// When the window began, in ticks, and the packets since then.
    since: i64,
    packets: i64,
    /// Packets a second in the last window without pauses.
    prompt: i64,
    /// When the way of waiting may change next, in ticks.
    next: i64,
    /// How long pauses are left out when they fail next.
    left_out: i64,
    /// When the pause began whose packets have not come yet.
    paused: Option<i64>,
    /// Pauses that brought too few packets, less those that did not.
    poor: i32,
}

impl Pace {
    pub(crate) const fn new() -> Self {
        let left_out = LEFT_OUT.0;
        Self { pauses: false, since: 0, packets: 0, prompt: 0, next: 0, left_out, paused: None, poor: 0 }
    }

    /// Packets have come. A pause that brought none says nothing: the sender may not have had the processor.
    pub(crate) fn note(&mut self, packets: usize, now: i64) {
        let packets = packets as i64;
        self.packets += packets;
        let Some(start) = self.paused.take_if(|_| packets > 0) else { return };
        let expected = self.prompt.saturating_mul(now - start) / TICKS_PER_SECOND;
        self.poor = (self.poor + if packets < expected / 2 { 1 } else { -1 }).max(-POOR_MAX);
        if self.poor >= POOR_MAX {
            self.leave_out(now);
            self.begin(now);
        }
    }

    /// Nothing is there any more: how long to pause before the next look; `None` to wait at the queue, also when a pause has
    /// brought nothing.
    pub(crate) fn pause(&mut self, now: i64) -> Option<Duration> {
        let span = now - self.since;
        if span >= WINDOW {
            let rate = self.packets.saturating_mul(TICKS_PER_SECOND) / span;
            if self.pauses {
                self.judge(rate, now);
            } else {
                self.consider(rate, now);
            }
            self.begin(now);
        }
        let was_in_vain = self.paused.take().is_some();
        self.paused = (self.pauses && !was_in_vain).then_some(now);
        self.paused.map(|_| PAUSE)
    }

    /// A window begins.
    const fn begin(&mut self, now: i64) {
        (self.since, self.packets) = (now, 0);
    }

    /// A window without pauses is over.
    const fn consider(&mut self, rate: i64, now: i64) {
        self.prompt = rate;
        if rate >= STREAM && now >= self.next {
            self.pauses = true;
            self.poor = 0;
            self.next = now + KEPT;
        }
    }

    /// A window with pauses is over. An eighth less is within what a pace swings by itself.
    fn judge(&mut self, rate: i64, now: i64) {
        if rate < self.prompt - self.prompt / 8 {
            self.leave_out(now);
        } else if now >= self.next {
            self.pauses = false;
            self.left_out = LEFT_OUT.0;
        }
    }

    /// Pauses did not help.
    fn leave_out(&mut self, now: i64) {
        self.pauses = false;
        self.next = now + self.left_out;
        self.left_out = (2 * self.left_out).min(LEFT_OUT.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks.
    const MICROSECOND: i64 = TICKS_PER_MILLISECOND / 1000;
    /// How long the program needs for a packet.
    const WORK: i64 = 2 * MICROSECOND;

    /// What came in a second, and how often it was waited for in either way.
    #[derive(Debug, Default)]
    struct Second {
        packets: i64,
        pauses: i64,
        waits: i64,
    }

    /// Lets a second go by. `arrive` tells how long a wait of that kind takes, and how many packets are there then.
    fn second(pace: &mut Pace, start: i64, arrive: impl Fn(Option<i64>) -> (i64, i64)) -> Second {
        let mut found = Second::default();
        let mut now = start;
        while now < start + TICKS_PER_SECOND {
            let pause = pace.pause(now).map(|time| time.as_micros() as i64 * MICROSECOND);
            *(if pause.is_some() { &mut found.pauses } else { &mut found.waits }) += 1;
            let (time, packets) = arrive(pause);
            now += time;
            pace.note(packets as usize, now);
            found.packets += packets;
            now += packets * WORK;
        }
        found
    }

    /// A packet every 5 us, whatever becomes of those before.
    fn stream(pause: Option<i64>) -> (i64, i64) {
        let time = pause.unwrap_or(3 * MICROSECOND);
        (time, time / (5 * MICROSECOND - WORK))
    }

    /// Packets that come together, 5 us after those before have arrived.
    fn turn(packets: i64) -> impl Fn(Option<i64>) -> (i64, i64) {
        move |pause| (pause.unwrap_or(5 * MICROSECOND), packets)
    }

    #[test]
    fn in_a_stream_packets_are_let_gather_nearly_always() {
        let found = second(&mut Pace::new(), 0, stream);
        // A pause and the work on what it brought take 166 us.
        assert!(found.pauses > 5000, "{found:?}");
        assert!(found.waits < 20_000, "{found:?}");
    }

    #[test]
    fn a_few_packets_are_waited_for_at_the_queue() {
        for packets in [0, 1] {
            let found = second(&mut Pace::new(), 0, |_| (20 * MICROSECOND, packets));
            assert_eq!(found.pauses, 0, "{found:?}");
        }
    }

    #[test]
    fn a_sender_that_waits_for_its_packets_is_hardly_held_up() {
        // Few packets are told by the pauses, many by the pace.
        for (packets, [at_first, later]) in [(8, [98, 99]), (64, [95, 99])] {
            let free = TICKS_PER_SECOND / (5 * MICROSECOND + packets * WORK) * packets;
            let mut pace = Pace::new();
            let seconds: Vec<_> =
                (0..4).map(|number| second(&mut pace, number * TICKS_PER_SECOND, turn(packets))).collect();
            let share = |second: &Second| second.packets * 100 / free;
            assert!(seconds.first().is_some_and(|first| first.pauses > 0 && share(first) >= at_first), "{seconds:?}");
            assert!(seconds.last().is_some_and(|last| share(last) >= later), "{seconds:?} of {free}");
        }
    }

    #[test]
    fn a_pause_in_vain_is_followed_by_a_wait_that_counts_as_no_pause() {
        let mut pace = Pace { pauses: true, prompt: 10 * STREAM, next: KEPT, ..Pace::new() };
        let mut now = 0;
        for _ in 0..2 * POOR_MAX {
            assert!(pace.pause(now).is_some());
            now += MICROSECOND;
            assert_eq!(pace.pause(now), None);
            // The sender was held up for a moment, and its first packet ends the wait.
            now += 100 * MICROSECOND;
            pace.note(1, now);
            assert_eq!(pace.poor, 0);
        }
    }

    #[test]
    fn pauses_end_with_the_stream_and_come_back_with_it() {
        let mut pace = Pace::new();
        second(&mut pace, 0, stream);
        let idle = second(&mut pace, TICKS_PER_SECOND, |pause| (pause.unwrap_or(TICKS_PER_MILLISECOND), 0));
        // Every other wait of the last window.
        assert!(idle.pauses <= 101, "{idle:?}");
        let again = second(&mut pace, 2 * TICKS_PER_SECOND, stream);
        assert!(again.pauses > 5000, "{again:?}");
    }
}
