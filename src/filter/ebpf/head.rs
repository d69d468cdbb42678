//! The part of a program that reads the headers as the parser does, and finds the packet's class.
//!
//! From here on register 6 is the context, 7 the offset of the transport header and 9 the packet's length; the stack holds
//! the rest.
use super::super::program::Class;
use super::Extent;
use super::code::{Arithmetic, Assembler, Label, Register, Relation, Width};
use crate::packet::Transport;

pub(super) const CONTEXT: Register = 6;
pub(super) const TRANSPORT: Register = 7;
pub(super) const PROTOCOL: Register = 8;
pub(super) const LENGTH: Register = 9;

/// Places on the stack.
pub(super) mod stack {
    pub(in super::super) const PROTOCOL: i16 = -4;
    pub(in super::super) const FRAGMENT: i16 = -8;
    pub(in super::super) const PAYLOAD: i16 = -12;
    /// Whether there are bytes before the fragment's.
    pub(in super::super) const IS_LATER: i16 = -16;
    pub(in super::super) const HIGH: i16 = -24;
    pub(in super::super) const LOW: i16 = -32;
}

/// Where the packet's length lies in the context.
const CONTEXT_LENGTH: i16 = 0;
/// The smallest packet.
pub(super) const MINIMUM_LEN: u32 = 20;
const IPV6_HEADER_LEN: u32 = 40;
/// Extension headers that are walked over; packets with more match whatever the filter says.
const EXTENSIONS_MAX: usize = 8;
const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const FRAGMENT: u32 = 44;
const AUTHENTICATION: u32 = 51;
const DESTINATION: u32 = 60;
const MOBILITY: u32 = 135;
const TCP_HEADER_LEN: u32 = 20;
const SHORT_HEADER_LEN: u32 = 8;

/// Writes the part; each class of packets goes on at its goal.
pub(super) fn write(code: &mut Assembler, extent: Extent, goals: &[(usize, Label)], accept: Label, reject: Label) {
    let is_ipv4 = code.label();
    code.combine(Arithmetic::Move, CONTEXT, 1);
    code.load_word(LENGTH, CONTEXT, CONTEXT_LENGTH);
    code.jump_if(LENGTH, Relation::Less, MINIMUM_LEN, reject);
    if let Extent::AtMost(most) = extent {
        code.jump_if(LENGTH, Relation::Greater, most, reject);
    }
    code.compute(Arithmetic::Move, 1, 0);
    code.store_stack(stack::FRAGMENT, 1);
    code.store_stack(stack::IS_LATER, 1);
    code.load_packet(Width::Byte, 0);
    code.compute(Arithmetic::ShiftRight, 0, 4);
    code.jump_if(0, Relation::Equal, 4, is_ipv4);
    code.jump_if(0, Relation::NotEqual, 6, reject);
    write_ipv6(code, extent, accept, reject);
    write_transport(code, goals, true);
    code.place(is_ipv4);
    write_ipv4(code, extent, reject);
    write_transport(code, goals, false);
}

fn write_ipv4(code: &mut Assembler, extent: Extent, reject: Label) {
    let is_whole = code.label();
    let is_first = code.label();
    code.load_packet(Width::Byte, 0);
    code.combine(Arithmetic::Move, TRANSPORT, 0);
    code.compute(Arithmetic::And, TRANSPORT, 15);
    code.jump_if(TRANSPORT, Relation::Less, 5, reject);
    code.compute(Arithmetic::ShiftLeft, TRANSPORT, 2);
    if extent != Extent::Large {
        code.load_packet(Width::Half, 2);
        code.jump_if_wide(0, Relation::NotEqual, LENGTH, reject);
    }
    code.jump_if_wide(LENGTH, Relation::Less, TRANSPORT, reject);
    code.load_packet(Width::Byte, 9);
    code.combine(Arithmetic::Move, PROTOCOL, 0);
    code.load_packet(Width::Half, 6);
    code.compute(Arithmetic::And, 0, 0x3FFF);
    code.jump_if(0, Relation::Equal, 0, is_whole);
    code.compute(Arithmetic::Move, 1, 1);
    code.store_stack(stack::FRAGMENT, 1);
    code.compute(Arithmetic::And, 0, 0x1FFF);
    code.jump_if(0, Relation::Equal, 0, is_first);
    code.store_stack(stack::IS_LATER, 1);
    code.place(is_first);
    code.place(is_whole);
}

fn write_ipv6(code: &mut Assembler, extent: Extent, accept: Label, reject: Label) {
    let done = code.label();
    code.jump_if(LENGTH, Relation::Less, IPV6_HEADER_LEN, reject);
    if extent != Extent::Large {
        code.load_packet(Width::Half, 4);
        code.compute(Arithmetic::Add, 0, IPV6_HEADER_LEN);
        code.jump_if_wide(0, Relation::NotEqual, LENGTH, reject);
    }
    code.load_packet(Width::Byte, 6);
    code.combine(Arithmetic::Move, PROTOCOL, 0);
    code.compute(Arithmetic::Move, TRANSPORT, IPV6_HEADER_LEN);
    for _ in 0..EXTENSIONS_MAX {
        write_extension(code, done);
    }
    for protocol in [HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, MOBILITY] {
        code.jump_if(PROTOCOL, Relation::Equal, protocol, accept);
    }
    code.place(done);
}

