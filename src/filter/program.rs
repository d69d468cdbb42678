//! The executable form of a filter: one small program for each class of packets, over shared operations.
//!
//! A class is what is known of a packet without reading it: IP version, transport header, direction. Tests of those are
//! decided when the filter is compiled, and a test of a header is known to find it, so that a program holds only what must
//! be read. An operation loads a value, masks it, looks whether it lies in a range, and goes on to the next one or jumps.
use super::table::{NarrowTable, WideTable};
use crate::packet::Transport;

/// Where evaluation ends; as indices they lie beyond every program.
pub(super) mod end {
    pub(in super::super) const ACCEPT: u16 = 0xFFF0;
    pub(in super::super) const REJECT: u16 = 0xFFF1;
    /// A field that the layer lacks, which only objects can test.
    pub(in super::super) const VIOLATION: u16 = 0xFFF2;
    /// In the place of a target: the operation that follows.
    pub(in super::super) const NEXT: u16 = 0xFFFF;
}

/// What is known of a packet without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) outbound: bool,
    pub(super) ipv6: bool,
    pub(super) transport: Option<Transport>,
}

impl Class {
    /// How many classes there are.
    pub(super) const COUNT: usize = 16;

    #[inline(always)]
    pub(super) fn index(outbound: bool, ipv6: bool, transport: Option<Transport>) -> usize {
        let protocol = transport.map_or(0, Transport::protocol);
        let transport = TRANSPORT_INDEX.get(usize::from(protocol & 63)).copied().unwrap_or(0);
        usize::from(outbound) << 3 | usize::from(ipv6) << 2 | usize::from(transport)
    }

    /// Whether events fall into the class: they have no headers.
    pub(super) const fn is_of_events(self) -> bool {
        !self.ipv6 && self.transport.is_none()
    }

    pub(super) const fn from_index(index: usize) -> Self {
        let ipv6 = index & 4 != 0;
        let transport = match index & 3 {
            0 => None,
            1 => Some(Transport::Tcp),
            2 => Some(Transport::Udp),
            _ if ipv6 => Some(Transport::Icmpv6),
            _ => Some(Transport::Icmp),
        };
        Self { outbound: index & 8 != 0, ipv6, transport }
    }
}

/// The part of a class's index that stands for the transport header, by its protocol number.
#[expect(clippy::indexing_slicing, reason = "evaluated when the crate is built, where a wrong index is an error")]
static TRANSPORT_INDEX: [u8; 64] = {
    let mut table = [0; 64];
    table[Transport::Tcp as usize] = 1;
    table[Transport::Udp as usize] = 2;
    // One exists under IPv4 only, the other under IPv6 only.
    table[Transport::Icmp as usize] = 3;
    table[Transport::Icmpv6 as usize] = 3;
    table
};

/// What an operation loads. Header and address loads are 32-bit words that are then masked; offsets are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Load {
    /// A word of the IP header or, if so, the transport header, big-endian.
    Header {
        transport: bool,
    },
    PayloadLen,
    PacketLen,
    Protocol,
    Fragment,
    FlowLabel,
    /// A word of the packet's hash: offset 0 the lower one, 4 the upper one.
    Hash,
    /// A word of the address record, little-endian.
    Address,
    /// Protocol of a flow or socket event, and bit 8 if it is IPv6.
    EventProtocol,
    /// One element of so many bytes of the packet or the payload, at an offset from its start or its end.
    Element {
        payload: bool,
        from_end: bool,
        len: u8,
    },
    /// 128 bits of the IP header, big-endian.
    WideIp,
    /// An IPv6 address of the address record.
    WideAddress,
    /// 64 bits of the address record.
    Wide64,
    /// 64 bits of the address record with the sign bit turned round, so that negative numbers come first.
    WideTimestamp,
    /// 16 bits of the address record, likewise.
    WidePriority,
}

impl Load {
    /// Whether more than 32 bits are loaded.
    pub(super) const fn is_wide(self) -> bool {
        matches!(self, Self::WideIp | Self::WideAddress | Self::Wide64 | Self::WideTimestamp | Self::WidePriority)
    }

    /// Whether the value may be missing, though the class fits.
    pub(super) const fn may_be_absent(self) -> bool {
        matches!(self, Self::Element { .. })
    }
}

/// How an operation is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Path {
    /// Loads a word of a header and compares with the operation's own ranges.
    Header,
    /// Likewise the payload's length.
    PayloadLen,
    /// Anything else.
    Slow,
}

/// One operation. Values `v` with `v - low <= span` modulo 2^32, in one of the two ranges, pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) mask: u32,
    /// Of a set that does not fit here: index of its table.
    pub(super) low: u32,
    pub(super) span: u32,
    pub(super) second_low: u32,
    pub(super) second_span: u32,
    pub(super) offset: i32,
    /// All ones where the offset counts from the transport header, else 0: cheaper than a question.
    pub(super) relative: u32,
    pub(super) path: Path,
    pub(super) in_table: bool,
    pub(super) load: Load,
    /// Where a value that passes leads.
    pub(super) then: u16,
    /// Where another value or none leads.
    pub(super) otherwise: u16,
}

/// The programs of a filter.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// Where each class begins.
    pub(super) entries: [u16; Class::COUNT],
    pub(super) operations: Vec<Operation>,
    /// Sets of masked values that do not fit an operation.
    pub(super) tables: Vec<NarrowTable>,
    pub(super) wide_tables: Vec<WideTable>,
}

impl Operation {
    /// Whether a masked value lies in one of the operation's own ranges.
    #[inline(always)]
    pub(super) const fn passes(&self, word: u32) -> bool {
        let value = word & self.mask;
        (value.wrapping_sub(self.low) <= self.span) | (value.wrapping_sub(self.second_low) <= self.second_span)
    }

    /// Whether a masked value passes.
    pub(super) fn passes_any(&self, word: u32, program: &Program) -> bool {
        if !self.in_table {
            return self.passes(word);
        }
        program.tables.get(self.low as usize).is_some_and(|table| table.contains(word & self.mask))
    }

    /// Whether a wide value passes.
    pub(super) fn passes_wide(&self, value: u128, program: &Program) -> bool {
        program.wide_tables.get(self.low as usize).is_some_and(|table| table.contains(value))
    }
}
