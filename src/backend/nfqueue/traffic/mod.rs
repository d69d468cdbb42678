//! What becomes of a handle's packets: taken from the kernel, matched, kept for the program, and sent, given back or dropped.
//!
//! Everything here happens under the handle's lock. It stands on [`intake`](super::intake), [`injection`](super::injection)
//! and [`rules`](super::rules), and on [`sockets`](super::sockets) for the processes that packets belong to.
mod backlog;
mod giving;
mod pace;
mod refusal;
mod send;
pub(super) mod state;
