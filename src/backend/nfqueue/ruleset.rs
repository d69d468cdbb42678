//! A handle's place in nftables: its table, which chains stand at which hooks, and what their rules are.
use super::arrival::LOOPBACK;
use super::carrier;
use super::copies::Copies;
use super::expression::{Expression, Meta};
use super::log;
use super::nft::{Hook, Transaction, counted};
use super::program::{Program, Question, copying, question};
use super::queue::{PAYLOAD_MAX, Queue};
use super::registry::{FILTER_CHAIN, Identity, PREFIX, describe};
use super::sys::{self, Descriptor};
use crate::address::{Flags, Layer};
use crate::engine::OpenOptions;
use crate::filter::{Extent, Filter};
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

/// The place of a handle of priority 0 before fragments are put together.
const BEFORE_REASSEMBLY: i32 = -100_000;
/// The priority, which inbound packets have no other use for, of fragments that handles with FRAGMENTS have met. What they
/// make up has that of the first of them.
pub(super) const FRAGMENT_TAG: u32 = 0x0D16_F4A6;
/// A chain that stands nowhere, which holds what is to be asked for once.
const REASSEMBLY_CHAIN: &str = "reassembly";

/// Packets of so many bytes are large: they do not fit a queue's message.
const LARGE_FROM: u32 = PAYLOAD_MAX as u32 + 1;

/// What is done with packets that the kernel drops.
const DROPPING: [Expression; 2] = [Expression::Counter, Expression::Drop];

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

/// What a table has besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extra {
    /// Connection tracking keeps away from carriers, where it is in use: what they turn into has no connection yet. Without
    /// it new packets are tracked as what they are not, which only some firewalls mind.
    Untracked,
    /// IPv6 fragments are put together before all hooks. Without it they are seen one by one, unless connections are tracked.
    Reassembly,
}

fn add_untracked(transaction: &mut Transaction<'_>) {
    let (meta, mask, value) = (Meta::Mark, carrier::MASK, carrier::mark(0));
    let is_carrier = Expression::Compare { meta, mask, value, equal: true };
    let rule = [is_carrier, Expression::Protocol(carrier::PROTOCOL), Expression::NoTrack];
    for (hook, chain) in [(Hook::Output, "untracked_output"), (Hook::Prerouting, "untracked_input")] {
        transaction.new_chain(chain, Some((hook, BEFORE_TRACKING)));
        transaction.new_rule(chain, &rule, &[]);
    }
}

fn add_reassembly(transaction: &mut Transaction<'_>) {
    transaction.new_chain(REASSEMBLY_CHAIN, None);
    transaction.new_rule(REASSEMBLY_CHAIN, &[Expression::Reassembly], &[]);
}

/// Whether connections are tracked in this network namespace.
pub(super) fn is_tracking() -> bool {
    std::path::Path::new(TRACKING).exists()
}

/// What the kernel asks at each hook, in the order of the hooks, and why it asks nothing.
#[derive(Debug, Default)]
pub(super) struct Questions {
    of_hooks: Vec<Question>,
    /// The same of packets that do not fit a message.
    of_large: Vec<Question>,
    pub(super) obstacle: Option<String>,
}

impl Questions {
    /// Loads a filter's programs; with `copies` those that copy what matches, as far as the kernel takes them.
    pub(super) fn load(filter: &Filter, layer: Layer, flags: Flags, copies: Option<&Copies>) -> Self {
        let mut questions = Self::default();
        for (hook, _) in hooks(layer, flags) {
            let copying = copies.and_then(|copies| copying(filter, *hook, copies).ok());
            let copying = copying.filter(|question| !matches!(question, Question::None));
            let mut or_none = |question: Result<Question>| {
                question.unwrap_or_else(|error| {
                    questions.obstacle = Some(error.to_string());
                    Question::None
                })
            };
            let is_sniffing = flags.has(Flags::SNIFF);
            let extent = if is_sniffing { Extent::Any } else { Extent::AtMost(LARGE_FROM - 1) };
            questions.of_hooks.push(or_none(copying.map_or_else(|| question(filter, *hook, extent), Ok)));
            if !is_sniffing {
                questions.of_large.push(or_none(question(filter, *hook, Extent::Large)));
            }
        }
        questions
    }

    /// Nothing is asked, so that every packet is handed over.
    pub(super) fn none(layer: Layer, flags: Flags, obstacle: String) -> Self {
        let none = || hooks(layer, flags).iter().map(|_| Question::None).collect();
        Self { of_hooks: none(), of_large: none(), obstacle: Some(obstacle) }
    }

