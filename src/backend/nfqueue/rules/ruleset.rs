//! A handle's place in nftables: its table, which chains stand at which hooks, and what their rules are.
use super::super::injection::carrier;
use super::super::intake::arrival::LOOPBACK;
use super::super::intake::log;
use super::super::intake::queue::{PAYLOAD_MAX, Queue};
use super::super::kernel::sys::{self, Descriptor};
use super::super::tables::expression::{Expression, Meta};
use super::super::tables::extensions;
use super::super::tables::nft::{Hook, Transaction, counted, moves_places};
use super::super::tables::registry::{FILTER_CHAIN, Identity, PREFIX, describe};
use super::extras::{Extra, add, is_tracking, needs_reassembly};
use super::program::{Program, Question};
use super::questions::{Asked, Questions};
use super::standing::{Hooks, Standing, hooks, takes_fragments};
use crate::address::{Flags, Layer};
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

/// The place of a handle of priority 0 before fragments are put together.
const BEFORE_REASSEMBLY: i32 = -100_000;
/// The priority, which inbound packets have no other use for, of fragments that handles with FRAGMENTS have met. What they
/// make up has that of the first of them.
pub(crate) const FRAGMENT_TAG: u32 = 0x0D16_F4A6;
/// What is done with packets that the kernel drops.
const DROPPING: [Expression; 2] = [Expression::Counter, Expression::Drop];

/// What a handle does with packets that match in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They are queued.
    Queue,
    /// They are copied to the log group of the queue's number.
    Copy,
    /// They are dropped.
    Drop,
    /// Nothing: the handle does not capture.
    Pass,
}

/// A handle's table and the socket that owns it.
#[derive(Debug)]
pub(crate) struct Ruleset {
    socket: Descriptor,
    table: String,
    number: u16,
    large_number: u16,
    layer: Layer,
    priority: i16,
    hooks: &'static [(Hook, &'static str)],
    takes_fragments: bool,
    standing: Standing,
}

/// What a table is made for.
struct Plan<'a> {
    options: &'a OpenOptions,
    mode: Mode,
    /// When the handle was opened, in ticks.
    opened_at: i64,
}

/// The question to a program.
fn asked(program: &Program) -> Expression {
    Expression::Program(program.descriptor.raw())
}

/// The rules for packets that do not fit a message. The kernel drops only what surely matches; all else goes to the queue that is
/// meant for them, which a handle that only looks on does not have.
fn large_rules(
    question: Option<&Question>,
    mode: Mode,
    queue: Expression,
    asks: impl Fn(&Program) -> Vec<Expression>,
) -> Vec<Vec<Expression>> {
    if mode == Mode::Copy {
        return Vec::new();
    }
    let drops = mode == Mode::Drop && question.is_some_and(Question::is_exact);
    let deeds = if drops { &DROPPING[..] } else { &[queue] };
    let rule = |asked: Vec<Expression>| {
        let is_large = [Expression::IsLonger(PAYLOAD_MAX as u32)].into_iter();
        is_large.chain(asked).chain(deeds.iter().copied()).collect()
    };
    match question {
        Some(Question::Programs { programs, .. }) => programs.iter().map(|program| rule(asks(program))).collect(),
        Some(_) => vec![rule(Vec::new())],
        None => Vec::new(),
    }
}

/// Whether rights are missing, which no other rules help against.
fn is_refusal(error: &Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES))
}

impl Ruleset {
    /// Makes the table with its chains. If the kernel takes no programs in rules, `questions` says so afterwards.
    pub(crate) fn open(
        options: &OpenOptions,
        queue: &Queue,
        mode: Mode,
        questions: &mut Questions,
        opened_at: i64,
    ) -> Result<Self> {
        let socket = sys::netlink(&[])?;
        let (number, large_number) = (queue.number, queue.large_number());
        let table = format!("{PREFIX}{number}");
        let OpenOptions { layer, flags, priority, .. } = *options;
        let takes_fragments = takes_fragments(layer, flags);
        let hooks = hooks(layer, flags);
        let needed = match mode {
            // Where new packets enter is not known.
            Mode::Pass => Hooks::all(hooks),
            _ => Hooks::matched(hooks, &options.filter),
        };
        let standing = Standing::new(needed);
        let ruleset = Self { socket, table, number, large_number, layer, priority, hooks, takes_fragments, standing };
        ruleset.make(&Plan { options, mode, opened_at }, questions).map(|()| ruleset)
    }

