//! Columns: one value of every packet of a batch, all of one type, in host byte order.
//!
//! A column is named once, as a [`ColumnSource`], which is then read from any number of batches: for each class of packets it
//! is known where the value lies, so that a packet costs one load and no allocation. Header fields are written in the
//! same way, with checksums that stay right. No name, batch or value makes a function here panic.
mod by_class;
mod compare;
mod error;
mod extract;
mod source;
mod write;

pub use compare::ColumnRelation;
pub use error::{ColumnError, ColumnErrorKind, WriteFault};
pub use source::ColumnSource;

use std::net::IpAddr;

/// A value of each packet, and which packets have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    data: ColumnData,
    valid: Vec<bool>,
}

/// The values of a column; 0 for packets that have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnData {
    /// Flags, and presence of headers.
    Bool(Vec<bool>),
    /// Numbers of up to 8 bits.
    U8(Vec<u8>),
    /// Numbers of up to 16 bits.
    U16(Vec<u16>),
    /// Numbers of up to 32 bits, lengths, and IPv4 addresses.
    U32(Vec<u32>),
    /// Times.
    I64(Vec<i64>),
    /// IPv6 addresses, in network byte order; IPv4 is mapped.
    Octets(Vec<[u8; 16]>),
}

/// One value, to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnValue {
    /// None; no packet can be given it.
    Absent,
    /// A number; also of an address, the 32 bits of an IPv4 column or the 128 bits of any other.
    Number(u128),
    /// A number below zero, which no field holds.
    Negative(i64),
    /// An address; IPv4 for IPv4 packets only.
    Address(IpAddr),
}

impl Column {
    /// The values.
    pub const fn data(&self) -> &ColumnData {
        &self.data
    }

    /// For each packet whether it has a value.
    pub fn valid(&self) -> &[bool] {
        &self.valid
    }

    /// How many packets there are.
    pub fn len(&self) -> usize {
        self.valid.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.valid.is_empty()
    }

    /// The value of the packet at `index`.
    pub fn value(&self, index: usize) -> ColumnValue {
        if self.valid.get(index) != Some(&true) {
            return ColumnValue::Absent;
        }
        let number = match &self.data {
            ColumnData::Bool(values) => values.get(index).map(|value| u128::from(*value)),
            ColumnData::U8(values) => values.get(index).map(|value| u128::from(*value)),
            ColumnData::U16(values) => values.get(index).map(|value| u128::from(*value)),
            ColumnData::U32(values) => values.get(index).map(|value| u128::from(*value)),
            ColumnData::I64(values) => return values.get(index).map_or(ColumnValue::Absent, |value| (*value).into()),
            ColumnData::Octets(values) => values.get(index).map(|value| u128::from_be_bytes(*value)),
        };
        number.map_or(ColumnValue::Absent, ColumnValue::Number)
    }
}

impl From<i64> for ColumnValue {
    fn from(number: i64) -> Self {
        u64::try_from(number).map_or(Self::Negative(number), |number| Self::Number(number.into()))
    }
}
