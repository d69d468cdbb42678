//! One handle's end of a replay.
use super::Shared;
use super::chain::{Attempt, Chain};
use super::format::RecordMeta;
use super::place::{Place, State};
use crate::address::{Parameter, Shutdown};
use crate::backend::{
    Backend, Capabilities, Ending, Error, ErrorCode, Mask, Received, SendError, Statistics, Wait, Warning,
};
use crate::batch::{Batch, Origin, PacketRef, Record, Token};
use crate::engine::{Rank, repair, verify_sending};
use crate::filter::Filter;
use crate::packet::{FlowKey, Layout};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// One handle's end of a replay.
pub(super) struct ReplayEnd {
    shared: Arc<Shared>,
    id: Rank,
    /// The counts at the time of closing.
    last_statistics: Mutex<Statistics>,
}

impl ReplayEnd {
    pub(super) fn new(shared: Arc<Shared>, id: Rank) -> Self {
        Self { shared, id, last_statistics: Mutex::new(Statistics::default()) }
    }
}

impl Backend for ReplayEnd {
    fn name(&self) -> &'static str {
        "replay"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            has_queue: false,
            can_pass_on_overload: false,
            can_swap_filter: true,
            is_finite: true,
            waits_to_send: false,
        }
    }

    fn receive(&self, batch: &mut Batch, limit: usize, wait: Wait) -> Result<Received, Error> {
        let mut chain = self.shared.lock();
        let mut has_waited = false;
        loop {
            let attempt = chain.receive(self.id, batch, limit);
            self.shared.changed.notify_all();
            if has_waited && matches!(&attempt, Err(error) if error.code() == ErrorCode::InvalidHandle) {
                return Err(Error::closed_meanwhile());
            }
            has_waited = true;
            match attempt? {
                Attempt::Done(received) => return Ok(received),
                Attempt::Blocked => {}
                Attempt::Paused => {
                    if matches!(wait, Wait::Until(deadline) if deadline <= Instant::now()) {
                        return Ok(Received::TimedOut);
                    }
                    drop(chain);
                    self.shared.let_others();
                    chain = self.shared.lock();
                    continue;
                }
            }
            chain = match wait {
                Wait::Poll => return Ok(Received::TimedOut),
                Wait::Forever => self.shared.changed.wait(chain).unwrap_or_else(PoisonError::into_inner),
                Wait::Until(deadline) => {
                    let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
                    else {
                        return Ok(Received::TimedOut);
                    };
                    self.shared.changed.wait_timeout(chain, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn send(&self, batch: &Batch, mask: Mask<'_>) -> Result<usize, SendError> {
        let mut chain = self.shared.lock();
        let is_selected = |index: usize| mask.is_none_or(|mask| mask.get(index) == Some(&true));
        let outcome = verify_sender(&mut chain, self.id, || (0..batch.len()).filter(|i| is_selected(*i)).count());
        outcome?;
        let mut sender = Sender { chain: &mut chain, id: self.id, repaired: Vec::new(), encoded: Vec::new() };
        let mut sent = 0;
        let mut soft_error = None;
        for (index, record) in batch.records().iter().enumerate().filter(|(index, _)| is_selected(*index)) {
            let Some(bytes) = batch.bytes(index) else { continue };
            match sender.send(record, bytes) {
                Ok(()) => sent += 1,
                Err(error) if error.code() == ErrorCode::HostUnreachable => soft_error = Some(error),
                Err(error) => return Err(SendError { sent, error }),
            }
        }
        chain.flush().map_err(|error| SendError { sent, error })?;
        self.shared.changed.notify_all();
        soft_error.map_or(Ok(sent), |error| Err(SendError { sent, error }))
    }

    /// Nothing to do: the next receive drops what was handed out and not sent.
    fn discard(&self, _tokens: &[Token]) {}

    fn wake(&self) {
        if let Ok(member) = self.shared.lock().member(self.id) {
            member.is_woken = true;
        }
        self.shared.changed.notify_all();
    }

    fn shutdown(&self, how: Shutdown) {
        if let Ok(member) = self.shared.lock().member(self.id) {
            member.has_ended_receiving |= how.ends_receiving();
            member.has_ended_sending |= how.ends_sending();
        }
        self.shared.changed.notify_all();
    }

    fn close(&self, ending: Ending) -> Result<(), Error> {
        let mut chain = self.shared.lock();
        let mut last_statistics = self.last_statistics.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = chain.close(self.id, ending, &mut last_statistics);
        self.shared.changed.notify_all();
        outcome
    }

    fn parameter(&self, parameter: Parameter) -> u64 {
        let index = parameter as usize;
        let fallback = parameter.bounds().map_or(2, |(default, ..)| default);
        match self.shared.lock().member(self.id) {
            Ok(member) => member.parameters.get(index).copied().unwrap_or(fallback),
            Err(_) => fallback,
        }
    }

    fn set_parameter(&self, parameter: Parameter, value: u64) -> Result<(), Error> {
        parameter.verify(value).map_err(|message| Error::new(ErrorCode::InvalidParameter, message))?;
        let mut chain = self.shared.lock();
        if let Some(place) = chain.member(self.id)?.parameters.get_mut(parameter as usize) {
            *place = value;
        }
        Ok(())
    }

    fn set_filter(&self, filter: Arc<Filter>) -> Result<(), Error> {
        self.shared.lock().member(self.id)?.filter = filter;
        Ok(())
    }

    fn bypass(&self, flow: FlowKey) -> Result<bool, Error> {
        self.shared.lock().bypass(self.id, flow)
    }

    fn statistics(&self) -> Statistics {
        match self.shared.lock().member(self.id) {
            Ok(member) => member.statistics,
            Err(_) => *self.last_statistics.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn take_warnings(&self) -> Vec<Warning> {
        std::mem::take(&mut self.shared.lock().warnings)
    }
}

/// Whether a handle may send; if not, `count` packets are counted as errors.
fn verify_sender(chain: &mut Chain, id: Rank, count: impl Fn() -> usize) -> Result<(), Error> {
    let member = chain.member(id)?;
    verify_sending(member.has_ended_sending, member.flags, member.layer)
        .inspect_err(|_| member.statistics.errors += count() as u64)
}

/// Refuses a packet that the link type has no way to carry.
fn verify_version(meta: &RecordMeta, layout: &Layout) -> Result<(), Error> {
    match meta.only_version() {
        Some(version) if version != layout.version() => {
            let message = format!("the capture's link type carries IPv{} only", version as u8);
            Err(Error::new(ErrorCode::InvalidParameter, message))
        }
        _ => Ok(()),
    }
}

/// Sends packets one by one; its buffers are used again.
struct Sender<'a> {
    chain: &'a mut Chain,
    id: Rank,
    repaired: Vec<u8>,
    encoded: Vec<u8>,
}

impl Sender<'_> {
    fn send(&mut self, record: &Record, bytes: &[u8]) -> Result<(), Error> {
        let waiting = State::Waiting { owner: self.id, handed_out: true };
        let token = match record.origin {
            Origin::Received(Token(token)) => {
                self.chain.places.get_mut(token).is_some_and(|place| place.state == waiting).then_some(token)
            }
            Origin::Injected(_) => None,
        };
        let Some(token) = token else { return self.inject(record, bytes) };
        if !record.changed {
            let packet = PacketRef { bytes, layout: &record.layout, address: &record.address };
            self.chain.go_on(self.id, token, packet, record.time_ns);
            self.chain.member(self.id)?.statistics.sent += 1;
            return Ok(());
        }
        if self.overwrite(token, record, bytes) {
            let statistics = &mut self.chain.member(self.id)?.statistics;
            statistics.sent += 1;
            statistics.modified += 1;
            return Ok(());
        }
        let layout = self.repair(record, bytes)?;
        self.rewrite(token, &layout)?;
        let packet = PacketRef { bytes: &self.repaired, layout: &layout, address: &record.address };
        self.chain.go_on(self.id, token, packet, record.time_ns);
        let statistics = &mut self.chain.member(self.id)?.statistics;
        statistics.sent += 1;
        statistics.modified += 1;
        Ok(())
    }

    /// The short way of most edits: the same length and IP version, no checksum to compute, no other handle. The bytes go
    /// right over the old ones. False if this is not such an edit.
    fn overwrite(&mut self, token: u64, record: &Record, bytes: &[u8]) -> bool {
        let (address, layout) = (&record.address, &record.layout);
        let is_final = address.ip_checksum() && address.tcp_checksum() && address.udp_checksum() && !address.impostor();
        if !is_final || !self.chain.has_one_member() {
            return false;
        }
        let places = &mut self.chain.places;
        let Some(place) = places.get_mut(token) else { return false };
        let (Some(link_len), true) = (place.link_len, place.packet_len == bytes.len()) else { return false };
        let start = place.raw.start + place.meta.data_offset + link_len;
        let is_held = !place.raw.is_empty();
        let is_same_version = |old: &[u8]| old.first().map(|byte| byte >> 4) == Some(layout.version() as u8);
        if is_held {
            match places.held.get_mut(start..start + bytes.len()) {
                Some(old) if is_same_version(old) => old.copy_from_slice(bytes),
                _ => return false,
            }
        }
        if let Some(place) = places.get_mut(token) {
            place.state = State::Settled;
        }
        true
    }

    /// The packet as it goes out, in `repaired`: cut to its IP length, and by the driver's rules for what is sent.
    fn repair(&mut self, record: &Record, bytes: &[u8]) -> Result<Layout, Error> {
        self.repaired.clear();
        self.repaired.extend_from_slice(bytes.get(..record.layout.total_len()).unwrap_or(bytes));
        let layout = record.layout.without_rest();
        let repaired = repair(&mut self.repaired, Some(&layout), &record.address);
        let statistics = &mut self.chain.member(self.id)?.statistics;
        match repaired {
            Ok(computed) => statistics.checksums_computed += computed,
            Err(error) => {
                statistics.errors += 1;
                return Err(error);
            }
        }
        Ok(layout)
    }

    /// Writes the repaired packet into its place: the same link header, and behind the packet the same rest if its length is
    /// the same.
    fn rewrite(&mut self, token: u64, layout: &Layout) -> Result<(), Error> {
        let places = &mut self.chain.places;
        let Some(place) = places.get_mut(token).map(|place| place.clone()) else { return Ok(()) };
        let (Some(link_len), Some(link_type)) = (place.link_len, place.meta.link_type()) else { return Ok(()) };
        verify_version(&place.meta, layout)?;
        let raw = places.held.get(place.raw.clone()).unwrap_or_default();
        let frame = raw.get(place.meta.data_offset..place.meta.data_offset + place.meta.data_len).unwrap_or_default();
        let mut link_header = frame.get(..link_len).unwrap_or_default().to_vec();
        link_type.set_version(&mut link_header, layout.version());
        let is_same_len = self.repaired.len() == place.packet_len;
        let rest = frame.get(link_len + place.packet_len..).filter(|_| is_same_len).unwrap_or_default();
        self.encoded.clear();
        let meta = place.meta.encode_like(&mut self.encoded, raw, &[&link_header, &self.repaired, rest]);
        let raw = places.hold(&self.encoded);
        if let Some(place) = places.get_mut(token) {
            place.meta = meta;
            place.packet_len = self.repaired.len();
            place.raw = raw;
        }
        Ok(())
    }

    /// Adds a new packet: behind the one that it names, else behind all that was read.
    fn inject(&mut self, record: &Record, bytes: &[u8]) -> Result<(), Error> {
        // One that was received late is as the capture has it, cut or not.
        if record.layout.is_truncated() && !matches!(record.origin, Origin::Received(_)) {
            let message =
                format!("the packet has {} bytes, its IP header claims {}", bytes.len(), record.layout.total_len());
            return Err(Error::new(ErrorCode::InsufficientBuffer, message));
        }
        let layout = self.repair(record, bytes)?;
        let behind = match record.origin {
            Origin::Injected(token) => token.map(|token| token.0),
            Origin::Received(_) => None,
        };
        let token = self.chain.places.new_token();
        let place = self.new_place(token, behind, record, &layout)?;
        self.chain.places.insert_behind(behind, place);
        let packet = PacketRef { bytes: &self.repaired, layout: &layout, address: &record.address };
        self.chain.go_on(self.id, token, packet, record.time_ns);
        let statistics = &mut self.chain.member(self.id)?.statistics;
        statistics.sent += 1;
        statistics.modified += u64::from(record.changed);
        Ok(())
    }

    fn new_place(&mut self, token: u64, behind: Option<u64>, record: &Record, layout: &Layout) -> Result<Place, Error> {
        let is_outbound = record.address.outbound();
        let places = &mut self.chain.places;
        let template = match places.template(is_outbound, behind) {
            Some(template) => Some(template),
            None => self.chain.template_ahead()?,
        };
        let Some(mut template) = template else {
            let message = "the capture describes no interface that a new packet could be written for";
            return Err(Error::new(ErrorCode::BadCommand, message));
        };
        verify_version(&template.meta, layout)?;
        // One that was received keeps its time, though its place is gone.
        let was_received = matches!(record.origin, Origin::Received(_));
        let time_ns = if was_received { record.time_ns } else { template.meta.time_ns };
        if let Some(link_type) = template.meta.link_type() {
            if link_type.locate(&template.link_header).is_none() {
                template.link_header = link_type.plain_header(layout.version());
            }
            link_type.set_version(&mut template.link_header, layout.version());
            link_type.set_direction(&mut template.link_header, is_outbound);
        }
        let link_len = template.link_header.len();
        let packet_len = self.repaired.len();
        let original_len = link_len + packet_len.max(layout.total_len());
        let meta = template.meta.new_packet(link_len + packet_len, original_len, time_ns, is_outbound);
        let places = &mut self.chain.places;
        self.encoded.clear();
        meta.encode_new(&mut self.encoded, &[&template.link_header, &self.repaired]);
        let raw = places.hold(&self.encoded);
        let link_len = Some(link_len);
        Ok(Place { token, raw, meta, link_len, packet_len, is_outbound, is_new: true, state: State::Settled })
    }
}
