//! A handle's place in nftables: its table, which chains stand at which hooks, and what their rules are.
use super::arrival::LOOPBACK;
use super::carrier;
use super::nft::{Expression, Hook, Meta, Transaction, counted};
use super::sys::{self, Descriptor};
use crate::address::Layer;
use crate::engine::OpenOptions;
use std::io::Result;
use std::sync::atomic::{AtomicU8, Ordering};

/// How packets are handed to a queue: not known yet, by the expression of its own, or by the older tables' target.
static WAY: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const EXPRESSION: u8 = 1;
const TARGET: u8 = 2;

/// The chain that only holds the filter, in its rules' user data.
const FILTER_CHAIN: &str = "filter";
/// How much user data a rule holds.
const USER_DATA_MAX: usize = 240;

/// What a handle does with packets that match in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are queued.
    Queue,
    /// They are copied.
    Copy,
    /// They are dropped.
    Drop,
    /// Nothing: the handle does not capture.
    Pass,
}

/// A handle's table and the socket that owns it.
#[derive(Debug)]
pub(super) struct Ruleset {
    socket: Descriptor,
    table: String,
    number: u16,
    hooks: &'static [(Hook, &'static str)],
}

/// The hooks of a layer, with the names of the chains.
const fn hooks(layer: Layer) -> &'static [(Hook, &'static str)] {
    match layer {
        Layer::NetworkForward => &[(Hook::Forward, "forward")],
        _ => &[(Hook::Output, "output"), (Hook::Input, "input")],
    }
}

/// What is told of a handle in its table's user data, little-endian.
fn identity(options: &OpenOptions, opened_at: i64) -> Vec<u8> {
    let mut bytes = b"oxd\x01".to_vec();
    bytes.extend_from_slice(&sys::process_id().to_le_bytes());
    bytes.extend_from_slice(&opened_at.to_le_bytes());
    bytes.extend_from_slice(&options.flags.0.to_le_bytes());
    bytes.extend_from_slice(&options.priority.to_le_bytes());
    bytes.push(options.layer.number());
    bytes
}

impl Ruleset {
    /// Makes the table with its chains.
    pub(super) fn open(options: &OpenOptions, number: u16, mode: Mode, opened_at: i64) -> Result<Self> {
        let socket = sys::netlink(&[])?;
        let table = format!("oxidivert_{number}");
        let ruleset = Self { socket, table, number, hooks: hooks(options.layer) };
        let object = options.filter.object();
        let ways: &[u8] = match WAY.load(Ordering::Relaxed) {
            EXPRESSION => &[EXPRESSION],
            TARGET => &[TARGET],
            _ => &[EXPRESSION, TARGET],
        };
        let mut outcome = Ok(());
        for way in ways {
            let mut transaction = Transaction::new(&ruleset.table);
            transaction.new_table(&identity(options, opened_at));
            transaction.new_chain(FILTER_CHAIN, None);
            for part in object.as_bytes().chunks(USER_DATA_MAX) {
                transaction.new_rule(FILTER_CHAIN, &[], part);
            }
            // Low priorities come first in netfilter.
            let priority = -i32::from(options.priority);
            for (hook, chain) in ruleset.hooks {
                transaction.new_chain(chain, Some((*hook, priority)));
                ruleset.fill(&mut transaction, *hook, chain, mode, *way);
            }
            outcome = transaction.commit(&ruleset.socket);
            match &outcome {
                Ok(()) => {
                    WAY.store(*way, Ordering::Relaxed);
                    return Ok(ruleset);
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(_) => break,
            }
        }
        outcome.map(|()| ruleset)
    }

    /// The rules of one chain.
    fn fill(&self, transaction: &mut Transaction<'_>, hook: Hook, chain: &str, mode: Mode, way: u8) {
        let queue = if way == EXPRESSION { Expression::Queue } else { Expression::QueueTarget };
        // Carriers stop at the handle that sent them, and are no packets to any other.
        let own = carrier::mark(self.number);
        let is_own = Expression::Compare { meta: Meta::Mark, mask: u32::MAX, value: own, equal: true };
        let is_any =
            Expression::Compare { meta: Meta::Mark, mask: carrier::MASK, value: carrier::mark(0), equal: true };
        let protocol = Expression::Protocol(carrier::PROTOCOL);
        transaction.new_rule(chain, &[is_own, protocol, queue(self.number)], &[]);
        transaction.new_rule(chain, &[is_any, protocol, Expression::Accept], &[]);
        if hook == Hook::Input {
            // What comes from this host itself was seen when it went out.
            let inside = Expression::Compare { meta: Meta::InterfaceIn, mask: u32::MAX, value: LOOPBACK, equal: true };
            transaction.new_rule(chain, &[inside, Expression::Accept], &[]);
        }
        match mode {
            Mode::Queue => transaction.new_rule(chain, &[queue(self.number)], &[]),
            Mode::Drop => transaction.new_rule(chain, &[Expression::Counter, Expression::Drop], &[]),
            Mode::Copy | Mode::Pass => {}
        }
    }

    /// Puts other rules in the place of all at once.
    pub(super) fn replace(&self, mode: Mode) -> Result<()> {
        let way = WAY.load(Ordering::Relaxed);
        let mut transaction = Transaction::new(&self.table);
        for (hook, chain) in self.hooks {
            transaction.flush_chain(chain);
            self.fill(&mut transaction, *hook, chain, mode, way);
        }
        transaction.commit(&self.socket)
    }

    /// Removes the table.
    pub(super) fn remove(&self) -> Result<()> {
        let mut transaction = Transaction::new(&self.table);
        transaction.delete_table();
        transaction.commit(&self.socket)
    }

    /// How many packets the rules have dropped.
    pub(super) fn dropped(&self) -> u64 {
        let of_chain = |(_, chain): &(Hook, &str)| counted(&self.socket, &self.table, chain).unwrap_or(0);
        self.hooks.iter().map(of_chain).sum()
    }

    /// Whether this process is a fork of the one that owns the table.
    pub(super) fn is_foreign(&self) -> bool {
        self.socket.is_foreign()
    }
}
