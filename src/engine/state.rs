//! Everything that an engine's one lock guards, and what is done under it when handles open and close.
use super::chain::{Exit, Fate};
use super::clock::Ticker;
use super::error::{Error, ErrorCode};
use super::event::{Flows, Subject, report_open_handles};
use super::host::Host;
use super::inject::{Injection, well_formed};
use super::member::Member;
use super::options::OpenOptions;
use super::priority::{Ladder, Rank};
use super::send::{Way, sent_address};
use super::statistics::Statistics;
use super::sync::{Mutex, MutexGuard, lock};
use super::wait::Bell;
use super::{Availability, Settings};
use crate::address::{Event, Flags, Layer, OpenError, verify_open};
use crate::batch::Batch;
use crate::filter::Filter;
use crate::packet::FlowKey;
use std::sync::Arc;

/// What all clones and handles of one engine share.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) ticker: Ticker,
    pub(super) settings: Settings,
}

impl Shared {
    pub(super) fn new(settings: Settings) -> Self {
        let state = State { availability: settings.availability, ..State::default() };
        Self { state: Mutex::new(state), ticker: Ticker::new(settings.clock), settings }
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// The handles by layer.
#[derive(Default)]
pub(super) struct Ladders {
    network: Ladder<Member>,
    forward: Ladder<Member>,
    flow: Ladder<Member>,
    socket: Ladder<Member>,
    reflect: Ladder<Member>,
}

impl Ladders {
    #[inline]
    pub(super) const fn of(&mut self, layer: Layer) -> &mut Ladder<Member> {
        match layer {
            Layer::Network => &mut self.network,
            Layer::NetworkForward => &mut self.forward,
            Layer::Flow => &mut self.flow,
            Layer::Socket => &mut self.socket,
            Layer::Reflect => &mut self.reflect,
        }
    }

    /// All open handles that observers may know of.
    fn subjects(&self) -> Vec<Subject> {
        let ladders = [&self.network, &self.forward, &self.flow, &self.socket];
        let members = ladders.into_iter().flat_map(Ladder::iter);
        members.map(|(rank, member)| Subject::new(member, rank.opened())).collect()
    }
}

/// The handles, and the world around them.
#[derive(Default)]
pub(super) struct State {
    pub(super) ladders: Ladders,
    pub(super) exit: Exit,
    pub(super) host: Host,
    pub(super) flows: Flows,
    /// How many handles have been opened.
    pub(super) opened: u64,
    availability: Availability,
    scratch: Vec<u8>,
}

impl State {
    /// Opens a handle.
    pub(super) fn open(
        &mut self,
        options: &OpenOptions,
        settings: Settings,
        process_id: u32,
        opened_at: i64,
        now: i64,
    ) -> Result<(Rank, Arc<Bell>), Error> {
        self.verify(options)?;
        self.opened += 1;
        let rank = Rank::new(options.priority, self.opened);
        let captures = !options.flags.has(Flags::SEND_ONLY) || settings.send_only_captures;
        let mut member = Member::new(options, captures, opened_at, process_id);
        if options.layer == Layer::Reflect {
            report_open_handles(self.ladders.subjects(), &mut member, now);
        } else {
            Subject::new(&member, self.opened).report(&mut self.ladders.reflect, Event::ReflectOpen, now);
        }
        let bell = Arc::clone(&member.bell);
        self.ladders.of(options.layer).insert(rank, member);
        Ok((rank, bell))
    }

    /// The driver's checks in its order: that the layer's own flags are missing is found only once the driver runs.
    fn verify(&mut self, options: &OpenOptions) -> Result<(), Error> {
        let refuse = |message: String| Error::new(ErrorCode::InvalidParameter, message);
        let verified = verify_open(options.layer, options.flags, i64::from(options.priority));
        let missing = match verified {
            Err(error @ OpenError::Missing(..)) => Some(error),
            other => {
                other.map_err(|error| refuse(error.to_string()))?;
                None
            }
        };
        verify_filter(&options.filter, options.layer)?;
        match self.availability {
            Availability::Running => {}
            Availability::Forbidden => {
                return Err(Error::new(ErrorCode::AccessDenied, "this engine is set to lack the rights for handles"));
            }
            Availability::NotInstalled if options.flags.has(Flags::NO_INSTALL) => {
                let message = "the engine is set as not running, and NO_INSTALL forbids starting it";
                return Err(Error::new(ErrorCode::ServiceDoesNotExist, message));
            }
            Availability::NotInstalled => self.availability = Availability::Running,
        }
        missing.map_or(Ok(()), |error| Err(refuse(error.to_string())))
    }

    /// Walks the handles with a packet from outside.
    #[inline]
    pub(super) fn inject(&mut self, bytes: &[u8], injection: &Injection, now: i64) -> Fate {
        let layout = well_formed(bytes);
        if injection.loopback
            && !injection.forwarded
            && let Some(layout) = &layout
        {
            self.host.learn_ends(bytes, layout);
        }
        let traveller = injection.traveller(bytes, layout.as_ref(), now);
        self.ladders.of(injection.layer()).descend(0, &traveller, &mut self.exit)
    }

    /// Lets a flow pass a handle unseen, what is queued of it first. False if too many pass already.
    pub(super) fn bypass(&mut self, layer: Layer, rank: Rank, flow: FlowKey, now: i64) -> Result<bool, Error> {
        let ladder = self.ladders.of(layer);
        let at = ladder.index_of(rank).ok_or_else(Error::closed)?;
        let mut passed = Batch::new();
        let is_passing = ladder.at_mut(at).is_some_and(|member| member.bypass(flow, &mut passed, now));
        ladder.pass_on(at + 1, &passed, now, &mut self.exit);
        Ok(is_passing)
    }

    /// The way of packets that a handle sends; `None` if it is closed.
    pub(super) fn way(&mut self, layer: Layer, rank: Rank, now: i64) -> Option<Way<'_>> {
        let Self { ladders, exit, host, scratch, .. } = self;
        let ladder = ladders.of(layer);
        let from = ladder.index_of(rank)? + 1;
        Some(Way { ladder, exit, host, scratch, from, address: sent_address(layer, now) })
    }

    /// Closes a handle: what it had queued and nobody received goes on from its place. Its last counts; `None` if it is
    /// closed.
    pub(super) fn close(&mut self, layer: Layer, rank: Rank, now: i64) -> Option<Statistics> {
        let member = self.ladders.of(layer).get_mut(rank)?;
        member.end_receiving();
        for read in std::mem::take(&mut member.reads) {
            read.abort();
        }
        member.bell.ring_all();
        member.expire(now);
        let mut queued = Batch::new();
        member.take_queue(&mut queued);
        if member.takes_originals() {
            self.give_back(layer, rank, &queued, now);
        }
        let mut member = self.ladders.of(layer).remove(rank)?;
        member.statistics.dropped += member.in_hand;
        if layer != Layer::Reflect {
            let subject = Subject::new(&member, rank.opened());
            subject.report(&mut self.ladders.reflect, Event::ReflectClose, now);
        }
        Some(member.statistics)
    }

    /// Sends what was queued on, by the driver's rules for what it sends itself.
    fn give_back(&mut self, layer: Layer, rank: Rank, queued: &Batch, now: i64) {
        let Some(mut way) = self.way(layer, rank, now) else { return };
        let (mut given_back, mut failed) = (0, 0);
        let mut traveller = way.traveller();
        for (index, record) in queued.records().iter().enumerate() {
            let bytes = queued.bytes(index).unwrap_or_default();
            match way.send_one(&mut traveller, bytes, Some(&record.layout), &record.address, record.process_id) {
                Ok(()) => given_back += 1,
                Err(_) => failed += 1,
            }
        }
        if let Some(member) = self.ladders.of(layer).get_mut(rank) {
            member.statistics.given_back += given_back;
            member.statistics.errors += failed;
        }
    }

    /// Puts another filter in the place of a handle's. Observers hear of it as with the driver, which needs a new
    /// handle for it: the new one opens, the old one closes.
    pub(super) fn set_filter(&mut self, layer: Layer, rank: Rank, filter: &Filter, now: i64) -> Result<(), Error> {
        verify_filter(filter, layer)?;
        let member = self.ladders.of(layer).get_mut(rank).ok_or_else(Error::closed)?;
        let old = Subject::new(member, rank.opened());
        member.filter = filter.clone();
        let new = Subject::new(member, rank.opened());
        if layer != Layer::Reflect {
            new.report(&mut self.ladders.reflect, Event::ReflectOpen, now);
            old.report(&mut self.ladders.reflect, Event::ReflectClose, now);
        }
        Ok(())
    }
}

/// Refuses a filter that was compiled for another layer.
fn verify_filter(filter: &Filter, layer: Layer) -> Result<(), Error> {
    if filter.layer() == layer {
        return Ok(());
    }
    let message = format!("the filter is for layer {}, the handle for {}", filter.layer().name(), layer.name());
    Err(Error::new(ErrorCode::InvalidParameter, message))
}

impl Member {
    /// Takes out all that is queued, to go on as copies.
    fn take_queue(&mut self, batch: &mut Batch) {
        let from = batch.len();
        self.queue.hand_out(batch, usize::MAX);
        batch.make_new(from);
    }
}
