//! The names of columns, and what each is read from. Pure; never panics.
use super::super::bind::{Reading, reading};
use super::super::field::{Field, Source, Style};
use super::super::names::{Name, lookup};
use super::super::program::Class;
use super::super::suggest::{Names, Slot, closest_of, suggest};
use super::super::{ast, parse};
use super::error::{ColumnError, ColumnErrorKind};
use crate::address::Layer;
use ast::{Comparison, NodeKind};

/// Columns are those of a layer that has packets; the other such layer has no field that this one lacks.
pub(super) const LAYER: u8 = Layer::Network.number();

/// What a column is read from.
///
/// Its name is that of a field of the filter language that packets have, array fields with their index (`tcp.Payload[0]`), or
/// one of [`ColumnSource::OWN_NAMES`].
#[derive(Clone, Debug)]
pub struct ColumnSource {
    name: String,
    origin: Origin,
}

/// Where the values come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// The capture time of the record.
    Time,
    /// The first of these fields that the packet has, array fields with a byte index.
    Fields { fields: &'static [Field], index: i32, kind: Kind },
}

/// The type of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    U8,
    U16,
    U32,
    I64,
    Octets,
}

impl Kind {
    const fn of_bits(bits: u8) -> Self {
        match bits {
            0..=8 => Self::U8,
            9..=16 => Self::U16,
            _ => Self::U32,
        }
    }

    /// The narrowest one that holds every value of a field on a layer with packets.
    const fn of(field: Field) -> Self {
        if matches!(field.style(), Style::Flag) {
            return Self::Bool;
        }
        match field.source() {
            Source::Bits(_, bits) | Source::Address(_, bits) | Source::Random(_, bits) => Self::of_bits(bits),
            Source::PacketElement(len) | Source::PayloadElement(len) => Self::of_bits(len * 8),
            Source::Protocol => Self::U8,
            Source::EndpointPort(_) => Self::U16,
            Source::Ipv6Address(_) | Source::EndpointAddress(_) => Self::Octets,
            Source::Timestamp | Source::Address64(_) => Self::I64,
            _ => Self::U32,
        }
    }
}

const TIME: &str = "time_ns";

/// Columns that are no field of the filter language: name, fields, type.
const OWN: [(&str, &[Field], Kind); 5] = [
    // 0 is outbound, as in WinDivert 1.
    ("direction", &[Field::Inbound], Kind::U8),
    ("src_addr", &[Field::IpSrcAddr, Field::Ipv6SrcAddr], Kind::Octets),
    ("dst_addr", &[Field::IpDstAddr, Field::Ipv6DstAddr], Kind::Octets),
    ("src_port", &[Field::TcpSrcPort, Field::UdpSrcPort], Kind::U16),
    ("dst_port", &[Field::TcpDstPort, Field::UdpDstPort], Kind::U16),
];

impl ColumnSource {
    /// The names that are none of the filter language: `time_ns` is the capture time (nanoseconds since 1970), `direction` 0
    /// for outbound and 1 for inbound, the addresses are those of either IP version, the ports those of TCP or UDP.
    pub const OWN_NAMES: [&'static str; OWN.len() + 1] = {
        let mut names = [TIME; OWN.len() + 1];
        let mut index = 0;
        while index < OWN.len() {
            #[expect(clippy::indexing_slicing, reason = "evaluated when the crate is built")]
            let (place, (name, ..)) = (&mut names[index + 1], OWN[index]);
            *place = name;
            index += 1;
        }
        names
    };

    /// The column of this name.
    pub fn parse(name: &str) -> Result<Self, ColumnError> {
        Ok(Self { name: name.to_owned(), origin: origin_of(name)? })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn origin(&self) -> Origin {
        self.origin
    }
}

impl Origin {
    /// Where the value of a class's packets comes from.
    pub(super) fn reading(self, class: Class) -> Option<Reading> {
        match self {
            Self::Time => None,
            Self::Fields { fields, index, .. } => fields.iter().find_map(|field| reading(*field, index, class, LAYER)),
        }
    }

    pub(super) const fn fields(self) -> &'static [Field] {
        match self {
            Self::Time => &[],
            Self::Fields { fields, .. } => fields,
        }
    }
}

fn origin_of(name: &str) -> Result<Origin, ColumnError> {
    if name == TIME {
        return Ok(Origin::Time);
    }
    if let Some((_, fields, kind)) = OWN.iter().find(|(own, ..)| *own == name) {
        return Ok(Origin::Fields { fields, index: 0, kind: *kind });
    }
    let (word, rest) = name.split_at(name.find('[').unwrap_or(name.len()));
    let Some(field) = column_field(word) else {
        let kind = ColumnErrorKind::Unknown { name: name.to_owned(), suggestions: suggestions(word).to_vec() };
        return Err(ColumnError::listing(kind, ColumnSource::OWN_NAMES));
    };
    let index = if rest.is_empty() && !field.is_array() { 0 } else { index_of(name, rest)? };
    let fields = Field::ALL.get(*field as usize..=*field as usize).unwrap_or_default();
    Ok(Origin::Fields { fields, index, kind: Kind::of(*field) })
}

/// The field of this name, if packets have it.
fn column_field(word: &str) -> Option<&'static Field> {
    match lookup(word.as_bytes())? {
        Name::Field(field) if field.exists_on(LAYER) => Field::ALL.get(field as usize),
        _ => None,
    }
}

/// The byte index of a field with its index, as a filter that tests it reads it.
fn index_of(name: &str, rest: &str) -> Result<i32, ColumnError> {
    // A space or operator would make another test of it.
    let refused = || ColumnError::new(ColumnErrorKind::Index { name: name.to_owned(), reason: None });
    if !rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'[' | b']' | b'-')) {
        return Err(refused());
    }
    let ast = parse(name.as_bytes(), LAYER).map_err(|error| {
        ColumnError::new(ColumnErrorKind::Index { name: name.to_owned(), reason: Some(error.into()) })
    })?;
    match ast.node(ast.root).map(|node| node.kind) {
        Some(NodeKind::Test(Comparison { index: Some(index), .. })) => Ok(index),
        _ => Err(refused()),
    }
}

/// Names of columns that a word may stand for.
fn suggestions(word: &str) -> Names {
    let own = closest_of(word, ColumnSource::OWN_NAMES.into_iter());
    if !own.is_empty() {
        return own;
    }
    suggest(word, Slot::Test, LAYER).into_iter().filter(|name| column_field(name).is_some()).collect()
}
