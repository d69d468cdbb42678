//! Compares a column's values with one value. Never panics.
use super::{Column, ColumnData, ColumnValue};
use std::net::IpAddr;

/// How a packet's value is to stand to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnRelation {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Column {
    /// For each packet whether its value stands so to `value`; never where the packet has none, as with the tests of the
    /// filter language. `None` if the column's values are of another kind.
    ///
    /// ```
    /// use oxidivert::address::Address;
    /// use oxidivert::batch::{Batch, Origin};
    /// use oxidivert::filter::{ColumnSource, ColumnValue, ColumnRelation};
    ///
    /// let mut batch = Batch::new();
    /// let packet = b"\x45\0\0\x20\x12\x34\0\0\x40\x11\0\0\xc0\0\x02\x01\xc6\x33\x64\x02\
    ///                \x30\x39\0\x35\0\x0c\0\0abcd";
    /// batch.push_parsed(packet, &Address::default(), 0, Origin::Injected(None))?;
    /// let port = ColumnSource::parse("udp.DstPort")?.extract(&batch, 0..batch.len());
    /// assert_eq!(port.compare(ColumnRelation::Equal, ColumnValue::Number(53)), Some(vec![true]));
    /// assert_eq!(port.compare(ColumnRelation::Less, ColumnValue::Number(53)), Some(vec![false]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compare(&self, relation: ColumnRelation, value: ColumnValue) -> Option<Vec<bool>> {
        let valid = self.valid();
        Some(match self.data() {
            ColumnData::Bool(values) => {
                let numbers: Vec<u8> = values.iter().map(|value| u8::from(*value)).collect();
                compare(&numbers, valid, relation, Place::of(number(value)?))
            }
            ColumnData::U8(values) => compare(values, valid, relation, Place::of(number(value)?)),
            ColumnData::U16(values) => compare(values, valid, relation, Place::of(number(value)?)),
            ColumnData::U32(values) => match value {
                ColumnValue::Address(IpAddr::V4(address)) => {
                    compare(values, valid, relation, Place::At(address.to_bits()))
                }
                _ => compare(values, valid, relation, Place::of(number(value)?)),
            },
            ColumnData::I64(values) => compare(values, valid, relation, Place::of(number(value)?)),
            ColumnData::Octets(values) => compare(values, valid, relation, octets(value)?),
        })
    }
}

/// Where a value lies among those that a type holds.
enum Place<T> {
    Below,
    At(T),
    Above,
}

impl<T: TryFrom<i128>> Place<T> {
    fn of(number: i128) -> Self {
        match T::try_from(number) {
            Ok(value) => Self::At(value),
            Err(_) if number < 0 => Self::Below,
            Err(_) => Self::Above,
        }
    }
}

/// The value as a number; what is too large for one is larger than all that columns of numbers hold.
fn number(value: ColumnValue) -> Option<i128> {
    match value {
        ColumnValue::Number(number) => Some(i128::try_from(number).unwrap_or(i128::MAX)),
        ColumnValue::Negative(number) => Some(number.into()),
        ColumnValue::Address(_) | ColumnValue::Absent => None,
    }
}

/// The value as an address in network byte order, whose order is that of the numbers; IPv4 is mapped.
fn octets(value: ColumnValue) -> Option<Place<[u8; 16]>> {
    match value {
        ColumnValue::Number(number) => Some(Place::At(number.to_be_bytes())),
        ColumnValue::Negative(_) => Some(Place::Below),
        ColumnValue::Address(IpAddr::V4(address)) => Some(Place::At(address.to_ipv6_mapped().octets())),
        ColumnValue::Address(IpAddr::V6(address)) => Some(Place::At(address.octets())),
        ColumnValue::Absent => None,
    }
}

fn compare<T: Copy + Ord>(values: &[T], valid: &[bool], relation: ColumnRelation, place: Place<T>) -> Vec<bool> {
    use ColumnRelation::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    match (place, relation) {
        // One loop each, without a question in it.
        (Place::At(other), Equal) => test(values, valid, |value| value == other),
        (Place::At(other), NotEqual) => test(values, valid, |value| value != other),
        (Place::At(other), Less) => test(values, valid, |value| value < other),
        (Place::At(other), LessOrEqual) => test(values, valid, |value| value <= other),
        (Place::At(other), Greater) => test(values, valid, |value| value > other),
        (Place::At(other), GreaterOrEqual) => test(values, valid, |value| value >= other),
        (Place::Below, Greater | GreaterOrEqual | NotEqual) | (Place::Above, Less | LessOrEqual | NotEqual) => {
            valid.to_vec()
        }
        (Place::Below | Place::Above, _) => vec![false; valid.len()],
    }
}

#[inline]
fn test<T: Copy>(values: &[T], valid: &[bool], holds: impl Fn(T) -> bool) -> Vec<bool> {
    values.iter().zip(valid).map(|(value, is_valid)| holds(*value) & is_valid).collect()
}
