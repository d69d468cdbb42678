//! What a handle's table has besides its chains: what kernels may lack and handles can do without.
use super::super::injection::carrier;
use super::super::kernel::sys::Descriptor;
use super::super::tables::expression::{Expression, Meta};
use super::super::tables::nft::{Hook, Transaction};
use crate::address::Layer;
use crate::filter::Filter;

/// There where connection tracking is in use, and the hook priority before it.
const TRACKING: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const BEFORE_TRACKING: i32 = -300;

/// A chain that stands nowhere, which holds what is to be asked for once.
const REASSEMBLY_CHAIN: &str = "reassembly";

/// What a table has besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extra {
    /// Connection tracking keeps away from carriers that enter at this hook, where it is in use: what they turn into has no
    /// connection yet. Without it new packets are tracked as what they are not, which only some firewalls mind.
    Untracked(Hook),
    /// IPv6 fragments are put together before all hooks. Without it they are seen one by one, unless connections are tracked.
    Reassembly,
}

impl Extra {
    pub(super) fn write(self, transaction: &mut Transaction<'_>) {
        match self {
            Self::Untracked(hook) => add_untracked(transaction, hook),
            Self::Reassembly => add_reassembly(transaction),
        }
    }
}

fn add_untracked(transaction: &mut Transaction<'_>, hook: Hook) {
    let (meta, mask, value) = (Meta::Mark, carrier::MASK, carrier::mark(0));
    let is_carrier = Expression::Compare { meta, mask, value, equal: true };
    let rule = [is_carrier, Expression::Protocol(carrier::PROTOCOL), Expression::NoTrack];
    let chain = if hook == Hook::Output { "untracked_output" } else { "untracked_input" };
    transaction.new_chain(chain, Some((hook, BEFORE_TRACKING)));
    transaction.new_rule(chain, &rule, &[]);
}

fn add_reassembly(transaction: &mut Transaction<'_>) {
    transaction.new_chain(REASSEMBLY_CHAIN, None);
    transaction.new_rule(REASSEMBLY_CHAIN, &[Expression::Reassembly], &[]);
}

/// Whether a handle may see inbound IPv6 packets, which may come in fragments.
pub(super) fn needs_reassembly(filter: &Filter, layer: Layer) -> bool {
    layer == Layer::Network && filter.may_match_packets(false, true)
}

/// Whether connections are tracked in this network namespace.
pub(super) fn is_tracking() -> bool {
    std::path::Path::new(TRACKING).exists()
}

/// Adds to a table: that carriers are not tracked, and that inbound IPv6 fragments are put together before handles see them, as
/// those of IPv4 always are.
pub(super) fn add(table: &str, socket: &Descriptor, extras: &[Extra]) {
    let commit = |extras: &[Extra]| {
        let mut transaction = Transaction::new(table);
        for extra in extras {
            extra.write(&mut transaction);
        }
        transaction.commit(socket)
    };
    if !extras.is_empty() && commit(extras).is_err() && extras.len() > 1 {
        // One of them may be there.
        for extra in extras {
            drop(commit(std::slice::from_ref(extra)));
        }
    }
}
