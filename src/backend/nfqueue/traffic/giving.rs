//! What becomes of packets that wait and that nobody sends: they expire, are given back or up, or pass by.
use super::super::intake::queue::{Place, Queue, Verdict};
use super::super::intake::token;
use super::state::{Source, State};
use crate::batch::{Batch, Origin, Token};
use crate::packet::FlowKey;
use std::io::Result;

impl State {
    /// Discards what waited too long.
    pub(super) fn expire(&mut self, queue: &Queue, now: i64) {
        let can_send = self.can_send();
        let Self { backlog, statistics, answers, lines, .. } = self;
        backlog.expire(now, &mut |token, loss| {
            statistics.note_loss(loss, false);
            if can_send && !lines.is_gone(token) {
                queue.answer(answers, token::place(token), Verdict::Drop, None);
            }
        });
    }

    /// Lets everything that nobody received go on; how many packets.
    pub(crate) fn give_back(&mut self, source: Source<'_>, now: i64) -> Result<()> {
        let queue = source.queue;
        self.take(source, None, now)?;
        self.expire(queue, now);
        let mut batch = Batch::new();
        let can_send = self.can_send();
        let Self { backlog, lines, .. } = self;
        backlog.hand_out(&mut batch, usize::MAX, |token| {
            // Nothing is given up for what is sent at once.
            let _ = !lines.is_gone(token) && lines.hold(token).is_none();
            Origin::Received(token)
        });
        if can_send {
            let sent = self.send_all(source, &batch, None, now);
            self.statistics.given_back += sent.map_or(0, |(sent, _)| sent as u64);
        }
        queue.flush(&mut self.answers)
    }

    /// The kernel has moved or dropped what waited: it is given up there, and goes on as new packets do.
    pub(crate) fn lose_places(&mut self, source: Source<'_>, now: i64) -> Result<()> {
        self.take(source, None, now)?;
        self.has_lost_places = false;
        let waiting = self.backlog.tokens().map(token::place);
        let gone: Vec<Place> = self.lines.lose().into_iter().chain(waiting).collect();
        for place in gone {
            source.queue.drop_if_there(&mut self.answers, place);
        }
        source.queue.flush(&mut self.answers)
    }

    /// Lets a flow pass from now on, what is kept of it first. False if too many pass already.
    pub(crate) fn bypass(&mut self, queue: &Queue, flow: FlowKey, now: i64) -> Result<bool> {
        if self.has_ended_receiving || !self.bypasses.insert(flow, now) {
            return Ok(false);
        }
        let can_send = self.can_send();
        let Self { backlog, bypasses, statistics, answers, .. } = self;
        for token in backlog.take_selected(|record, bytes| bypasses.lets_pass(bytes, &record.layout, now)) {
            statistics.bypassed += 1;
            if can_send {
                queue.answer(answers, token::place(token), Verdict::Accept, None);
            }
        }
        queue.flush(answers)?;
        Ok(true)
    }

    /// Gives packets up that were received.
    pub(crate) fn discard(&mut self, queue: &Queue, tokens: &[Token]) -> Result<()> {
        for token in tokens {
            if self.lines.take(*token) {
                queue.answer(&mut self.answers, token::place(*token), Verdict::Drop, None);
            }
        }
        self.statistics.dropped += tokens.len() as u64;
        queue.flush(&mut self.answers)
    }
}
