//! Evaluation as a helper function, with all checks of its arguments: bytes and address record are whatever a caller has.
use super::error::Error;
use super::eval::View;
use super::program::{Program, end};
use crate::address::Address;
use crate::packet::{Layout, ParseError};
use std::fmt;

/// Why bytes and an address record cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvaluateError {
    kind: EvaluateErrorKind,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvaluateErrorKind {
    /// The address record names no layer.
    UnknownLayer(u8),
    /// The filter was compiled for another layer than the address record's.
    OtherLayer {
        /// The filter's layer.
        filter: u8,
        /// The address record's layer.
        address: u8,
    },
    /// A layer with packets, and no bytes.
    MissingPacket,
    /// A layer without packets, and bytes.
    UnexpectedPacket,
    /// The bytes are no packet.
    Packet(ParseError),
    /// The address record's IPv6 flag is that of the other IP version.
    Version,
    /// The filter does not compile.
    Filter(Error),
    /// A test of a field that the layer lacks, which only compiled objects can hold.
    FieldLayer,
}

impl EvaluateError {
    pub(super) const fn new(kind: EvaluateErrorKind) -> Self {
        Self { kind }
    }

    /// What is wrong.
    pub const fn kind(&self) -> &EvaluateErrorKind {
        &self.kind
    }
}

impl fmt::Display for EvaluateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            EvaluateErrorKind::UnknownLayer(layer) => write!(f, "the address names layer {layer}, the last is 4"),
            EvaluateErrorKind::OtherLayer { filter, address } => {
                write!(f, "the filter is for layer {filter}, the address for layer {address}")
            }
            EvaluateErrorKind::MissingPacket => f.write_str("the address's layer has packets, and there are no bytes"),
            EvaluateErrorKind::UnexpectedPacket => {
                f.write_str("the address's layer has no packets, and there are bytes")
            }
            EvaluateErrorKind::Packet(error) => write!(f, "the bytes are no packet: {error}"),
            EvaluateErrorKind::Version => f.write_str("the address's IPv6 flag does not fit the packet"),
            EvaluateErrorKind::Filter(error) => error.fmt(f),
            EvaluateErrorKind::FieldLayer => f.write_str("the object tests a field that the layer lacks"),
        }
    }
}

impl std::error::Error for EvaluateError {}

/// Bytes and address record after the checks that do not depend on a filter, in WinDivert's order.
pub(super) struct Checked<'a> {
    bytes: &'a [u8],
    layout: Option<Layout>,
    address: &'a Address,
}

impl<'a> Checked<'a> {
    pub(super) fn new(packet: Option<&'a [u8]>, address: &'a Address) -> Result<Self, EvaluateError> {
        let refuse = |kind| Err(EvaluateError::new(kind));
        let without_packet = Self { bytes: &[], layout: None, address };
        match (address.raw_layer(), packet) {
            (0 | 1, None) => refuse(EvaluateErrorKind::MissingPacket),
            (0 | 1, Some(bytes)) => match Layout::parse(bytes) {
                Ok(layout) if layout.is_ipv6() != address.ipv6() => refuse(EvaluateErrorKind::Version),
                Ok(layout) => Ok(Self { bytes, layout: Some(layout), address }),
                Err(error) => refuse(EvaluateErrorKind::Packet(error)),
            },
            (2 | 3, Some(_)) => refuse(EvaluateErrorKind::UnexpectedPacket),
            // The packet of a REFLECT event is not looked at.
            (2..=4, _) => Ok(without_packet),
            (layer, _) => refuse(EvaluateErrorKind::UnknownLayer(layer)),
        }
    }

    /// The same checks, and that the record is of this layer.
    pub(super) fn on_layer(packet: Option<&'a [u8]>, address: &'a Address, layer: u8) -> Result<Self, EvaluateError> {
        let checked = Self::new(packet, address)?;
        if layer == address.raw_layer() {
            return Ok(checked);
        }
        let kind = EvaluateErrorKind::OtherLayer { filter: layer, address: address.raw_layer() };
        Err(EvaluateError::new(kind))
    }

    pub(super) const fn view(&self) -> View<'_> {
        View { bytes: self.bytes, layout: self.layout.as_ref(), address: self.address }
    }

    pub(super) fn run(&self, program: &Program) -> Result<bool, EvaluateError> {
        match program.run(self.view()) {
            end::VIOLATION => Err(EvaluateError::new(EvaluateErrorKind::FieldLayer)),
            outcome => Ok(outcome == end::ACCEPT),
        }
    }
}
