//! What a test means for one class of packets: decided, or a set of values of something that is read. Pure; never panics.
use super::field::{Field, Side, Source};
use super::members::Members;
use super::number::Number;
use super::program::{Class, Load};
use super::ranges::Ranges;
use super::types::{Operator, Test};
use crate::packet::Transport;

/// Added to an IPv4 address where it is compared as a mapped one.
const MAPPED: u128 = 0xFFFF << 32;
const EVENT_IPV6: u128 = 1 << 8;

/// Something that can be read: the value is a stretch of a loaded word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) load: Load,
    pub(super) offset: i32,
    /// Bits below the value in the word.
    pub(super) shift: u8,
    /// How many bits the value has.
    pub(super) bits: u8,
}

impl Place {
    /// The largest value.
    pub(super) const fn maximum(self) -> u128 {
        u128::MAX >> (128 - self.bits as u32)
    }
}

/// What a test means for a class.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    /// Decided, by what is known of the class or because what is tested is not there.
    Decided(bool),
    /// The layer lacks the field.
    Violation,
    /// The value of a place decides.
    Read(Place, Values),
}

/// What kind of layer it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Packet,
    Event,
    Reflect,
}

impl Kind {
    const fn of(layer: u8) -> Self {
        match layer {
            2 | 3 => Self::Event,
            4 => Self::Reflect,
            _ => Self::Packet,
        }
    }
}

/// What `test` means for a class on a layer; `sets` are those of its program.
pub(super) fn bind(test: &Test, class: Class, layer: u8, sets: &[Members]) -> Bound {
    let field = test.field;
    if !field.exists_on(layer) {
        return Bound::Violation;
    }
    if field.needs().is_some_and(|header| !class.has(header)) {
        return Bound::Decided(false);
    }
    match read(field, test.index(), class, Kind::of(layer)) {
        Reading::Known(value) => Bound::Decided(test.holds(Number::positive(value), sets)),
        Reading::Place(place) => Bound::Read(place, Values::Numbers(Domain::unsigned(place.maximum()))),
        Reading::Values(place, values) => Bound::Read(place, values),
    }
}

/// The number that a test compares on a layer, if the field is there; `load` reads a place.
pub(super) fn value(test: &Test, class: Class, layer: u8, load: impl FnOnce(Place) -> Option<u128>) -> Option<Number> {
    match reading(test.field, test.index(), class, layer)? {
        Reading::Known(value) => Some(Number::positive(value)),
        Reading::Place(place) => load(place).map(Number::positive),
        Reading::Values(place, values) => load(place).map(|value| values.number(value)),
    }
}

/// Where the value of a field comes from, of an array field with a byte index; `None` where the field is not there.
pub(super) fn reading(field: Field, index: i32, class: Class, layer: u8) -> Option<Reading> {
    let is_there = field.exists_on(layer) && field.needs().is_none_or(|header| class.has(header));
    is_there.then(|| read(field, index, class, Kind::of(layer)))
}

/// Where a field's value comes from.
pub(super) enum Reading {
    Known(u128),
    Place(Place),
    /// A place whose values count otherwise than as unsigned numbers from 0.
    Values(Place, Values),
}

/// How the values of a place answer a test.
#[derive(Clone, Copy, Debug)]
pub(super) enum Values {
    /// They stand for numbers.
    Numbers(Domain),
    /// They stand for 1 if the protocol of an event is this one, under one IP version or both, and else for 0.
    Header { protocol: Transport, under_ipv4: bool, under_ipv6: bool },
}

impl Values {
    /// The values of a place that pass a test; `sets` are those of its program.
    pub(super) fn accepted(self, test: &Test, place: Place, sets: &[Members]) -> Ranges {
        let Self::Header { protocol, under_ipv4, under_ipv6 } = self else {
            return self.domain().accepted(test, sets);
        };
        let protocol = u128::from(protocol.protocol());
        let present = [(under_ipv4, protocol), (under_ipv6, protocol | EVENT_IPV6)];
        let present: Ranges =
            present.into_iter().filter(|(there, _)| *there).map(|(_, value)| (value, value)).collect();
        let accepted = Domain::unsigned(1).accepted(test, sets);
        match (accepted.contains(0), accepted.contains(1)) {
            (false, false) => Ranges::EMPTY,
            (false, true) => present,
            (true, false) => present.complement(place.maximum()),
            (true, true) => Ranges::new(0, place.maximum()),
        }
    }

