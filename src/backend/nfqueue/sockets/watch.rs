//! eBPF programs at the root control group: they tell of socket operations, with the process that does them.
//!
//! Programs are attached by links, which go with their descriptors, so that nothing stays when the process ends. They see
//! every network namespace; each record says which.
use super::super::kernel::ring::Ring;
use super::super::kernel::sys::{self, Descriptor};
use super::super::kernel::sys_bpf;
use super::record::{RECORD_LEN, Record, kind};
use super::watch_code::{CGROUP_SOCKET, Hook, KEY_LEN, Runner, hook, operations, program, refusal};
use super::watch_namespaces::{KEY_LEN as NAMESPACE_KEY_LEN, VALUE_LEN as NAMESPACE_LEN, remember};
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
/// The programs, attached, the ring that they write to, and the network namespace that matters.
#[derive(Debug)]
pub(crate) struct Watch {
    ring: Ring,
    namespace: u64,
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
/// Those that tell only whose sockets are, or where.
const OWNER_HOOKS: [Hook; 3] = [
    hook(CGROUP_SOCKET, 2, kind::OWNER, false),
    hook(SOCKET_ADDRESS, 10, kind::OWNER, false),
    hook(SOCKET_ADDRESS, 11, kind::OWNER, true),
];
/// Where packets pass sockets, and what that means: on the way in, and on the way out.
const OF_PACKETS: [(u32, u32); 2] = [(0, kind::RECEIVED), (1, kind::SENT)];
const OPERATIONS: u32 = 3;
/// What programs tell of whoever runs, the most first: it takes CAP_PERFMON to ask for the name on some kernels, and older ones
/// tell programs of TCP's operations neither name nor number.
const HOOK_RUNNERS: [Runner; 2] = [Runner::Named, Runner::Numbered];
const OPERATION_RUNNERS: [Runner; 3] = [Runner::Named, Runner::Numbered, Runner::Untold];
/// What the programs are for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose<'a> {
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
    /// The hooks that are needed but that of TCP's operations, which tells so much of whoever runs.
    fn hooks(self, operations: Runner) -> impl Iterator<Item = &'static Hook> {
        let is_for_owners = matches!(self, Self::Owners);
        // What comes to a socket tells nothing of its owner, and a connect tells more there than here.
        let is_idle = move |hook: &Hook| is_for_owners && matches!(hook.kind, kind::RECEIVED | kind::CONNECT);
        // Where TCP's operations do not tell who connects, the call does.
        let tells_whose = !is_for_owners && operations != Runner::Named;
        let is_asked = move |hook: &Hook| is_for_owners || tells_whose && hook.program == SOCKET_ADDRESS;
        let owners = OWNER_HOOKS.iter().filter(move |hook| is_asked(hook));
        HOOKS.iter().filter(move |hook| !is_idle(hook)).chain(owners)
    }
}

/// Loads the first program that the kernel takes, of those that tell more and less of whoever runs; which one it is.
fn load(
    kind: u32,
    attach: u32,
    runners: &[Runner],
    code: impl Fn(Runner) -> Option<Vec<u64>>,
) -> Result<(Descriptor, Runner)> {
    let mut failure = ErrorKind::Unsupported.into();
    for runner in runners {
        let code = code(*runner).ok_or(ErrorKind::Unsupported)?;
        match sys_bpf::load_program(kind, attach, &code) {
            Ok(program) => return Ok((program, *runner)),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Attaches the programs that packets pass.
fn watch_packets(
    ring: &Descriptor,
    map: &Descriptor,
    group: &Descriptor,
    namespaces: Option<&Descriptor>,
) -> Result<Vec<Descriptor>> {
    let links = OF_PACKETS.iter().map(|(attach, kind)| {
        let program = sys_bpf::load_program(CGROUP_PACKET, *attach, &packets(*kind, ring, map, namespaces))?;
        sys_bpf::attach_to_group(&program, group, *attach)
    });
    links.collect()
}

/// Attaches the programs that remember network namespaces, in a map.
fn watch_namespaces(group: &Descriptor) -> Result<(Descriptor, Vec<Descriptor>)> {
    let namespaces = sys_bpf::make_map(LRU_HASH, NAMESPACE_KEY_LEN, NAMESPACE_LEN, REMEMBERED)?;
    let links = OWNER_HOOKS.iter().map(|hook| {
        let program = sys_bpf::load_program(hook.program, hook.attach, &remember(hook, &namespaces))?;
        sys_bpf::attach_to_group(&program, group, hook.attach)
    });
    let links: Result<Vec<_>> = links.collect();
    Ok((namespaces, links?))
}

/// Attaches what tells of first datagrams. Older kernels do not tell the network namespace there, so that it is remembered.
fn watch_datagrams(ring: &Descriptor, map: &Descriptor, group: &Descriptor) -> Result<Vec<Descriptor>> {
    watch_packets(ring, map, group, None).or_else(|_| {
        let (namespaces, mut links) = watch_namespaces(group)?;
        links.extend(watch_packets(ring, map, group, Some(&namespaces))?);
        Ok(links)
    })
}

impl Watch {
    /// Attaches the programs.
    pub(crate) fn start(purpose: Purpose<'_>) -> Result<Self> {
        let refuses = if let Purpose::Refuse(filter) = purpose { Some(filter) } else { None };
        let namespace = sys::namespace_cookie()?;
        let ring = Ring::new(RING_LEN)?;
        let map = sys_bpf::make_map(LRU_HASH, KEY_LEN, 4, REMEMBERED)?;
        let group = sys_bpf::root_group()?;
        let mut links = Vec::new();
        let of_operations = |runner| Some(operations(&ring.descriptor, runner, refuses.is_none()));
        let (of_operations, runner) = load(SOCKET_OPERATIONS, OPERATIONS, &OPERATION_RUNNERS, of_operations)?;
        links.push(sys_bpf::attach_to_group(&of_operations, &group, OPERATIONS)?);
        for hook in purpose.hooks(runner) {
            let refuses = refuses.filter(|_| matches!(hook.kind, kind::BIND | kind::CONNECT));
            let (of_hook, _) = load(hook.program, hook.attach, &HOOK_RUNNERS, |runner| match refuses {
                Some(filter) => refusal(hook, &ring.descriptor, filter, namespace, runner),
                None => Some(program(hook, &ring.descriptor, &map, runner)),
            })?;
            links.push(sys_bpf::attach_to_group(&of_hook, &group, hook.attach)?);
        }
        if matches!(purpose, Purpose::TellFlows) {
            // Where none of them can be, calls alone tell of datagrams.
            links.extend(watch_datagrams(&ring.descriptor, &map, &group).unwrap_or_default());
        }
        Ok(Self { ring, namespace, _map: map, _links: links })
    }

    /// Can be read while records wait.
    pub(crate) fn descriptor(&self) -> &Descriptor {
        &self.ring.descriptor
    }

    /// Takes what was told since the last time of this network namespace.
    pub(crate) fn take(&self) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        self.ring.drain::<RECORD_LEN>(|bytes| records.extend(Record::read(bytes)));
        records.retain(|record| record.namespace == self.namespace);
        records
    }
}
