//! Whose packets are, and what programs do with sockets: what eBPF programs at the control group tell, and what `/proc` does.
//!
//! It stands on [`kernel`](super::kernel) alone.
pub(super) mod names;
pub(super) mod owner;
pub(super) mod owners;
pub(super) mod record;
pub(super) mod watch;
mod watch_code;
mod watch_namespaces;
mod watch_packets;
