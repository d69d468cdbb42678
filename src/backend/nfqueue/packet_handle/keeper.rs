//! The thread that looks after a handle while its program does not.
//!
//! Where the kernel cannot ask the whole filter, packets that do not match wait in the queue as well, and must go on at once;
//! where it can, packets that match must be dropped when they grow old or too many. The thread leaves the queue to a program
//! that receives.
use super::super::kernel::sys;
use super::shared::Shared;
use crate::backend::block_signals;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// How often it looks where only age and number matter.
const SELDOM: Duration = Duration::from_millis(100);
/// How long it leaves the queue to a program that waits for packets.
const PAUSE: Duration = Duration::from_millis(1);
/// The memory of its stack, in bytes: it does nothing deep.
const STACK: usize = 1 << 18;

/// Starts the thread of a handle; it ends when the handle closes.
pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    Builder::new().name("oxidivert-keeper".to_owned()).stack_size(STACK).spawn(move || {
        block_signals();
        while shared.is_kept() {
            look(&shared);
        }
    })
}

fn look(shared: &Shared) {
    let is_eager = shared.is_eager();
    let socket = [&shared.ended, &shared.queue.socket];
    let (waits, time) = if is_eager { (socket.as_slice(), None) } else { (&socket[..1], Some(SELDOM)) };
    // A wait that fails is a look that comes too early.
    if sys::wait_readable(waits, time).is_err() {
        std::thread::sleep(PAUSE);
    }
    if is_eager && shared.has_waiters() {
        std::thread::sleep(PAUSE);
    }
    shared.look();
}
