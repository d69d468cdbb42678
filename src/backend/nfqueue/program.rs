//! Filters in the kernel: loading eBPF programs.
//!
//! Source: `linux/bpf.h`. The kernel verifies a program before it takes it, and keeps it as long as a rule asks it.
use super::arrival::LOOPBACK;
use super::sys::Descriptor;
use super::sys_bpf;
use crate::filter::{Ebpf, Filter, OfInterface, Vantage};
use std::io::Result;

/// A program for the packets of one hook, or for some of them.
#[derive(Debug)]
pub(super) struct Program {
    /// Which interface the packets have, or have not, each with whether they have it; all packets if there is none.
    pub(super) interfaces: Vec<(u32, bool)>,
    pub(super) descriptor: Descriptor,
}

/// What the kernel asks before it hands a packet over.
#[derive(Debug)]
pub(super) enum Question {
    /// Programs; none, if nothing matches.
    Programs { programs: Vec<Program>, is_exact: bool },
    /// Nothing: the kernel does not take programs.
    None,
}

impl Question {
    /// Whether only what matches is handed over.
    pub(super) const fn is_exact(&self) -> bool {
        matches!(self, Self::Programs { is_exact: true, .. })
    }
}

/// The programs of a filter for one side of the stack.
pub(super) fn question(filter: &Filter, outbound: bool, loopback: Option<bool>) -> Result<Question> {
    let one = |loopback| filter.ebpf(Vantage::new(outbound, loopback));
    let Some(whole) = one(loopback) else { return Ok(Question::None) };
    if whole.is_empty() {
        return Ok(Question::Programs { programs: Vec::new(), is_exact: true });
    }
    let by_interface = || filter.ebpf_by_interface(Vantage::new(outbound, loopback), LOOPBACK);
    if !whole.is_exact()
        && let Some(of_interfaces) = by_interface()
    {
        let mut programs = Vec::new();
        for OfInterface { interfaces, program } in of_interfaces {
            programs.push(Program { interfaces, descriptor: load(&program)? });
        }
        return Ok(Question::Programs { programs, is_exact: true });
    }
    // What depends on whether packets stay within this host is asked of both kinds apart.
    if loopback.is_none()
        && !whole.is_exact()
        && let (Some(inside), Some(outside)) = (one(Some(true)), one(Some(false)))
        && (inside.is_exact() || outside.is_exact())
    {
        let mut programs = Vec::new();
        for (is_inside, program) in [(true, &inside), (false, &outside)] {
            if !program.is_empty() {
                programs.push(Program { interfaces: vec![(LOOPBACK, is_inside)], descriptor: load(program)? });
            }
        }
        return Ok(Question::Programs { programs, is_exact: inside.is_exact() && outside.is_exact() });
    }
    let program = Program { interfaces: Vec::new(), descriptor: load(&whole)? };
    Ok(Question::Programs { programs: vec![program], is_exact: whole.is_exact() })
}

fn load(program: &Ebpf) -> Result<Descriptor> {
    sys_bpf::load_program(sys_bpf::SOCKET_FILTER, 0, program.code())
}
