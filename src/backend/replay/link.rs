//! Link headers: where in a captured frame the IP packet begins, which way it goes if the header tells, and how to make the
//! header fit another IP version. Never panics; a frame without IP is `None`.
use crate::packet::IpVersion;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86DD;
/// 802.1Q, 802.1ad, and the older double tag.
const VLAN_TAGS: [u16; 3] = [0x8100, 0x88A8, 0x9100];
/// Tags beyond this are no traffic that anybody means.
const MAXIMUM_TAGS: usize = 4;
/// IPv4 in the 4-byte family word of loopback links, on every system.
const FAMILY_IPV4: u32 = 2;
/// IPv6 there: Linux, NetBSD and OpenBSD, FreeBSD, Darwin.
const FAMILIES_IPV6: [u32; 4] = [10, 24, 28, 30];
/// "Sent to us" in the packet type field of cooked captures; 1 to 3 are further kinds of "received".
const COOKED_INCOMING: u8 = 0;
/// "Sent by us" there.
const COOKED_OUTGOING: u8 = 4;

/// The link types that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkType {
    /// BSD loopback, family in the capturing host's byte order.
    Null,
    /// Ethernet, also with VLAN tags.
    Ethernet,
    /// IPv4 or IPv6 without a link header.
    Raw,
    /// OpenBSD loopback, family in network byte order.
    Loop,
    /// Linux cooked capture.
    LinuxSll,
    /// Linux cooked capture, version 2.
    LinuxSll2,
}

/// Where the IP packet of a frame begins, and what the link header tells of its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) offset: usize,
    pub(super) is_outbound: Option<bool>,
}

impl LinkType {
    /// The link type with this number in captures; 12, 14, 228 and 229 are further names of raw IP.
    pub(super) const fn from_number(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::Null),
            1 => Some(Self::Ethernet),
            12 | 14 | 101 | 228 | 229 => Some(Self::Raw),
            108 => Some(Self::Loop),
            113 => Some(Self::LinuxSll),
            276 => Some(Self::LinuxSll2),
            _ => None,
        }
    }

    /// Finds the IP packet.
    #[inline]
    pub(super) fn locate(self, frame: &[u8]) -> Option<Located> {
        match self {
            Self::Raw => Some(Located { offset: 0, is_outbound: None }),
            Self::Ethernet => {
                let offset = ethernet_payload(frame)?;
                Some(Located { offset, is_outbound: None })
            }
            Self::Null | Self::Loop => {
                let word = *frame.first_chunk::<4>()?;
                let is_ip = |family| family == FAMILY_IPV4 || FAMILIES_IPV6.contains(&family);
                let swapped = self == Self::Null && is_ip(u32::from_le_bytes(word));
                (swapped || is_ip(u32::from_be_bytes(word))).then_some(Located { offset: 4, is_outbound: None })
            }
            Self::LinuxSll => {
                let protocol = be16(frame, 14)?;
                let kind = be16(frame, 0)?;
                is_ip_ethertype(protocol).then_some(Located { offset: 16, is_outbound: cooked_direction(kind) })
            }
            Self::LinuxSll2 => {
                let protocol = be16(frame, 0)?;
                let kind = u16::from(*frame.get(10)?);
                is_ip_ethertype(protocol).then_some(Located { offset: 20, is_outbound: cooked_direction(kind) })
            }
        }
    }

    /// Makes a link header fit an IP version; one that fits stays as it is.
    pub(super) fn set_version(self, header: &mut [u8], version: IpVersion) {
        let ethertype = match version {
            IpVersion::V4 => ETHERTYPE_IPV4,
            IpVersion::V6 => ETHERTYPE_IPV6,
        };
        let ethertype_offset = match self {
            Self::Raw => return,
            Self::Null | Self::Loop => return self.set_family(header, version),
            Self::Ethernet => header.len().saturating_sub(2),
            Self::LinuxSll => 14,
            Self::LinuxSll2 => 0,
        };
        if let Some(place) = header.get_mut(ethertype_offset..).and_then(|rest| rest.first_chunk_mut::<2>()) {
            *place = ethertype.to_be_bytes();
        }
    }

    /// Makes a link header tell this direction, if such a header tells one.
    pub(super) fn set_direction(self, header: &mut [u8], is_outbound: bool) {
        let offset = match self {
            Self::LinuxSll => 1,
            Self::LinuxSll2 => 10,
            Self::Null | Self::Ethernet | Self::Raw | Self::Loop => return,
        };
        if self.locate(header).and_then(|located| located.is_outbound) != Some(is_outbound)
            && let Some(place) = header.get_mut(offset)
        {
            *place = if is_outbound { COOKED_OUTGOING } else { COOKED_INCOMING };
        }
    }

    fn set_family(self, header: &mut [u8], version: IpVersion) {
        let Some(place) = header.first_chunk_mut::<4>() else { return };
        let (little, big) = (u32::from_le_bytes(*place), u32::from_be_bytes(*place));
        let is_little = self == Self::Null && (little == FAMILY_IPV4 || FAMILIES_IPV6.contains(&little));
        let family = if is_little { little } else { big };
        let fits = (family == FAMILY_IPV4) == (version == IpVersion::V4);
        if !fits {
            // Darwin's number, the one most captures of this kind hold.
            let family = if version == IpVersion::V4 { FAMILY_IPV4 } else { 30 };
            *place = if is_little { family.to_le_bytes() } else { family.to_be_bytes() };
        }
    }

    /// A link header for a packet where the capture has none to copy.
    pub(super) fn plain_header(self, version: IpVersion) -> Vec<u8> {
        let mut header = match self {
            Self::Raw => Vec::new(),
            Self::Null | Self::Loop => FAMILY_IPV4.to_be_bytes().to_vec(),
            Self::Ethernet => vec![0; 14],
            Self::LinuxSll => vec![0; 16],
            Self::LinuxSll2 => vec![0; 20],
        };
        self.set_version(&mut header, version);
        header
    }
}