    /// The number that a value stands for.
    pub(super) fn number(self, value: u128) -> Number {
        match self {
            Self::Numbers(Domain::Unsigned { first, .. }) => Number::positive(first + value),
            Self::Numbers(Domain::Signed { zero }) => match value.checked_sub(zero) {
                Some(magnitude) => Number::positive(magnitude),
                None => Number::negative(zero - value),
            },
            Self::Header { protocol, under_ipv4, under_ipv6 } => {
                let ipv6 = value & EVENT_IPV6 != 0;
                let there = if ipv6 { under_ipv6 } else { under_ipv4 };
                Number::positive((there && value & !EVENT_IPV6 == u128::from(protocol.protocol())).into())
            }
        }
    }

    /// What a value and this add up to, modulo 2^128, is the number that it stands for.
    pub(super) const fn bias(self) -> u128 {
        match self.domain() {
            Domain::Unsigned { first, .. } => first,
            Domain::Signed { zero } => zero.wrapping_neg(),
        }
    }

    const fn domain(self) -> Domain {
        match self {
            Self::Numbers(domain) => domain,
            Self::Header { .. } => Domain::unsigned(1),
        }
    }
}

/// How the values of a place, always counted from 0, stand for numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Domain {
    /// The first number and the largest value.
    Unsigned { first: u128, maximum: u128 },
    /// The value that stands for zero; as many stand for negative numbers.
    Signed { zero: u128 },
}

impl Domain {
    const fn unsigned(maximum: u128) -> Self {
        Self::Unsigned { first: 0, maximum }
    }

    const fn maximum(self) -> u128 {
        match self {
            Self::Unsigned { maximum, .. } => maximum,
            Self::Signed { zero } => zero * 2 - 1,
        }
    }

    /// How many values stand for numbers less than this one, and whether the next one stands for it. `None` if all are
    /// less.
    fn rank(self, number: Number) -> Option<(u128, bool)> {
        let Number { negative, magnitude } = number;
        match self {
            Self::Unsigned { .. } if negative => Some((0, false)),
            Self::Unsigned { first, maximum } => match magnitude.checked_sub(first) {
                None => Some((0, false)),
                Some(value) => (value <= maximum).then_some((value, true)),
            },
            // Minus zero lies between the negative numbers and zero and equals neither.
            Self::Signed { zero } if negative && magnitude == 0 => Some((zero, false)),
            Self::Signed { zero } if negative => {
                Some(zero.checked_sub(magnitude).map_or((0, false), |value| (value, true)))
            }
            Self::Signed { zero } => (magnitude < zero).then_some((zero + magnitude, true)),
        }
    }

    /// The values that are in a set of numbers that is confined to those of the field.
    fn members(self, members: &Members, field: Field) -> Ranges {
        let maximum = self.maximum();
        let low = |number: Option<Number>| number.map_or(Some(0), |number| self.rank(number).map(|(rank, _)| rank));
        let high = |number: Option<Number>| match number.and_then(|number| self.rank(number)) {
            Some((rank, true)) => Some(rank),
            Some((rank, false)) => rank.checked_sub(1),
            None => Some(maximum),
        };
        let ranges = members.opened(field).filter_map(|(first, last)| Some((low(first)?, high(last)?)));
        ranges.filter(|(low, high)| low <= high).collect()
    }

