//! Filters that ask for the interface, of which programs are not told: a program for each interface that the filter names, and one
//! for all others. Whoever runs them asks for the interface first.
use super::super::optimise::{Node, decide};
use super::super::program::Load;
use super::super::ranges::Ranges;
use super::super::{Filter, Shared};
use super::load::INTERFACE_WORD;
use super::{Ebpf, Vantage};
use std::collections::BTreeSet;

/// So many interfaces have a program of their own at most.
const INTERFACES_MAX: usize = 8;
/// Ranges of so few numbers count as numbers that the filter names.
const FEW: u128 = 4;

/// A program for the packets of one interface, or of all but some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfInterface {
    /// Which interface it is, or is not: each with whether it is.
    pub interfaces: Vec<(u32, bool)>,
    /// The program.
    pub program: Ebpf,
}

impl Filter {
    /// The programs of a filter that asks for the interface, which together match exactly what it does; `None` if it does not
    /// ask, or asks for too many. `loopback` is the number of the interface whose packets stay within this host.
    pub fn ebpf_by_interface(&self, vantage: Vantage, loopback: u32) -> Option<Vec<OfInterface>> {
        let Shared { tests, sets, layer, .. } = &*self.shared;
        if !self.layer().has_packets() {
            return None;
        }
        let (nodes, _) = decide(tests, sets, *layer);
        let asked: Vec<&Node> = nodes.iter().filter(|node| asks_interface(node)).collect();
        let mut named = named(&asked)?;
        if vantage.loopback.is_none() {
            named.insert(loopback);
        }
        let other = (1..=u32::MAX).find(|number| !named.contains(number))?;
        let all_named = || named.iter().map(|number| (*number, false)).collect();
        let each = named.iter().map(|number| (*number, vec![(*number, true)])).chain([(other, all_named())]);
        let mut programs = Vec::new();
        for (number, interfaces) in each {
            let stays = vantage.loopback.unwrap_or(number == loopback);
            let program = self.ebpf(Vantage { loopback: Some(stays), interface: Some(number), ..vantage })?;
            if !program.is_exact() {
                return None;
            }
            if !program.is_empty() {
                programs.push(OfInterface { interfaces, program });
            }
        }
        Some(programs)
    }
}

fn asks_interface(node: &Node) -> bool {
    matches!(node.place.load, Load::Address) && node.place.offset == INTERFACE_WORD
}

/// The interfaces that the filter names, so that it answers alike for all others; `None` if there are none or too many.
fn named(asked: &[&Node]) -> Option<BTreeSet<u32>> {
    let maximum = u128::from(u32::MAX);
    let mut named = BTreeSet::new();
    for node in asked {
        let outside = node.accepted.complement(maximum);
        for (low, high) in node.accepted.as_slice().iter().chain(outside.as_slice()) {
            if high - low < FEW {
                named.extend(*low as u32..=*high as u32);
            }
        }
    }
    let one = |number: &u32| Ranges::new((*number).into(), (*number).into());
    let others = named.iter().map(one).fold(Ranges::EMPTY, |all, one| all.union(&one)).complement(maximum);
    let is_alike = |node: &&Node| {
        let accepted = node.accepted.intersection(&others);
        accepted.is_empty() || others.is_subset(&accepted)
    };
    (!asked.is_empty() && named.len() <= INTERFACES_MAX && asked.iter().all(is_alike)).then_some(named)
}
