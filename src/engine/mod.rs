//! The driver's semantics in process: a network stack that a program feeds, and handles that behave as the driver's.
//!
//! An [`Engine`] takes packets and events from its user and walks the handles with them before the call returns; what
//! no handle keeps is delivered, to the host or to the wire. Engines are independent, clones of one share it, and
//! everything may be used from any thread. With the stepped clock everything is deterministic.
//!
//! The rules are WinDivert 2.2's, as its driver follows them. What it leaves open or does by chance is fixed here:
//!
//! - Of equal priorities the handle that was opened later comes first.
//! - A handle with SEND_ONLY captures nothing, as documented; [`Settings::send_only_captures`] has it capture, as
//!   implemented.
//! - A queue's entry costs its bytes and what it costs in the driver: 63 bytes, 119 for FLOW and SOCKET, 87 for
//!   REFLECT.
//! - Stamps, and how long a packet may stay queued, follow the engine's clock: 100 ns ticks since the Unix epoch. How
//!   long a receive waits is real time.
//! - What overload lets pass, and what a bypass takes out of a queue, goes on as if its handle had never seen it; what a
//!   close gives back, and what is sent, by the driver's rules: checksums left open are computed, an impostor loses a hop.
//! - What belongs to this host is told by [`Injection::loopback`] and remembered: a packet sent outbound between two
//!   such addresses, 127/8, ::1 or twice the same address is loopback. It does not come back inbound, where no handle
//!   would see it.
//! - An interface of 0 in a sent packet's address stands for interface 1. No other one is refused.
//! - A packet that is too large for its way makes no ICMP message.
//!
//! Inside, one lock guards everything of an engine. It is taken once for a batch; see `sync` for the order of locks.
//!
//! ```
//! use oxidivert::address::{Flags, Layer};
//! use oxidivert::batch::Batch;
//! use oxidivert::engine::{Engine, Fate, Injection, OpenOptions, Overload, Wait};
//! use oxidivert::filter::Filter;
//! use oxidivert::packet::Builder;
//! use std::sync::Arc;
//!
//! let engine = Engine::default();
//! let filter = Arc::new(Filter::compile("udp.DstPort == 53", Layer::Network)?);
//! let (layer, flags, on_overload) = (Layer::Network, Flags::default(), Overload::Drop);
//! let handle = engine.open(OpenOptions { filter, layer, priority: 0, flags, on_overload, track_processes: false })?;
//!
//! let query = Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 53]).udp(5000, 53).build()?;
//! assert_eq!(engine.inject(&query, &Injection::default()), Fate::Diverted);
//! let mut batch = Batch::new();
//! handle.receive(&mut batch, 64, Wait::Forever)?;
//! handle.send(&batch, None).map_err(|failure| failure.error)?;
//! assert_eq!(engine.take_delivered().bytes(0), Some(&query[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod bypass;
mod chain;
mod clock;
mod error;
mod event;
mod handle;
mod host;
mod inject;
#[cfg(all(test, loom))]
mod interleavings;
mod member;
mod options;
mod priority;
mod queue;
mod raw;
mod read;
mod send;
mod state;
mod statistics;
mod sync;
mod traveller;
mod wait;
mod warning;

pub(crate) use bypass::Bypasses;
pub use chain::Fate;
pub use clock::{Clock, STEPPED_START, TICKS_PER_SECOND};
#[cfg(target_os = "linux")]
pub(crate) use clock::{NANOSECONDS_PER_TICK, TICKS_PER_MILLISECOND, Ticker, time_ns};
pub use error::{Error, ErrorCode};
pub use event::Connection;
pub use handle::Handle;
pub use inject::Injection;
pub use options::{Mask, OpenOptions, Overload, Received, SendError, Wait};
pub(crate) use priority::{Ladder, Rank};
#[cfg(any(test, target_os = "linux", all(windows, target_arch = "x86_64")))]
pub(crate) use queue::{Entry, Queue};
pub use raw::{Overlapped, RawHandle};
pub use read::Completion;
#[cfg(any(test, target_os = "linux", all(windows, target_arch = "x86_64")))]
pub(crate) use send::verify_lens;
pub(crate) use send::{repair, verify_sending};
pub(crate) use statistics::Loss;
pub use statistics::Statistics;
#[cfg(feature = "python")]
pub(crate) use statistics::with_counts;
#[cfg(any(test, target_os = "linux", all(windows, target_arch = "x86_64")))]
pub(crate) use warning::AgeWatch;
pub use warning::{Warning, WarningKind};

use crate::address::{Event, Layer, Parameter};
use crate::batch::Batch;
use state::Shared;
use std::sync::Arc;
use std::time::Duration;

/// The driver's version that the engine follows.
const VERSION: (u64, u64) = (2, 2);

const fn version(parameter: Parameter) -> u64 {
    if matches!(parameter, Parameter::VersionMajor) { VERSION.0 } else { VERSION.1 }
}

/// Whether handles can be opened, to test how a program takes a refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Availability {
    /// They can.
    #[default]
    Running,
    /// The first one without the flag NO_INSTALL starts the engine; until then those with it fail with 1060.
    NotInstalled,
    /// The rights are missing: they fail with 5.
    Forbidden,
}

/// How an engine is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The clock.
    pub clock: Clock,
    /// Whether handles can be opened.
    pub availability: Availability,
    /// Whether handles with SEND_ONLY capture what they can never receive, as the driver's do, against its
    /// documentation.
    pub send_only_captures: bool,
    /// The process that handles are opened by, as REFLECT tells.
    pub process_id: u32,
}