    /// The values that pass a test.
    fn accepted(self, test: &Test, sets: &[Members]) -> Ranges {
        let maximum = self.maximum();
        if let Some(set) = test.set() {
            let inside = sets.get(set).map_or(Ranges::EMPTY, |members| self.members(members, test.field));
            return if test.operator == Operator::In { inside } else { inside.complement(maximum) };
        }
        let all = || Ranges::new(0, maximum);
        let Some((rank, exact)) = self.rank(test.compared()) else {
            return match test.operator {
                Operator::Less | Operator::LessOrEqual | Operator::NotEqual => all(),
                _ => Ranges::EMPTY,
            };
        };
        let equal = || if exact { Ranges::new(rank, rank) } else { Ranges::EMPTY };
        // A rank of 2^128 does not occur: it would have to be that of a number beyond the domain.
        let above =
            |exact: bool| rank.checked_add(u128::from(exact)).map_or(Ranges::EMPTY, |low| Ranges::new(low, maximum));
        match test.operator {
            Operator::Equal => equal(),
            Operator::NotEqual => equal().complement(maximum),
            Operator::LessOrEqual if exact => Ranges::new(0, rank),
            Operator::Less | Operator::LessOrEqual => Ranges::below(rank),
            Operator::Greater => above(exact),
            Operator::GreaterOrEqual => above(false),
            Operator::In | Operator::NotIn => Ranges::EMPTY,
        }
    }
}

impl Class {
    /// Whether the header that a field is named after is there.
    pub(super) fn has(self, header: Field) -> bool {
        match header {
            Field::Ip => !self.ipv6,
            Field::Ipv6 => self.ipv6,
            Field::Tcp => self.transport == Some(Transport::Tcp),
            Field::Udp => self.transport == Some(Transport::Udp),
            Field::Icmp => self.transport == Some(Transport::Icmp),
            Field::Icmpv6 => self.transport == Some(Transport::Icmpv6),
            _ => false,
        }
    }
}

const fn place(load: Load, offset: i32, bits: u8) -> Place {
    Place { load, offset, shift: 0, bits }
}

/// A stretch of a header that is `header_len` bytes long at least, in the 32-bit word that begins where the stretch does,
/// or as late as it can within the header.
const fn header_bits(load: Load, header_len: u8, first: u8, bits: u8) -> Place {
    let last_word = header_len - 4;
    let offset = if first / 8 < last_word { first / 8 } else { last_word };
    let before = first - offset * 8;
    Place { shift: 32 - before - bits, ..place(load, offset as i32, bits) }
}

/// A little-endian integer of the address record, in the aligned word that it lies in.
const fn address_bits(offset: u8, first_bit: u8, bits: u8) -> Place {
    Place { shift: offset % 4 * 8 + first_bit, ..place(Load::Address, (offset - offset % 4) as i32, bits) }
}

fn read(field: Field, index: i32, class: Class, kind: Kind) -> Reading {
    match field.source() {
        Source::Constant => Reading::Known(0),
        Source::Inbound => Reading::Known((!class.outbound).into()),
        Source::Outbound => Reading::Known(class.outbound.into()),
        Source::AddressBit(bit) => Reading::Place(address_bits(10, bit, 1)),
        Source::Address(offset, bits) => Reading::Place(address_bits(offset, 0, bits)),
        Source::Address64(offset) => Reading::Place(place(Load::Wide64, offset.into(), 64)),
        Source::Present if kind == Kind::Packet => Reading::Known(class.has(field).into()),
        Source::Present => event_protocol(field),
        Source::Bits(first, bits) => Reading::Place(match field.needs() {
            Some(Field::Ip) => header_bits(Load::Header { transport: false }, 20, first, bits),
            Some(Field::Ipv6) => header_bits(Load::Header { transport: false }, 40, first, bits),
            Some(Field::Tcp) => header_bits(Load::Header { transport: true }, 20, first, bits),
            _ => header_bits(Load::Header { transport: true }, 8, first, bits),
        }),
        Source::FlowLabel => Reading::Place(place(Load::FlowLabel, 0, 32)),
        Source::Ipv4Address(offset) => ipv4_address(offset),
        Source::Ipv6Address(offset) => Reading::Place(place(Load::WideIp, offset.into(), 128)),
        Source::PayloadLength => Reading::Place(place(Load::PayloadLen, 0, 32)),
        Source::Process if kind == Kind::Reflect => Reading::Place(address_bits(24, 0, 32)),
        Source::Process => Reading::Place(address_bits(32, 0, 32)),
        Source::EndpointAddress(side) => endpoint_address(side, class, kind),
        Source::EndpointPort(side) => endpoint_port(side, class, kind),
        Source::Protocol => protocol(class, kind),
        Source::Priority => signed(Load::WidePriority, 40, 16),
        Source::Timestamp => signed(Load::WideTimestamp, 0, 64),
        Source::PacketElement(len) => element(index, len, false),
        Source::PayloadElement(len) => element(index, len, true),
        Source::Length => Reading::Place(place(Load::PacketLen, 0, 32)),
        Source::Random(first, bits) => {
            let (offset, shift) = if first < 32 { (0, first) } else { (4, first - 32) };
            Reading::Place(Place { shift, ..place(Load::Hash, offset, bits) })
        }
        Source::Fragment => Reading::Place(place(Load::Fragment, 0, 1)),
    }
}

