//! Packets that programs send: what goes back as it came, what goes back changed, and what is new.
use super::super::injection::carrier::Way;
use super::super::intake::arrival::LOOPBACK;
use super::super::intake::queue::{Change, FLUSH_AT, PAYLOAD_MAX, Place, Queue, Verdict};
use super::super::intake::token;
use super::super::kernel::fault::fault;
use super::super::kernel::netlink::Writer;
use super::super::kernel::sys;
use super::super::tables::nft::Hook;
use super::state::{Source, State};
use crate::address::{Address, Layer};
use crate::batch::{Batch, Record, Token};
use crate::engine::{Error, ErrorCode, Mask, SendError, repair, verify_lens, verify_sending};
use std::time::{Duration, Instant};

/// How long a new packet may take to come to its place.
const CARRIER_TIME: Duration = Duration::from_millis(100);
/// So many new packets are on their way at most.
const CARRIERS_MAX: usize = 256;

impl State {
    /// Sends the packets of a batch that `mask` selects. A hard error ends it; what the stack refuses is left out, and told
    /// at the end.
    pub(crate) fn send(
        &mut self,
        source: Source<'_>,
        batch: &Batch,
        mask: Mask<'_>,
        now: i64,
    ) -> Result<usize, SendError> {
        let count = batch.len() as u64;
        verify_sending(self.has_ended_sending, self.flags, self.layer)
            .inspect_err(|_| self.statistics.errors += count)?;
        let (sent, failure) = self.send_all(source, batch, mask, now).map_err(SendError::from)?;
        self.statistics.sent += sent as u64;
        failure.map_or(Ok(sent), |error| Err(SendError { sent, error }))
    }

    /// The same without asking whether the handle may; how many went out, and the last failure.
    pub(super) fn send_all(
        &mut self,
        source: Source<'_>,
        batch: &Batch,
        mask: Mask<'_>,
        now: i64,
    ) -> Result<(usize, Option<Error>), Error> {
        let queue = source.queue;
        if self.has_lost_places {
            self.lose_places(source, now).map_err(|error| fault("reading the kernel's queue", error))?;
        }
        let mut sent = 0;
        let mut failure = None;
        let mut run = Run::default();
        for (index, record) in batch.records().iter().enumerate() {
            if mask.is_some_and(|mask| mask.get(index) != Some(&true)) {
                continue;
            }
            let bytes = batch.bytes(index).unwrap_or_default();
            match self.send_record(source, record, bytes, &mut run, now) {
                Ok(()) => {
                    sent += 1;
                    self.statistics.modified += u64::from(record.changed);
                }
                Err(error) => {
                    self.statistics.errors += 1;
                    let is_hard = !matches!(error.code(), ErrorCode::HostUnreachable | ErrorCode::DataNotAccepted);
                    failure = Some(error);
                    if is_hard {
                        break;
                    }
                }
            }
        }
        run.end(queue, &mut self.answers);
        let settled = self
            .settle_carriers(source, 0, now)
            .and_then(|()| queue.flush(&mut self.answers).map_err(|error| fault("answering the kernel", error)));
        Ok((sent, failure.or(settled.err())))
    }

    fn send_record(
        &mut self,
        source: Source<'_>,
        record: &Record,
        bytes: &[u8],
        run: &mut Run,
        now: i64,
    ) -> Result<(), Error> {
        let queue = source.queue;
        let received = record.origin.received();
        let is_oldest = received.is_some_and(|token| self.lines.is_oldest(token));
        let held = received.filter(|token| self.lines.take(*token));
        if let Some(token) = held
            && !record.changed
        {
            if is_oldest {
                run.go_on(queue, &mut self.answers, token::place(token));
                return Ok(());
            }
            run.end(queue, &mut self.answers);
            queue.answer(&mut self.answers, token::place(token), Verdict::Accept, None);
            return self.flush_if_many(queue);
        }
        run.end(queue, &mut self.answers);
        let outcome = self.send_changed(source, record, bytes, received, held, now);
        if let (Err(_), Some(token)) = (&outcome, held) {
            // What cannot go on does not stay either.
            queue.answer(&mut self.answers, token::place(token), Verdict::Drop, None);
        }
        outcome
    }

