//! An open handle: a backend's end, what was given back to the head of its queue, and the rules that all backends share.
//!
//! May be used from any thread. Holds no lock while it waits.
use super::hand::{Hand, held};
use super::{Backend, Ending, Error, Mask, Received, SendError, Wait};
use crate::address::{Flags, Layer, Shutdown};
use crate::batch::{Batch, Origin, Token};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// How many batches a handle keeps for their memory, and the most memory that is worth it, in bytes.
const SPARES: usize = 2;
const SPARE_MAX: usize = 1 << 20;
/// How many handles were made; the number tells them apart.
static MADE: AtomicU64 = AtomicU64::new(0);
/// The handles that exist. Whoever is asked for rarely, such as the handle of a packet, is looked up here by number: a counted
/// reference in each packet would cost more than all else that making one does.
static HANDLES: Mutex<BTreeMap<u64, Weak<Handle>>> = Mutex::new(BTreeMap::new());

fn handles() -> MutexGuard<'static, BTreeMap<u64, Weak<Handle>>> {
    HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handle's number; the default is none's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandleId(u64);

impl HandleId {
    /// Lets go of a packet that was received from the handle, if it still exists, and will never be sent.
    pub fn release(self, token: Token) {
        if let Some(handle) = self.handle().filter(|handle| handle.keeps_received()) {
            handle.backend().release(&[token]);
        }
    }

    /// The handle, if it still exists.
    pub fn handle(self) -> Option<Arc<Handle>> {
        handles().get(&self.0).and_then(Weak::upgrade)
    }
}

/// An open handle.
pub struct Handle {
    id: HandleId,
    backend: Arc<dyn Backend>,
    layer: Layer,
    priority: i16,
    flags: Flags,
    /// Packets that were received and given back, to be handed out before any other.
    head: Mutex<Batch>,
    has_head: AtomicBool,
    /// Batches that nobody needs any more, for their memory.
    spares: Mutex<Vec<Batch>>,
    closed: AtomicBool,
}

impl Handle {
    /// A handle over a backend's end.
    pub fn new(backend: Arc<dyn Backend>, layer: Layer, priority: i16, flags: Flags) -> Arc<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed) + 1;
        let handle = Arc::new(Self {
            id: HandleId(number),
            backend,
            layer,
            priority,
            flags,
            head: Mutex::new(Batch::new()),
            has_head: AtomicBool::new(false),
            spares: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        handles().insert(number, Arc::downgrade(&handle));
        handle
    }

    /// The handle's number.
    pub const fn id(&self) -> HandleId {
        self.id
    }

    /// The backend's end.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// The layer.
    pub const fn layer(&self) -> Layer {
        self.layer
    }

    /// The priority.
    pub const fn priority(&self) -> i16 {
        self.priority
    }

    /// The open flags.
    pub const fn flags(&self) -> Flags {
        self.flags
    }

    /// Whether the handle was closed.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether received packets can be sent: not with SNIFF, DROP or RECV_ONLY, and only on packet layers.
    pub const fn re_injects(&self) -> bool {
        let keeps = Flags::SNIFF.0 | Flags::DROP.0 | Flags::RECV_ONLY.0;
        self.flags.0 & keeps == 0 && self.layer.has_packets()
    }

    /// Whether the system keeps what was received until it is told that nobody will send it.
    pub fn keeps_received(&self) -> bool {
        self.backend.keeps_received() && self.re_injects() && !self.is_closed()
    }

    fn verify_open(&self) -> Result<(), Error> {
        if self.is_closed() { Err(Error::closed()) } else { Ok(()) }
    }

    fn head(&self) -> MutexGuard<'_, Batch> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spares(&self) -> MutexGuard<'_, Vec<Batch>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty batch, in memory that was used before if there is any.
    pub fn new_batch(&self) -> Batch {
        self.spares().pop().unwrap_or_default()
    }

    /// Takes a batch back that nobody needs any more: memory that is new for each batch costs more than receiving it.
    pub fn keep_memory(&self, mut batch: Batch) {
        let mut spares = self.spares();
        if spares.len() < SPARES && batch.memory() <= SPARE_MAX && !self.is_closed() {
            batch.clear();
            spares.push(batch);
        }
    }

    /// Appends up to `limit` packets to `batch`, first those that were given back, and waits for the first one only.
    pub fn receive(&self, batch: &mut Batch, limit: usize, wait: Wait) -> Result<Received, Error> {
        self.verify_open()?;
        if self.has_head.load(Ordering::Acquire) && self.take_head(batch, limit) > 0 {
            return Ok(Received::Packets);
        }
        self.backend.receive(batch, limit, wait)
    }

    fn take_head(&self, batch: &mut Batch, limit: usize) -> usize {
        let mut head = self.head();
        let count = head.len().min(limit);
        batch.append_run(&head, 0, count);
        head.remove_front(count);
        self.has_head.store(!head.is_empty(), Ordering::Release);
        count
    }

    /// Puts the packets of `batch` from index `from` on back to the head of the queue, in order.
    pub fn give_back(&self, batch: &Batch, from: usize) {
        let mut head = self.head();
        let rest = std::mem::take(&mut *head);
        head.append_run(batch, from, batch.len().saturating_sub(from));
        head.append_run(&rest, 0, rest.len());
        self.has_head.store(!head.is_empty(), Ordering::Release);
        drop(head);
        // Whoever waits for the backend looks here first.
        self.backend.wake();
    }

    /// Sends the packets of a batch that `mask` selects. New packets get their place behind the packet in hand.
    pub fn send(&self, batch: &mut Batch, mask: Mask<'_>) -> Result<usize, SendError> {
        self.verify_open()?;
        if let Some(token) = held(self.id) {
            for record in batch.records_mut() {
                if record.origin == Origin::Injected(None) {
                    record.origin = Origin::Injected(Some(token));
                }
            }
        }
        self.backend.send(batch, mask)
    }

    /// This thread's hand, to say which received packet it looks at.
    pub fn hand(&self) -> Hand {
        Hand::new(self.id)
    }

    /// Ends receiving, sending or both.
    pub fn shutdown(&self, how: Shutdown) -> Result<(), Error> {
        self.verify_open()?;
        self.backend.shutdown(how);
        Ok(())
    }

    /// Closes the handle and lets packets that were given back go on; a second call does nothing.
    pub fn close(&self, ending: Ending) -> Result<(), Error> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.spares().clear();
        let head = std::mem::take(&mut *self.head());
        if !head.is_empty() && ending == Ending::Completed && self.re_injects() {
            // Nobody received these, so they go on; a send that was shut down keeps them, as the driver's does.
            drop(self.backend.send(&head, None));
        }
        self.backend.close(ending)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        handles().remove(&self.id.0);
    }
}
