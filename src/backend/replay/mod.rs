//! Captures as a source and sink of packets: pcap and pcapng, plain or gzip'd.
//!
//! A replay is *pulled*: it reads on only when a handle wants a packet and none has one queued, so queue time does not run and
//! nothing is lost to a queue. Every record of the input has its place in the output, in input order; what no filter matches,
//! is no IP, or cannot be parsed goes out byte for byte. Captures are read leniently and may hold any bytes: memory stays
//! bounded by the largest record that is taken, [`MAXIMUM_RECORD_LEN`].
//!
//! On layer NETWORK_FORWARD every packet counts as forwarded (and so as outbound, as with the driver). A capture has no events,
//! so the other layers are refused. A handle with DROP receives nothing; the rest of the capture runs through its filter when
//! it closes. What one handle was handed and has not sent is dropped when it receives again, or once the read of another one
//! had to hold a megabyte back behind it. A packet's raw timestamp counts 100 ns ticks since the Unix epoch.
mod capture;
mod chain;
mod direction;
mod end;
mod format;
mod link;
mod member;
mod output;
mod place;

pub use capture::{MAXIMUM_RECORD_LEN, SharedBytes, Source};
pub use direction::{Network, NetworkError};
pub use output::{Output, SharedBuffer};

use super::{Backend, Error, OpenOptions, System};
use capture::{Capture, Progress};
use chain::Chain;
use direction::Directions;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a reader stands back for others.
const LONGEST_COURTESY: Duration = Duration::from_millis(5);

/// A capture that handles can be opened on, once: its packets are received, and what is sent is written to the output.
pub struct Replay {
    shared: Arc<Shared>,
    name: String,
    progress: Progress,
}

/// What the handles of one replay share.
struct Shared {
    chain: Mutex<Chain>,
    /// Rung whenever a handle that waits may have something to do.
    changed: Condvar,
    /// How many wait for the chain while another has it.
    waiting: AtomicUsize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Chain> {
        if let Ok(chain) = self.chain.try_lock() {
            return chain;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        chain
    }

    /// Lets those have the chain who wait for it, for a mutex is not fair. To be called without it, amid a long read.
    fn let_others(&self) {
        let patience = Instant::now() + LONGEST_COURTESY;
        while self.waiting.load(Ordering::Relaxed) > 0 && Instant::now() < patience {
            std::thread::yield_now();
        }
    }
}

impl Replay {
    /// Opens a capture. `output` appears under its name, whole, when the last handle closes; without one, what is sent is
    /// discarded. `local` are the networks of this side, for captures that do not tell directions; without them the private
    /// address ranges.
    ///
    /// A source that cannot be read, or is no capture, is an error that names it.
    pub fn new(source: &Source, output: Option<Output>, local: Option<Vec<Network>>) -> Result<Self, Error> {
        let name = source.name();
        let capture = Capture::open(source)?;
        let progress = capture.progress();
        let chain = Chain::new(capture, output, Directions::new(local));
        let shared =
            Arc::new(Shared { chain: Mutex::new(chain), changed: Condvar::new(), waiting: AtomicUsize::new(0) });
        Ok(Self { shared, name, progress })
    }

    /// How much of the source was read: bytes, and how many there are.
    pub fn progress(&self) -> (u64, u64) {
        self.progress.position()
    }

    /// The source's path, or what it is.
    pub fn source_name(&self) -> &str {
        &self.name
    }
}

impl System for Replay {
    fn open(&self, options: OpenOptions) -> Result<Arc<dyn Backend>, Error> {
        let handle = self.shared.lock().add_handle(options)?;
        Ok(Arc::new(end::ReplayEnd::new(Arc::clone(&self.shared), handle)))
    }
}
