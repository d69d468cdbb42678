//! eBPF programs at the root control group: they tell of socket operations, with the process that does them.
//!
//! Programs are attached by links, which go with their descriptors, so that nothing stays when the process ends. They see
//! every network namespace; each record says which.
use super::record::kind;
use super::ring::Ring;
use super::sys::Descriptor;
use super::sys_bpf;
use super::watch_code::{CGROUP_SOCKET, Hook, KEY_LEN, hook, operations, program, refusal};
use super::watch_packets::packets;
use crate::filter::Filter;
use std::io::{ErrorKind, Result};

/// Bytes of the ring.
const RING_LEN: usize = 1 << 20;
/// Types of programs.
const CGROUP_PACKET: u32 = 8;
const SOCKET_OPERATIONS: u32 = 13;
const SOCKET_ADDRESS: u32 = 18;
/// A map that forgets what was not used for long.
const LRU_HASH: u32 = 9;
/// Ends of datagrams that are remembered.
const REMEMBERED: u32 = 1 << 14;
/// The programs, attached, and the ring that they write to.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) ring: Ring,
    _map: Descriptor,
    _links: Vec<Descriptor>,
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
/// Those that tell only whose sockets are.
const OWNER_HOOKS: [Hook; 3] = [
    hook(CGROUP_SOCKET, 2, kind::OWNER, false),
    hook(SOCKET_ADDRESS, 10, kind::OWNER, false),
    hook(SOCKET_ADDRESS, 11, kind::OWNER, true),
];
/// Where packets pass sockets, and what that means: on the way in, and on the way out.
const OF_PACKETS: [(u32, u32); 2] = [(0, kind::RECEIVED), (1, kind::SENT)];
const OPERATIONS: u32 = 3;
/// What the programs are for.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// They tell of operations.
    Tell,
    /// Likewise, and binds and connects that match the filter are refused.
    Refuse(&'a Filter),
    /// They tell of operations, and of the first datagram between a socket and another end.
    TellFlows,
    /// They tell whose sockets are.
    Owners,
}

impl Purpose<'_> {
    /// The hooks that are needed but that of TCP's operations.
    fn hooks(self) -> impl Iterator<Item = &'static Hook> {
        let is_for_owners = matches!(self, Self::Owners);
        // What comes to a socket tells nothing of its owner, and a connect tells more there than here.
        let is_idle = move |hook: &Hook| is_for_owners && matches!(hook.kind, kind::RECEIVED | kind::CONNECT);
        let owners = OWNER_HOOKS.iter().filter(move |_| is_for_owners);
        HOOKS.iter().filter(move |hook| !is_idle(hook)).chain(owners)
    }
}

impl Watch {
    /// Attaches the programs.
    pub(super) fn start(purpose: Purpose<'_>) -> Result<Self> {
        let refuses = if let Purpose::Refuse(filter) = purpose { Some(filter) } else { None };
        let ring = Ring::new(RING_LEN)?;
        let map = sys_bpf::make_map(LRU_HASH, KEY_LEN, 4, REMEMBERED)?;
        let group = sys_bpf::root_group()?;
        let mut links = Vec::new();
        for hook in purpose.hooks() {
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
        if matches!(purpose, Purpose::TellFlows) {
            for (attach, kind) in OF_PACKETS {
                // Older kernels do not tell the network namespace there; then calls alone tell of datagrams.
                let program = sys_bpf::load_program(CGROUP_PACKET, attach, &packets(kind, &ring.descriptor, &map));
                if let Ok(program) = program {
                    links.push(sys_bpf::attach_to_group(&program, &group, attach)?);
                }
            }
        }
        Ok(Self { ring, _map: map, _links: links })
    }
}