    /// Sends a packet that is not what the kernel has: as the verdict on it, if it is `held` and goes on from its place,
    /// else as a new one.
    fn send_changed(
        &mut self,
        source: Source<'_>,
        record: &Record,
        bytes: &[u8],
        received: Option<Token>,
        held: Option<Token>,
        now: i64,
    ) -> Result<(), Error> {
        let queue = source.queue;
        if received.is_some_and(token::is_cut) {
            let message = format!(
                "the packet is longer than {PAYLOAD_MAX} bytes and was not received whole; it can be sent unchanged or \
                 dropped"
            );
            return Err(Error::new(ErrorCode::InsufficientBuffer, message));
        }
        let total_len = record.layout.total_len();
        verify_lens(bytes, total_len)?;
        if total_len > PAYLOAD_MAX {
            let message = format!("a packet that is sent has at most {PAYLOAD_MAX} bytes, this one has {total_len}");
            return Err(Error::new(ErrorCode::InsufficientBuffer, message));
        }
        let mut repaired = bytes.get(..total_len).unwrap_or(bytes).to_vec();
        let layout = record.layout.without_rest();
        self.statistics.checksums_computed += repair(&mut repaired, Some(&layout), &record.address)?;
        let Some(token) = held else { return self.inject(source, &repaired, &record.address, now) };
        if is_in_place(token, &record.address, self.layer) {
            let change = Change { bytes: &repaired, ..Change::default() };
            queue.answer(&mut self.answers, token::place(token), Verdict::Accept, Some(change));
            return self.flush_if_many(queue);
        }
        self.inject(source, &repaired, &record.address, now)?;
        queue.answer(&mut self.answers, token::place(token), Verdict::Drop, None);
        Ok(())
    }

    /// Sends a new packet.
    fn inject(&mut self, source: Source<'_>, bytes: &[u8], address: &Address, now: i64) -> Result<(), Error> {
        if self.carriers.under_way() >= CARRIERS_MAX {
            self.settle_carriers(source, CARRIERS_MAX / 2, now)?;
        }
        let way = if self.layer == Layer::Network && address.outbound() {
            Way::Out
        } else {
            let from = if self.layer == Layer::NetworkForward { self.forwarded_from } else { 0 };
            Way::In(match (from, address.interface_index()) {
                (0, 0) => LOOPBACK,
                (0, index) | (index, _) => index,
            })
        };
        let entry = if way.is_by_output(bytes) { Hook::Output } else { Hook::Prerouting };
        source.ruleset.admit(entry).map_err(|error| fault("adding rules for new packets to nftables", error))?;
        self.carriers.launch(bytes, way)
    }

    /// Waits until no more than `most` new packets are on their way, and takes what comes meanwhile.
    fn settle_carriers(&mut self, source: Source<'_>, most: usize, now: i64) -> Result<(), Error> {
        let queue = source.queue;
        if self.carriers.under_way() <= most {
            return Ok(());
        }
        let broken = |error| fault("reading the kernel's queue", error);
        let deadline = Instant::now() + CARRIER_TIME;
        loop {
            self.take(source, None, now).map_err(broken)?;
            queue.flush(&mut self.answers).map_err(broken)?;
            if self.carriers.under_way() <= most {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let lost = self.carriers.give_up();
                let message = format!("{lost} new packets were taken by the network stack or a firewall on their way");
                return Err(Error::new(ErrorCode::DataNotAccepted, message));
            }
            sys::wait_readable(&[&queue.socket], Some(left)).map_err(broken)?;
        }
    }

    fn flush_if_many(&mut self, queue: &Queue) -> Result<(), Error> {
        if self.answers.bytes().len() < FLUSH_AT {
            return Ok(());
        }
        queue.flush(&mut self.answers).map_err(|error| fault("answering the kernel", error))
    }
}

/// Packets that go on unchanged, each of them the oldest that waits, so that one message answers for all.
#[derive(Default)]
struct Run {
    last: Option<Place>,
}

impl Run {
    /// Goes on to a packet; one of the other queue ends the run, so that all go on in order.
    fn go_on(&mut self, queue: &Queue, answers: &mut Writer, place: Place) {
        if self.last.is_some_and(|last| last.is_large != place.is_large) {
            self.end(queue, answers);
        }
        self.last = Some(place);
    }

    fn end(&mut self, queue: &Queue, answers: &mut Writer) {
        if let Some(place) = self.last.take() {
            queue.accept_up_to(answers, place);
        }
    }
}

/// Whether a changed packet goes on from where it was taken.
fn is_in_place(token: Token, address: &Address, layer: Layer) -> bool {
    let keeps_direction = layer == Layer::NetworkForward || address.outbound() == token::is_outbound(token);
    keeps_direction && token::is_at(token, address.interface_index())
}
