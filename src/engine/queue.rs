//! One handle's queue: entries in order over one ring of bytes, with the driver's three limits.
//!
//! What does not fit pushes the oldest out; what is too old is discarded when somebody touches the queue, never by a
//! timer. As in the driver an entry costs its bytes and a fixed overhead. Never panics; memory is the limits' and
//! nothing more: the ring of bytes grows up to the size limit, and entries are small.
use super::clock::TICKS_PER_MILLISECOND;
use crate::address::{Address, Layer, Parameter};
use crate::packet::Layout;
use std::collections::VecDeque;

/// Smallest ring of bytes that is allocated.
const SMALLEST_RING: usize = 4096;

/// A packet or event without its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) layout: Layout,
    pub(crate) address: Address,
    pub(crate) len: u32,
    pub(crate) process_id: u32,
}

/// An entry's bytes: the second part is empty but where the ring turns round.
pub(crate) type Parts<'a> = [&'a [u8]; 2];

/// Why an entry was lost to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It waited too long.
    Expired,
    /// There were too many.
    Length,
    /// There were too many bytes.
    Size,
}

/// The limits: the parameters of a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    length: u64,
    time_ms: u64,
    size: u64,
    /// How fast the clock runs that stamps what is queued.
    ticks_per_millisecond: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let default = |parameter: Parameter| parameter.bounds().map_or(0, |(default, ..)| default);
        Self {
            length: default(Parameter::QueueLength),
            time_ms: default(Parameter::QueueTime),
            size: default(Parameter::QueueSize),
            ticks_per_millisecond: TICKS_PER_MILLISECOND as u64,
        }
    }
}

impl Limits {
    /// The value of a queue's parameter.
    pub(crate) const fn value(&self, parameter: Parameter) -> Option<u64> {
        match parameter {
            Parameter::QueueLength => Some(self.length),
            Parameter::QueueTime => Some(self.time_ms),
            Parameter::QueueSize => Some(self.size),
            Parameter::VersionMajor | Parameter::VersionMinor => None,
        }
    }

    /// Sets a queue's parameter to a value that was verified.
    pub(crate) const fn set(&mut self, parameter: Parameter, value: u64) {
        match parameter {
            Parameter::QueueLength => self.length = value,
            Parameter::QueueTime => self.time_ms = value,
            Parameter::QueueSize => self.size = value,
            Parameter::VersionMajor | Parameter::VersionMinor => {}
        }
    }

    /// How long an entry may wait, in ticks.
    pub(crate) const fn time(&self) -> u64 {
        self.time_ms.saturating_mul(self.ticks_per_millisecond)
    }
}

/// What an entry costs besides its bytes, as on the driver's 64-bit build.
pub(crate) const fn overhead(layer: Layer) -> u64 {
    match layer {
        Layer::Network | Layer::NetworkForward => 63,
        Layer::Flow | Layer::Socket => 119,
        Layer::Reflect => 87,
    }
}

/// A queue.
#[derive(Debug)]
pub(crate) struct Queue {
    entries: VecDeque<Entry>,
    bytes: VecDeque<u8>,
    /// What all entries cost.
    size: u64,
    overhead: u64,
    /// The number of the first entry; they are numbered from 0.
    first: u64,
    pub(crate) limits: Limits,
}

impl Queue {
    /// A queue whose entries the engine's clock stamps.
    pub(crate) fn new(layer: Layer) -> Self {
        Self::with_limits(layer, Limits::default())
    }

    /// A queue whose entries another clock stamps.
    #[cfg(any(test, all(windows, target_arch = "x86_64")))]
    pub(crate) fn with_ticks(layer: Layer, ticks_per_millisecond: u64) -> Self {
        Self::with_limits(layer, Limits { ticks_per_millisecond, ..Limits::default() })
    }

    fn with_limits(layer: Layer, limits: Limits) -> Self {
        Self { entries: VecDeque::new(), bytes: VecDeque::new(), size: 0, overhead: overhead(layer), first: 0, limits }
    }

    #[cfg(any(test, all(windows, target_arch = "x86_64")))]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How long the first entry has waited, in ticks.
    pub(crate) fn age(&self, now: i64) -> Option<u64> {
        Some(now.abs_diff(self.entries.front()?.address.timestamp()))
    }

