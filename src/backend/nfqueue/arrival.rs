//! What a packet that waits in the kernel looks like to programs: its offset table and its address record.
use super::nft::Hook;
use super::queue::Waiting;
use crate::address::{Address, Flags, Layer};
use crate::engine::NANOSECONDS_PER_TICK;
use crate::packet::Layout;

/// The interface that every network namespace's loopback is.
pub(super) const LOOPBACK: u32 = 1;

/// A packet as filters and programs see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) layout: Layout,
    pub(super) address: Address,
}

/// The packet, or `None` if handles do not see it: what is no whole IP packet.
pub(super) fn arrival<'a>(waiting: &Waiting<'a>, layer: Layer, flags: Flags, now: i64) -> Option<Arrival<'a>> {
    let layout = Layout::parse(waiting.bytes).ok()?;
    let len = waiting.bytes.len();
    let is_whole = layout.total_len() == len || waiting.is_cut && layout.total_len() > len;
    if !is_whole {
        return None;
    }
    let is_inbound = matches!(waiting.hook, Hook::Input | Hook::Prerouting);
    let interface = if is_inbound { waiting.interface_in } else { waiting.interface_out };
    let mut address = Address::default();
    address.set_timestamp(waiting.time_ns.map_or(now, |time| (time / NANOSECONDS_PER_TICK).min(now)));
    address.set_layer(layer);
    address.set_sniffed(flags.has(Flags::SNIFF));
    address.set_outbound(!is_inbound);
    address.set_loopback(waiting.hook == Hook::Output && waiting.interface_out == LOOPBACK);
    address.set_ipv6(layout.is_ipv6());
    // The kernel has computed the header's checksum before any hook.
    address.set_ip_checksum(true);
    address.set_tcp_checksum(!waiting.has_open_checksum);
    address.set_udp_checksum(!waiting.has_open_checksum);
    address.set_interface_index(interface);
    Some(Arrival { bytes: waiting.bytes, layout, address })
}
