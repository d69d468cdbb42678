//! The output that is not yet decided: a queue of places in input order, over one buffer.
//!
//! Reading goes on only when handles are idle, so the queue holds about one batch.
use super::format::{RecordKind, RecordMeta, Template};
use super::output::Writer;
use crate::backend::Error;
use crate::engine::Rank;
use std::collections::VecDeque;
use std::ops::Range;

/// What becomes of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its bytes go out.
    Settled,
    /// Nothing goes out.
    Dropped,
    /// A handle has the packet: in its queue, or handed out.
    Waiting {
        /// The handle.
        owner: Rank,
        /// Whether the program has it.
        handed_out: bool,
    },
}

/// One record of the output.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) token: u64,
    /// The record's bytes within the buffer.
    pub(super) raw: Range<usize>,
    pub(super) meta: RecordMeta,
    /// Length of the link header; `None` for what is no IP packet.
    pub(super) link_len: Option<usize>,
    pub(super) packet_len: usize,
    pub(super) is_outbound: bool,
    /// Whether it was made by a program rather than read.
    pub(super) is_new: bool,
    pub(super) state: State,
}

/// The places that are not yet written, and the buffer of their bytes.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) held: Vec<u8>,
    queue: VecDeque<Place>,
    next_token: u64,
    /// Where the last place was found; the next one is most often right behind it.
    cursor: usize,
    /// The last packet written in each direction.
    templates: [Option<Template>; 2],
}

impl Places {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// A token for a place to come.
    pub(super) const fn new_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    pub(super) fn push(&mut self, place: Place) {
        self.queue.push_back(place);
    }

    /// Puts a place behind the one with this token and what was already put there; without one, behind all.
    pub(super) fn insert_behind(&mut self, token: Option<u64>, place: Place) {
        match token.and_then(|token| self.find(token)) {
            Some(mut index) => {
                index += 1;
                while self.queue.get(index).is_some_and(|place| place.is_new) {
                    index += 1;
                }
                self.queue.insert(index, place);
            }
            None => self.queue.push_back(place),
        }
    }

    fn find(&mut self, token: u64) -> Option<usize> {
        let len = self.queue.len();
        let start = self.cursor.min(len);
        let is_it = |index: &usize| self.queue.get(*index).is_some_and(|place| place.token == token);
        let found = (start..len).chain(0..start).find(is_it)?;
        self.cursor = found;
        Some(found)
    }

    pub(super) fn get_mut(&mut self, token: u64) -> Option<&mut Place> {
        let index = self.find(token)?;
        self.queue.get_mut(index)
    }

    /// Whether a handle of which `is_above` is true still has a packet that may come down.
    pub(super) fn may_come_down(&self, is_above: impl Fn(Rank) -> bool) -> bool {
        self.queue.iter().any(|place| matches!(place.state, State::Waiting { owner, .. } if is_above(owner)))
    }

    /// Appends bytes to the buffer.
    pub(super) fn hold(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.held.len();
        self.held.extend_from_slice(bytes);
        start..self.held.len()
    }

    /// Drops what the program of `owner` was handed and has not sent; how many packets that are.
    pub(super) fn drop_handed_out(&mut self, owner: Rank) -> u64 {
        self.settle(State::Dropped, |state| state == State::Waiting { owner, handed_out: true })
    }

    /// Lets everything go on that waits for `owner`, handed out or not.
    pub(super) fn settle(&mut self, to: State, which: impl Fn(State) -> bool) -> u64 {
        let mut count = 0;
        for place in self.queue.iter_mut().filter(|place| which(place.state)) {
            place.state = to;
            count += 1;
        }
        count
    }

