//! Packets that come from outside the handles: from the wire, from this host's programs, or from another driver.
use super::traveller::{Fragments, Traveller};
use crate::address::{Address, Layer};
use crate::packet::Layout;

/// Where a packet comes from, and what the network stack knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// From this host's programs rather than from the wire. Of no meaning for a forwarded packet.
    pub outbound: bool,
    /// Between two addresses of this host, which the engine remembers as such. On the inbound path no handle sees it.
    pub loopback: bool,
    /// Routed through this host: only handles of layer NETWORK_FORWARD see it.
    pub forwarded: bool,
    /// Put together from fragments that came before; inbound, only handles without the flag FRAGMENTS see it.
    pub reassembled: bool,
    /// Made by another driver rather than by the stack.
    pub impostor: bool,
    /// The interface of arrival or departure.
    pub interface_index: u32,
    /// The sub-interface; a forwarded packet has 0.
    pub subinterface_index: u32,
    /// The process that it belongs to; 0 if unknown.
    pub process_id: u32,
    /// Whether the IPv4 header checksum is final, or left to the network card.
    pub ip_checksum: bool,
    /// Likewise TCP's.
    pub tcp_checksum: bool,
    /// Likewise UDP's.
    pub udp_checksum: bool,
}

impl Default for Injection {
    /// An outbound packet on interface 1 with final checksums.
    fn default() -> Self {
        Self {
            outbound: true,
            loopback: false,
            forwarded: false,
            reassembled: false,
            impostor: false,
            interface_index: 1,
            subinterface_index: 0,
            process_id: 0,
            ip_checksum: true,
            tcp_checksum: true,
            udp_checksum: true,
        }
    }
}

impl Injection {
    /// An inbound packet on interface 1 with final checksums.
    pub fn inbound() -> Self {
        Self { outbound: false, ..Self::default() }
    }

    /// A packet that is routed through this host.
    pub fn forwarded() -> Self {
        Self { forwarded: true, ..Self::default() }
    }

    /// The layer whose handles see the packet.
    pub(super) const fn layer(&self) -> Layer {
        if self.forwarded { Layer::NetworkForward } else { Layer::Network }
    }

    /// The packet on its way, seen at `now`.
    #[inline]
    pub(super) fn traveller<'a>(&self, bytes: &'a [u8], layout: Option<&'a Layout>, now: i64) -> Traveller<'a> {
        let mut address = Address::default();
        address.set_timestamp(now);
        address.set_layer(self.layer());
        address.set_outbound(self.outbound || self.forwarded);
        address.set_loopback(self.loopback && !self.forwarded);
        address.set_impostor(self.impostor);
        address.set_ipv6(bytes.first().is_some_and(|byte| byte >> 4 == 6));
        address.set_ip_checksum(self.ip_checksum);
        address.set_tcp_checksum(self.tcp_checksum);
        address.set_udp_checksum(self.udp_checksum);
        address.set_interface_index(self.interface_index);
        address.set_subinterface_index(if self.forwarded { 0 } else { self.subinterface_index });
        let (fragments, process_id) = (Fragments::Any, self.process_id);
        let mut traveller = Traveller { bytes, layout: None, address, fragments, process_id };
        traveller.show(layout, self.reassembled);
        traveller
    }
}

/// The offset table of a packet that handles can match: whole, and exactly as long as its IP header says.
#[inline]
pub(super) fn well_formed(bytes: &[u8]) -> Option<Layout> {
    let layout = Layout::parse(bytes).ok()?;
    (layout.total_len() == bytes.len()).then_some(layout)
}
