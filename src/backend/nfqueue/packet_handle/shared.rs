//! What a handle has in the kernel, and what is done with it, from any thread.
//!
//! One lock guards the state; nobody holds it while waiting. Who waits is woken by the kernel's queue, by what the keeper
//! put into the backlog, or by a counter that has one event for each waiter.
use super::super::injection::carrier::Carriers;
use super::super::intake::copies::Copies;
use super::super::intake::log::Log;
use super::super::intake::queue::Queue;
use super::super::kernel::fault::fault;
use super::super::kernel::sys::{self, Descriptor};
use super::super::rules::questions::Questions;
use super::super::rules::ruleset::{Mode, Ruleset};
use super::super::tables::nft::CHANGES;
use super::super::traffic::state::{Source, State};
use super::guard::Guard;
use super::waiters::Waiters;
use crate::address::{Flags, Layer, Parameter, Shutdown};
use crate::backend::{Error, ErrorCode, OpenOptions, Statistics, Warning};
use crate::batch::Token;
use crate::engine::{Clock, TICKS_PER_SECOND, Ticker};
use crate::filter::Filter;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Packets that programs may hold beyond what the queue's length says, before the kernel drops.
const HELD_MAX: u32 = 1 << 16;
/// Bytes of the socket's buffer: what comes while nobody looks.
const BUFFER: i32 = 1 << 25;
/// So many packets that the program let go are kept at most, before the kernel is told.
const RELEASED_MAX: usize = 32;
/// How long large packets that do not match are watched for after the last one that came, in ticks.
const LARGE_WATCH: i64 = 10 * TICKS_PER_SECOND;
/// How long a packet that was being taken when the handle closed may need to come.
const CLOSE_PAUSE: Duration = Duration::from_millis(2);

/// What a handle's thread shares with it.
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) ruleset: Ruleset,
    layer: Layer,
    pub(super) flags: Flags,
    pub(super) ticker: Ticker,
    pub(super) waiters: Waiters,
    /// Can be read while packets wait in the backlog.
    pub(super) ready: Descriptor,
    /// Can be read while there is something to be received. Only for who asks: each packet costs its sender more with it.
    pub(super) gathered: OnceLock<Descriptor>,
    /// Where nftables announces its changes.
    changes: Descriptor,
    /// Can be read once the handle closes.
    pub(super) ended: Descriptor,
    state: Mutex<State>,
    /// Where copies come from, of a handle that only looks on.
    pub(super) log: Option<Log>,
    /// Where they come from if the kernel's programs make them.
    pub(super) copies: Option<Copies>,
    /// Packets that the program let go and that the kernel still keeps.
    released: Mutex<Vec<Token>>,
    is_eager: AtomicBool,
    is_eager_of_large: AtomicBool,
    /// The last packet that did not fit a message, and until when more of them are watched for, in ticks.
    last_large: AtomicU32,
    watched_until: AtomicI64,
}

/// Whether a handle takes packets, rather than copies or none.
const fn takes_packets(flags: Flags) -> bool {
    !flags.has(Flags::SEND_ONLY) && !flags.has(Flags::SNIFF)
}

/// What a handle does with packets, and what the kernel asks of them.
fn plan(filter: &Filter, layer: Layer, flags: Flags, copies: Option<&Copies>) -> (Mode, Questions) {
    if flags.has(Flags::SEND_ONLY) {
        return (Mode::Pass, Questions::default());
    }
    let questions = Questions::load(filter, layer, flags, copies);
    (mode(flags, &questions), questions)
}

/// Only what surely matches is dropped by the kernel itself.
fn mode(flags: Flags, questions: &Questions) -> Mode {
    if flags.has(Flags::SNIFF) {
        Mode::Copy
    } else if flags.has(Flags::DROP) && questions.are_exact() {
        Mode::Drop
    } else {
        Mode::Queue
    }
}