    /// Discards what is too old.
    #[inline]
    pub(crate) fn expire(&mut self, now: i64, note: &mut impl FnMut(&Entry, Parts<'_>, Loss)) {
        let limit = self.limits.time();
        while self.age(now).is_some_and(|age| age > limit) {
            self.lose_first(Loss::Expired, note);
        }
    }

    /// Discards what is too old, then the oldest until `len` more bytes fit. False, and nothing but the old is touched,
    /// if they cannot.
    #[inline]
    pub(crate) fn make_room(&mut self, len: usize, now: i64, note: &mut impl FnMut(&Entry, Parts<'_>, Loss)) -> bool {
        self.expire(now, note);
        let cost = len as u64 + self.overhead;
        if cost > self.limits.size {
            return false;
        }
        while self.entries.len() as u64 >= self.limits.length || self.size + cost > self.limits.size {
            let is_long = self.entries.len() as u64 >= self.limits.length;
            self.lose_first(if is_long { Loss::Length } else { Loss::Size }, note);
        }
        true
    }

    #[cold]
    #[inline(never)]
    fn lose_first(&mut self, loss: Loss, note: &mut impl FnMut(&Entry, Parts<'_>, Loss)) {
        if let Some((entry, parts)) = self.first() {
            note(entry, parts, loss);
        }
        self.remove_first();
    }

    /// Appends an entry; room was made before.
    #[inline]
    pub(crate) fn push(&mut self, entry: Entry, bytes: &[u8]) {
        if self.bytes.capacity() - self.bytes.len() < bytes.len() {
            self.grow(bytes.len());
        }
        self.bytes.extend(bytes);
        self.size += bytes.len() as u64 + self.overhead;
        self.entries.push_back(entry);
    }

    /// Doubles the ring, but not beyond what the limit lets it hold.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, additional: usize) {
        let needed = self.bytes.len() + additional;
        let most = usize::try_from(self.limits.size).unwrap_or(usize::MAX);
        let capacity = (self.bytes.capacity() * 2).clamp(SMALLEST_RING, most.max(SMALLEST_RING)).max(needed);
        self.bytes.reserve_exact(capacity - self.bytes.len());
    }

    /// The first entry with its bytes.
    pub(crate) fn first(&self) -> Option<(&Entry, Parts<'_>)> {
        let entry = self.entries.front()?;
        Some((entry, parts(self.bytes.as_slices(), 0, entry.len as usize)))
    }

    /// Removes the first entry.
    pub(crate) fn remove_first(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes.drain(..(entry.len as usize).min(self.bytes.len()));
            self.size -= u64::from(entry.len) + self.overhead;
            self.first += 1;
        }
    }

    /// Hands the first entries out, at most `limit`, each with its number; how many there were.
    #[inline]
    pub(crate) fn hand_out(&mut self, limit: usize, mut give: impl FnMut(u64, &Entry, Parts<'_>)) -> usize {
        let count = self.entries.len().min(limit);
        let slices = self.bytes.as_slices();
        let mut offset = 0;
        for (entry, number) in self.entries.range(..count).zip(self.first..) {
            let len = entry.len as usize;
            give(number, entry, parts(slices, offset, len));
            offset += len;
        }
        self.entries.drain(..count);
        self.bytes.drain(..offset.min(self.bytes.len()));
        self.size -= offset as u64 + count as u64 * self.overhead;
        self.first += count as u64;
        count
    }

    /// Removes the entries that `select` picks and keeps the order of all others.
    pub(crate) fn remove_selected(&mut self, mut select: impl FnMut(&Entry, &[u8]) -> bool) {
        let mut rest = Self { entries: VecDeque::new(), bytes: VecDeque::new(), ..*self };
        rest.size = 0;
        let mut offset = 0;
        let bytes = &*self.bytes.make_contiguous();
        for entry in &self.entries {
            let end = offset + entry.len as usize;
            let bytes = bytes.get(offset..end).unwrap_or_default();
            if !select(entry, bytes) {
                rest.push(*entry, bytes);
            }
            offset = end;
        }
        *self = rest;
    }
}

/// The bytes of an entry within the ring's two slices.
#[inline]
fn parts<'a>((front, back): (&'a [u8], &'a [u8]), offset: usize, len: usize) -> Parts<'a> {
    if let Some(whole) = front.get(offset..offset + len) {
        return [whole, &[]];
    }
    let head = front.get(offset..).unwrap_or_default();
    let start = offset.saturating_sub(front.len());
    let rest = back.get(start..start + (len - head.len())).unwrap_or_default();
    [head, rest]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(len: usize, time: i64) -> Entry {
        let mut address = Address::default();
        address.set_timestamp(time);
        Entry { layout: Layout::EMPTY, address, len: len as u32, process_id: 0 }
    }

    fn push(queue: &mut Queue, bytes: &[u8], time: i64) -> Vec<(i64, Loss)> {
        let mut lost = Vec::new();
        if queue.make_room(bytes.len(), time, &mut |entry, _, loss| lost.push((entry.address.timestamp(), loss))) {
            queue.push(entry(bytes.len(), time), bytes);
        }
        lost
    }

    fn drain(queue: &mut Queue) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        queue.hand_out(usize::MAX, |_, _, parts| all.push(parts.concat()));
        all
    }

    #[test]
    fn bytes_come_out_as_they_went_in_wherever_the_ring_turns_round() {
        let mut queue = Queue::new(Layer::Network);
        let mut expected = VecDeque::new();
        for round in 0..3000_usize {
            let bytes: Vec<u8> = (0..round * 7 % 400).map(|at| (round + at) as u8).collect();
            push(&mut queue, &bytes, 0);
            expected.push_back(bytes);
            if round % 5 > 1 {
                let first = queue.first().map(|(_, parts)| parts.concat());
                assert_eq!(first, expected.pop_front());
                queue.remove_first();
            }
            if round % 100 == 99 {
                assert_eq!(drain(&mut queue), expected.drain(..).collect::<Vec<_>>());
            }
        }
        assert_eq!((queue.size, queue.bytes.len()), (0, 0));
    }

    #[test]
    fn a_full_default_queue_takes_less_than_eight_megabytes() {
        let mut queue = Queue::new(Layer::Network);
        let bytes = [7; 1500];
        for len in [64, 961, 1500] {
            for _ in 0..10_000 {
                push(&mut queue, &bytes[..len], 0);
            }
            let memory = queue.entries.capacity() * size_of::<Entry>() + queue.bytes.capacity();
            assert!(memory < 8_000_000, "{memory} bytes");
        }
    }

    #[test]
    fn the_limits_count_the_overhead_and_say_which_was_met() {
        let mut queue = Queue::new(Layer::Network);
        queue.limits.set(Parameter::QueueSize, 65_535);
        let half = vec![0; 32_704];
        assert!(push(&mut queue, &half, 1).is_empty());
        assert!(push(&mut queue, &half, 2).is_empty());
        assert_eq!(push(&mut queue, &[0], 3), [(1, Loss::Size)]);
        assert!(!queue.make_room(65_535 - 62, 3, &mut |_, _, _| {}));
        assert_eq!(queue.entries.len(), 2);
        queue.limits.set(Parameter::QueueLength, 1);
        assert_eq!(push(&mut queue, &[0], 4), [(2, Loss::Length), (3, Loss::Length)]);
    }

    #[test]
    fn an_entry_expires_strictly_after_its_time() {
        let mut queue = Queue::new(Layer::Network);
        push(&mut queue, &[1], 0);
        let time = queue.limits.time() as i64;
        queue.expire(time, &mut |_, _, _| {});
        assert_eq!(queue.entries.len(), 1);
        queue.expire(time + 1, &mut |_, _, _| {});
        assert!(queue.is_empty());
    }

    #[test]
    fn removing_a_selection_keeps_the_others_in_order() {
        let mut queue = Queue::new(Layer::Network);
        for byte in 0..10_u8 {
            push(&mut queue, &[byte; 3], 0);
        }
        queue.remove_selected(|_, bytes| bytes.first().is_some_and(|byte| byte % 2 == 1));
        assert_eq!(queue.size, 5 * (3 + 63));
        assert_eq!(drain(&mut queue).concat(), [[0; 3], [2; 3], [4; 3], [6; 3], [8; 3]].concat());
    }
}
