//! One handle's queue: packets in order, with the driver's three limits.
//!
//! What does not fit pushes the oldest out; what is too old is discarded when somebody touches the queue, never by a
//! timer. As in the driver an entry costs its bytes and a fixed overhead. Never panics; memory is the limits' and
//! little more.
//!
//! The queue is made of batches, as large as those that its reader asks for: whoever asks for a batch is given one of
//! them as it is, and none of its packets is copied again.
use super::clock::TICKS_PER_MILLISECOND;
use super::statistics::Loss;
use crate::address::{Address, Layer, Parameter};
use crate::batch::{Batch, Origin, Record, Token};
use crate::packet::Layout;
use std::collections::VecDeque;

/// The most packets of one of the queue's batches, which is the most that one receive asks for.
const CHUNK_PACKETS: usize = 255;
/// Who asks for fewer at a time is given copies: batches of so few would cost more than they spare.
const SMALLEST_CHUNK: usize = 16;
/// No more is appended to a batch of so many bytes: what 255 packets of an Ethernet take.
const CHUNK_BYTES: usize = CHUNK_PACKETS * 1514;
/// The least memory that a batch takes for bytes.
const SMALLEST_BUFFER: usize = 4096;
/// How many empty batches are kept to be filled again, and the most memory that is worth it, in bytes.
const SPARES: usize = 16;
const SPARE_MAX: usize = 2 * CHUNK_BYTES;

