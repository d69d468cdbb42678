//! What a header field is: where it lies, how wide it is, and what a change of it brings with it.
use super::layout::{Layout, Transport};

/// A header that has named fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Header {
    /// RFC 791.
    Ipv4,
    /// RFC 8200, the fixed header.
    Ipv6,
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 792.
    Icmp,
    /// RFC 4443.
    Icmpv6,
}

impl Header {
    /// The header's name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
        }
    }

    /// The transport header that this is, if it is one.
    #[inline(always)]
    pub const fn transport(self) -> Option<Transport> {
        match self {
            Self::Ipv4 | Self::Ipv6 => None,
            Self::Tcp => Some(Transport::Tcp),
            Self::Udp => Some(Transport::Udp),
            Self::Icmp => Some(Transport::Icmp),
            Self::Icmpv6 => Some(Transport::Icmpv6),
        }
    }

    /// Where the header begins in a packet, if it is present.
    #[inline(always)]
    pub fn offset(self, layout: &Layout) -> Option<usize> {
        match self.transport() {
            Some(transport) => layout.offset_of(transport),
            None => (layout.is_ipv6() == matches!(self, Self::Ipv6)).then_some(0),
        }
    }
}

/// What a change of a field brings with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing but the header's checksum, which is updated.
    Plain,
    /// The packet's structure: only the IPv4 header's checksum is updated, and the packet is parsed anew.
    Structural,
    /// It is a checksum itself and is stored as given.
    Checksum,
    /// It cannot be set.
    ReadOnly,
}

/// A header field: a run of bits in a big-endian word of 16 or 32 bits that lies at an even offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub(super) name: &'static str,
    pub(super) header: Header,
    pub(super) role: Role,
    pub(super) offset: u8,
    pub(super) word_bits: u8,
    pub(super) shift: u8,
    pub(super) bits: u8,
}

impl Field {
    /// A row of the table; a wrong one does not compile.
    pub(super) const fn new(
        name: &'static str,
        header: Header,
        role: Role,
        (word_bits, offset): (u8, u8),
        (shift, bits): (u8, u8),
    ) -> Self {
        assert!(word_bits == 16 || word_bits == 32, "a word has 16 or 32 bits");
        assert!(bits > 0 && shift + bits <= word_bits, "the field leaves its word");
        assert!(offset.is_multiple_of(2), "checksums count words at even offsets");
        Self { name, header, role, offset, word_bits, shift, bits }
    }

    /// The field's name.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The header it lies in.
    pub const fn header(self) -> Header {
        self.header
    }

    /// What a change brings with it.
    pub const fn role(self) -> Role {
        self.role
    }

    /// Where it begins in the header, in bits, in the order in which they are sent.
    #[inline]
    pub const fn first_bit(self) -> u8 {
        self.offset * 8 + self.word_bits - self.shift - self.bits
    }

    /// How many bits it has; one means a flag.
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// The largest value it holds.
    #[inline(always)]
    pub const fn max(self) -> u32 {
        u32::MAX >> (32 - self.bits as u32)
    }
}
