//! Runs programs on packets. Never panics, never allocates; every jump leads forwards in an acyclic graph, so that it ends.
use super::bind::Place;
use super::program::{Class, Load, Operation, Path, Program, end};
use crate::address::Address;
use crate::batch::PacketRef;
use crate::packet::field::{array, be16, be32, u8_at};
use crate::packet::{Layout, hash};

/// What a program looks at; without bytes and offset table on layers that carry no packets.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) layout: Option<&'a Layout>,
    pub(super) address: &'a Address,
}

impl<'a> View<'a> {
    /// What there is of a packet.
    #[inline(always)]
    pub(super) const fn of(packet: PacketRef<'a>) -> Self {
        Self { bytes: packet.bytes, layout: Some(packet.layout), address: packet.address }
    }

    /// The number of the class.
    #[inline(always)]
    pub(super) fn class_index(&self) -> usize {
        let (ipv6, transport) = self.layout.map_or((false, None), |layout| (layout.is_ipv6(), layout.transport()));
        Class::index(self.address.outbound(), ipv6, transport)
    }

    /// What is known without reading the packet.
    pub(super) fn class(&self) -> Class {
        Class::from_index(self.class_index())
    }
}

impl Program {
    /// The end that the program reaches: one of [`end`].
    #[inline(always)]
    pub(super) fn run(&self, view: View<'_>) -> u16 {
        let class = view.class_index();
        let transport_offset = view.layout.map_or(0, Layout::transport_offset) as u32;
        let payload_len = view.layout.map_or(0, Layout::payload_len) as u32;
        let mut target = self.entries.get(class).copied().unwrap_or(end::REJECT);
        // Operations that follow each other are read in sequence, which the processor does ahead of the comparisons.
        while let Some(mut rest) = self.operations.get(usize::from(target)..) {
            loop {
                let Some((operation, behind)) = rest.split_first() else { return end::REJECT };
                let passes = if operation.path == Path::Header {
                    let at = operation.offset as u32 + (transport_offset & operation.relative);
                    be32(view.bytes, at as usize).is_some_and(|word| operation.passes(word))
                } else if operation.path == Path::PayloadLen {
                    operation.passes(payload_len)
                } else {
                    self.step(operation, view.bytes, view.layout, view.address)
                };
                if !passes {
                    target = operation.otherwise;
                    break;
                }
                if operation.then != end::NEXT {
                    target = operation.then;
                    break;
                }
                rest = behind;
            }
        }
        target
    }

    /// Whether the operation's value is there and passes. The arguments travel in registers, so that the loop above need
    /// not keep them in memory.
    #[inline(never)]
    fn step(&self, operation: &Operation, bytes: &[u8], layout: Option<&Layout>, address: &Address) -> bool {
        let view = View { bytes, layout, address };
        let Operation { load: source, offset, .. } = *operation;
        if source.is_wide() {
            return load_wide(source, offset, &view).is_some_and(|value| operation.passes_wide(value, self));
        }
        load(source, offset, &view).is_some_and(|word| operation.passes_any(word, self))
    }
}

/// The value of a place.
#[inline]
pub(super) fn value(place: Place, view: &View<'_>) -> Option<u128> {
    if place.load.is_wide() {
        return load_wide(place.load, place.offset, view);
    }
    Some(u128::from(load(place.load, place.offset, view)? >> place.shift) & place.maximum())
}

#[inline(always)]
fn load(source: Load, signed_offset: i32, view: &View<'_>) -> Option<u32> {
    let offset = signed_offset as usize;
    match source {
        Load::Header { transport: false } => be32(view.bytes, offset),
        Load::Header { transport: true } => be32(view.bytes, view.layout?.transport_offset() + offset),
        Load::PayloadLen => Some(view.layout?.payload_len() as u32),
        Load::PacketLen => Some(view.bytes.len() as u32),
        Load::Protocol => Some(view.layout?.protocol().into()),
        Load::Address => array(view.address.as_bytes(), offset).map(u32::from_le_bytes),
        Load::Fragment => Some(view.layout?.is_fragment().into()),
        Load::FlowLabel => {
            let word = be32(view.bytes, 0)?;
            // WinDivert takes the label's bytes in another order.
            Some((word & 0xFFFF) << 16 | (word >> 16 & 0x0F) << 8)
        }
        Load::Hash => {
            let hash = hash(view.bytes, view.layout?, view.address.timestamp() as u64);
            Some(if offset == 0 { hash } else { hash >> 32 } as u32)
        }
        Load::EventProtocol => Some(u32::from(view.address.protocol()) | u32::from(view.address.ipv6()) << 8),
        Load::Element { payload, from_end, len } => {
            let region = if payload { view.bytes.get(view.layout?.payload_range())? } else { view.bytes };
            let distance = signed_offset.unsigned_abs() as usize;
            let at = if from_end { region.len().checked_sub(distance)? } else { distance };
            match len {
                1 => u8_at(region, at).map(u32::from),
                2 => be16(region, at).map(u32::from),
                _ => be32(region, at),
            }
        }
        _ => None,
    }
}

#[inline(always)]
fn load_wide(source: Load, offset: i32, view: &View<'_>) -> Option<u128> {
    let offset = offset as usize;
    let record = view.address.as_bytes();
    match source {
        Load::WideIp => array(view.bytes, offset).map(u128::from_be_bytes),
        // The words are little-endian, the first one least significant.
        Load::WideAddress => array(record, offset).map(u128::from_le_bytes),
        Load::Wide64 => array(record, offset).map(|bytes| u64::from_le_bytes(bytes).into()),
        Load::WideTimestamp => array(record, offset).map(|bytes| (u64::from_le_bytes(bytes) ^ 1 << 63).into()),
        Load::WidePriority => array(record, offset).map(|bytes| (u16::from_le_bytes(bytes) ^ 1 << 15).into()),
        _ => None,
    }
}
