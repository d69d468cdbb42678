//! Which of a handle's chains stand. A chain costs every packet of its hook some time, so that only those are made at first
//! where the filter may match; the others follow with the first new packet that enters there.
use super::super::tables::nft::Hook;
use crate::address::{Flags, Layer};
use crate::filter::Filter;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Some hooks, one bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hooks(u8);

impl Hooks {
    pub(super) const fn of(hook: Hook) -> Self {
        Self(1 << hook as u8)
    }

    pub(super) const fn has(self, hook: Hook) -> bool {
        self.0 & Self::of(hook).0 != 0
    }

    const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of `all` where a filter may match; all of them, if it matches nowhere.
    pub(super) fn matched(all: &[(Hook, &'static str)], filter: &Filter) -> Self {
        let may_match = |hook: Hook| {
            let outbound = hook == Hook::Output;
            hook == Hook::Forward || [false, true].into_iter().any(|ipv6| filter.may_match_packets(outbound, ipv6))
        };
        let found: Self = all.iter().map(|(hook, _)| *hook).filter(|hook| may_match(*hook)).collect();
        if found.is_empty() { Self::all(all) } else { found }
    }

    pub(super) fn all(all: &[(Hook, &'static str)]) -> Self {
        all.iter().map(|(hook, _)| *hook).collect()
    }
}

impl std::ops::BitOr for Hooks {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<Hook> for Hooks {
    fn from_iter<T: IntoIterator<Item = Hook>>(hooks: T) -> Self {
        Self(hooks.into_iter().fold(0, |bits, hook| bits | Self::of(hook).0))
    }
}

/// The hooks of a handle, with the names of the chains.
pub(super) const fn hooks(layer: Layer, flags: Flags) -> &'static [(Hook, &'static str)] {
    match layer {
        Layer::NetworkForward => &[(Hook::Forward, "forward")],
        _ if takes_fragments(layer, flags) => {
            &[(Hook::Output, "output"), (Hook::Input, "input"), (Hook::Prerouting, "fragments")]
        }
        _ => &[(Hook::Output, "output"), (Hook::Input, "input")],
    }
}

/// Whether inbound fragments are taken as they come, and what they make up is not.
pub(super) const fn takes_fragments(layer: Layer, flags: Flags) -> bool {
    matches!(layer, Layer::Network) && flags.has(Flags::FRAGMENTS)
}

/// The hooks of a handle.
#[derive(Debug)]
pub(super) struct Standing {
    /// Where chains stand.
    here: AtomicU8,
    /// Where packets may wait in the queue.
    waiting: AtomicU8,
    /// Where new packets enter.
    entries: AtomicU8,
    /// The chain stands that has IPv6 fragments put together, or that was tried.
    has_reassembly: AtomicBool,
}

impl Standing {
    /// Chains at these hooks, whose packets wait in the queue.
    pub(super) fn new(Hooks(hooks): Hooks) -> Self {
        Self { here: hooks.into(), waiting: hooks.into(), entries: 0.into(), has_reassembly: false.into() }
    }

    pub(super) fn here(&self) -> Hooks {
        Hooks(self.here.load(Ordering::Relaxed))
    }

    pub(super) fn waiting(&self) -> Hooks {
        Hooks(self.waiting.load(Ordering::Relaxed))
    }

    pub(super) fn has_entry(&self, hook: Hook) -> bool {
        Hooks(self.entries.load(Ordering::Relaxed)).has(hook)
    }

    /// New packets enter here, for which these chains were made.
    pub(super) fn add_entry(&self, hook: Hook, Hooks(made): Hooks) {
        self.here.fetch_or(made, Ordering::Relaxed);
        self.entries.fetch_or(Hooks::of(hook).0, Ordering::Relaxed);
    }

    /// From now on the chain stands that has IPv6 fragments put together; whether it did not yet.
    pub(super) fn add_reassembly(&self) -> bool {
        !self.has_reassembly.swap(true, Ordering::Relaxed)
    }

    /// Chains stand at these hooks as well, whose packets wait in the queue.
    pub(super) fn add(&self, Hooks(hooks): Hooks) {
        self.here.fetch_or(hooks, Ordering::Relaxed);
        self.waiting.fetch_or(hooks, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Layer;

    const BOTH: [(Hook, &str); 2] = [(Hook::Output, "output"), (Hook::Input, "input")];

    fn matched(filter: &str) -> [bool; 2] {
        let hooks = Hooks::matched(&BOTH, &Filter::compile(filter, Layer::Network).unwrap());
        [Hook::Output, Hook::Input].map(|hook| hooks.has(hook))
    }

    #[test]
    fn only_hooks_where_the_filter_may_match_are_needed() {
        assert_eq!(matched("outbound and udp"), [true, false]);
        assert_eq!(matched("not outbound and ipv6"), [false, true]);
        assert_eq!(matched("tcp.DstPort == 80"), [true, true]);
        assert_eq!(matched("false"), [true, true]);
    }

    #[test]
    fn chains_for_new_packets_hold_none_that_wait() {
        let standing = Standing::new(Hooks::of(Hook::Output));
        standing.add_entry(Hook::Prerouting, Hooks::of(Hook::Input));
        assert!(standing.here().has(Hook::Input) && !standing.waiting().has(Hook::Input));
        assert!(standing.has_entry(Hook::Prerouting) && !standing.has_entry(Hook::Output));
        standing.add(Hooks::of(Hook::Input));
        assert!(standing.waiting().has(Hook::Input));
        assert!(standing.add_reassembly() && !standing.add_reassembly());
    }
}
