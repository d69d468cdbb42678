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
mod arrival;
mod backlog;
mod carrier;
mod copies;
mod events;
mod expression;
mod extras;
mod fault;
mod giving;
mod guard;
mod handle;
mod held;
mod inlet;
mod keeper;
mod lines;
mod log;
mod names;
mod netlink;
mod nft;
mod observed;
mod owner;
mod owners;
mod program;
mod questions;
mod queue;
mod record;
mod reflect;
mod refusal;
mod registry;
mod ring;
mod ruleset;
mod send;
mod shared;
mod standing;
mod state;
mod sys;
mod sys_bpf;
mod sys_link;
mod token;
mod waiters;
mod watch;
mod watch_code;
mod watch_packets;

use super::{Backend, Error, OpenOptions, System};
use crate::address::Layer;
use std::sync::Arc;

/// This machine's network stack, or that of the network namespace that the process is in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nfqueue;

impl System for Nfqueue {
    fn open(&self, options: OpenOptions) -> Result<Arc<dyn Backend>, Error> {
        if options.layer == Layer::Reflect {
            return Ok(Arc::new(reflect::open(options)?));
        }
        if !options.layer.has_packets() {
            return Ok(Arc::new(events::open(options)?));
        }
        Ok(Arc::new(handle::Handle::open(&options)?))
    }
}