/// Walks over one extension header, if there is one.
fn write_extension(code: &mut Assembler, done: Label) {
    let [is_extension, is_fragment, is_authentication, has_length, next] = [(); 5].map(|()| code.label());
    code.jump_if(PROTOCOL, Relation::Equal, FRAGMENT, is_extension);
    code.jump_if(PROTOCOL, Relation::Equal, AUTHENTICATION, is_extension);
    for protocol in [HOP_BY_HOP, ROUTING, DESTINATION] {
        code.jump_if(PROTOCOL, Relation::Equal, protocol, is_extension);
    }
    code.jump_if(PROTOCOL, Relation::NotEqual, MOBILITY, done);
    code.place(is_extension);
    // How much is left, in register 2.
    write_rest(code, 2);
    code.jump_if(2, Relation::Less, 2, done);
    code.jump_if(PROTOCOL, Relation::Equal, FRAGMENT, is_fragment);
    code.load_packet_from(Width::Byte, TRANSPORT, 1);
    code.jump_if(PROTOCOL, Relation::Equal, AUTHENTICATION, is_authentication);
    code.compute(Arithmetic::Add, 0, 1);
    code.compute(Arithmetic::ShiftLeft, 0, 3);
    code.jump(has_length);
    code.place(is_authentication);
    code.compute(Arithmetic::Add, 0, 2);
    code.compute(Arithmetic::ShiftLeft, 0, 2);
    code.place(has_length);
    write_rest(code, 2);
    code.jump_if_wide(2, Relation::Less, 0, done);
    write_step(code);
    code.jump(next);
    code.place(is_fragment);
    code.jump_if(2, Relation::Less, 8, done);
    code.load_stack(3, stack::FRAGMENT);
    code.jump_if(3, Relation::NotEqual, 0, done);
    code.compute(Arithmetic::Move, 3, 1);
    code.store_stack(stack::FRAGMENT, 3);
    code.load_packet_from(Width::Half, TRANSPORT, 2);
    code.compute(Arithmetic::And, 0, 0xFFF8);
    code.store_stack(stack::IS_LATER, 0);
    code.compute(Arithmetic::Move, 0, 8);
    write_step(code);
    code.load_stack(3, stack::IS_LATER);
    code.jump_if(3, Relation::NotEqual, 0, done);
    code.place(next);
}

/// How much is left from the transport header's place on, into a register.
fn write_rest(code: &mut Assembler, register: Register) {
    code.combine(Arithmetic::Move, register, LENGTH);
    code.combine(Arithmetic::Subtract, register, TRANSPORT);
}

/// Goes over a header of the length in register 0 to the one that it names.
fn write_step(code: &mut Assembler) {
    code.store_stack(stack::PAYLOAD, 0);
    code.load_packet_from(Width::Byte, TRANSPORT, 0);
    code.combine(Arithmetic::Move, PROTOCOL, 0);
    code.load_stack(1, stack::PAYLOAD);
    code.combine(Arithmetic::Add, TRANSPORT, 1);
    // So that the verifier knows that it is small.
    code.compute(Arithmetic::And, TRANSPORT, 0x1_FFFF);
}

/// Finds the transport header and the payload, and goes to the class's goal.
fn write_transport(code: &mut Assembler, goals: &[(usize, Label)], ipv6: bool) {
    let goal = |transport: Option<Transport>| {
        let of = |index: usize| Class::from_index(index);
        let found = goals.iter().find(|(index, _)| of(*index).ipv6 == ipv6 && of(*index).transport == transport);
        found.or(goals.first()).map(|(_, label)| *label)
    };
    let [is_tcp, is_short, has_header, none] = [(); 4].map(|()| code.label());
    let control = if ipv6 { Transport::Icmpv6 } else { Transport::Icmp };
    code.store_stack(stack::PROTOCOL, PROTOCOL);
    code.store_stack(stack::PAYLOAD, TRANSPORT);
    code.load_stack(1, stack::IS_LATER);
    code.jump_if(1, Relation::NotEqual, 0, none);
    // How much is left, in register 2.
    write_rest(code, 2);
    code.jump_if(PROTOCOL, Relation::Equal, u32::from(Transport::Tcp.protocol()), is_tcp);
    code.jump_if(PROTOCOL, Relation::Equal, u32::from(Transport::Udp.protocol()), is_short);
    code.jump_if(PROTOCOL, Relation::NotEqual, u32::from(control.protocol()), none);
    code.place(is_short);
    code.jump_if(2, Relation::Less, SHORT_HEADER_LEN, none);
    code.compute(Arithmetic::Move, 0, SHORT_HEADER_LEN);
    code.jump(has_header);
    code.place(is_tcp);
    code.jump_if(2, Relation::Less, TCP_HEADER_LEN, none);
    code.load_packet_from(Width::Byte, TRANSPORT, 12);
    code.compute(Arithmetic::ShiftRight, 0, 4);
    code.compute(Arithmetic::ShiftLeft, 0, 2);
    code.jump_if(0, Relation::Less, TCP_HEADER_LEN, none);
    write_rest(code, 2);
    code.jump_if_wide(0, Relation::AtMost, 2, has_header);
    code.combine(Arithmetic::Move, 0, 2);
    code.place(has_header);
    code.combine(Arithmetic::Add, 0, TRANSPORT);
    code.store_stack(stack::PAYLOAD, 0);
    for transport in [Transport::Tcp, Transport::Udp] {
        if let Some(label) = goal(Some(transport)) {
            code.jump_if(PROTOCOL, Relation::Equal, u32::from(transport.protocol()), label);
        }
    }
    if let Some(label) = goal(Some(control)) {
        code.jump(label);
    }
    code.place(none);
    if let Some(label) = goal(None) {
        code.jump(label);
    }
}
