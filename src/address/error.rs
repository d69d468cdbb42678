//! Why bytes are no address record.
use std::fmt;

/// Bytes that are no address record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressError {
    kind: AddressErrorKind,
}

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressErrorKind {
    /// Not 80 bytes.
    Length(usize),
    /// Byte 8 names no layer.
    Layer(u8),
    /// Byte 9 names no event.
    Event(u8),
}

impl AddressError {
    pub(super) const fn new(kind: AddressErrorKind) -> Self {
        Self { kind }
    }

    /// What is wrong.
    pub const fn kind(&self) -> AddressErrorKind {
        self.kind
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            AddressErrorKind::Length(len) => write!(f, "an address record has 80 bytes, these are {len}"),
            AddressErrorKind::Layer(layer) => {
                write!(f, "byte 8 of the address record names layer {layer}, the last is 4")
            }
            AddressErrorKind::Event(event) => {
                write!(f, "byte 9 of the address record names event {event}, the last is 9")
            }
        }
    }
}

impl std::error::Error for AddressError {}
