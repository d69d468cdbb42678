//! Handles on the layers that have packets, NETWORK and NETWORK_FORWARD: the lock, who waits, the thread that looks after a
//! handle, and the handle as the rest of the crate knows it.
//!
//! It stands on [`traffic`](super::traffic), and makes the parts that this needs of the rooms below.
mod guard;
mod handle;
mod keeper;
mod receive;
mod shared;
mod waiters;

pub(super) use handle::Handle;