impl Default for Settings {
    /// A stepped clock, a running engine, and this process.
    fn default() -> Self {
        Self {
            clock: Clock::default(),
            availability: Availability::default(),
            send_only_captures: false,
            process_id: std::process::id(),
        }
    }
}

/// A network stack in process, and the driver's place in it. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Default for Engine {
    /// An engine with a stepped clock.
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

/// A flow that has begun.
pub struct Flow {
    shared: Arc<Shared>,
    number: u64,
}

impl Flow {
    /// Ends the flow: handles that were open when it began are told. False if it has ended before.
    pub fn end(&self) -> bool {
        let mut state = self.shared.lock();
        let now = self.shared.ticker.now();
        let state = &mut *state;
        state.flows.end(state.ladders.of(Layer::Flow), self.number, now)
    }
}

impl Engine {
    /// An engine.
    pub fn new(settings: Settings) -> Self {
        Self { shared: Arc::new(Shared::new(settings)) }
    }

    /// Opens a handle.
    ///
    /// 87 for flags, priority or filter that the driver refuses; what [`Settings::availability`] has it fail with
    /// otherwise.
    pub fn open(&self, options: OpenOptions) -> Result<Handle, Error> {
        self.open_as(options, self.shared.settings.process_id, None)
    }

    /// Opens a handle as another process, and as if that had been at another time, in ticks: for observers at layer REFLECT.
    #[expect(clippy::needless_pass_by_value, reason = "options are made for one handle")]
    pub fn open_as(&self, options: OpenOptions, process_id: u32, opened_at: Option<i64>) -> Result<Handle, Error> {
        let shared = &self.shared;
        let mut state = shared.lock();
        let now = shared.ticker.now();
        let (rank, bell) = state.open(&options, shared.settings, process_id, opened_at.unwrap_or(now), now)?;
        Ok(Handle::new(Arc::clone(shared), rank, bell, options.layer, options.priority, options.flags))
    }

    /// A packet comes from the wire or from this host's programs: walks the handles with it. Bytes that are no packet
    /// of exactly the length that their IP header says pass untouched.
    pub fn inject(&self, bytes: &[u8], injection: &Injection) -> Fate {
        let mut state = self.shared.lock();
        state.inject(bytes, injection, self.shared.ticker.now())
    }

    /// Packets come together, and are all stamped with one time; how many passed. Their addresses say nothing.
    pub fn inject_all(&self, batch: &Batch, injection: &Injection) -> usize {
        let mut state = self.shared.lock();
        let now = self.shared.ticker.now();
        batch.iter().filter(|packet| state.inject(packet.bytes, injection, now) == Fate::Passed).count()
    }

    /// Takes what reached the host or the wire since the last call, in order. Their addresses tell which: outbound and
    /// not loopback is the wire.
    #[must_use]
    pub fn take_delivered(&self) -> Batch {
        std::mem::take(&mut self.shared.lock().exit.packets)
    }

    /// Puts what was delivered in the place of what `batch` held, whose memory is used again for what comes next.
    pub fn swap_delivered(&self, batch: &mut Batch) {
        batch.clear();
        std::mem::swap(batch, &mut self.shared.lock().exit.packets);
    }

    /// Whether what is delivered is kept until it is taken. It is at first; a program that feeds much and looks at
    /// nothing better turns it off.
    pub fn set_keeps_delivered(&self, keeps: bool) {
        self.shared.lock().exit.keeps = keeps;
    }

    /// How many packets were delivered in all, kept or not.
    pub fn delivered_count(&self) -> u64 {
        self.shared.lock().exit.count
    }

    /// A flow begins: tells the handles of layer FLOW.
    pub fn flow(&self, connection: &Connection) -> Flow {
        let mut state = self.shared.lock();
        let now = self.shared.ticker.now();
        let state = &mut *state;
        let number = state.flows.begin(state.ladders.of(Layer::Flow), *connection, state.opened, now);
        Flow { shared: Arc::clone(&self.shared), number }
    }

    /// A socket operation happens: tells the handles of layer SOCKET. Whether they allow it.
    ///
    /// 87 for an event that is none of a socket.
    pub fn socket_event(&self, event: Event, connection: &Connection) -> Result<bool, Error> {
        let sockets = Event::SocketBind..=Event::SocketClose;
        if !sockets.contains(&event) {
            let message =
                format!("{} is no event of layer SOCKET; those are SOCKET_BIND to SOCKET_CLOSE", event.name());
            return Err(Error::new(ErrorCode::InvalidParameter, message));
        }
        let mut state = self.shared.lock();
        let now = self.shared.ticker.now();
        Ok(event::socket_event(state.ladders.of(Layer::Socket), connection, event, now))
    }

    /// Moves a stepped clock on. Nothing happens by itself: what is too old is found when somebody touches its queue.
    ///
    /// 50 with the system's clock.
    pub fn advance(&self, by: Duration) -> Result<(), Error> {
        // Under the lock, so that no walk sees two times.
        let _state = self.shared.lock();
        if self.shared.ticker.advance(by) {
            return Ok(());
        }
        let message = "this engine has the system's clock, which advances by itself; make it with Clock::Stepped";
        Err(Error::new(ErrorCode::NotSupported, message))
    }

    /// The clock's time: 100 ns ticks since the Unix epoch.
    pub fn now(&self) -> i64 {
        self.shared.ticker.now()
    }
}
