//! The code of the programs at the control group: what they write of socket operations, and to which operations they say no.
use super::super::kernel::sys::Descriptor;
use super::record::place::{
    COOKIE, FAMILY, KIND, LOCAL, LOCAL_PORT, NAME, NAMESPACE, PROCESS, PROTOCOL, REMOTE, REMOTE_PORT, STATE, THREAD,
};
use super::record::{NAME_LEN, RECORD_LEN, kind};
use crate::address::Event;
use crate::filter::{Arithmetic, Assembler, CodeLabel, EventPlaces, Filter, Relation};

/// The type of programs that are asked of sockets themselves.
pub(super) const CGROUP_SOCKET: u32 = 9;

/// Helper functions.
pub(super) const UPDATE_ELEMENT: u32 = 2;
const PROCESS_ID: u32 = 14;
const THREAD_NAME: u32 = 16;
const SOCKET_COOKIE: u32 = 46;
const SET_CALLBACKS: u32 = 59;
const NAMESPACE_COOKIE: u32 = 122;
const RING_OUTPUT: u32 = 130;
/// The flag that refuses what is in a map already.
const NEW_ONLY: u32 = 1;
/// The length of a key: socket, other end, whether it was sent.
pub(super) const KEY_LEN: u32 = 32;
/// Callbacks on every change of a connection's state.
const STATE_CALLBACK: u32 = 4;
pub(super) const UDP: u32 = 17;
const TCP: u32 = super::record::TCP as u32;

/// Registers: the context, and the end of the stack.
pub(super) const CONTEXT: u8 = 6;
const STACK: u8 = 10;
/// Where the record lies on the stack, and what is put beside it.
pub(super) const RECORD: i16 = -(RECORD_LEN as i16);
const KEY: i16 = RECORD - KEY_LEN as i16;
pub(super) const VALUE: i16 = KEY - 8;
const LOCAL_NUMBER: i16 = RECORD - 16;
const REMOTE_NUMBER: i16 = LOCAL_NUMBER - 16;
const REMOTE_PORT_NUMBER: i16 = REMOTE_NUMBER - 8;

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

/// Where the address of the other end is told, the socket is, and where its own end lies in it.
const SOCKET: i16 = 64;
const OF_SOCKET: (i16, i16, i16) = (24, 28, 44);

/// TCP's operations with what they mean here.
const OF_OPERATIONS: [(u32, u32); 5] =
    [(3, kind::CONNECT), (4, kind::ACTIVE), (5, kind::PASSIVE), (10, kind::STATE), (11, kind::LISTEN)];

/// What a program tells of, at which hook.
pub(super) struct Hook {
    pub(super) program: u32,
    pub(super) attach: u32,
    pub(super) kind: u32,
    pub(super) ipv6: bool,
}

pub(super) const fn hook(program: u32, attach: u32, kind: u32, ipv6: bool) -> Hook {
    Hook { program, attach, kind, ipv6 }
}

/// What a program tells of whoever runs: kernels differ in what they let it ask.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Runner {
    /// The numbers of process and thread, and the thread's name.
    Named,
    /// The numbers.
    Numbered,
    /// Nothing.
    Untold,
}

/// The program of a hook.
pub(super) fn program(hook: &Hook, ring: &Descriptor, map: &Descriptor, runner: Runner) -> Vec<u64> {
    let mut code = Assembler::new();
    let out = code.label();
    code.combine(Arithmetic::Move, CONTEXT, 1);
    let fields = match hook.kind {
        kind::BIND => &BOUND,
        kind::CLOSE => &CLOSED,
        kind::OWNER if hook.program == CGROUP_SOCKET => &CLOSED,
        _ => &ADDRESSED,
    };
    if hook.kind == kind::CONNECT {
        // TCP tells more of it where the connection begins.
        code.load_word(1, CONTEXT, 36);
        code.jump_if(1, Relation::NotEqual, UDP, out);
    }
    write_record(&mut code, hook.kind, fields, Some(hook.ipv6), runner);
    if matches!(hook.kind, kind::SENT | kind::RECEIVED) {
        write_only_first(&mut code, hook.kind, map, out);
    }
    write_output(&mut code, ring);
    code.place(out);
    code.compute(Arithmetic::Move, 0, 1);
    code.exit();
    code.finish().unwrap_or_default()
}

/// Goes on at `out` unless the record is about another end that the socket has not met yet.
pub(super) fn write_only_first(code: &mut Assembler, kind: u32, map: &Descriptor, out: CodeLabel) {
    for offset in [0, 8, 16] {
        let from = if offset == 0 { RECORD + COOKIE } else { RECORD + REMOTE + offset - 8 };
        code.load_stack_wide(1, from);
        code.store_stack_wide(KEY + offset, 1);
    }
    code.load_stack(1, RECORD + REMOTE_PORT);
    code.store_stack(KEY + 24, 1);
    code.compute(Arithmetic::Move, 1, kind);
    code.store_stack(KEY + 28, 1);
    code.store_stack(VALUE, 1);
    code.set_map(1, map.raw());
    address(code, 2, KEY);
    address(code, 3, VALUE);
    code.compute(Arithmetic::Move, 4, NEW_ONLY);
    code.call(UPDATE_ELEMENT);
    code.jump_if(0, Relation::NotEqual, 0, out);
}

