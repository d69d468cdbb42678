//! Filters in the kernel: loading eBPF programs.
//!
//! Source: `linux/bpf.h`. The kernel verifies a program before it takes it, and keeps it as long as a rule asks it.
use super::super::intake::arrival::LOOPBACK;
use super::super::intake::copies::{self, Copies};
use super::super::kernel::sys::Descriptor;
use super::super::kernel::sys_bpf;
use super::super::tables::nft::Hook;
use crate::filter::{Assembler, Deed, Ebpf, Extent, Filter, Matched, OfInterface, Vantage};
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
    /// Programs that copy what matches themselves, and accept everything. `inside` is for what stays within this host, and comes
    /// first; it accepts all but what may be a carrier.
    Copying { inside: Option<Program>, programs: Vec<Program> },
    /// Nothing: the kernel does not take programs.
    None,
}

impl Question {
    /// Whether only what matches is handed over.
    pub(super) const fn is_exact(&self) -> bool {
        matches!(self, Self::Programs { is_exact: true, .. })
    }
}

/// Where a hook's packets are seen from.
const fn vantage(hook: Hook) -> Vantage {
    match hook {
        Hook::Output => Vantage::new(true, None),
        Hook::Forward => Vantage::new(true, Some(false)),
        Hook::Input | Hook::Prerouting => Vantage::new(false, Some(false)),
    }
}

/// The programs of a filter for one hook's packets of this extent.
pub(super) fn question(filter: &Filter, hook: Hook, extent: Extent) -> Result<Question> {
    let found = programs(filter, Vantage { extent, ..vantage(hook) }, None)?;
    Ok(found.map_or(Question::None, |(programs, is_exact)| Question::Programs { programs, is_exact }))
}

/// The programs of a filter for one hook that copy what matches.
pub(super) fn copying(filter: &Filter, hook: Hook, copies: &Copies) -> Result<Question> {
    let vantage = vantage(hook);
    let then = |code: &mut Assembler, matched: &Matched| copies.write(code, matched, hook, false);
    let deed = Deed { first: &|_| {}, then: &then };
    let Some((programs, _)) = programs(filter, vantage, Some(&deed))? else { return Ok(Question::None) };
    let mut inside = None;
    if vantage.loopback.is_none() {
        let then = |code: &mut Assembler, matched: &Matched| copies.write(code, matched, hook, true);
        let deed = Deed { first: &copies::write_first, then: &then };
        let vantage = Vantage { loopback: Some(true), interface: Some(LOOPBACK), ..vantage };
        let program = filter.ebpf_with(vantage, Some(&deed)).filter(|program| !program.is_empty());
        let descriptor = program.map(|program| load(&program)).transpose()?;
        inside = descriptor.map(|descriptor| Program { interfaces: vec![(LOOPBACK, true)], descriptor });
    }
    Ok(Question::Copying { inside, programs })
}

/// Loads the programs of a filter, and tells whether they are exact; `None` if there can be none.
fn programs(filter: &Filter, vantage: Vantage, deed: Option<&Deed<'_>>) -> Result<Option<(Vec<Program>, bool)>> {
    let one = |loopback| filter.ebpf_with(Vantage { loopback, ..vantage }, deed);
    let Some(whole) = one(vantage.loopback) else { return Ok(None) };
    if whole.is_empty() {
        return Ok(Some((Vec::new(), true)));
    }
    if !whole.is_exact()
        && let Some(of_interfaces) = filter.ebpf_by_interface_with(vantage, LOOPBACK, deed)
    {
        let mut programs = Vec::new();
        for OfInterface { interfaces, program } in of_interfaces {
            programs.push(Program { interfaces, descriptor: load(&program)? });
        }
        return Ok(Some((programs, true)));
    }
    // What depends on whether packets stay within this host is asked of both kinds apart.
    if vantage.loopback.is_none()
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
        return Ok(Some((programs, inside.is_exact() && outside.is_exact())));
    }
    let program = Program { interfaces: Vec::new(), descriptor: load(&whole)? };
    Ok(Some((vec![program], whole.is_exact())))
}

fn load(program: &Ebpf) -> Result<Descriptor> {
    sys_bpf::load_program(sys_bpf::SOCKET_FILTER, 0, program.code())
}