impl Shared {
    /// Makes everything that a handle has in the kernel.
    pub(super) fn open(options: &OpenOptions) -> Result<Self, Error> {
        let OpenOptions { layer, flags, .. } = *options;
        let ticker = Ticker::new(Clock::Real);
        let length = Parameter::QueueLength.bounds().map_or(0, |(_, _, most)| most as u32);
        let is_copying = flags.has(Flags::SNIFF) && !flags.has(Flags::SEND_ONLY);
        let queue = Queue::open(length + HELD_MAX, BUFFER, takes_packets(flags));
        let queue = queue.map_err(|error| fault("making a packet queue", error))?;
        let log = is_copying.then(|| Log::open(queue.number, BUFFER)).transpose();
        let log = log.map_err(|error| fault("listening to the packet log", error))?;
        let counter = |each| sys::event_counter(each).map_err(|error| fault("making an event counter", error));
        let (woken, ready, ended) = (counter(true)?, counter(false)?, counter(false)?);
        // Without the rights for programs, or the memory, copies come by the log.
        let copies = if is_copying { Copies::open().ok() } else { None };
        let state = Mutex::new(State::new(options, &queue));
        let (mode_at_first, mut questions) = plan(&options.filter, layer, flags, copies.as_ref());
        // Last, since packets are taken from here on.
        let ruleset = Ruleset::open(options, &queue, mode_at_first, &mut questions, ticker.now())
            .map_err(|error| fault("adding rules to nftables", error))?;
        // Behind the handle's own changes.
        let changes = sys::netlink(&[CHANGES]).map_err(|error| fault("listening to nftables", error))?;
        let shared = Shared {
            queue,
            ruleset,
            layer,
            flags,
            ticker,
            waiters: Waiters::new(woken),
            ready,
            gathered: OnceLock::new(),
            changes,
            ended,
            state,
            log,
            copies,
            released: Mutex::default(),
            is_eager: AtomicBool::new(false),
            is_eager_of_large: AtomicBool::new(false),
            last_large: AtomicU32::new(0),
            watched_until: AtomicI64::new(i64::MIN),
        };
        if mode_at_first != mode(flags, &questions) && !flags.has(Flags::SEND_ONLY) {
            // The kernel took no programs after all.
            shared.adopt(&questions, None).map_err(|error| fault("adding rules to nftables", error))?;
        }
        shared.note_plan(&questions);
        Ok(shared)
    }

