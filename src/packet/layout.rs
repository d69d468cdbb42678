//! The offset table: where the headers of one packet lie. Small, `Copy`, and made only by the parser.
use std::ops::Range;

/// The IP version of a parsed packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum IpVersion {
    /// RFC 791.
    V4 = 4,
    /// RFC 8200.
    V6 = 6,
}

/// A transport header that the parser recognises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Transport {
    /// RFC 9293, protocol 6.
    Tcp = 6,
    /// RFC 768, protocol 17.
    Udp = 17,
    /// RFC 792, protocol 1, only under IPv4.
    Icmp = 1,
    /// RFC 4443, protocol 58, only under IPv6.
    Icmpv6 = 58,
}

impl Transport {
    /// The IP protocol number.
    pub const fn protocol(self) -> u8 {
        self as u8
    }

    /// Offset of the 16-bit checksum in the header, in bytes.
    pub const fn checksum_offset(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
            Self::Icmp | Self::Icmpv6 => 2,
        }
    }
}

/// Where the headers and the payload of one packet lie, in bytes from its start.
///
/// Made by [`Layout::parse`]; every offset then lies within the buffer that was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub(super) transport_offset: u32,
    pub(super) payload_offset: u32,
    pub(super) end_offset: u32,
    pub(super) total_len: u32,
    pub(super) fragment_offset: u16,
    pub(super) flags: u8,
    pub(super) protocol: u8,
    pub(super) version: IpVersion,
    pub(super) transport: Option<Transport>,
}

pub(super) const FRAGMENT: u8 = 1;
pub(super) const MORE_FRAGMENTS: u8 = 2;
pub(super) const TRUNCATED: u8 = 4;
pub(super) const EXTENDED: u8 = 8;

impl Layout {
    /// The table of no packet, which events have and bytes that are none: nothing is there.
    pub const EMPTY: Self = Self {
        transport_offset: 0,
        payload_offset: 0,
        end_offset: 0,
        total_len: 0,
        fragment_offset: 0,
        flags: 0,
        protocol: 0,
        version: IpVersion::V4,
        transport: None,
    };

    /// The IP version.
    #[inline]
    pub const fn version(&self) -> IpVersion {
        self.version
    }

    /// Whether the packet is IPv6.
    #[inline]
    pub const fn is_ipv6(&self) -> bool {
        matches!(self.version, IpVersion::V6)
    }

    /// The transport header present, if any.
    #[inline]
    pub const fn transport(&self) -> Option<Transport> {
        self.transport
    }

    /// Whether this transport header is present.
    #[inline]
    pub fn has(&self, transport: Transport) -> bool {
        self.transport == Some(transport)
    }

    /// Where this transport header begins, if present.
    #[inline]
    pub fn offset_of(&self, transport: Transport) -> Option<usize> {
        self.has(transport).then_some(self.transport_offset as usize)
    }

    /// Where the transport header begins or, if none is present, where it would (then the payload begins there).
    #[inline]
    pub const fn transport_offset(&self) -> usize {
        self.transport_offset as usize
    }

    /// Where the payload begins; equal to [`end_offset`](Self::end_offset) if it is empty.
    #[inline]
    pub const fn payload_offset(&self) -> usize {
        self.payload_offset as usize
    }

    /// The end of the packet: the IP length, or that of the buffer if smaller.
    #[inline]
    pub const fn end_offset(&self) -> usize {
        self.end_offset as usize
    }

    /// The payload's place.
    #[inline]
    pub const fn payload_range(&self) -> Range<usize> {
        self.payload_offset as usize..self.end_offset as usize
    }

    /// The payload's length in bytes.
    #[inline]
    pub const fn payload_len(&self) -> usize {
        (self.end_offset - self.payload_offset) as usize
    }

    /// The packet's length as its IP header tells, in bytes.
    #[inline]
    pub const fn total_len(&self) -> usize {
        self.total_len as usize
    }

    /// Final protocol number: for IPv6 that of the first header which is not an extension header that was walked over.
    #[inline]
    pub const fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Whether the packet is a fragment; an IPv6 atomic fragment (RFC 6946) counts.
    #[inline]
    pub const fn is_fragment(&self) -> bool {
        self.flags & FRAGMENT != 0
    }

    /// Whether more fragments follow.
    #[inline]
    pub const fn more_fragments(&self) -> bool {
        self.flags & MORE_FRAGMENTS != 0
    }

    /// Fragment offset in bytes.
    #[inline]
    pub const fn fragment_offset(&self) -> usize {
        self.fragment_offset as usize
    }

    /// Whether the IP length exceeds the bytes that are there.
    #[inline]
    pub const fn is_truncated(&self) -> bool {
        self.flags & TRUNCATED != 0
    }

    /// The table of the packet alone, without the bytes that follow behind its IP length.
    #[inline]
    #[must_use]
    pub const fn without_rest(mut self) -> Self {
        self.flags &= !EXTENDED;
        self
    }

    /// Whether bytes follow behind the IP length.
    #[inline]
    pub const fn is_extended(&self) -> bool {
        self.flags & EXTENDED != 0
    }

    /// Whether a transport checksum cannot be computed: truncated, more fragments to come, or a later fragment.
    #[inline]
    pub const fn is_partial(&self) -> bool {
        // A fragment offset comes with the flag, so that one test settles the common case.
        self.flags & (TRUNCATED | FRAGMENT) != 0
            && (self.flags & (TRUNCATED | MORE_FRAGMENTS) != 0 || self.fragment_offset != 0)
    }
}
