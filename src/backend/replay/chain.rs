//! The handles of one replay in order of priority, and how packets pass them.
use super::capture::Capture;
use super::direction::Directions;
use super::format::{RecordKind, RecordMeta, Template};
use super::member::{Fate, Member, Traveller, descend, find_packet, state_of, take_back};
use super::output::{Output, Writer};
use super::place::{Place, Places, State};
use crate::address::{Flags, Parameter};
use crate::backend::{Ending, Error, ErrorCode, OpenOptions, Received, Statistics, Warning};
use crate::batch::{Batch, Origin, PacketRef, Token};
use crate::engine::{Bypasses, Ladder, Rank};
use crate::packet::FlowKey;
use std::collections::VecDeque;
use std::error::Error as StdError;

/// A batch is cut short once this many bytes wait for it to be decided.
const HELD_LEN_MAX: usize = 1 << 20;
/// Reading pauses after so many records, for whoever waits for the chain.
const STRIDE: usize = 1024;

/// How an attempt to receive went.
pub(super) enum Attempt {
    /// It is over.
    Done(Received),
    /// Another handle must act first.
    Blocked,
    /// The records read so far held nothing; others may have the chain before the next ones.
    Paused,
}

/// The capture, its handles, and the output.
pub(super) struct Chain {
    pub(super) capture: Capture,
    pub(super) writer: Writer,
    pub(super) places: Places,
    output: Option<Output>,
    directions: Directions,
    members: Ladder<Member>,
    /// How many handles were opened.
    opened: u64,
    has_started: bool,
    has_ended: bool,
    is_complete: bool,
    is_aborted: bool,
    failure: Option<(ErrorCode, String)>,
    /// A record that the capture is at and that was not yet taken.
    looked_ahead: Option<RecordMeta>,
    warned_links: Vec<i32>,
    /// When the last packet was captured, in ticks.
    last_timestamp: i64,
    pub(super) warnings: Vec<Warning>,
}

