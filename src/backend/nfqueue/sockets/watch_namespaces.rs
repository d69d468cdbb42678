//! The code of programs that remember the network namespaces of UDP's sockets, for kernels that do not tell it to the programs
//! that packets pass: those before Linux 6.15.
use super::super::kernel::sys::Descriptor;
use super::record::place::{COOKIE, NAMESPACE};
use super::watch_code::{
    CGROUP_SOCKET, CONTEXT, Hook, RECORD, UDP, UPDATE_ELEMENT, address, write_empty_record, write_names,
};
use crate::filter::{Arithmetic, Assembler, CodeLabel, Relation};

/// A helper function.
const LOOK_UP_ELEMENT: u32 = 1;
/// Where the contexts of sockets and of addresses tell the protocol.
const SOCKET_PROTOCOL: i16 = 12;
const ADDRESS_PROTOCOL: i16 = 36;
/// The map's keys, which are cookies of sockets, and its values, which are those of namespaces.
pub(super) const KEY_LEN: u32 = 8;
pub(super) const VALUE_LEN: u32 = 8;

/// The program of a hook that remembers where its socket is.
pub(super) fn remember(hook: &Hook, namespaces: &Descriptor) -> Vec<u64> {
    let mut code = Assembler::new();
    let out = code.label();
    code.combine(Arithmetic::Move, CONTEXT, 1);
    code.load_word(1, CONTEXT, if hook.program == CGROUP_SOCKET { SOCKET_PROTOCOL } else { ADDRESS_PROTOCOL });
    code.jump_if(1, Relation::NotEqual, UDP, out);
    write_empty_record(&mut code, hook.kind);
    write_names(&mut code);
    code.set_map(1, namespaces.raw());
    address(&mut code, 2, RECORD + COOKIE);
    address(&mut code, 3, RECORD + NAMESPACE);
    code.compute(Arithmetic::Move, 4, 0);
    code.call(UPDATE_ELEMENT);
    code.place(out);
    code.compute(Arithmetic::Move, 0, 1);
    code.exit();
    code.finish().unwrap_or_default()
}

/// What is remembered of the socket whose cookie the record has; goes on at `out` if that is nothing.
pub(super) fn write_recall(code: &mut Assembler, namespaces: &Descriptor, out: CodeLabel) {
    code.set_map(1, namespaces.raw());
    address(code, 2, RECORD + COOKIE);
    code.call(LOOK_UP_ELEMENT);
    code.jump_if_null(0, out);
    code.load_wide(1, 0, 0);
    code.store_stack_wide(RECORD + NAMESPACE, 1);
}
