//! This machine's network stack under Linux: netfilter's hooks, an nftables table per handle, and a packet queue.
//!
//! | WinDivert | here |
//! | --- | --- |
//! | a handle | an nftables table that this process owns, with a base chain at each hook and one packet queue |
//! | priority, high first | the hook priority of the chains, low first: its negative |
//! | a packet that is sent on | the verdict "accept": it goes on to the next chain, whoever's that is |
//! | NETWORK outbound, inbound | the hooks output and input, without what comes from `lo` |
//! | NETWORK_FORWARD | the hook forward |
//! | the process ends | the kernel removes the table and the queue |
//!
//! Nothing is left on disk and nothing runs beside the program; no tool is called.
//!
//! The rooms, each of which uses only rooms to its right:
//!
//! ```text
//! packet_handle -> traffic -> rules -> intake -> injection -> tables -> kernel
//! packet_handle, traffic, event_handle -> sockets -> kernel
//! event_handle -> tables
//! ```
mod event_handle;
mod injection;
mod intake;
mod kernel;
mod packet_handle;
mod rules;
mod sockets;
mod tables;
mod traffic;

use super::{Backend, Error, OpenOptions, System};
use crate::address::Layer;
use std::sync::Arc;

/// This machine's network stack, or that of the network namespace that the process is in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nfqueue;

impl System for Nfqueue {
    fn open(&self, options: OpenOptions) -> Result<Arc<dyn Backend>, Error> {
        if options.layer == Layer::Reflect {
            return Ok(Arc::new(event_handle::open_reflect(options)?));
        }
        if !options.layer.has_packets() {
            return Ok(Arc::new(event_handle::open(options)?));
        }
        Ok(Arc::new(packet_handle::Handle::open(&options)?))
    }
}
