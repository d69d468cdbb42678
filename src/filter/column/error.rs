//! What is wrong with a column's name, or with values that were to be written.
use super::super::error::Error;
use super::super::field::Field;
use super::super::suggest::did_you_mean;
use std::fmt;

/// A column that there is not, or that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnError {
    kind: ColumnErrorKind,
    /// The names that could have been given.
    possible: Vec<&'static str>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnErrorKind {
    /// Packets have nothing of this name.
    Unknown {
        /// The name.
        name: String,
        /// What may have been meant; at most two.
        suggestions: Vec<&'static str>,
    },
    /// An array field without an index, another field with one, or an index that leaves the largest packet.
    Index {
        /// The name.
        name: String,
        /// What is wrong with it, where it can be told.
        reason: Option<Box<Error>>,
    },
    /// The column cannot be written.
    ReadOnly {
        /// Its name.
        name: String,
    },
    /// A packet cannot be given its value; no packet was changed.
    Packet {
        /// The column's name.
        name: String,
        /// The packet's index, from 0.
        index: usize,
        /// What is wrong.
        fault: WriteFault,
    },
}

/// Why a packet cannot be given a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteFault {
    /// The batch has no packet of this index.
    NoPacket,
    /// The packet has the header of none of these fields.
    AbsentHeader(&'static [Field]),
    /// There is no value.
    NoValue,
    /// The value does not fit the field.
    OutOfRange {
        /// Whether the value is below zero.
        is_negative: bool,
        /// Its distance from zero.
        magnitude: u128,
        /// The largest value that fits.
        max: u128,
    },
    /// An address for a field that holds none.
    Address,
    /// An IPv4 address for an IPv6 packet, or the other way round. Carries the packet's version.
    AddressVersion(u8),
}

impl ColumnError {
    pub(super) const fn new(kind: ColumnErrorKind) -> Self {
        Self { kind, possible: Vec::new() }
    }

    /// An error that lists the names that could have been given.
    pub(super) fn listing(kind: ColumnErrorKind, possible: impl IntoIterator<Item = &'static str>) -> Self {
        Self { kind, possible: possible.into_iter().collect() }
    }

    /// What is wrong.
    pub const fn kind(&self) -> &ColumnErrorKind {
        &self.kind
    }

    /// The error with another index of the packet, for whoever counts otherwise than the batch does.
    #[must_use]
    pub fn renumbered(mut self, number: impl FnOnce(usize) -> usize) -> Self {
        if let ColumnErrorKind::Packet { index, .. } = &mut self.kind {
            *index = number(*index);
        }
        self
    }
}

impl fmt::Display for ColumnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ColumnErrorKind::Unknown { name, suggestions } if suggestions.is_empty() => {
                let own = self.possible.join(", ");
                write!(
                    f,
                    "packets have no column `{name}`; columns are the packets' fields of the filter language, {own}"
                )
            }
            ColumnErrorKind::Unknown { name, suggestions } => {
                write!(f, "packets have no column `{name}`{}", did_you_mean(suggestions))
            }
            ColumnErrorKind::Index { reason: Some(reason), .. } => reason.fmt(f),
            ColumnErrorKind::Index { name, reason: None } => {
                write!(f, "`{name}` is no column; a field with an index is written as `tcp.Payload[0]`")
            }
            ColumnErrorKind::ReadOnly { name } => {
                let settable = self.possible.join(", ");
                write!(f, "column `{name}` cannot be set; those that can are {settable}")
            }
            ColumnErrorKind::Packet { name, index, fault } => {
                write!(f, "`{name}` of packet {index} (counted from 0): ")?;
                fault.fmt(f)?;
                f.write_str("; no packet was changed")?;
                let is_absent = matches!(fault, WriteFault::AbsentHeader(_));
                f.write_str(if is_absent {
                    "; leave such packets out with a mask, as the column's `valid` does"
                } else {
                    ""
                })
            }
        }
    }
}

impl std::error::Error for ColumnError {}

impl fmt::Display for WriteFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPacket => f.write_str("there is no such packet"),
            Self::AbsentHeader(fields) => {
                let mut headers: Vec<_> = fields.iter().filter_map(|field| field.needs()).map(Field::name).collect();
                if headers.is_empty() {
                    // The ports of the two ends.
                    headers.extend([Field::Tcp.name(), Field::Udp.name()]);
                }
                write!(f, "the packet has no {} header", headers.join(" or "))
            }
            Self::NoValue => f.write_str("there is no value for it"),
            Self::OutOfRange { is_negative, magnitude, max } => {
                let sign = if *is_negative { "-" } else { "" };
                write!(f, "{sign}{magnitude} does not fit, the least value is 0 and the largest {max}")
            }
            Self::Address => f.write_str("an address does not fit, the field holds a number"),
            Self::AddressVersion(version) => write!(f, "the packet is IPv{version}, the address is not"),
        }
    }
}