/// A packet or event that is to be queued, without its bytes.
pub(crate) struct Entry<'a> {
    pub(crate) layout: Layout,
    pub(crate) address: &'a Address,
    /// In nanoseconds since the Unix epoch.
    pub(crate) time_ns: i64,
    pub(crate) process_id: u32,
    /// What whoever receives it sends, when it sends it.
    pub(crate) origin: Origin,
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
    /// The entries, in order. None of these is empty.
    chunks: VecDeque<Batch>,
    /// How many entries of the first batch are gone.
    taken: usize,
    /// How many packets a new batch takes.
    chunk_packets: usize,
    /// How many bytes the last batch had that became full: what the next one will need.
    chunk_bytes: usize,
    /// Empty batches, for their memory.
    spares: Vec<Batch>,
    len: usize,
    /// What all entries cost.
    size: u64,
    overhead: u64,
    /// How many originals were named.
    originals: u64,
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
        Self {
            chunks: VecDeque::new(),
            taken: 0,
            chunk_packets: CHUNK_PACKETS,
            chunk_bytes: 0,
            spares: Vec::new(),
            len: 0,
            size: 0,
            overhead: overhead(layer),
            originals: 0,
            limits,
        }
    }

    #[cfg(any(test, all(windows, target_arch = "x86_64")))]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first entry with its bytes.
    #[inline]
    pub(crate) fn first(&self) -> Option<(&Record, &[u8])> {
        let chunk = self.chunks.front()?;
        Some((chunk.records().get(self.taken)?, chunk.bytes(self.taken)?))
    }

    /// The entries without their bytes, in order.
    #[cfg(target_os = "linux")]
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.chunks.iter().flat_map(Batch::records).skip(self.taken)
    }

    /// How long the first entry has waited, in ticks.
    pub(crate) fn age(&self, now: i64) -> Option<u64> {
        Some(now.abs_diff(self.first()?.0.address.timestamp()))
    }

    /// Discards what is too old.
    #[inline]
    pub(crate) fn expire(&mut self, now: i64, note: &mut impl FnMut(&Record, &[u8], Loss)) {
        let limit = self.limits.time();
        while self.age(now).is_some_and(|age| age > limit) {
            self.lose_first(Loss::Expired, note);
        }
    }

    /// Discards what is too old, then the oldest until `len` more bytes fit. False, and nothing but the old is touched,
    /// if they cannot.
    #[inline]
    pub(crate) fn make_room(&mut self, len: usize, now: i64, note: &mut impl FnMut(&Record, &[u8], Loss)) -> bool {
        self.expire(now, note);
        let cost = len as u64 + self.overhead;
        if cost > self.limits.size {
            return false;
        }
        while self.len as u64 >= self.limits.length || self.size + cost > self.limits.size {
            let is_long = self.len as u64 >= self.limits.length;
            self.lose_first(if is_long { Loss::Length } else { Loss::Size }, note);
        }
        true
    }

    #[cold]
    #[inline(never)]
    fn lose_first(&mut self, loss: Loss, note: &mut impl FnMut(&Record, &[u8], Loss)) {
        if let Some((record, bytes)) = self.first() {
            note(record, bytes, loss);
        }
        self.remove_first();
    }

    /// What the next entry is to whoever receives it: an original, by a name of its own, or a copy.
    #[inline]
    pub(crate) const fn new_origin(&mut self, is_original: bool) -> Origin {
        if !is_original {
            return Origin::Injected(None);
        }
        self.originals += 1;
        Origin::Received(Token(self.originals))
    }

    /// Appends an entry; room was made before.
    #[inline]
    pub(crate) fn push(&mut self, entry: &Entry<'_>, bytes: &[u8]) {
        let cost = bytes.len() as u64 + self.overhead;
        let Some(chunk) = self.chunk_for(bytes.len()) else { return };
        chunk.push(bytes, entry.layout, entry.address, entry.time_ns, entry.origin);
        if entry.process_id != 0
            && let Some(record) = chunk.records_mut().last_mut()
        {
            record.process_id = entry.process_id;
        }
        self.len += 1;
        self.size += cost;
    }

    /// The batch that the next entry belongs to, with room for so many bytes; there is always one.
    #[inline]
    fn chunk_for(&mut self, len: usize) -> Option<&mut Batch> {
        let chunk_packets = self.chunk_packets;
        let has_room = |chunk: &Batch| chunk.len() < chunk_packets && chunk.bytes_len() + len <= CHUNK_BYTES;
        if !self.chunks.back().is_some_and(has_room) {
            self.add_chunk();
        }
        let chunk = self.chunks.back_mut()?;
        chunk.reserve_bytes(len);
        Some(chunk)
    }

    #[cold]
    #[inline(never)]
    fn add_chunk(&mut self) {
        if let Some(full) = self.chunks.back() {
            self.chunk_bytes = full.bytes_len();
        }
        let mut chunk = self.spares.pop().unwrap_or_default();
        chunk.reserve_bytes(self.chunk_bytes.max(SMALLEST_BUFFER));
        self.chunks.push_back(chunk);
    }

    /// Removes the first entry.
    pub(crate) fn remove_first(&mut self) {
        if let Some((record, _)) = self.first() {
            self.size -= record.len() as u64 + self.overhead;
            self.len -= 1;
            self.take_from_first(1);
        }
    }

    /// The first batch has lost so many more of its entries.
    fn take_from_first(&mut self, count: usize) {
        self.taken += count;
        if self.chunks.front().is_some_and(|chunk| self.taken >= chunk.len()) {
            self.taken = 0;
            let spare = self.chunks.pop_front();
            self.keep(spare.unwrap_or_default());
        }
    }

    /// Keeps a batch's memory.
    fn keep(&mut self, mut spare: Batch) {
        if (1..=SPARE_MAX).contains(&spare.memory()) && self.spares.len() < SPARES {
            spare.clear();
            self.spares.push(spare);
        }
    }

    /// Appends the first entries to a batch, at most `limit`; how many there were. An empty batch is exchanged for one of
    /// the queue's.
    #[inline]
    pub(crate) fn hand_out(&mut self, batch: &mut Batch, limit: usize) -> usize {
        if limit >= SMALLEST_CHUNK {
            self.chunk_packets = limit.min(CHUNK_PACKETS);
        }
        let mut count = 0;
        while count < limit {
            let Some(chunk) = self.chunks.front_mut() else { break };
            let taken = (chunk.len() - self.taken).min(limit - count);
            if batch.is_empty() && self.taken == 0 && taken == chunk.len() {
                std::mem::swap(batch, chunk);
                self.size -= batch.bytes_len() as u64;
            } else {
                self.size -= batch.append_run(chunk, self.taken, taken) as u64;
            }
            // Of one that was exchanged an empty batch is left.
            self.take_from_first(taken);
            count += taken;
        }
        self.len -= count;
        self.size -= count as u64 * self.overhead;
        count
    }

    /// Removes the entries that `select` picks and keeps the order of all others.
    pub(crate) fn remove_selected(&mut self, mut select: impl FnMut(&Record, &[u8]) -> bool) {
        let chunks = std::mem::take(&mut self.chunks);
        let mut skipped = std::mem::take(&mut self.taken);
        self.len = 0;
        self.size = 0;
        for chunk in chunks {
            for (index, record) in chunk.records().iter().enumerate().skip(std::mem::take(&mut skipped)) {
                let bytes = chunk.bytes(index).unwrap_or_default();
                if !select(record, bytes)
                    && let Some(kept) = self.chunk_for(bytes.len())
                {
                    kept.append_from(&chunk, index);
                    self.len += 1;
                    self.size += bytes.len() as u64 + self.overhead;
                }
            }
            self.keep(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry whose token is the time on its stamp.
    fn entry(address: &Address) -> Entry<'_> {
        let origin = Origin::Received(Token(address.timestamp() as u64));
        Entry { layout: Layout::EMPTY, address, time_ns: 0, process_id: 7, origin }
    }

    fn push(queue: &mut Queue, bytes: &[u8], time: i64) -> Vec<(i64, Loss)> {
        let mut lost = Vec::new();
        if queue.make_room(bytes.len(), time, &mut |entry, _, loss| lost.push((entry.address.timestamp(), loss))) {
            let mut address = Address::default();
            address.set_timestamp(time);
            queue.push(&entry(&address), bytes);
        }
        lost
    }

    fn drain(queue: &mut Queue) -> Vec<Vec<u8>> {
        let mut batch = Batch::new();
        queue.hand_out(&mut batch, usize::MAX);
        batch.iter().map(|packet| packet.bytes.to_vec()).collect()
    }

    #[test]
    fn bytes_come_out_as_they_went_in_whoever_asks_for_how_many() {
        let mut queue = Queue::new(Layer::Network);
        let mut expected = VecDeque::new();
        for round in 0..6000_usize {
            let bytes: Vec<u8> = (0..round * 7 % 400).map(|at| (round + at) as u8).collect();
            push(&mut queue, &bytes, round as i64);
            expected.push_back((round as u64, bytes));
            if round % 5 > 1 {
                let first = queue.first().map(|(record, bytes)| (record.origin, bytes.to_vec()));
                let expected = expected.pop_front().map(|(number, bytes)| (Origin::Received(Token(number)), bytes));
                assert_eq!(first, expected);
                queue.remove_first();
            }
            if round % 100 == 99 {
                let limit = [1, 15, 16, 20, 255, 600][round / 100 % 6];
                let mut batch = Batch::new();
                assert_eq!(queue.hand_out(&mut batch, limit), limit.min(expected.len()));
                for (index, record) in batch.records().iter().enumerate() {
                    let (number, bytes) = expected.pop_front().unwrap();
                    let packet = batch.bytes(index).unwrap();
                    assert_eq!((record.origin, packet), (Origin::Received(Token(number)), &*bytes));
                    assert_eq!(record.process_id, 7);
                }
            }
            let (len, bytes) = (expected.len(), expected.iter().map(|(_, bytes)| bytes.len()).sum::<usize>());
            assert_eq!((queue.len(), queue.size), (len, (bytes + 63 * len) as u64));
        }
        assert_eq!(drain(&mut queue).len(), expected.len());
        assert_eq!((queue.len(), queue.size, queue.chunks.len()), (0, 0, 0));
    }

    #[test]
    fn a_batch_is_appended_to_and_otherwise_exchanged() {
        let mut queue = Queue::new(Layer::Network);
        let mut batch = Batch::new();
        for limit in [255, 64] {
            for byte in 0..200_u8 {
                push(&mut queue, &[byte], 0);
            }
            batch.clear();
            assert_eq!(queue.hand_out(&mut batch, limit), limit.min(200));
            assert_eq!(queue.hand_out(&mut batch, 255), 200 - limit.min(200));
            let bytes: Vec<u8> = batch.iter().flat_map(|packet| packet.bytes).copied().collect();
            assert_eq!(bytes, (0..200).collect::<Vec<_>>());
        }
        assert!(!queue.spares.is_empty());
    }

    #[test]
    fn a_full_default_queue_takes_less_than_eight_megabytes() {
        let bytes = [7; 1500];
        for lens in [&[64][..], &[961], &[1030], &[1500], &[64, 961, 1030, 1500]] {
            let mut queue = Queue::new(Layer::Network);
            for len in lens {
                for _ in 0..10_000 {
                    push(&mut queue, &bytes[..*len], 0);
                }
                let memory: usize = queue.chunks.iter().chain(&queue.spares).map(Batch::memory).sum();
                assert!(memory < 8_000_000, "{memory} bytes with packets of {len}, the last of {lens:?}");
            }
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
        assert_eq!(queue.len(), 2);
        queue.limits.set(Parameter::QueueLength, 1);
        assert_eq!(push(&mut queue, &[0], 4), [(2, Loss::Length), (3, Loss::Length)]);
    }

    #[test]
    fn an_entry_expires_strictly_after_its_time() {
        let mut queue = Queue::new(Layer::Network);
        push(&mut queue, &[1], 0);
        let time = queue.limits.time() as i64;
        queue.expire(time, &mut |_, _, _| {});
        assert_eq!(queue.len(), 1);
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
