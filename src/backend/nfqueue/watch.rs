//! eBPF programs at the root control group: they tell of socket operations, with the process that does them.
//!
//! Programs are attached by links, which go with their descriptors, so that nothing stays when the process ends. They see
//! every network namespace; each record says which.
use super::ring::Ring;
use super::sys::Descriptor;
use super::sys_bpf;
use crate::address::Event;
use crate::filter::{Arithmetic, Assembler, EventPlaces, Filter, Relation};
use std::io::{ErrorKind, Result};

/// Bytes of the ring.
const RING_LEN: usize = 1 << 20;
/// Length of a record, and where its parts lie.
pub(super) const RECORD_LEN: usize = 80;
const COOKIE: i16 = 0;
const NAMESPACE: i16 = 8;
const PROCESS: i16 = 16;
const KIND: i16 = 20;
const FAMILY: i16 = 24;
const PROTOCOL: i16 = 28;
const LOCAL: i16 = 32;
const REMOTE: i16 = 48;
const LOCAL_PORT: i16 = 64;
const REMOTE_PORT: i16 = 68;
const STATE: i16 = 72;

/// What a record is about.
pub(super) mod kind {
    pub(in super::super) const BIND: u32 = 1;
    pub(in super::super) const CONNECT: u32 = 2;
    pub(in super::super) const LISTEN: u32 = 3;
    pub(in super::super) const CLOSE: u32 = 4;
    /// A TCP connection is there that this side asked for, or the other.
    pub(in super::super) const ACTIVE: u32 = 5;
    pub(in super::super) const PASSIVE: u32 = 6;
    /// A TCP connection is in another state.
    pub(in super::super) const STATE: u32 = 7;
    /// A datagram goes to an end for the first time, or comes from one.
    pub(in super::super) const SENT: u32 = 8;
    pub(in super::super) const RECEIVED: u32 = 9;
}

/// Types of programs.
const CGROUP_SOCKET: u32 = 9;
const SOCKET_OPERATIONS: u32 = 13;
const SOCKET_ADDRESS: u32 = 18;
/// Helper functions.
const UPDATE_ELEMENT: u32 = 2;
const PROCESS_ID: u32 = 14;
const SOCKET_COOKIE: u32 = 46;
const SET_CALLBACKS: u32 = 59;
const NAMESPACE_COOKIE: u32 = 122;
const RING_OUTPUT: u32 = 130;
/// A map that forgets what was not used for long, and the flag that refuses what is there already.
const LRU_HASH: u32 = 9;
const NEW_ONLY: u32 = 1;
/// Ends of datagrams that are remembered, and the parts of a key: socket, other end, whether it was sent.
const REMEMBERED: u32 = 1 << 14;
const KEY_LEN: u32 = 32;
/// Callbacks on every change of a connection's state.
const STATE_CALLBACK: u32 = 4;
const UDP: u32 = 17;
const TCP: u32 = 6;

/// Registers: the context, and the end of the stack.
const CONTEXT: u8 = 6;
const STACK: u8 = 10;
/// Where the record lies on the stack, and what is put beside it.
const RECORD: i16 = -(RECORD_LEN as i16);
const KEY: i16 = RECORD - KEY_LEN as i16;
const VALUE: i16 = KEY - 8;
const LOCAL_NUMBER: i16 = RECORD - 16;
const REMOTE_NUMBER: i16 = LOCAL_NUMBER - 16;
const REMOTE_PORT_NUMBER: i16 = REMOTE_NUMBER - 8;

/// The programs, attached, and the ring that they write to.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) ring: Ring,
    _map: Descriptor,
    _links: Vec<Descriptor>,
}

/// Where the parts of a record are in a context: address of this side, of the other, and their ports.
struct Fields {
    family: i16,
    protocol: Option<i16>,
    local: Option<(i16, i16)>,
    remote: Option<(i16, i16)>,
    local_port: Option<i16>,
    remote_port: Option<i16>,
}

const BOUND: Fields = Fields {
    family: 4,
    protocol: Some(12),
    local: Some((24, 28)),
    remote: None,
    local_port: Some(44),
    remote_port: None,
};
const CLOSED: Fields =
    Fields { family: 4, protocol: Some(12), local: None, remote: None, local_port: None, remote_port: None };