/// The program of a hook where operations can be refused, in one network namespace: programs see the others as well. `None` if
/// the filter asks what is not known there.
pub(super) fn refusal(
    hook: &Hook,
    ring: &Descriptor,
    filter: &Filter,
    namespace: u64,
    runner: Runner,
) -> Option<Vec<u64>> {
    let mut code = Assembler::new();
    let elsewhere = code.label();
    code.combine(Arithmetic::Move, CONTEXT, 1);
    let (fields, event) =
        if hook.kind == kind::BIND { (&BOUND, Event::SocketBind) } else { (&ADDRESSED, Event::SocketConnect) };
    write_record(&mut code, hook.kind, fields, Some(hook.ipv6), runner);
    code.load_stack_wide(1, RECORD + NAMESPACE);
    code.set_wide(2, namespace);
    code.jump_if_wide(1, Relation::NotEqual, 2, elsewhere);
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
    code.place(elsewhere);
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
pub(super) fn operations(ring: &Descriptor, runner: Runner, tells_connect: bool) -> Vec<u64> {
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
        write_record(&mut code, kind, &OPERATED, None, if is_own { runner } else { Runner::Untold });
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

/// The socket's cookie.
pub(super) fn write_cookie(code: &mut Assembler) {
    code.combine(Arithmetic::Move, 1, CONTEXT);
    code.call(SOCKET_COOKIE);
    code.store_stack_wide(RECORD + COOKIE, 0);
}

/// The socket's cookie and its network namespace.
pub(super) fn write_names(code: &mut Assembler) {
    write_cookie(code);
    code.combine(Arithmetic::Move, 1, CONTEXT);
    code.call(NAMESPACE_COOKIE);
    code.store_stack_wide(RECORD + NAMESPACE, 0);
}

/// A record that tells nothing but its kind.
pub(super) fn write_empty_record(code: &mut Assembler, kind: u32) {
    code.compute(Arithmetic::Move, 1, 0);
    for offset in (0..RECORD_LEN as i16).step_by(8) {
        code.store_stack_wide(RECORD + offset, 1);
    }
    code.compute(Arithmetic::Move, 1, kind);
    code.store_stack(RECORD + KIND, 1);
}

/// An address on the stack into a register.
pub(super) fn address(code: &mut Assembler, register: u8, place: i16) {
    code.combine(Arithmetic::Move, register, STACK);
    code.compute_wide(Arithmetic::Add, register, i32::from(place) as u32);
}

fn write_record(code: &mut Assembler, kind: u32, fields: &Fields, ipv6: Option<bool>, runner: Runner) {
    write_empty_record(code, kind);
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
    if kind == kind::SENT || kind == kind::RECEIVED {
        write_own_end(code, ipv6 == Some(true));
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
    write_names(code);
    write_runner(code, runner);
}

/// The process and the thread that run, and what the thread is called.
fn write_runner(code: &mut Assembler, runner: Runner) {
    if runner == Runner::Untold {
        return;
    }
    code.call(PROCESS_ID);
    code.store_stack(RECORD + THREAD, 0);
    code.compute_wide(Arithmetic::ShiftRight, 0, 32);
    code.store_stack(RECORD + PROCESS, 0);
    if runner == Runner::Named {
        address(code, 1, RECORD + NAME);
        code.compute(Arithmetic::Move, 2, NAME_LEN as u32);
        code.call(THREAD_NAME);
    }
}

/// The socket's own end, where the context tells the other.
fn write_own_end(code: &mut Assembler, ipv6: bool) {
    let (ipv4, wide, port) = OF_SOCKET;
    code.load_wide(2, CONTEXT, SOCKET);
    let addr = if ipv6 { wide } else { ipv4 };
    let words: &[i16] = if ipv6 { &[0, 4, 8, 12] } else { &[0] };
    for offset in words {
        code.load_word(1, 2, addr + offset);
        code.store_stack(RECORD + LOCAL + offset, 1);
    }
    code.load_word(1, 2, port);
    code.store_stack(RECORD + LOCAL_PORT, 1);
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

pub(super) fn write_output(code: &mut Assembler, ring: &Descriptor) {
    code.set_map(1, ring.raw());
    address(code, 2, RECORD);
    code.compute(Arithmetic::Move, 3, RECORD_LEN as u32);
    code.compute(Arithmetic::Move, 4, 0);
    code.call(RING_OUTPUT);
}
