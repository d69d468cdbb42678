//! Loading the value of a field, as the filter's own program does, or telling that it is not to be had.
use super::super::bind::Place;
use super::super::program::Load;
use super::code::{Arithmetic, Assembler, Label, Register, Relation, Width};
use super::head::{LENGTH, MINIMUM_LEN, TRANSPORT, stack};
use super::{Extent, Vantage};
use std::ops::Range;

/// What there is of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loaded {
    /// A word in register 0.
    Narrow,
    /// 128 bits, the upper half in register 1, the lower in 2.
    Wide,
    /// The same for all packets.
    Known(u32),
    /// Not told, but at least this.
    AtLeast(u32),
    /// The kernel does not tell.
    Unknown,
}

/// The flags' byte in the address record's word of layer, event, flags and nothing.
const FLAGS_WORD: i32 = 8;
pub(super) const INTERFACE_WORD: i32 = 16;
const SUBINTERFACE_WORD: i32 = 20;
const LOOPBACK: u32 = 1 << 18;
const IMPOSTOR: u32 = 1 << 19;
const EVENT: u32 = 0xFF00;

/// Where values come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loader<'a> {
    /// A packet, seen from one side.
    Packet(Vantage),
    /// An event that was put together on the stack.
    Event(&'a EventPlaces),
}

impl Loader<'_> {
    /// Writes the load of a place; where the value is absent, the program goes on at `absent`.
    pub(super) fn write(self, code: &mut Assembler, place: Place, absent: Label) -> Loaded {
        match self {
            Self::Packet(vantage) => write(code, place, vantage, absent),
            Self::Event(places) => write_of_event(code, place, places),
        }
    }
}

/// Where on the stack the parts of a socket's event lie; numbers in the machine's order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventPlaces {
    /// The event's number.
    pub(crate) event: u8,
    pub(crate) is_ipv6: bool,
    pub(crate) process_id: i16,
    pub(crate) protocol: i16,
    /// The endpoint's number, of 64 bits.
    pub(crate) endpoint_id: i16,
    /// Addresses as numbers of 128 bits, IPv4 mapped, the upper half first.
    pub(crate) local_addr: i16,
    pub(crate) remote_addr: i16,
    pub(crate) local_port: i16,
    pub(crate) remote_port: i16,
}

/// Words of the address record.
const PROCESS_WORD: i32 = 32;
const PORTS_WORD: i32 = 68;
const PROTOCOL_WORD: i32 = 72;
const ENDPOINT_WORD: i32 = 16;
const LOCAL_ADDR_WORD: i32 = 36;
/// The bit that tells an event's IP version beside its protocol.
const EVENT_IPV6: u32 = 1 << 8;

/// What is known of a part of an event by its number alone.
pub(super) fn known_of_event(place: Place, event: u8) -> Option<u32> {
    let wanted = (place.maximum() << place.shift) as u32;
    let is_known = matches!(place.load, Load::Address) && place.offset == FLAGS_WORD && wanted & !EVENT == 0;
    is_known.then_some((u32::from(event) << 8 & wanted) >> place.shift)
}

/// Writes the load of a part of an event.
fn write_of_event(code: &mut Assembler, place: Place, places: &EventPlaces) -> Loaded {
    match (place.load, place.offset) {
        (Load::Address, FLAGS_WORD) => {
            return known_of_event(place, places.event).map_or(Loaded::Unknown, Loaded::Known);
        }
        (Load::Address, PROCESS_WORD) => code.load_stack(0, places.process_id),
        (Load::Address, PORTS_WORD) => {
            code.load_stack(0, if place.shift == 0 { places.local_port } else { places.remote_port });
        }
        (Load::Address, PROTOCOL_WORD) => code.load_stack(0, places.protocol),
        (Load::EventProtocol, _) => {
            code.load_stack(0, places.protocol);
            if places.is_ipv6 {
                code.compute(Arithmetic::Or, 0, EVENT_IPV6);
            }
        }
        (Load::WideAddress, offset) => {
            let addr = if offset == LOCAL_ADDR_WORD { places.local_addr } else { places.remote_addr };
            code.load_stack_wide(1, addr);
            code.load_stack_wide(2, addr + 8);
            return Loaded::Wide;
        }
        (Load::Wide64, ENDPOINT_WORD) => {
            code.compute(Arithmetic::Move, 1, 0);
            code.load_stack_wide(2, places.endpoint_id);
            return Loaded::Wide;
        }
        // What such an event came from, it does not tell.
        (Load::Wide64, _) => return Loaded::Known(0),
        _ => return Loaded::Unknown,
    }
    Loaded::Narrow
}

/// Writes the load of a place; where the value is absent, the program goes on at `absent`.
fn write(code: &mut Assembler, place: Place, vantage: Vantage, absent: Label) -> Loaded {
    let offset = place.offset;
    if vantage.extent == Extent::Large
        && let Some(loaded) = of_segments(place)
    {
        return loaded;
    }
    match place.load {
        Load::Header { transport: false } => code.load_packet(Width::Word, offset),
        Load::Header { transport: true } => code.load_packet_from(Width::Word, TRANSPORT, offset),
        Load::PayloadLen => {
            code.combine(Arithmetic::Move, 0, LENGTH);
            code.load_stack(1, stack::PAYLOAD);
            code.combine(Arithmetic::Subtract, 0, 1);
        }
        Load::PacketLen => code.combine(Arithmetic::Move, 0, LENGTH),
        Load::Protocol => code.load_stack(0, stack::PROTOCOL),
        Load::Fragment => code.load_stack(0, stack::FRAGMENT),
        Load::FlowLabel => write_flow_label(code),
        Load::Address => return known(place, vantage),
        Load::Element { payload, from_end, len } => write_element(code, offset, payload, from_end, len, absent),
        Load::WideIp => {
            write_half(code, offset, stack::HIGH);
            write_half(code, offset + 8, stack::LOW);
            code.load_stack_wide(1, stack::HIGH);
            code.load_stack_wide(2, stack::LOW);
            return Loaded::Wide;
        }
        Load::Hash
        | Load::EventProtocol
        | Load::WideAddress
        | Load::Wide64
        | Load::WideTimestamp
        | Load::WidePriority => return Loaded::Unknown,
    }
    if place.shift > 0 {
        code.compute(Arithmetic::ShiftRight, 0, place.shift.into());
    }
    if place.bits + place.shift < 32 {
        code.compute(Arithmetic::And, 0, place.maximum() as u32);
    }
    Loaded::Narrow
}