const ADDRESSED: Fields = Fields {
    family: 28,
    protocol: Some(36),
    local: None,
    remote: Some((4, 8)),
    local_port: None,
    remote_port: Some(24),
};
const OPERATED: Fields = Fields {
    family: 20,
    protocol: None,
    local: Some((28, 48)),
    remote: Some((24, 32)),
    local_port: Some(68),
    remote_port: Some(64),
};
/// The operation, and the state that a connection goes to.
const OPERATION: i16 = 0;
const NEW_STATE: i16 = 8;

/// What a program tells of, at which hook.
struct Hook {
    program: u32,
    attach: u32,
    kind: u32,
    ipv6: bool,
}

const fn hook(program: u32, attach: u32, kind: u32, ipv6: bool) -> Hook {
    Hook { program, attach, kind, ipv6 }
}

/// The hooks but that of TCP's operations.
const HOOKS: [Hook; 9] = [
    hook(CGROUP_SOCKET, 12, kind::BIND, false),
    hook(CGROUP_SOCKET, 13, kind::BIND, true),
    hook(CGROUP_SOCKET, 34, kind::CLOSE, false),
    hook(SOCKET_ADDRESS, 10, kind::CONNECT, false),
    hook(SOCKET_ADDRESS, 11, kind::CONNECT, true),
    hook(SOCKET_ADDRESS, 14, kind::SENT, false),
    hook(SOCKET_ADDRESS, 15, kind::SENT, true),
    hook(SOCKET_ADDRESS, 19, kind::RECEIVED, false),
    hook(SOCKET_ADDRESS, 20, kind::RECEIVED, true),
];
const OPERATIONS: u32 = 3;
/// TCP's operations with what they mean here.
const OF_OPERATIONS: [(u32, u32); 5] =
    [(3, kind::CONNECT), (4, kind::ACTIVE), (5, kind::PASSIVE), (10, kind::STATE), (11, kind::LISTEN)];

impl Watch {
    /// Attaches the programs. With `refuses`, what matches this filter is refused: binds, and connects.
    pub(super) fn start(refuses: Option<&Filter>) -> Result<Self> {
        let ring = Ring::new(RING_LEN)?;
        let map = sys_bpf::make_map(LRU_HASH, KEY_LEN, 4, REMEMBERED)?;
        let group = sys_bpf::root_group()?;
        let mut links = Vec::new();
        for hook in &HOOKS {
            let code = match refuses.filter(|_| matches!(hook.kind, kind::BIND | kind::CONNECT)) {
                Some(filter) => refusal(hook, &ring.descriptor, filter).ok_or(ErrorKind::Unsupported)?,
                None => program(hook, &ring.descriptor, &map),
            };
            let program = sys_bpf::load_program(hook.program, hook.attach, &code)?;
            links.push(sys_bpf::attach_to_group(&program, &group, hook.attach)?);
        }
        // Older kernels do not tell the process here; then it is looked up.
        let operations = [true, false].map(|tells| operations(&ring.descriptor, tells, refuses.is_none()));
        let load = |code: &Vec<u64>| sys_bpf::load_program(SOCKET_OPERATIONS, OPERATIONS, code);
        let [first, second] = &operations;
        let program = load(first).or_else(|_| load(second))?;
        links.push(sys_bpf::attach_to_group(&program, &group, OPERATIONS)?);
        Ok(Self { ring, _map: map, _links: links })
    }
}

