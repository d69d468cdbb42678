//! The code of the programs that packets pass on their way between a socket and the network: they tell of the first datagram
//! between a socket and another end, however the socket was used.
use super::super::kernel::sys::Descriptor;
use super::super::kernel::sys_bpf::LOAD_BYTES;
use super::record::kind;
use super::record::place::{FAMILY, LOCAL, LOCAL_PORT, PROTOCOL, REMOTE, REMOTE_PORT};
use super::watch_code::{
    CONTEXT, RECORD, UDP, VALUE, address, write_cookie, write_empty_record, write_names, write_only_first, write_output,
};
use super::watch_namespaces::write_recall;
use crate::filter::{Arithmetic, Assembler, CodeLabel, Relation};

/// A helper function.
const WHOLE_SOCKET: u32 = 95;
/// Where a packet's context tells the socket and the Ethernet type, and a socket its protocol.
const PACKET_SOCKET: i16 = 168;
const PACKET_PROTOCOL: i16 = 16;
const SOCKET_PROTOCOL: i16 = 12;
const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86DD;
/// A packet's header, in the place of numbers that these programs have no use for.
const HEADER: i16 = VALUE - 40;

/// The program of packets that pass sockets: it tells of the first datagram between a socket and another end. The network
/// namespaces of sockets are in `namespaces`, where the kernel does not tell them.
pub(super) fn packets(kind: u32, ring: &Descriptor, map: &Descriptor, namespaces: Option<&Descriptor>) -> Vec<u64> {
    let mut code = Assembler::new();
    let [out, is_ipv6, has_ends] = [(); 3].map(|()| code.label());
    code.combine(Arithmetic::Move, CONTEXT, 1);
    code.load_wide(1, CONTEXT, PACKET_SOCKET);
    code.jump_if_null(1, out);
    code.call(WHOLE_SOCKET);
    code.jump_if_null(0, out);
    code.load_word(1, 0, SOCKET_PROTOCOL);
    code.jump_if(1, Relation::NotEqual, UDP, out);
    write_empty_record(&mut code, kind);
    code.compute(Arithmetic::Move, 1, UDP);
    code.store_stack(RECORD + PROTOCOL, 1);
    code.load_word(1, CONTEXT, PACKET_PROTOCOL);
    code.jump_if(1, Relation::Equal, TYPE_IPV6.to_be().into(), is_ipv6);
    code.jump_if(1, Relation::NotEqual, TYPE_IPV4.to_be().into(), out);
    write_ipv4_ends(&mut code, kind == kind::SENT, out);
    code.jump(has_ends);
    code.place(is_ipv6);
    write_ipv6_ends(&mut code, kind == kind::SENT, out);
    code.place(has_ends);
    if let Some(namespaces) = namespaces {
        write_cookie(&mut code);
        write_recall(&mut code, namespaces, out);
    } else {
        write_names(&mut code);
    }
    write_only_first(&mut code, kind, map, out);
    write_output(&mut code, ring);
    code.place(out);
    code.compute(Arithmetic::Move, 0, 1);
    code.exit();
    code.finish().unwrap_or_default()
}

/// Packet bytes from the offset in register 2 on to [`HEADER`].
fn write_load(code: &mut Assembler, len: u32, out: CodeLabel) {
    code.combine(Arithmetic::Move, 1, CONTEXT);
    address(code, 3, HEADER);
    code.compute(Arithmetic::Move, 4, len);
    code.call(LOAD_BYTES);
    code.jump_if(0, Relation::NotEqual, 0, out);
}

fn write_ipv4_ends(code: &mut Assembler, is_sent: bool, out: CodeLabel) {
    code.compute(Arithmetic::Move, 2, 0);
    write_load(code, 20, out);
    let (local, remote) = if is_sent { (12, 16) } else { (16, 12) };
    for (from, to) in [(local, LOCAL), (remote, REMOTE)] {
        code.load_stack(1, HEADER + from);
        code.store_stack(RECORD + to, 1);
    }
    code.compute(Arithmetic::Move, 1, libc::AF_INET as u32);
    code.store_stack(RECORD + FAMILY, 1);
    // The header's length, in words of four bytes, from its first byte.
    code.load_stack(2, HEADER);
    code.turn_bytes(2, 32);
    code.compute(Arithmetic::ShiftRight, 2, 24);
    code.compute(Arithmetic::And, 2, 0x0F);
    code.compute(Arithmetic::ShiftLeft, 2, 2);
    write_ports(code, is_sent, out);
}

fn write_ipv6_ends(code: &mut Assembler, is_sent: bool, out: CodeLabel) {
    code.compute(Arithmetic::Move, 2, 0);
    write_load(code, 40, out);
    code.load_stack(1, HEADER + 4);
    code.turn_bytes(1, 32);
    code.compute(Arithmetic::ShiftRight, 1, 8);
    code.compute(Arithmetic::And, 1, 0xFF);
    // What has extension headers is told by calls alone.
    code.jump_if(1, Relation::NotEqual, UDP, out);
    let (local, remote) = if is_sent { (8, 24) } else { (24, 8) };
    for (from, to) in [(local, LOCAL), (local + 8, LOCAL + 8), (remote, REMOTE), (remote + 8, REMOTE + 8)] {
        code.load_stack_wide(1, HEADER + from);
        code.store_stack_wide(RECORD + to, 1);
    }
    code.compute(Arithmetic::Move, 1, libc::AF_INET6 as u32);
    code.store_stack(RECORD + FAMILY, 1);
    code.compute(Arithmetic::Move, 2, 40);
    write_ports(code, is_sent, out);
}

/// The ports of the header at the offset in register 2: this side's as a number, the other's in network order.
fn write_ports(code: &mut Assembler, is_sent: bool, out: CodeLabel) {
    write_load(code, 4, out);
    let (local, remote) = if is_sent { (1, 2) } else { (2, 1) };
    code.load_stack(1, HEADER);
    code.turn_bytes(1, 32);
    code.combine(Arithmetic::Move, 2, 1);
    code.compute(Arithmetic::ShiftRight, 1, 16);
    code.compute(Arithmetic::And, 2, 0xFFFF);
    code.store_stack(RECORD + LOCAL_PORT, local);
    code.turn_bytes(remote, 16);
    code.store_stack(RECORD + REMOTE_PORT, remote);
}