    /// Writes what is decided at the front of the queue.
    pub(super) fn flush(&mut self, writer: &mut Writer) -> Result<(), Error> {
        let mut run = 0..0;
        let mut count = 0;
        for place in &self.queue {
            match place.state {
                State::Waiting { .. } => break,
                State::Dropped => {}
                State::Settled if place.raw.start == run.end => run.end = place.raw.end,
                State::Settled => {
                    writer.write(self.held.get(run).unwrap_or_default())?;
                    run = place.raw.clone();
                }
            }
            count += 1;
        }
        if count > 0 {
            writer.write(self.held.get(run).unwrap_or_default())?;
            self.remember(count);
            self.queue.drain(..count);
        }
        self.cursor = 0;
        Ok(())
    }

    /// Frees the buffer, once nothing refers to it.
    pub(super) fn clear_buffer(&mut self) {
        debug_assert!(self.queue.is_empty(), "places refer to the buffer");
        self.held.clear();
    }

    /// A section knows nothing of the interfaces before it, so what was read there is no model any more.
    pub(super) fn forget_templates(&mut self) {
        self.templates = [None, None];
    }

    /// Notes the last packet in each direction of the first `count` places.
    fn remember(&mut self, count: usize) {
        let Self { queue, held, templates, .. } = self;
        let mut is_noted = [false; 2];
        for place in queue.range(..count).rev() {
            if place.meta.kind == RecordKind::Section {
                for (template, _) in templates.iter_mut().zip(is_noted).filter(|(_, is_noted)| !is_noted) {
                    *template = None;
                }
                return;
            }
            let (Some(link_len), false) = (place.link_len, place.is_new) else { continue };
            let is_first =
                is_noted.get_mut(usize::from(place.is_outbound)).is_some_and(|noted| !std::mem::replace(noted, true));
            if is_first {
                let start = place.raw.start + place.meta.data_offset;
                let header = held.get(start..start + link_len).unwrap_or_default();
                set_template(templates, place.is_outbound, &place.meta, header);
            }
            if is_noted == [true; 2] {
                return;
            }
        }
    }

    /// Notes a packet that passed without a place.
    pub(super) fn remember_passed(&mut self, is_outbound: bool, meta: &RecordMeta, link_header: &[u8]) {
        set_template(&mut self.templates, is_outbound, meta, link_header);
    }

    /// What a new packet behind the place with this token (or behind all) takes over: from the last packet before it in its
    /// direction, else from the last in any.
    pub(super) fn template(&mut self, is_outbound: bool, behind: Option<u64>) -> Option<Template> {
        let end = match behind.and_then(|token| self.find(token)) {
            Some(index) => index + 1,
            None => self.queue.len(),
        };
        let in_section =
            || self.queue.iter().take(end).rev().take_while(|place| place.meta.kind != RecordKind::Section);
        let begins_here = in_section().count() < end.min(self.queue.len());
        let read = || in_section().filter(|place| place.link_len.is_some() && !place.is_new);
        if let Some(place) = read().find(|place| place.is_outbound == is_outbound) {
            return Some(self.template_of(place));
        }
        let earlier = |is_outbound| {
            let template = self.templates.get(usize::from(is_outbound)).and_then(Option::as_ref);
            template.filter(|_| !begins_here).cloned()
        };
        earlier(is_outbound)
            .or_else(|| read().next().map(|place| self.template_of(place)))
            .or_else(|| earlier(!is_outbound))
    }

    fn template_of(&self, place: &Place) -> Template {
        let start = place.raw.start + place.meta.data_offset;
        let header = self.held.get(start..start + place.link_len.unwrap_or(0)).unwrap_or_default();
        Template { meta: place.meta, link_header: header.to_vec() }
    }
}

fn set_template(templates: &mut [Option<Template>; 2], is_outbound: bool, meta: &RecordMeta, link_header: &[u8]) {
    let Some(place) = templates.get_mut(usize::from(is_outbound)) else { return };
    let template = place.get_or_insert_with(|| Template { meta: *meta, link_header: Vec::new() });
    template.meta = *meta;
    template.link_header.clear();
    template.link_header.extend_from_slice(link_header);
}