/// The program of a hook.
fn program(hook: &Hook, ring: &Descriptor, map: &Descriptor) -> Vec<u64> {
    let mut code = Assembler::new();
    let out = code.label();
    code.combine(Arithmetic::Move, CONTEXT, 1);
    let fields = match hook.kind {
        kind::BIND => &BOUND,
        kind::CLOSE => &CLOSED,
        _ => &ADDRESSED,
    };
    if hook.kind == kind::CONNECT {
        // TCP tells more of it where the connection begins.
        code.load_word(1, CONTEXT, 36);
        code.jump_if(1, Relation::NotEqual, UDP, out);
    }
    write_record(&mut code, hook.kind, fields, Some(hook.ipv6), true);
    if matches!(hook.kind, kind::SENT | kind::RECEIVED) {
        for offset in [0, 8, 16] {
            let from = if offset == 0 { RECORD + COOKIE } else { RECORD + REMOTE + offset - 8 };
            code.load_stack_wide(1, from);
            code.store_stack_wide(KEY + offset, 1);
        }
        code.load_stack(1, RECORD + REMOTE_PORT);
        code.store_stack(KEY + 24, 1);
        code.compute(Arithmetic::Move, 1, hook.kind);
        code.store_stack(KEY + 28, 1);
        code.store_stack(VALUE, 1);
        code.set_map(1, map.raw());
        address(&mut code, 2, KEY);
        address(&mut code, 3, VALUE);
        code.compute(Arithmetic::Move, 4, NEW_ONLY);
        code.call(UPDATE_ELEMENT);
        code.jump_if(0, Relation::NotEqual, 0, out);
    }
    write_output(&mut code, ring);
    code.place(out);
    code.compute(Arithmetic::Move, 0, 1);
    code.exit();
    code.finish().unwrap_or_default()
}

/// The program of a hook where operations can be refused; `None` if the filter asks what is not known there.
fn refusal(hook: &Hook, ring: &Descriptor, filter: &Filter) -> Option<Vec<u64>> {
    let mut code = Assembler::new();
    code.combine(Arithmetic::Move, CONTEXT, 1);
    let (fields, event) =
        if hook.kind == kind::BIND { (&BOUND, Event::SocketBind) } else { (&ADDRESSED, Event::SocketConnect) };
    write_record(&mut code, hook.kind, fields, Some(hook.ipv6), true);
    // Addresses as numbers, beside the record.
    for (from, to, is_known) in
        [(LOCAL, LOCAL_NUMBER, fields.local.is_some()), (REMOTE, REMOTE_NUMBER, fields.remote.is_some())]
    {
        write_number(&mut code, RECORD + from, to, is_known, hook.ipv6);
    }
    code.load_stack(1, RECORD + REMOTE_PORT);
    code.turn_bytes(1, 16);
    code.store_stack(REMOTE_PORT_NUMBER, 1);
    let places = EventPlaces {
        event: event.number(),
        is_ipv6: hook.ipv6,
        process_id: RECORD + PROCESS,
        protocol: RECORD + PROTOCOL,
        endpoint_id: RECORD + COOKIE,
        local_addr: LOCAL_NUMBER,
        remote_addr: REMOTE_NUMBER,
        local_port: RECORD + LOCAL_PORT,
        remote_port: REMOTE_PORT_NUMBER,
    };
    let (is_exact, refuses, allows) = filter.ask_event(&mut code, &places);
    code.place(refuses);
    write_output(&mut code, ring);
    code.compute(Arithmetic::Move, 0, 0);
    code.exit();
    code.place(allows);
    code.compute(Arithmetic::Move, 0, 1);
    code.exit();
    code.finish().filter(|_| is_exact)
}

/// An address of the record as a number of 128 bits, IPv4 mapped; zero if it is not known.
fn write_number(code: &mut Assembler, from: i16, to: i16, is_known: bool, ipv6: bool) {
    code.compute(Arithmetic::Move, 1, 0);
    code.store_stack_wide(to, 1);
    code.store_stack_wide(to + 8, 1);
    if !is_known {
        return;
    }
    if !ipv6 {
        code.load_stack(1, from);
        code.turn_bytes(1, 32);
        code.set_wide(2, 0xFFFF_0000_0000);
        code.combine(Arithmetic::Or, 1, 2);
        code.store_stack_wide(to + 8, 1);
        return;
    }
    for half in [0, 8] {
        code.load_stack(1, from + half);
        code.turn_bytes(1, 32);
        code.compute_wide(Arithmetic::ShiftLeft, 1, 32);
        code.load_stack(2, from + half + 4);
        code.turn_bytes(2, 32);
        code.combine(Arithmetic::Or, 1, 2);
        code.store_stack_wide(to + half, 1);
    }
}