    /// Whether of packets that do not fit a message only what matches is handed over.
    pub(super) fn are_exact_of_large(&self) -> bool {
        self.of_large.iter().all(Question::is_exact)
    }

    /// Whether only what matches is handed over.
    pub(super) fn are_exact(&self) -> bool {
        self.of_hooks.iter().all(Question::is_exact)
    }

    /// Those of the hook at a place: of ordinary packets, and of those that do not fit a message.
    fn at(&self, index: usize) -> (Option<&Question>, Option<&Question>) {
        (self.of_hooks.get(index), self.of_large.get(index))
    }

    /// Whether programs copy what matches, and nothing else does.
    pub(super) fn copy(&self) -> bool {
        self.of_hooks.iter().all(|question| matches!(question, Question::Copying { .. }))
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
    large_number: u16,
    hooks: &'static [(Hook, &'static str)],
    takes_fragments: bool,
}

/// The hooks of a handle, with the names of the chains.
const fn hooks(layer: Layer, flags: Flags) -> &'static [(Hook, &'static str)] {
    match layer {
        Layer::NetworkForward => &[(Hook::Forward, "forward")],
        _ if takes_fragments(layer, flags) => {
            &[(Hook::Output, "output"), (Hook::Input, "input"), (Hook::Prerouting, "fragments")]
        }
        _ => &[(Hook::Output, "output"), (Hook::Input, "input")],
    }
}

/// Whether inbound fragments are taken as they come, and what they make up is not.
const fn takes_fragments(layer: Layer, flags: Flags) -> bool {
    matches!(layer, Layer::Network) && flags.has(Flags::FRAGMENTS)
}

/// Where a handle's chain stands at a hook. Low ones come first in netfilter. Fragments are taken before they are put
/// together, which is done at -400; among themselves handles keep their order there.
fn place(hook: Hook, priority: i16) -> i32 {
    let base = if hook == Hook::Prerouting { BEFORE_REASSEMBLY } else { 0 };
    base - i32::from(priority)
}

/// The question to a program.
fn asked(program: &Program) -> Expression {
    Expression::Program(program.descriptor.raw())
}