    pub(super) fn state(&self) -> Guard<'_> {
        Guard { state: self.state.lock().unwrap_or_else(PoisonError::into_inner), ready: &self.ready }
    }

    /// The state, which knows of all changes of nftables that concern packets that wait.
    pub(super) fn state_in_place(&self) -> Guard<'_> {
        let mut state = self.state();
        while !state.is_closed
            && let Ok(len) = sys::receive(&self.changes, &mut state.announcement, false)
        {
            let moves = self.ruleset.moves_waiting(state.announcement.get(..len).unwrap_or_default());
            state.has_lost_places |= moves;
        }
        if state.has_lost_places && !state.is_closed {
            // A queue that cannot be read is told by what follows.
            drop(state.lose_places(self.source(), self.ticker.now()));
        }
        self.give_up_released(&mut state);
        state
    }

    /// Notes that the program let packets go. The kernel is told with the next batch or look, or at once if they are many and
    /// nobody else is at work: whoever lets packets go must not wait.
    pub(super) fn release(&self, tokens: &[Token]) {
        let count = {
            let mut released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
            released.extend_from_slice(tokens);
            released.len()
        };
        if count >= RELEASED_MAX
            && let Ok(state) = self.state.try_lock()
        {
            self.give_up_released(&mut Guard { state, ready: &self.ready });
        }
    }

    /// Tells the kernel of packets that the program let go.
    fn give_up_released(&self, state: &mut State) {
        let tokens = std::mem::take(&mut *self.released.lock().unwrap_or_else(PoisonError::into_inner));
        if !tokens.is_empty() && !state.is_closed && !self.ruleset.is_foreign() {
            // If the queue is gone, so are its packets.
            drop(state.discard(&self.queue, &tokens));
        }
    }

    /// Where packets come from.
    pub(super) const fn source(&self) -> Source<'_> {
        Source { queue: &self.queue, ruleset: &self.ruleset, log: self.log.as_ref(), copies: self.copies.as_ref() }
    }

    /// Whether the keeper is to go on.
    pub(super) fn is_kept(&self) -> bool {
        !self.state().is_closed
    }

    /// Whether packets that do not match may wait in the queue. That only large ones may counts while such come, which
    /// a look finds that comes in any case.
    pub(super) fn is_eager(&self) -> bool {
        let is_eager_of_large = || {
            self.is_eager_of_large.load(Ordering::Relaxed)
                && self.ticker.now() < self.watched_until.load(Ordering::Relaxed)
        };
        self.is_eager.load(Ordering::Relaxed) || is_eager_of_large()
    }

    /// Whether somebody waits for packets.
    pub(super) fn has_waiters(&self) -> bool {
        self.waiters.are_there()
    }

    /// Takes what the kernel has.
    pub(super) fn look(&self) {
        let mut state = self.state_in_place();
        if !state.is_closed {
            // A queue that cannot be read is told to whoever receives.
            drop(state.look(self.source(), self.ticker.now()));
            let last_large = state.lines.last_large();
            if self.last_large.swap(last_large, Ordering::Relaxed) != last_large {
                self.watched_until.store(self.ticker.now() + LARGE_WATCH, Ordering::Relaxed);
            }
        }
    }

    /// Puts the rules for other questions in the place of the old ones.
    fn adopt(&self, questions: &Questions, filter: Option<&Filter>) -> io::Result<()> {
        self.ruleset.replace(mode(self.flags, questions), questions, filter)
    }

    /// Remembers what the kernel does not do by itself.
    fn note_plan(&self, questions: &Questions) {
        if let Some(copies) = &self.copies {
            copies.set_partial(!questions.copy());
        }
        let takes_packets = takes_packets(self.flags);
        self.is_eager.store(takes_packets && !questions.are_exact(), Ordering::Relaxed);
        self.is_eager_of_large.store(takes_packets && !questions.are_exact_of_large(), Ordering::Relaxed);
        if let Some(obstacle) = &questions.obstacle {
            let message = format!(
                "the kernel takes no filter programs ({obstacle}), so that every packet is handed to this process and \
                 matched here, which is slower; CAP_BPF and the kernel's xt_bpf and nft_compat are needed for better"
            );
            self.state().warnings.push(Warning::environment(message));
        }
    }

    pub(super) fn verify_own(&self) -> Result<(), Error> {
        if self.ruleset.is_foreign() {
            let message = "the handle belongs to the process that this one was forked from; open one here";
            return Err(Error::new(ErrorCode::InvalidHandle, message));
        }
        Ok(())
    }

    pub(super) fn wake(&self) {
        self.waiters.wake();
    }

    pub(super) fn shutdown(&self, how: Shutdown) {
        {
            let mut state = self.state();
            if state.is_closed || self.ruleset.is_foreign() {
                return;
            }
            if how.ends_receiving() && !state.has_ended_receiving {
                // If the rules stay, packets still come and are let go on.
                drop(self.ruleset.replace(Mode::Pass, &Questions::default(), None));
                drop(state.take(self.source(), None, self.ticker.now()));
                state.has_ended_receiving = true;
            }
            state.has_ended_sending |= how.ends_sending();
        }
        self.wake();
    }

    pub(super) fn end(&self) -> io::Result<()> {
        let mut state = self.state_in_place();
        if std::mem::replace(&mut state.is_closed, true) || self.ruleset.is_foreign() {
            return Ok(());
        }
        sys::add_events(&self.ended, 1);
        state.statistics.dropped += self.ruleset.dropped();
        // First no packet is taken any more, then what was taken and not received goes on, then the chains go.
        self.ruleset.replace(Mode::Pass, &Questions::default(), None)?;
        state.give_back(self.source(), self.ticker.now())?;
        drop(state);
        std::thread::sleep(CLOSE_PAUSE);
        let mut state = self.state();
        state.give_back(self.source(), self.ticker.now())?;
        state.statistics.overflowed += self.lost();
        state.carriers = Carriers::default();
        if let Some(log) = &self.log {
            log.release()?;
        }
        drop(state);
        self.ruleset.remove()?;
        self.queue.release()
    }

    /// How many packets the kernel had no room for.
    fn lost(&self) -> u64 {
        self.queue.lost() + self.copies.as_ref().map_or(0, Copies::lost)
    }

    pub(super) fn statistics(&self) -> Statistics {
        let state = self.state();
        let mut statistics = state.statistics;
        if !state.is_closed && !self.ruleset.is_foreign() {
            statistics.overflowed += self.lost();
            statistics.dropped += self.ruleset.dropped();
        }
        statistics
    }

    pub(super) fn set_filter(&self, filter: Arc<Filter>) -> Result<(), Error> {
        self.verify_own()?;
        let mut state = self.state();
        if state.is_closed {
            return Err(Error::closed());
        }
        if !state.has_ended_receiving && !self.flags.has(Flags::SEND_ONLY) {
            let failed = |error| fault("changing the rules in nftables", error);
            let mut questions = Questions::load(&filter, self.layer, self.flags, self.copies.as_ref());
            // What was taken by the old filter stays; what comes is asked by the new one.
            state.take(self.source(), None, self.ticker.now()).map_err(failed)?;
            state.statistics.dropped += self.ruleset.dropped();
            if let Err(error) = self.adopt(&questions, Some(&filter)) {
                questions = Questions::none(self.layer, self.flags, error.to_string());
                self.adopt(&questions, Some(&filter)).map_err(failed)?;
            }
            state.take(self.source(), None, self.ticker.now()).map_err(failed)?;
            state.filter = filter;
            drop(state);
            self.note_plan(&questions);
            return Ok(());
        }
        state.filter = filter;
        Ok(())
    }
}
