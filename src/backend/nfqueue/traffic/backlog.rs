//! Packets that were taken from the kernel and wait for the program, under the driver's three limits.
use crate::address::Layer;
use crate::batch::{Batch, Origin, PacketRef, Record, Token};
use crate::engine::{Entry, Loss, Queue};

/// The queue. What is in it has the kernel's token, whether it can be sent or not.
pub(crate) struct Backlog {
    pub(crate) queue: Queue,
}

impl Backlog {
    pub(super) fn new(layer: Layer) -> Self {
        Self { queue: Queue::new(layer) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Discards what waited too long.
    pub(super) fn expire(&mut self, now: i64, note: &mut impl FnMut(Token, Loss)) {
        self.queue.expire(now, &mut |record, _, loss| {
            if let Some(token) = record.origin.received() {
                note(token, loss);
            }
        });
    }

    /// Appends a packet; what it pushes out is told, and itself if it does not fit at all.
    pub(super) fn push(
        &mut self,
        packet: PacketRef<'_>,
        time_ns: i64,
        token: Token,
        now: i64,
        note: &mut impl FnMut(Token, Loss),
    ) {
        let has_room = self.queue.make_room(packet.bytes.len(), now, &mut |record, _, loss| {
            if let Some(token) = record.origin.received() {
                note(token, loss);
            }
        });
        if !has_room {
            note(token, Loss::Size);
            return;
        }
        let PacketRef { bytes, layout, address } = packet;
        let origin = Origin::Received(token);
        self.queue.push(&Entry { layout: *layout, address, time_ns, process_id: 0, origin }, bytes);
    }

    /// Hands packets out, the oldest first; how many. `origin` says what each is to whoever receives it.
    pub(super) fn hand_out(
        &mut self,
        batch: &mut Batch,
        limit: usize,
        mut origin: impl FnMut(Token) -> Origin,
    ) -> usize {
        let from = batch.len();
        let count = self.queue.hand_out(batch, limit);
        for record in batch.records_mut().iter_mut().skip(from) {
            record.origin = record.origin.received().map_or(Origin::Injected(None), &mut origin);
        }
        count
    }

    /// The packets' tokens.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> + '_ {
        self.queue.records().filter_map(|record| record.origin.received())
    }

    /// Takes out the packets that `select` picks, and keeps the order of all others; the tokens of those taken.
    pub(super) fn take_selected(&mut self, mut select: impl FnMut(&Record, &[u8]) -> bool) -> Vec<Token> {
        let mut taken = Vec::new();
        self.queue.remove_selected(|record, bytes| {
            let is_selected = select(record, bytes);
            taken.extend(record.origin.received().filter(|_| is_selected));
            is_selected
        });
        taken
    }
}
