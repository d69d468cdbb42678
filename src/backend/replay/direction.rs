//! Which way a packet goes where the capture does not tell: by the networks of this side.
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IP network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    bits: u128,
    mask: u128,
    is_ipv6: bool,
}

/// A text that is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// The part before the slash is no address.
    Address,
    /// The prefix length is no number, or too large.
    PrefixLength,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "it needs an IP address, as in 192.0.2.0/24",
            Self::PrefixLength => "the prefix length is 0 to 32, for IPv6 0 to 128",
        })
    }
}

impl std::error::Error for NetworkError {}

const fn bits_of(address: IpAddr) -> (u128, bool) {
    match address {
        // In the upper bits, so that one mask serves both versions.
        IpAddr::V4(address) => ((address.to_bits() as u128) << 96, false),
        IpAddr::V6(address) => (address.to_bits(), true),
    }
}

impl Network {
    const fn new(address: IpAddr, prefix_len: u32) -> Self {
        let (bits, is_ipv6) = bits_of(address);
        let mask = if prefix_len == 0 { 0 } else { u128::MAX << (128 - prefix_len) };
        Self { bits: bits & mask, mask, is_ipv6 }
    }

    const fn v4(a: u8, b: u8, prefix_len: u32) -> Self {
        Self::new(IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), prefix_len)
    }

    const fn v6(first: u16, last: u16, prefix_len: u32) -> Self {
        Self::new(IpAddr::V6(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last)), prefix_len)
    }

    /// Whether an address lies in the network.
    pub const fn contains(&self, address: IpAddr) -> bool {
        let (bits, is_ipv6) = bits_of(address);
        is_ipv6 == self.is_ipv6 && bits & self.mask == self.bits
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads `address/prefix length`, or an address alone; bits behind the prefix are ignored.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.trim().parse().map_err(|_| NetworkError::Address)?;
        let longest = if address.is_ipv6() { 128 } else { 32 };
        let prefix_len = match prefix {
            None => longest,
            Some(prefix) => prefix.trim().parse().map_err(|_| NetworkError::PrefixLength)?,
        };
        if prefix_len > longest { Err(NetworkError::PrefixLength) } else { Ok(Self::new(address, prefix_len)) }
    }
}

/// Private, link-local and loopback ranges (RFC 1918, 3927, 4193, 4291).
const PRIVATE: [Network; 8] = [
    Network::v4(10, 0, 8),
    Network::v4(172, 16, 12),
    Network::v4(192, 168, 16),
    Network::v4(169, 254, 16),
    Network::v4(127, 0, 8),
    Network::v6(0xFC00, 0, 7),
    Network::v6(0xFE80, 0, 10),
    Network::v6(0, 1, 128),
];

/// Tells directions by the networks of this side.
#[derive(Clone, Debug)]
pub(super) struct Directions {
    /// Bits and mask of each network, by version.
    local_v4: Vec<(u32, u32)>,
    local_v6: Vec<(u128, u128)>,
}

impl Directions {
    pub(super) fn new(local: Option<Vec<Network>>) -> Self {
        let local = local.unwrap_or_else(|| PRIVATE.to_vec());
        let (local_v6, local_v4): (Vec<Network>, Vec<Network>) = local.into_iter().partition(|network| network.is_ipv6);
        let upper = |bits: u128| (bits >> 96) as u32;
        Self {
            local_v4: local_v4.iter().map(|network| (upper(network.bits), upper(network.mask))).collect(),
            local_v6: local_v6.iter().map(|network| (network.bits, network.mask)).collect(),
        }
    }

    /// A packet from this side is outbound, whatever its destination.
    #[inline]
    pub(super) fn is_outbound(&self, src_addr: IpAddr) -> bool {
        match src_addr {
            IpAddr::V4(address) => {
                let address = address.to_bits();
                self.local_v4.iter().any(|(bits, mask)| address & mask == *bits)
            }
            IpAddr::V6(address) => {
                let address = address.to_bits();
                self.local_v6.iter().any(|(bits, mask)| address & mask == *bits)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_ranges_are_local_unless_others_are_named() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let private = Directions::new(None);
        for local in ["10.1.2.3", "172.31.0.1", "192.168.9.9", "169.254.1.1", "127.9.9.9", "fd00::1", "fe80::1", "::1"]
        {
            assert!(private.is_outbound(address(local)), "{local}");
        }
        for remote in ["172.32.0.1", "192.0.2.1", "2001:db8::1", "::2", "::ffff:10.0.0.1"] {
            assert!(!private.is_outbound(address(remote)), "{remote}");
        }
        let named = Directions::new(Some(vec!["192.0.2.77/24".parse().expect("a network")]));
        assert!(named.is_outbound(address("192.0.2.1")));
        assert!(!named.is_outbound(address("10.0.0.1")));
    }

    #[test]
    fn what_is_no_network_says_why() {
        assert_eq!("nowhere/8".parse::<Network>(), Err(NetworkError::Address));
        assert_eq!("10.0.0.0/33".parse::<Network>(), Err(NetworkError::PrefixLength));
        assert_eq!("10.0.0.0/x".parse::<Network>(), Err(NetworkError::PrefixLength));
        assert!("::/0".parse::<Network>().expect("a network").contains("::5".parse().expect("an address")));
    }
}