/// The rules for packets that do not fit a message. The kernel drops only what surely matches; all else goes to the queue that is
/// meant for them.
fn large_rules(
    question: Option<&Question>,
    mode: Mode,
    queue: Expression,
    asks: impl Fn(&Program) -> Vec<Expression>,
) -> Vec<Vec<Expression>> {
    let drops = mode == Mode::Drop && question.is_some_and(Question::is_exact);
    let deeds = if drops { &DROPPING[..] } else { &[queue] };
    let rule = |asked: Vec<Expression>| {
        let is_large = [Expression::IsLonger(LARGE_FROM - 1)].into_iter();
        is_large.chain(asked).chain(deeds.iter().copied()).collect()
    };
    match question {
        Some(Question::Programs { programs, .. }) => programs.iter().map(|program| rule(asks(program))).collect(),
        Some(_) => vec![rule(Vec::new())],
        // A handle that only looks on has no such queue.
        None => Vec::new(),
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
        queue: &Queue,
        mode: Mode,
        questions: &mut Questions,
        opened_at: i64,
    ) -> Result<Self> {
        let socket = sys::netlink(&[])?;
        let (number, large_number) = (queue.number, queue.large_number());
        let table = format!("{PREFIX}{number}");
        let OpenOptions { layer, flags, .. } = *options;
        let takes_fragments = takes_fragments(layer, flags);
        let hooks = hooks(layer, flags);
        let ruleset = Self { socket, table, number, large_number, hooks, takes_fragments };
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
                    *questions = Questions::none(layer, flags, error.to_string());
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
        for (at, (hook, chain)) in self.hooks.iter().enumerate() {
            transaction.new_chain(chain, Some((*hook, place(*hook, options.priority))));
            self.fill(&mut transaction, *hook, chain, mode, questions.at(at), way);
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
        (question, of_large): (Option<&Question>, Option<&Question>),
        way: u8,
    ) {
        let queue = if way & QUEUE_EXPRESSION != 0 { Expression::Queue } else { Expression::QueueTarget };
        let equal = |meta, mask, value| Expression::Compare { meta, mask, value, equal: true };
        let is_inbound = matches!(hook, Hook::Input | Hook::Prerouting);
        let meta = if is_inbound { Meta::InterfaceIn } else { Meta::InterfaceOut };
        let compare =
            |(value, equal): &(u32, bool)| Expression::Compare { meta, mask: u32::MAX, value: *value, equal: *equal };
        let place = |program: &Program| program.interfaces.iter().map(compare).collect::<Vec<_>>().into_iter();
        let asks = |program: &Program| place(program).chain([asked(program)]);
        if is_inbound {
            // What comes from this host itself was seen when it went out.
            let is_inside = equal(Meta::InterfaceIn, u32::MAX, LOOPBACK);
            transaction.new_rule(chain, &[is_inside, Expression::Accept], &[]);
        }
        if mode == Mode::Copy
            && let Some(Question::Copying { inside: Some(program), .. }) = question
        {
            let rule: Vec<_> = asks(program).chain([Expression::Accept]).collect();
            transaction.new_rule(chain, &rule, &[]);
        }
        // Carriers stop at the handle that sent them, and are no packets to any other.
        let is_own = equal(Meta::Mark, u32::MAX, carrier::mark(self.number));
        let is_any = equal(Meta::Mark, carrier::MASK, carrier::mark(0));
        let protocol = Expression::Protocol(carrier::PROTOCOL);
        transaction.new_rule(chain, &[is_own, protocol, queue(self.number)], &[]);
        transaction.new_rule(chain, &[is_any, protocol, Expression::Accept], &[]);
        if hook == Hook::Input && self.takes_fragments {
            let was_fragments = equal(Meta::Priority, u32::MAX, FRAGMENT_TAG);
            transaction.new_rule(chain, &[was_fragments, Expression::Accept], &[]);
        }
        if hook == Hook::Prerouting && mode != Mode::Pass {
            for is_fragment in [Expression::Ipv4Fragment, Expression::Ipv6Fragment] {
                let rule = [Expression::ForThisHost, is_fragment, Expression::SetPriority(FRAGMENT_TAG)];
                transaction.new_rule(chain, &rule, &[]);
            }
            // What is tagged by now is such a fragment, and nothing else is looked at here.
            let is_other =
                Expression::Compare { meta: Meta::Priority, mask: u32::MAX, value: FRAGMENT_TAG, equal: false };
            transaction.new_rule(chain, &[is_other, Expression::Accept], &[]);
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
            Mode::Drop => &DROPPING,
            Mode::Pass => return,
        };
        let large = large_rules(of_large, mode, queue(self.large_number), |program| asks(program).collect());
        let add_large = |transaction: &mut Transaction<'_>| {
            large.iter().for_each(|rule| transaction.new_rule(chain, rule, &[]));
        };
        match question {
            Some(Question::Programs { programs, .. }) => {
                for program in programs {
                    let rule: Vec<_> = asks(program).chain(deeds.iter().copied()).collect();
                    transaction.new_rule(chain, &rule, &[]);
                }
                // Behind, so that what matches does not pay for it: these programs refuse what is large.
                add_large(transaction);
            }
            Some(Question::Copying { programs, .. }) => {
                for program in programs {
                    // The program learns from the mark where a packet leaves, and the packet keeps the mark that it had.
                    let told = (!is_inbound).then_some(Expression::MarkInterfaceOut);
                    let kept = (!is_inbound).then_some(Expression::RestoreMark);
                    let rule: Vec<_> = place(program).chain(told).chain([asked(program)]).chain(kept).collect();
                    transaction.new_rule(chain, &rule, &[]);
                }
            }
            _ => {
                add_large(transaction);
                transaction.new_rule(chain, deeds, &[]);
            }
        }
    }

    /// Adds what kernels may lack and handles can do without: that carriers are not tracked, and that inbound IPv6 fragments
    /// are put together before handles see them, as those of IPv4 always are.
    pub(super) fn add(&self, extras: &[Extra]) {
        let commit = |extras: &[Extra]| {
            let mut transaction = Transaction::new(&self.table);
            for extra in extras {
                match extra {
                    Extra::Untracked => add_untracked(&mut transaction),
                    Extra::Reassembly => add_reassembly(&mut transaction),
                }
            }
            transaction.commit(&self.socket)
        };
        if !extras.is_empty() && commit(extras).is_err() && extras.len() > 1 {
            // One of them may be there.
            for extra in extras {
                drop(commit(std::slice::from_ref(extra)));
            }
        }
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
            self.fill(&mut transaction, *hook, chain, mode, questions.at(at), way);
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