    /// What a new table has besides its chains.
    fn extras(&self, options: &OpenOptions, mode: Mode) -> Vec<Extra> {
        let mut extras = Vec::new();
        if !options.flags.has(Flags::RECV_ONLY) && self.standing.here().has(Hook::Output) {
            self.standing.add_entry(Hook::Output, Hooks::default());
            extras.extend(is_tracking().then_some(Extra::Untracked(Hook::Output)));
        }
        extras.extend(self.missing_reassembly(mode, &options.filter));
        extras
    }

    /// What puts IPv6 fragments together, if the filter needs it and it is not in the table yet.
    fn missing_reassembly(&self, mode: Mode, filter: &Filter) -> Option<Extra> {
        let is_needed = mode != Mode::Pass && needs_reassembly(filter, self.layer);
        (is_needed && self.standing.add_reassembly()).then_some(Extra::Reassembly)
    }

    fn make(&self, plan: &Plan<'_>, questions: &mut Questions) -> Result<()> {
        let extras = self.extras(plan.options, plan.mode);
        loop {
            let outcome = self.make_with(plan, questions, &extras).or_else(|error| {
                if extras.is_empty() || is_refusal(&error) {
                    return Err(error);
                }
                // They may be what the kernel lacks. Added behind, they move the places of what is queued by then.
                self.make_with(plan, questions, &[])?;
                self.add(&extras);
                Ok(())
            });
            match outcome {
                // The rules may do without programs.
                Err(error) if questions.has_programs() && !is_refusal(&error) => {
                    let OpenOptions { layer, flags, .. } = *plan.options;
                    *questions = Questions::none(layer, flags, error.to_string());
                }
                _ => return outcome,
            }
        }
    }

