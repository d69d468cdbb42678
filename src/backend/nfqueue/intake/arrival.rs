//! What a packet that waits in the kernel looks like to programs: its offset table and its address record.
use super::super::tables::nft::Hook;
use super::queue::Waiting;
use crate::address::{Address, Flags, Layer};
use crate::engine::NANOSECONDS_PER_TICK;
use crate::packet::Layout;

/// The interface that every network namespace's loopback is.
pub(crate) const LOOPBACK: u32 = 1;

/// Where the parts of a packet lie; `None` if handles do not see it: what is no whole IP packet.
#[inline]
pub(crate) fn layout(waiting: &Waiting<'_>) -> Option<Layout> {
    let layout = Layout::parse(waiting.bytes).ok()?;
    let len = waiting.bytes.len();
    (layout.total_len() == len || waiting.is_cut && layout.total_len() > len).then_some(layout)
}

/// The packet's address record.
#[inline]
pub(crate) fn address(waiting: &Waiting<'_>, is_ipv6: bool, layer: Layer, flags: Flags, now: i64) -> Address {
    let is_inbound = matches!(waiting.hook, Hook::Input | Hook::Prerouting);
    let interface = if is_inbound { waiting.interface_in } else { waiting.interface_out };
    let mut address = Address::default();
    address.set_timestamp(waiting.time_ns.map_or(now, |time| (time / NANOSECONDS_PER_TICK).min(now)));
    address.set_layer(layer);
    address.set_sniffed(flags.has(Flags::SNIFF));
    address.set_outbound(!is_inbound);
    address.set_loopback(waiting.hook == Hook::Output && waiting.interface_out == LOOPBACK);
    address.set_ipv6(is_ipv6);
    // The kernel has computed the header's checksum before any hook.
    address.set_ip_checksum(true);
    address.set_tcp_checksum(!waiting.has_open_checksum);
    address.set_udp_checksum(!waiting.has_open_checksum);
    address.set_interface_index(interface);
    address
}
