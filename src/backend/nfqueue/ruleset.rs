//! A handle's place in nftables: its table, which chains stand at which hooks, and what their rules are.
use super::arrival::LOOPBACK;
use super::carrier;
use super::log;
use super::nft::{Expression, Hook, Meta, Transaction, counted};
use super::program::{Question, question};
use super::registry::{FILTER_CHAIN, Identity, PREFIX, describe};
use super::sys::{self, Descriptor};
use crate::address::Layer;
use crate::engine::OpenOptions;
use crate::filter::Filter;
use std::io::{Error, Result};
use std::sync::atomic::{AtomicU8, Ordering};

/// How packets are handed to a queue and copied to a log: by expressions of their own, or by the older tables' targets. Which
/// way the kernel takes, once that is known.
static WAY: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = u8::MAX;
/// The bits of a way.
const QUEUE_EXPRESSION: u8 = 1;
const LOG_EXPRESSION: u8 = 2;
/// Every way, in the order in which they are tried.
const WAYS: [u8; 4] = [QUEUE_EXPRESSION, QUEUE_EXPRESSION | LOG_EXPRESSION, 0, LOG_EXPRESSION];

/// There where connection tracking is in use, and the hook priority before it.
const TRACKING: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const BEFORE_TRACKING: i32 = -300;

/// What a handle does with packets that match in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are queued.
    Queue,
    /// They are copied to the log group of the queue's number.
    Copy,
    /// They are dropped.
    Drop,
    /// Nothing: the handle does not capture.
    Pass,
}

/// What the kernel asks at each hook, in the order of the hooks, and why it asks nothing.
#[derive(Debug, Default)]
pub(super) struct Questions {
    of_hooks: Vec<Question>,
    pub(super) obstacle: Option<String>,
}

impl Questions {
    /// Loads a filter's programs.
    pub(super) fn load(filter: &Filter, layer: Layer) -> Self {
        let mut questions = Self::default();
        for (hook, _) in hooks(layer) {
            let (outbound, loopback) = match hook {
                Hook::Output => (true, None),
                Hook::Forward => (true, Some(false)),
                Hook::Input | Hook::Prerouting => (false, Some(false)),
            };
            let question = question(filter, outbound, loopback).unwrap_or_else(|error| {
                questions.obstacle = Some(error.to_string());
                Question::None
            });
            questions.of_hooks.push(question);
        }
        questions
    }

    /// Nothing is asked, so that every packet is handed over.
    pub(super) fn none(layer: Layer, obstacle: String) -> Self {
        let of_hooks = hooks(layer).iter().map(|_| Question::None).collect();
        Self { of_hooks, obstacle: Some(obstacle) }
    }

    /// Whether only what matches is handed over.
    pub(super) fn are_exact(&self) -> bool {
        self.of_hooks.iter().all(Question::is_exact)
    }

    /// Whether there are programs at all.
    fn has_programs(&self) -> bool {
        self.of_hooks.iter().any(|question| !matches!(question, Question::None))
    }
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

/// Whether rights are missing, which no other rules help against.
fn is_refusal(error: &Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES))
}

impl Ruleset {
    /// Makes the table with its chains. If the kernel takes no programs in rules, `questions` says so afterwards.
    pub(super) fn open(
        options: &OpenOptions,
        number: u16,
        mode: Mode,
        questions: &mut Questions,
        opened_at: i64,
    ) -> Result<Self> {
        let socket = sys::netlink(&[])?;
        let table = format!("{PREFIX}{number}");
        let ruleset = Self { socket, table, number, hooks: hooks(options.layer) };
        let known = WAY.load(Ordering::Relaxed);
        let ways = [known].into_iter().filter(|way| *way != UNKNOWN).chain(WAYS);
        let ways: Vec<u8> = ways.collect();
        loop {
            let mut outcome = Ok(());
            for way in &ways {
                outcome = ruleset.make(options, mode, questions, opened_at, *way);
                match &outcome {
                    Ok(()) => {
                        WAY.store(*way, Ordering::Relaxed);
                        return Ok(ruleset);
                    }
                    Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                    Err(_) => break,
                }
            }
            match outcome {
                // The rules may do without programs.
                Err(error) if questions.has_programs() && !is_refusal(&error) => {
                    *questions = Questions::none(options.layer, error.to_string());
                }
                _ => return outcome.map(|()| ruleset),
            }
        }
    }

