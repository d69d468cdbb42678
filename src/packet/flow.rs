//! What addresses and ports say of a packet: which flow it belongs to, whichever way it goes, and whether it leaves its
//! host. Never panics, never allocates.
use super::edit::{Endpoint, read_addr, read_port};
use super::field::array;
use super::layout::{IpVersion, Layout};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

/// Protocol, addresses and ports of a flow, whichever end a packet came from. Protocols without ports have port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    protocol: u8,
    lower: (IpAddr, u16),
    upper: (IpAddr, u16),
}

impl FlowKey {
    /// The flow of a packet; `None` for fragments, which do not all tell their ports.
    pub fn of(bytes: &[u8], layout: &Layout) -> Option<Self> {
        Self::with_direction(bytes, layout).map(|(key, _)| key)
    }

    /// The flow of a packet, and whether the packet comes from the flow's lower end.
    pub fn with_direction(bytes: &[u8], layout: &Layout) -> Option<(Self, bool)> {
        if layout.is_fragment() {
            return None;
        }
        let end = |end| Some((read_addr(bytes, layout, end)?, read_port(bytes, layout, end).unwrap_or(0)));
        let (src, dst) = (end(Endpoint::Source)?, end(Endpoint::Destination)?);
        let key = Self::between(layout.protocol(), src, dst);
        Some((key, src == key.lower))
    }

    /// The flow between two ends, in any order.
    pub fn between(protocol: u8, one: (IpAddr, u16), other: (IpAddr, u16)) -> Self {
        Self { protocol, lower: one.min(other), upper: one.max(other) }
    }

    /// The two ends, address and port each.
    pub const fn ends(&self) -> [(IpAddr, u16); 2] {
        [self.lower, self.upper]
    }

    /// The IP protocol number.
    pub const fn protocol(&self) -> u8 {
        self.protocol
    }
}

/// A number that all packets of a flow have in common, whichever way they go; of fragments, all between two addresses. Of
/// what has no addresses it is 0.
pub fn flow_hash(bytes: &[u8], layout: &Layout) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let Some(key) = FlowKey::of(bytes, layout) {
        key.hash(&mut hasher);
        return hasher.finish();
    }
    let addr = |end| read_addr(bytes, layout, end);
    let (Some(src), Some(dst)) = (addr(Endpoint::Source), addr(Endpoint::Destination)) else { return 0 };
    (src.min(dst), src.max(dst)).hash(&mut hasher);
    hasher.finish()
}

/// Whether a packet stays within its host by its addresses alone: see [`is_loopback`]. False if it has none.
#[inline]
pub fn has_loopback_addrs(bytes: &[u8], layout: &Layout) -> bool {
    // The addresses as numbers, both of one kind: a fraction of what two `IpAddr` take.
    match layout.version() {
        IpVersion::V4 => array(bytes, 12).zip(array(bytes, 16)).is_some_and(|(src, dst)| {
            let (src_addr, dst_addr) = (u32::from_be_bytes(src), u32::from_be_bytes(dst));
            src_addr == dst_addr || src_addr >> 24 == 127 || dst_addr >> 24 == 127
        }),
        IpVersion::V6 => array(bytes, 8).zip(array(bytes, 24)).is_some_and(|(src, dst)| {
            let (src_addr, dst_addr) = (u128::from_be_bytes(src), u128::from_be_bytes(dst));
            src_addr == dst_addr || src_addr == 1 || dst_addr == 1
        }),
    }
}

/// Whether a packet between two addresses stays within its host by them alone: 127/8, ::1, or both equal.
#[inline]
pub fn is_loopback(src_addr: IpAddr, dst_addr: IpAddr) -> bool {
    src_addr == dst_addr || src_addr.is_loopback() || dst_addr.is_loopback()
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]
mod tests {
    use super::*;
    use crate::packet::Builder;

    #[test]
    fn both_directions_have_one_key_and_tell_where_they_come_from() {
        let there = Builder::ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(9, 1).build().unwrap();
        let back = Builder::ipv4([10, 0, 0, 2], [10, 0, 0, 1]).udp(1, 9).build().unwrap();
        let other = Builder::ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 9).build().unwrap();
        let key = |bytes: &[u8]| FlowKey::with_direction(bytes, &Layout::parse(bytes).unwrap()).unwrap();
        assert_eq!(key(&there), (key(&back).0, true));
        assert!(!key(&back).1);
        assert_ne!(key(&other).0, key(&there).0);
        assert_eq!(key(&other).0.protocol(), 17);
        let hash = |bytes: &[u8]| flow_hash(bytes, &Layout::parse(bytes).unwrap());
        assert_eq!(hash(&there), hash(&back));
        assert_ne!(hash(&there), hash(&other));
    }

    #[test]
    fn addresses_are_loopback_in_both_forms() {
        let addresses = ["127.0.0.1", "127.9.8.7", "10.0.0.1", "10.0.0.2", "::1", "::2", "fe80::1"];
        let addresses = addresses.map(|address| address.parse::<IpAddr>().unwrap());
        let mut found = [0, 0];
        for (src, dst) in addresses.iter().flat_map(|src| addresses.map(|dst| (*src, dst))) {
            let packet = match (src, dst) {
                (IpAddr::V4(src), IpAddr::V4(dst)) => Builder::ipv4(src, dst).udp(9, 1).build().unwrap(),
                (IpAddr::V6(src), IpAddr::V6(dst)) => Builder::ipv6(src, dst).udp(9, 1).build().unwrap(),
                _ => continue,
            };
            let is_expected = is_loopback(src, dst);
            assert_eq!(has_loopback_addrs(&packet, &Layout::parse(&packet).unwrap()), is_expected, "{src} to {dst}");
            found[usize::from(is_expected)] += 1;
        }
        assert_eq!(found, [4, 21]);
        assert!(!has_loopback_addrs(&[], &Layout::EMPTY));
    }

    #[test]
    fn fragments_have_none() {
        let mut packet = Builder::ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(9, 1).build().unwrap();
        packet[6] = 0x20;
        let layout = Layout::parse(&packet).unwrap();
        assert_eq!(FlowKey::of(&packet, &layout), None);
        let hash = flow_hash(&packet, &layout);
        packet[20..24].copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(flow_hash(&packet, &layout), hash, "the ports of a first fragment take no part");
    }
}