impl Chain {
    pub(super) fn new(capture: Capture, output: Option<Output>, directions: Directions) -> Self {
        Self {
            capture,
            writer: Writer::Discarded,
            places: Places::default(),
            output,
            directions,
            members: Ladder::default(),
            opened: 0,
            has_started: false,
            has_ended: false,
            is_complete: false,
            is_aborted: false,
            failure: None,
            looked_ahead: None,
            last_timestamp: 0,
            warned_links: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Adds a handle; its rank, which is its name here.
    pub(super) fn add_handle(&mut self, options: OpenOptions) -> Result<Rank, Error> {
        if !options.layer.has_packets() {
            let message = format!("a capture has no events of layer {}; an engine has", options.layer.name());
            return Err(Error::new(ErrorCode::NotSupported, message));
        }
        if options.on_overload == crate::backend::Overload::Pass {
            let message = "a replay loses nothing to a queue; leave out on_overload";
            return Err(Error::new(ErrorCode::NotSupported, message));
        }
        if self.has_started || self.is_complete {
            let message = "this replay has begun; open all its handles before the first receive, or make a new Replay";
            return Err(Error::new(ErrorCode::BadCommand, message));
        }
        if self.members.is_empty() {
            self.writer = Writer::open(self.output.clone())?;
            // The file's or section's header, which everything else comes behind.
            self.read_one(None)?;
        }
        self.opened += 1;
        let id = Rank::new(options.priority, self.opened);
        self.members.insert(
            id,
            Member {
                id,
                layer: options.layer,
                flags: options.flags,
                filter: options.filter,
                bypasses: Bypasses::default(),
                queue: VecDeque::new(),
                statistics: Statistics::default(),
                is_woken: false,
                has_ended_receiving: false,
                has_ended_sending: false,
                parameters: Parameter::ALL.map(|parameter| parameter.bounds().map_or(2, |(default, ..)| default)),
            },
        );
        Ok(id)
    }

    pub(super) fn member(&mut self, id: Rank) -> Result<&mut Member, Error> {
        self.members.get_mut(id).ok_or_else(Error::closed)
    }

    /// Lets a flow pass a handle unseen from the next record on; the time is that of the last one. False if too many pass.
    pub(super) fn bypass(&mut self, id: Rank, flow: FlowKey) -> Result<bool, Error> {
        let now = self.last_timestamp;
        let member = self.member(id)?;
        Ok(member.takes_packets() && member.bypasses.insert(flow, now))
    }

    fn has_queued(&self) -> bool {
        self.members.iter().any(|(_, member)| !member.queue.is_empty())
    }

    /// Hands out what is queued for a handle, reading on if nothing is.
    pub(super) fn receive(&mut self, id: Rank, batch: &mut Batch, limit: usize) -> Result<Attempt, Error> {
        let member = self.member(id)?;
        if member.flags.has(Flags::SEND_ONLY) {
            return Err(Error::send_only());
        }
        if std::mem::take(&mut member.is_woken) {
            return Ok(Attempt::Done(Received::Woken));
        }
        let has_queued = !member.queue.is_empty();
        let has_ended = member.has_ended_receiving;
        let dropped = self.places.drop_handed_out(id);
        self.member(id)?.statistics.dropped += dropped;
        self.flush()?;
        if has_queued {
            return Ok(self.hand_out(id, batch, limit).map_or(Attempt::Blocked, Attempt::Done));
        }
        if has_ended {
            return Ok(Attempt::Done(Received::Ended));
        }
        if self.has_queued() {
            return Ok(Attempt::Blocked);
        }
        let before = batch.len();
        if self.read_on(id, batch, limit)? {
            return Ok(Attempt::Paused);
        }
        if batch.len() > before {
            return Ok(Attempt::Done(Received::Packets));
        }
        Ok(self.hand_out(id, batch, limit).map_or(Attempt::Blocked, Attempt::Done))
    }

    /// Reads until the handle has `limit` packets, or others have some, or the capture ends, or a stride of records is
    /// through. Those that no other handle looks at first go straight into the batch. True if it should be called again:
    /// the stride held nothing for anybody.
    fn read_on(&mut self, id: Rank, batch: &mut Batch, limit: usize) -> Result<bool, Error> {
        self.has_started = true;
        let before = batch.len();
        for _ in 0..STRIDE {
            let has_queued = self.has_queued();
            let count = batch.len() - before;
            let is_much = self.places.held.len() > HELD_LEN_MAX;
            if count >= limit || (count > 0 && is_much) || has_queued || self.has_ended {
                return Ok(false);
            }
            if is_much {
                self.drop_unsent()?;
            }
            if let Err(error) = self.read_one(Some((id, &mut *batch))) {
                self.fail(&error);
                // What was read before is handed out first; the error comes with the next receive.
                return if count > 0 { Ok(false) } else { Err(error) };
            }
        }
        Ok(batch.len() == before && !self.has_queued())
    }

    /// Drops what other handles were handed and have not sent: they had all the time of a long read.
    fn drop_unsent(&mut self) -> Result<(), Error> {
        for (id, member) in self.members.iter_mut() {
            member.statistics.dropped += self.places.drop_handed_out(id);
        }
        self.flush()
    }

    fn hand_out(&mut self, id: Rank, batch: &mut Batch, limit: usize) -> Option<Received> {
        let Self { members, places, has_ended, .. } = self;
        let member = members.get_mut(id)?;
        let count = member.queue.len().min(limit);
        for entry in member.queue.drain(..count) {
            let bytes = places.held.get(entry.bytes.clone()).unwrap_or_default();
            let origin = match entry.token {
                Some(token) => Origin::Received(Token(token)),
                None => Origin::Injected(None),
            };
            batch.push(bytes, entry.layout, &entry.address, entry.time_ns, origin);
            if let Some(place) = entry.token.and_then(|token| places.get_mut(token)) {
                place.state = State::Waiting { owner: id, handed_out: true };
            }
        }
        member.statistics.received += count as u64;
        let is_over = *has_ended && !places.may_come_down(|owner| owner > id);
        match (count, is_over) {
            (0, true) => Some(Received::Ended),
            (0, false) => None,
            _ => Some(Received::Packets),
        }
    }

    /// Reads one record and sends it down the chain; the batch of the handle that asked takes what arrives at that handle.
    fn read_one(&mut self, taker: Option<(Rank, &mut Batch)>) -> Result<(), Error> {
        self.verify_intact()?;
        let Some(meta) = self.next_record()? else {
            self.has_ended = true;
            return self.flush();
        };
        let raw = self.capture.raw();
        let Some((link_len, traveller)) = find_packet(raw, &meta, &self.directions) else {
            self.warn_of_link(&meta);
            return self.pass(&meta);
        };
        let is_outbound = traveller.address.outbound();
        self.last_timestamp = traveller.address.timestamp();
        let packet_len = traveller.bytes.len();
        let token = self.places.new_token();
        let start = self.places.held.len();
        let fate = descend(&mut self.members, 0, &traveller, token, start + meta.data_offset + link_len);
        let state = match (&fate, taker) {
            (Fate::Queued { owner }, Some((id, batch))) if *owner == id => {
                take_back(&mut self.members, id, &traveller, batch);
                State::Waiting { owner: id, handed_out: true }
            }
            _ => state_of(&fate),
        };
        let has_copies = self.has_queued();
        if matches!(fate, Fate::Passed) && self.places.is_empty() && !has_copies {
            self.writer.write(raw)?;
            let header = raw.get(meta.data_offset..meta.data_offset + link_len).unwrap_or_default();
            self.places.remember_passed(is_outbound, &meta, header);
            return Ok(());
        }
        // Nobody will ask for the bytes again if nothing is written and no handle is below.
        let is_needed = has_copies || self.members.len() > 1 || !self.writer.is_discarded();
        let raw = self.places.hold(if is_needed { raw } else { &[] });
        let link_len = Some(link_len);
        self.places.push(Place { token, raw, meta, link_len, packet_len, is_outbound, is_new: false, state });
        Ok(())
    }

    fn verify_intact(&self) -> Result<(), Error> {
        match &self.failure {
            Some((code, message)) => Err(Error::new(*code, message.clone())),
            None => Ok(()),
        }
    }

    fn next_record(&mut self) -> Result<Option<RecordMeta>, Error> {
        match self.looked_ahead.take() {
            Some(meta) => Ok(Some(meta)),
            None => self.capture.advance(),
        }
    }

    /// What a packet takes over that is put behind all that was read of a section without packets so far: from the packet
    /// that comes next. If none does, from the first interface, at time 0.
    pub(super) fn template_ahead(&mut self) -> Result<Option<Template>, Error> {
        while self.looked_ahead.is_none() && !self.has_ended {
            self.verify_intact()?;
            let first = self.capture.format().first_template();
            match self.capture.advance().inspect_err(|error| self.fail(error))? {
                None => self.has_ended = true,
                Some(meta) if meta.kind.has_packet() => self.looked_ahead = Some(meta),
                Some(meta) if meta.kind == RecordKind::Section => {
                    // It begins only when it is due, and its interfaces are not those of this place.
                    self.looked_ahead = Some(meta);
                    return Ok(first);
                }
                Some(meta) => self.pass(&meta)?,
            }
        }
        let Some(meta) = self.looked_ahead.filter(|meta| meta.kind.has_packet()) else {
            return Ok(self.capture.format().first_template());
        };
        let frame = self.capture.raw().get(meta.data_offset..).unwrap_or_default();
        let located = meta.link_type().and_then(|link_type| link_type.locate(frame));
        let link_header = located.and_then(|located| frame.get(..located.offset)).unwrap_or_default().to_vec();
        Ok(Some(Template { meta, link_header }))
    }

    /// Lets a record that is no IP packet go out at its place.
    fn pass(&mut self, meta: &RecordMeta) -> Result<(), Error> {
        if self.places.is_empty() {
            if meta.kind == RecordKind::Section {
                self.places.forget_templates();
            }
            return self.writer.write(self.capture.raw());
        }
        let token = self.places.new_token();
        let raw = self.places.hold(self.capture.raw());
        let state = State::Settled;
        let meta = *meta;
        self.places.push(Place {
            token,
            raw,
            meta,
            link_len: None,
            packet_len: 0,
            is_outbound: false,
            is_new: false,
            state,
        });
        Ok(())
    }

    fn warn_of_link(&mut self, meta: &RecordMeta) {
        let Some(interface) = meta.described else { return };
        let number = interface.link_number;
        if interface.link_type.is_none() && !self.warned_links.contains(&number) {
            self.warned_links.push(number);
            let message = format!("link type {number} is not supported; its packets pass through untouched");
            self.warnings.push(Warning::environment(message));
        }
    }

    /// Whether a packet that was sent meets no other handle.
    pub(super) fn has_one_member(&self) -> bool {
        self.members.len() == 1
    }

    /// Sends the packet of a place further down, from the handle behind `id`.
    pub(super) fn go_on(&mut self, id: Rank, token: u64, packet: PacketRef<'_>, time_ns: i64) {
        let from = self.members.index_below(id);
        let fate = if from < self.members.len() {
            let start = self.places.held.len();
            let traveller =
                Traveller { bytes: packet.bytes, layout: *packet.layout, address: *packet.address, time_ns };
            let fate = descend(&mut self.members, from, &traveller, token, start);
            if self.has_queued() {
                self.places.hold(packet.bytes);
            }
            fate
        } else {
            Fate::Passed
        };
        if let Some(place) = self.places.get_mut(token) {
            place.state = state_of(&fate);
        }
    }

    /// Writes what is decided.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        if let Err(error) = self.places.flush(&mut self.writer) {
            self.fail(&error);
            return Err(error);
        }
        if self.places.is_empty() && !self.has_queued() {
            self.places.clear_buffer();
        }
        Ok(())
    }