    fn make(&self, options: &OpenOptions, mode: Mode, questions: &Questions, opened_at: i64, way: u8) -> Result<()> {
        let mut transaction = Transaction::new(&self.table);
        transaction.new_table(&Identity::new(options, opened_at).encode());
        transaction.new_chain(FILTER_CHAIN, None);
        describe(&mut transaction, &options.filter);
        // Low priorities come first in netfilter.
        let priority = -i32::from(options.priority);
        for (at, (hook, chain)) in self.hooks.iter().enumerate() {
            transaction.new_chain(chain, Some((*hook, priority)));
            self.fill(&mut transaction, *hook, chain, mode, questions.of_hooks.get(at), way);
        }
        transaction.commit(&self.socket)
    }

    /// The rules of one chain.
    fn fill(
        &self,
        transaction: &mut Transaction<'_>,
        hook: Hook,
        chain: &str,
        mode: Mode,
        question: Option<&Question>,
        way: u8,
    ) {
        let queue = if way & QUEUE_EXPRESSION != 0 { Expression::Queue } else { Expression::QueueTarget };
        let equal = |meta, mask, value| Expression::Compare { meta, mask, value, equal: true };
        // Carriers stop at the handle that sent them, and are no packets to any other.
        let is_own = equal(Meta::Mark, u32::MAX, carrier::mark(self.number));
        let is_any = equal(Meta::Mark, carrier::MASK, carrier::mark(0));
        let protocol = Expression::Protocol(carrier::PROTOCOL);
        transaction.new_rule(chain, &[is_own, protocol, queue(self.number)], &[]);
        transaction.new_rule(chain, &[is_any, protocol, Expression::Accept], &[]);
        if hook == Hook::Input {
            // What comes from this host itself was seen when it went out.
            let is_inside = equal(Meta::InterfaceIn, u32::MAX, LOOPBACK);
            transaction.new_rule(chain, &[is_inside, Expression::Accept], &[]);
        }
        let (group, threshold) = (self.number, log::THRESHOLD);
        let copy = if way & LOG_EXPRESSION != 0 {
            Expression::Log { group, threshold }
        } else {
            Expression::LogTarget { group, threshold }
        };
        let deeds: &[Expression] = match mode {
            Mode::Queue => &[queue(self.number)],
            Mode::Copy => &[copy],
            Mode::Drop => &[Expression::Counter, Expression::Drop],
            Mode::Pass => return,
        };
        match question {
            Some(Question::Programs { programs, .. }) => {
                for program in programs {
                    let place = program.loopback.map(|loopback| Expression::Compare {
                        meta: Meta::InterfaceOut,
                        mask: u32::MAX,
                        value: LOOPBACK,
                        equal: loopback,
                    });
                    let asks = Expression::Program(program.descriptor.raw());
                    let rule: Vec<_> = place.into_iter().chain([asks]).chain(deeds.iter().copied()).collect();
                    transaction.new_rule(chain, &rule, &[]);
                }
            }
            _ => transaction.new_rule(chain, deeds, &[]),
        }
    }

    /// Keeps connection tracking away from carriers, where it is in use: what they turn into has no connection yet.
    pub(super) fn untrack_carriers(&self) -> Result<()> {
        if !std::path::Path::new(TRACKING).exists() {
            return Ok(());
        }
        let mut transaction = Transaction::new(&self.table);
        let (meta, mask, value) = (Meta::Mark, carrier::MASK, carrier::mark(0));
        let is_carrier = Expression::Compare { meta, mask, value, equal: true };
        let rule = [is_carrier, Expression::Protocol(carrier::PROTOCOL), Expression::NoTrack];
        for (hook, chain) in [(Hook::Output, "untracked_output"), (Hook::Prerouting, "untracked_input")] {
            transaction.new_chain(chain, Some((hook, BEFORE_TRACKING)));
            transaction.new_rule(chain, &rule, &[]);
        }
        transaction.commit(&self.socket)
    }

    /// Puts other rules in the place of all at once.
    pub(super) fn replace(&self, mode: Mode, questions: &Questions, filter: Option<&Filter>) -> Result<()> {
        let way = WAY.load(Ordering::Relaxed);
        let mut transaction = Transaction::new(&self.table);
        if let Some(filter) = filter {
            transaction.flush_chain(FILTER_CHAIN);
            describe(&mut transaction, filter);
        }
        for (at, (hook, chain)) in self.hooks.iter().enumerate() {
            transaction.flush_chain(chain);
            self.fill(&mut transaction, *hook, chain, mode, questions.of_hooks.get(at), way);
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
