//! Reads a column from a batch: one load a packet, from where the packet's class has the value.
use super::super::bind::{Place, Reading};
use super::super::eval::{View, value};
use super::super::program::{Class, Load};
use super::by_class::ByClass;
use super::source::{Kind, Origin};
use super::{Column, ColumnData, ColumnSource};
use crate::batch::{Batch, PacketRef};
use crate::packet::field::be32;

/// How a packet of a class gives its value.
#[derive(Clone, Copy)]
enum Step {
    Absent,
    Known(u128),
    /// A stretch of a header's word. Apart from the other loads, since most columns are nothing else.
    Word {
        offset: usize,
        counts_from_transport: bool,
        shift: u8,
        mask: u32,
        first: u128,
    },
    /// What is loaded counts from the number on, modulo 2^128.
    Load {
        place: Place,
        first: u128,
    },
}

impl Step {
    fn of(origin: Origin, class: Class) -> Self {
        let (place, first) = match origin.reading(class) {
            None => return Self::Absent,
            Some(Reading::Known(number)) => return Self::Known(number),
            Some(Reading::Place(place)) => (place, 0),
            Some(Reading::Values(place, values)) => (place, values.bias()),
        };
        let Load::Header { transport } = place.load else { return Self::Load { place, first } };
        let mask = place.maximum() as u32;
        Self::Word { offset: place.offset as usize, counts_from_transport: transport, shift: place.shift, mask, first }
    }

    /// The number of a packet of the class, modulo 2^128.
    #[inline(always)]
    fn number(&self, packet: PacketRef<'_>) -> Option<u128> {
        match *self {
            Self::Absent => None,
            Self::Known(number) => Some(number),
            Self::Word { offset, counts_from_transport, shift, mask, first } => {
                let start = if counts_from_transport { packet.layout.transport_offset() } else { 0 };
                let word = be32(packet.bytes, start + offset)?;
                Some(u128::from(word >> shift & mask).wrapping_add(first))
            }
            Self::Load { place, first } => value(place, &View::of(packet)).map(|value| value.wrapping_add(first)),
        }
    }
}

/// A type of values.
trait Item: Copy + Default {
    /// The value of a number, of which only as many bits count as the type has.
    fn from_number(number: u128) -> Self;
}

macro_rules! item {
    ($($type:ty),*) => {$(
        impl Item for $type {
            #[inline(always)]
            fn from_number(number: u128) -> Self {
                number as Self
            }
        }
    )*};
}
item!(u8, u16, u32, i64);

impl Item for bool {
    #[inline(always)]
    fn from_number(number: u128) -> Self {
        number != 0
    }
}

impl Item for [u8; 16] {
    #[inline(always)]
    fn from_number(number: u128) -> Self {
        number.to_be_bytes()
    }
}

impl ColumnSource {
    /// The column of a batch.
    ///
    /// ```
    /// use oxidivert::address::Address;
    /// use oxidivert::batch::{Batch, Origin};
    /// use oxidivert::filter::{ColumnData, ColumnSource};
    ///
    /// let mut batch = Batch::new();
    /// let packet = b"\x45\0\0\x20\x12\x34\0\0\x40\x11\0\0\xc0\0\x02\x01\xc6\x33\x64\x02\
    ///                \x30\x39\0\x35\0\x0c\0\0abcd";
    /// batch.push_parsed(packet, &Address::default(), 0, Origin::Injected(None))?;
    /// let port = ColumnSource::parse("udp.DstPort")?.extract(&batch, 0..batch.len());
    /// assert_eq!(port.data(), &ColumnData::U16(vec![53]));
    /// assert_eq!(port.valid(), [true]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn extract(&self, batch: &Batch, indices: impl ExactSizeIterator<Item = usize>) -> Column {
        let Origin::Fields { kind, .. } = self.origin() else { return times(batch, indices) };
        let mut steps = ByClass::new(|class| Step::of(self.origin(), class));
        match kind {
            Kind::Bool => column(&mut steps, batch, indices, ColumnData::Bool),
            Kind::U8 => column(&mut steps, batch, indices, ColumnData::U8),
            Kind::U16 => column(&mut steps, batch, indices, ColumnData::U16),
            Kind::U32 => column(&mut steps, batch, indices, ColumnData::U32),
            Kind::I64 => column(&mut steps, batch, indices, ColumnData::I64),
            Kind::Octets => column(&mut steps, batch, indices, ColumnData::Octets),
        }
    }
}

fn column<T: Item>(
    steps: &mut ByClass<Step, impl Fn(Class) -> Step>,
    batch: &Batch,
    indices: impl ExactSizeIterator<Item = usize>,
    data: fn(Vec<T>) -> ColumnData,
) -> Column {
    let mut values = vec![T::default(); indices.len()];
    let mut valid = vec![false; indices.len()];
    for ((index, place), is_valid) in indices.zip(&mut values).zip(&mut valid) {
        let Some(packet) = batch.packet(index) else { continue };
        if let Some(number) = steps.of(packet.layout, packet.address).and_then(|step| step.number(packet)) {
            *place = T::from_number(number);
            *is_valid = true;
        }
    }
    Column { data: data(values), valid }
}

fn times(batch: &Batch, indices: impl Iterator<Item = usize>) -> Column {
    let times = indices.map(|index| batch.records().get(index).map(|record| record.time_ns));
    let (values, valid) = times.map(|time| (time.unwrap_or(0), time.is_some())).unzip();
    Column { data: ColumnData::I64(values), valid }
}
