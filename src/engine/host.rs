//! Which addresses are this host's: packets between two of them stay within it.
use crate::packet::{self, Endpoint, Layout, has_loopback_addrs};
use std::collections::HashSet;
use std::net::IpAddr;

/// Both addresses of a packet.
#[inline]
fn ends(bytes: &[u8], layout: &Layout) -> Option<(IpAddr, IpAddr)> {
    let end = |end| packet::read_addr(bytes, layout, end);
    Some((end(Endpoint::Source)?, end(Endpoint::Destination)?))
}

/// Addresses that are this host's, since packets stayed within it.
#[derive(Debug, Default)]
pub(super) struct Host {
    addresses: HashSet<IpAddr>,
}

/// The most addresses that a host remembers.
const ADDRESSES_MAX: usize = 1024;

impl Host {
    pub(super) fn learn(&mut self, address: IpAddr) {
        if self.addresses.len() < ADDRESSES_MAX {
            self.addresses.insert(address);
        }
    }

    /// Whether a packet stays within this host.
    #[inline]
    pub(super) fn keeps(&self, bytes: &[u8], layout: &Layout) -> bool {
        has_loopback_addrs(bytes, layout) || !self.addresses.is_empty() && self.has_both_ends(bytes, layout)
    }

    #[inline(never)]
    fn has_both_ends(&self, bytes: &[u8], layout: &Layout) -> bool {
        let ends = ends(bytes, layout);
        ends.is_some_and(|(src_addr, dst_addr)| [src_addr, dst_addr].iter().all(|end| self.addresses.contains(end)))
    }
}

impl Host {
    /// Remembers the addresses of a packet that stays within this host.
    pub(super) fn learn_ends(&mut self, bytes: &[u8], layout: &Layout) {
        if let Some((src_addr, dst_addr)) = ends(bytes, layout) {
            self.learn(src_addr);
            self.learn(dst_addr);
        }
    }
}