fn be16(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))
}

const fn is_ip_ethertype(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_IPV4 | ETHERTYPE_IPV6)
}

const fn cooked_direction(kind: u16) -> Option<bool> {
    const OUTGOING: u16 = COOKED_OUTGOING as u16;
    match kind {
        OUTGOING => Some(true),
        0..=3 => Some(false),
        _ => None,
    }
}

/// Where the IP packet of an Ethernet frame begins, behind any VLAN tags.
#[inline]
fn ethernet_payload(frame: &[u8]) -> Option<usize> {
    let mut offset = 12;
    for _ in 0..=MAXIMUM_TAGS {
        let ethertype = be16(frame, offset)?;
        if is_ip_ethertype(ethertype) {
            return Some(offset + 2);
        }
        if !VLAN_TAGS.contains(&ethertype) {
            return None;
        }
        offset += 4;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlan_tags_are_walked_over_and_other_ethertypes_are_not_ip() {
        let mut frame = vec![0; 12];
        frame.extend([0x88, 0xA8, 0, 1, 0x81, 0, 0, 2, 0x86, 0xDD, 0x60]);
        assert_eq!(LinkType::Ethernet.locate(&frame).map(|located| located.offset), Some(22));
        frame[21] = 0x06;
        assert_eq!(LinkType::Ethernet.locate(&frame), None);
        assert_eq!(LinkType::Ethernet.locate(&frame[..13]), None);
    }

    #[test]
    fn the_family_of_a_loopback_link_is_read_in_both_byte_orders() {
        for word in [[2, 0, 0, 0], [0, 0, 0, 2], [30, 0, 0, 0], [0, 0, 0, 24]] {
            assert!(LinkType::Null.locate(&word).is_some());
        }
        assert!(LinkType::Loop.locate(&[2, 0, 0, 0]).is_none());
        assert!(LinkType::Null.locate(&[7, 0, 0, 0]).is_none());
    }

    #[test]
    fn a_header_is_changed_only_if_the_version_does_not_fit() {
        let mut header = [28, 0, 0, 0];
        LinkType::Null.set_version(&mut header, IpVersion::V6);
        assert_eq!(header, [28, 0, 0, 0]);
        LinkType::Null.set_version(&mut header, IpVersion::V4);
        assert_eq!(header, [2, 0, 0, 0]);
        for link_type in [LinkType::Ethernet, LinkType::LinuxSll, LinkType::LinuxSll2, LinkType::Null, LinkType::Loop] {
            for version in [IpVersion::V4, IpVersion::V6] {
                let header = link_type.plain_header(version);
                let located = link_type.locate(&header).expect("a plain header leads to IP");
                assert_eq!(located.offset, header.len());
            }
        }
    }
}
