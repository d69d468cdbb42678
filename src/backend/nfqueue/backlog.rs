//! Packets that were taken from the kernel and wait for the program, under the driver's three limits.
use crate::address::Layer;
use crate::batch::{Batch, Origin, Token};
use crate::engine::{Entry, Loss, Queue, time_ns};
use std::collections::VecDeque;

use super::arrival::Arrival;

/// The queue, and the packets' tokens beside it.
pub(super) struct Backlog {
    pub(super) queue: Queue,
    tokens: VecDeque<Token>,
}

impl Backlog {
    pub(super) fn new(layer: Layer) -> Self {
        Self { queue: Queue::new(layer), tokens: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Discards what waited too long.
    pub(super) fn expire(&mut self, now: i64, note: &mut impl FnMut(Token, Loss)) {
        let Self { queue, tokens } = self;
        queue.expire(now, &mut |_, _, loss| {
            if let Some(token) = tokens.pop_front() {
                note(token, loss);
            }
        });
    }

    /// Appends a packet; what it pushes out is told, and itself if it does not fit at all.
    pub(super) fn push(&mut self, arrival: &Arrival<'_>, token: Token, now: i64, note: &mut impl FnMut(Token, Loss)) {
        let Self { queue, tokens } = self;
        let has_room = queue.make_room(arrival.bytes.len(), now, &mut |_, _, loss| {
            if let Some(token) = tokens.pop_front() {
                note(token, loss);
            }
        });
        if !has_room {
            note(token, Loss::Size);
            return;
        }
        let len = arrival.bytes.len() as u32;
        let entry = Entry { layout: arrival.layout, address: arrival.address, len, process_id: 0 };
        queue.push(entry, arrival.bytes);
        tokens.push_back(token);
    }

    /// Hands packets out, the oldest first; how many.
    pub(super) fn hand_out(
        &mut self,
        batch: &mut Batch,
        limit: usize,
        mut origin: impl FnMut(Token) -> Origin,
    ) -> usize {
        let Self { queue, tokens } = self;
        queue.hand_out(limit, |_, entry, [head, rest]| {
            let origin = tokens.pop_front().map_or(Origin::Injected(None), &mut origin);
            batch.push(head, entry.layout, &entry.address, time_ns(entry.address.timestamp()), origin);
            if !rest.is_empty() {
                batch.extend_last(rest);
            }
        })
    }

    /// The packets' tokens.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> + '_ {
        self.tokens.iter().copied()
    }

    /// Takes out the packets that `select` picks, and keeps the order of all others; the tokens of those taken.
    pub(super) fn take_selected(&mut self, mut select: impl FnMut(&Entry, &[u8]) -> bool) -> Vec<Token> {
        let mut taken = Vec::new();
        let mut kept = VecDeque::new();
        let mut tokens = std::mem::take(&mut self.tokens).into_iter();
        self.queue.remove_selected(|entry, bytes| {
            let is_selected = select(entry, bytes);
            if let Some(token) = tokens.next() {
                if is_selected { taken.push(token) } else { kept.push_back(token) }
            }
            is_selected
        });
        self.tokens = kept;
        taken
    }
}