/// The program of TCP's operations.
fn operations(ring: &Descriptor, tells_process: bool, tells_connect: bool) -> Vec<u64> {
    let mut code = Assembler::new();
    let (out, tells) = (code.label(), code.label());
    code.combine(Arithmetic::Move, CONTEXT, 1);
    for (operation, kind) in OF_OPERATIONS {
        if kind == kind::CONNECT && !tells_connect {
            // Told where it can be refused.
            continue;
        }
        let next = code.label();
        code.load_word(1, CONTEXT, OPERATION);
        code.jump_if(1, Relation::NotEqual, operation, next);
        if matches!(kind, kind::CONNECT | kind::PASSIVE | kind::LISTEN) {
            code.combine(Arithmetic::Move, 1, CONTEXT);
            code.compute(Arithmetic::Move, 2, STATE_CALLBACK);
            code.call(SET_CALLBACKS);
        }
        // Who runs is not who owns the connection once it is under way.
        let is_own = matches!(kind, kind::CONNECT | kind::LISTEN);
        write_record(&mut code, kind, &OPERATED, None, tells_process && is_own);
        if kind == kind::STATE {
            code.load_word(1, CONTEXT, NEW_STATE);
            code.store_stack(RECORD + STATE, 1);
        }
        code.jump(tells);
        code.place(next);
    }
    code.jump(out);
    code.place(tells);
    write_output(&mut code, ring);
    code.place(out);
    code.compute(Arithmetic::Move, 0, 1);
    code.exit();
    code.finish().unwrap_or_default()
}

/// An address on the stack into a register.
fn address(code: &mut Assembler, register: u8, place: i16) {
    code.combine(Arithmetic::Move, register, STACK);
    code.compute_wide(Arithmetic::Add, register, i32::from(place) as u32);
}

fn write_record(code: &mut Assembler, kind: u32, fields: &Fields, ipv6: Option<bool>, tells_process: bool) {
    code.compute(Arithmetic::Move, 1, 0);
    for offset in (0..RECORD_LEN as i16).step_by(8) {
        code.store_stack_wide(RECORD + offset, 1);
    }
    code.compute(Arithmetic::Move, 1, kind);
    code.store_stack(RECORD + KIND, 1);
    copy(code, fields.family, FAMILY);
    if let Some(place) = fields.protocol {
        copy(code, place, PROTOCOL);
    } else {
        code.compute(Arithmetic::Move, 1, TCP);
        code.store_stack(RECORD + PROTOCOL, 1);
    }
    for (place, target) in [(fields.local_port, LOCAL_PORT), (fields.remote_port, REMOTE_PORT)] {
        if let Some(place) = place {
            copy(code, place, target);
        }
    }
    for (places, target) in [(fields.local, LOCAL), (fields.remote, REMOTE)] {
        let Some((ipv4, wide)) = places else { continue };
        match ipv6 {
            Some(false) => copy(code, ipv4, target),
            Some(true) => copy_wide(code, wide, target),
            None => {
                let (is_ipv6, done) = (code.label(), code.label());
                code.load_word(1, CONTEXT, fields.family);
                code.jump_if(1, Relation::Equal, libc::AF_INET6 as u32, is_ipv6);
                copy(code, ipv4, target);
                code.jump(done);
                code.place(is_ipv6);
                copy_wide(code, wide, target);
                code.place(done);
            }
        }
    }
    code.combine(Arithmetic::Move, 1, CONTEXT);
    code.call(SOCKET_COOKIE);
    code.store_stack_wide(RECORD + COOKIE, 0);
    code.combine(Arithmetic::Move, 1, CONTEXT);
    code.call(NAMESPACE_COOKIE);
    code.store_stack_wide(RECORD + NAMESPACE, 0);
    if tells_process {
        code.call(PROCESS_ID);
        code.compute_wide(Arithmetic::ShiftRight, 0, 32);
        code.store_stack(RECORD + PROCESS, 0);
    }
}

fn copy(code: &mut Assembler, from: i16, to: i16) {
    code.load_word(1, CONTEXT, from);
    code.store_stack(RECORD + to, 1);
}

fn copy_wide(code: &mut Assembler, from: i16, to: i16) {
    for offset in [0, 4, 8, 12] {
        copy(code, from + offset, to + offset);
    }
}

fn write_output(code: &mut Assembler, ring: &Descriptor) {
    code.set_map(1, ring.raw());
    address(code, 2, RECORD);
    code.compute(Arithmetic::Move, 3, RECORD_LEN as u32);
    code.compute(Arithmetic::Move, 4, 0);
    code.call(RING_OUTPUT);
}