fn ipv4_address(offset: u8) -> Reading {
    let domain = Domain::Unsigned { first: MAPPED, maximum: u128::from(u32::MAX) };
    Reading::Values(place(Load::Header { transport: false }, offset.into(), 32), Values::Numbers(domain))
}

fn signed(load: Load, offset: i32, bits: u8) -> Reading {
    Reading::Values(place(load, offset, bits), Values::Numbers(Domain::Signed { zero: 1 << (bits - 1) }))
}

fn element(index: i32, len: u8, payload: bool) -> Reading {
    let load = Load::Element { payload, from_end: index < 0, len };
    Reading::Place(place(load, index, len * 8))
}

/// The presence of a header, of a flow or socket: its protocol, and for ICMP its IP version too.
fn event_protocol(header: Field) -> Reading {
    let (protocol, under_ipv4, under_ipv6) = match header {
        Field::Tcp => (Transport::Tcp, true, true),
        Field::Udp => (Transport::Udp, true, true),
        Field::Icmp => (Transport::Icmp, true, false),
        Field::Icmpv6 => (Transport::Icmpv6, false, true),
        // WinDivert does not tell the IP version here.
        _ => return Reading::Known(0),
    };
    Reading::Values(place(Load::EventProtocol, 0, 9), Values::Header { protocol, under_ipv4, under_ipv6 })
}

/// Whether the end on this side is where the packet comes from.
pub(super) const fn is_source(side: Side, class: Class) -> bool {
    matches!(side, Side::Local) == class.outbound
}

fn endpoint_address(side: Side, class: Class, kind: Kind) -> Reading {
    match (kind, class.ipv6, is_source(side, class)) {
        (Kind::Packet, false, true) => ipv4_address(12),
        (Kind::Packet, false, false) => ipv4_address(16),
        (Kind::Packet, true, true) => Reading::Place(place(Load::WideIp, 8, 128)),
        (Kind::Packet, true, false) => Reading::Place(place(Load::WideIp, 24, 128)),
        _ if side == Side::Local => Reading::Place(place(Load::WideAddress, 36, 128)),
        _ => Reading::Place(place(Load::WideAddress, 52, 128)),
    }
}

/// The message type stands in for the source port of ICMP.
fn endpoint_port(side: Side, class: Class, kind: Kind) -> Reading {
    let first = if is_source(side, class) { 0 } else { 16 };
    match (kind, class.transport) {
        (Kind::Event | Kind::Reflect, _) if side == Side::Local => Reading::Place(address_bits(68, 0, 16)),
        (Kind::Event | Kind::Reflect, _) => Reading::Place(address_bits(70, 0, 16)),
        (_, Some(Transport::Tcp)) => Reading::Place(header_bits(Load::Header { transport: true }, 20, first, 16)),
        (_, Some(Transport::Udp)) => Reading::Place(header_bits(Load::Header { transport: true }, 8, first, 16)),
        (_, Some(Transport::Icmp | Transport::Icmpv6)) if first == 0 => {
            Reading::Place(header_bits(Load::Header { transport: true }, 8, 0, 8))
        }
        _ => Reading::Known(0),
    }
}

fn protocol(class: Class, kind: Kind) -> Reading {
    match (kind, class.transport) {
        (Kind::Packet, Some(transport)) => Reading::Known(transport.protocol().into()),
        (Kind::Packet, None) => Reading::Place(place(Load::Protocol, 0, 8)),
        _ => Reading::Place(address_bits(72, 0, 8)),
    }
}