    fn fail(&mut self, error: &Error) {
        if self.failure.is_none() {
            let account = match StdError::source(error) {
                Some(source) => format!("{}: {source}", error.message()),
                None => error.message().to_owned(),
            };
            self.failure = Some((error.code(), account));
        }
    }

    /// Takes a handle out: what it was handed is dropped, what was queued for it goes on. The last one ends the replay. A
    /// handle that is not there any more is no error.
    pub(super) fn close(&mut self, id: Rank, ending: Ending, statistics: &mut Statistics) -> Result<(), Error> {
        let Ok(member) = self.member(id) else { return Ok(()) };
        let is_dropping = member.flags.has(Flags::DROP);
        self.is_aborted |= ending == Ending::Aborted;
        let is_last = self.members.len() == 1;
        let drained = if is_last && is_dropping && !self.is_aborted { self.drain(id) } else { Ok(()) };
        let dropped = self.places.drop_handed_out(id);
        let member = self.member(id)?;
        member.statistics.dropped += dropped;
        *statistics = member.statistics;
        let queue = std::mem::take(&mut member.queue);
        for entry in queue {
            if let Some(token) = entry.token {
                let bytes = self.places.held.get(entry.bytes).unwrap_or_default().to_vec();
                let packet = PacketRef { bytes: &bytes, layout: &entry.layout, address: &entry.address };
                self.go_on(id, token, packet, entry.time_ns);
            }
        }
        self.members.remove(id);
        let closed = if is_last { self.complete() } else { self.flush() };
        drained.and(closed)
    }

    /// Runs the rest of the capture through the filter of a handle that receives nothing.
    fn drain(&mut self, id: Rank) -> Result<(), Error> {
        let mut nothing = Batch::new();
        while !self.has_ended && self.failure.is_none() {
            // The handle takes nothing, so that each call reads a stride.
            self.read_on(id, &mut nothing, 1)?;
        }
        Ok(())
    }

    /// Copies the rest of the capture and gives the output its name; after an error the output vanishes.
    fn complete(&mut self) -> Result<(), Error> {
        self.is_complete = true;
        let outcome = if self.is_aborted { Ok(()) } else { self.copy_rest() };
        let writer = std::mem::replace(&mut self.writer, Writer::Discarded);
        if self.is_aborted || outcome.is_err() { outcome } else { writer.complete() }
    }

    fn copy_rest(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.verify_intact()?;
        if self.writer.is_discarded() {
            return Ok(());
        }
        while !self.has_ended {
            self.read_one(None)?;
        }
        Ok(())
    }
}