/// Which bits of headers differ between a large packet and its segments, or from segment to segment, counted from the header's
/// first: of the IP header the length, the identification of IPv4 and its checksum; of TCP the sequence number, CWR, PSH, FIN
/// and the checksum; of UDP the length and the checksum.
const DIFFERING: [(bool, Range<i32>); 8] = [
    (false, 16..32),
    (false, 32..48),
    (false, 80..96),
    (true, 32..64),
    (true, 104..105),
    (true, 108..109),
    (true, 111..112),
    (true, 128..144),
];
/// The next header of IPv6, where IPv4 has nothing of this kind: it may lead to the length of a large packet.
const NEXT_HEADER: Range<i32> = 48..56;

/// What is known of a place for all segments of a large packet, where the packet itself does not tell.
fn of_segments(place: Place) -> Option<Loaded> {
    match place.load {
        Load::Header { transport } => {
            let end = (place.offset + 4) * 8 - i32::from(place.shift);
            let own = end - i32::from(place.bits)..end;
            let meets = |bits: &Range<i32>| bits.start < own.end && own.start < bits.end;
            let differs = DIFFERING.iter().any(|(of_transport, bits)| *of_transport == transport && meets(bits));
            (differs || !transport && own == NEXT_HEADER).then_some(Loaded::Unknown)
        }
        // Every segment has a piece of what is behind the headers.
        Load::PayloadLen => Some(Loaded::AtLeast(1)),
        Load::PacketLen => Some(Loaded::AtLeast(MINIMUM_LEN + 1)),
        Load::Element { .. } => Some(Loaded::Unknown),
        _ => None,
    }
}

/// What is known of a word of the address record.
fn known(place: Place, vantage: Vantage) -> Loaded {
    let wanted = (place.maximum() << place.shift) as u32;
    let (word, certain) = match (place.offset, vantage.loopback) {
        (FLAGS_WORD, None) => (0, IMPOSTOR | EVENT),
        (FLAGS_WORD, Some(loopback)) => (if loopback { LOOPBACK } else { 0 }, IMPOSTOR | EVENT | LOOPBACK),
        (INTERFACE_WORD, _) => vantage.interface.map_or((0, 0), |interface| (interface, u32::MAX)),
        (SUBINTERFACE_WORD, _) => (0, u32::MAX),
        _ => (0, 0),
    };
    if wanted & !certain != 0 { Loaded::Unknown } else { Loaded::Known((word & wanted) >> place.shift) }
}

/// The flow label in the order in which WinDivert takes its bytes.
fn write_flow_label(code: &mut Assembler) {
    code.load_packet(Width::Word, 0);
    code.combine(Arithmetic::Move, 1, 0);
    code.compute(Arithmetic::And, 0, 0xFFFF);
    code.compute(Arithmetic::ShiftLeft, 0, 16);
    code.compute(Arithmetic::ShiftRight, 1, 16);
    code.compute(Arithmetic::And, 1, 0x0F);
    code.compute(Arithmetic::ShiftLeft, 1, 8);
    code.combine(Arithmetic::Or, 0, 1);
}

/// 64 bits of the packet to the stack.
fn write_half(code: &mut Assembler, offset: i32, place: i16) {
    code.load_packet(Width::Word, offset);
    code.compute_wide(Arithmetic::ShiftLeft, 0, 32);
    code.store_stack_wide(place, 0);
    code.load_packet(Width::Word, offset + 4);
    code.load_stack_wide(1, place);
    code.combine(Arithmetic::Or, 0, 1);
    code.store_stack_wide(place, 0);
}

/// Where an element lies, in this register.
const AT: Register = 1;
const START: Register = 2;

fn write_element(code: &mut Assembler, offset: i32, payload: bool, from_end: bool, len: u8, absent: Label) {
    let distance = offset.unsigned_abs();
    if from_end {
        if u32::from(len) > distance {
            code.jump(absent);
        }
        code.jump_if(LENGTH, Relation::Less, distance, absent);
        code.combine(Arithmetic::Move, AT, LENGTH);
        code.compute_wide(Arithmetic::Subtract, AT, distance);
        if payload {
            code.load_stack(START, stack::PAYLOAD);
            code.jump_if_wide(AT, Relation::Less, START, absent);
        }
    } else {
        code.compute(Arithmetic::Move, AT, distance);
        if payload {
            code.load_stack(START, stack::PAYLOAD);
            code.combine(Arithmetic::Add, AT, START);
        }
        code.combine(Arithmetic::Move, START, AT);
        code.compute_wide(Arithmetic::Add, START, len.into());
        code.jump_if_wide(START, Relation::Greater, LENGTH, absent);
    }
    code.load_packet_from(Width::of(len), AT, 0);
}