    /// The same, with the modules loaded that rules name.
    fn make_with(&self, plan: &Plan<'_>, questions: &Questions, extras: &[Extra]) -> Result<()> {
        let outcome = self.make_in_a_way(plan, questions, extras);
        let is_missing = outcome.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ENOENT));
        if is_missing && extensions::load(&self.socket).is_ok() {
            return self.make_in_a_way(plan, questions, extras);
        }
        outcome
    }

    /// The same in the first way that the kernel takes.
    fn make_in_a_way(&self, plan: &Plan<'_>, questions: &Questions, extras: &[Extra]) -> Result<()> {
        let known = WAY.load(Ordering::Relaxed);
        let mut outcome = Ok(());
        for way in [known].into_iter().filter(|way| *way != UNKNOWN).chain(WAYS) {
            outcome = self.make_by(way, plan, questions, extras);
            match &outcome {
                Ok(()) => WAY.store(way, Ordering::Relaxed),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
                Err(_) => {}
            }
            break;
        }
        outcome
    }

    /// Makes table and chains at once: whoever sees the table finds the handle at work.
    fn make_by(&self, way: u8, plan: &Plan<'_>, questions: &Questions, extras: &[Extra]) -> Result<()> {
        let mut transaction = Transaction::new(&self.table);
        transaction.new_table(&Identity::new(plan.options, plan.opened_at).encode());
        transaction.new_chain(FILTER_CHAIN, None);
        describe(&mut transaction, &plan.options.filter);
        for extra in extras {
            extra.write(&mut transaction);
        }
        for (hook, chain, asked) in self.chains(self.standing.here(), questions) {
            transaction.new_chain(chain, Some((hook, self.place(hook))));
            self.fill(&mut transaction, hook, chain, plan.mode, asked, way);
        }
        transaction.commit(&self.socket)
    }

    /// The chains that are to stand at these hooks, with what is asked there.
    fn chains<'a>(
        &self,
        hooks: Hooks,
        questions: &'a Questions,
    ) -> impl Iterator<Item = (Hook, &'static str, Asked<'a>)> + use<'a> {
        let all = self.hooks.iter().enumerate().map(|(at, (hook, chain))| (*hook, *chain, questions.at(at)));
        all.filter(move |(hook, ..)| hooks.has(*hook))
    }

    /// Where the handle's chain stands at a hook. Low ones come first in netfilter. Fragments are taken before they are put
    /// together, which is done at -400; among themselves handles keep their order there.
    fn place(&self, hook: Hook) -> i32 {
        let base = if hook == Hook::Prerouting { BEFORE_REASSEMBLY } else { 0 };
        base - i32::from(self.priority)
    }

    /// Has new packets enter at a hook: the chains stand that their carriers go by, and connection tracking keeps away.
    pub(crate) fn admit(&self, entry: Hook) -> Result<()> {
        if self.standing.has_entry(entry) {
            return Ok(());
        }
        let is_on_the_way = |hook: Hook| hook == Hook::Forward || (hook == Hook::Output) == (entry == Hook::Output);
        let here = self.standing.here();
        let hooks = self.hooks.iter().map(|(hook, _)| *hook);
        let missing: Hooks = hooks.filter(|hook| is_on_the_way(*hook) && !here.has(*hook)).collect();
        let mut transaction = Transaction::new(&self.table);
        // The filter matches nothing there, so that only carriers are queued.
        for (hook, chain, _) in self.chains(missing, &Questions::default()) {
            transaction.new_chain(chain, Some((hook, self.place(hook))));
            self.fill(&mut transaction, hook, chain, Mode::Pass, Asked::default(), WAY.load(Ordering::Relaxed));
        }
        transaction.commit(&self.socket)?;
        self.standing.add_entry(entry, missing);
        if is_tracking() {
            self.add(&[Extra::Untracked(entry)]);
        }
        Ok(())
    }

    /// The rules of one chain.
    fn fill(
        &self,
        transaction: &mut Transaction<'_>,
        hook: Hook,
        chain: &str,
        mode: Mode,
        Asked { question, of_large }: Asked<'_>,
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
            for rule in &large {
                transaction.new_rule(chain, rule, &[]);
            }
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

    /// Adds what kernels may lack and handles can do without.
    fn add(&self, extras: &[Extra]) {
        add(&self.table, &self.socket, extras);
    }

    /// Puts other rules in the place of all at once; a filter may need chains at more hooks, and fragments put together.
    pub(crate) fn replace(&self, mode: Mode, questions: &Questions, filter: Option<&Filter>) -> Result<()> {
        let way = WAY.load(Ordering::Relaxed);
        let needed = filter.map_or(self.standing.here(), |filter| Hooks::matched(self.hooks, filter));
        if needed.has(Hook::Output) && !self.standing.here().has(Hook::Output) {
            // Before packets wait there, whose places it would move.
            self.admit(Hook::Output)?;
        }
        if let Some(extra) = filter.and_then(|filter| self.missing_reassembly(mode, filter)) {
            self.add(&[extra]);
        }
        let here = self.standing.here();
        let mut transaction = Transaction::new(&self.table);
        if let Some(filter) = filter {
            transaction.flush_chain(FILTER_CHAIN);
            describe(&mut transaction, filter);
        }
        for (hook, chain, question) in self.chains(here | needed, questions) {
            if here.has(hook) {
                transaction.flush_chain(chain);
            } else {
                transaction.new_chain(chain, Some((hook, self.place(hook))));
            }
            self.fill(&mut transaction, hook, chain, mode, question, way);
        }
        transaction.commit(&self.socket)?;
        self.standing.add(needed);
        Ok(())
    }

    /// Whether an announced change of nftables moves packets that may wait in the queue.
    pub(crate) fn moves_waiting(&self, change: &[u8]) -> bool {
        moves_places(change, &self.table, |hook| self.standing.waiting().has(hook))
    }

    /// Removes the table.
    pub(crate) fn remove(&self) -> Result<()> {
        let mut transaction = Transaction::new(&self.table);
        transaction.delete_table();
        transaction.commit(&self.socket)
    }

    /// How many packets the rules have dropped.
    pub(crate) fn dropped(&self) -> u64 {
        let here = self.standing.here();
        let chains = self.hooks.iter().filter(|(hook, _)| here.has(*hook));
        chains.map(|(_, chain)| counted(&self.socket, &self.table, chain).unwrap_or(0)).sum()
    }

    /// Whether this process is a fork of the one that owns the table.
    pub(crate) fn is_foreign(&self) -> bool {
        self.socket.is_foreign()
    }
}
