//! What a filter compiles to, for people and for tools: its tests, what a driver or a kernel runs in front of it, and the program that
//! runs here, class by class. Never panics.
//!
//! ```
//! use oxidivert::address::Layer;
//! use oxidivert::filter::{Filter, Sets};
//!
//! let filter = Filter::compile_extended("tcp.DstPort in {80, 443} and outbound", Layer::Network, &Sets::new())?;
//! let explanation = filter.explain().to_string();
//! assert!(explanation.contains("tcp.DstPort = 80 or tcp.DstPort = 443"));
//! # Ok::<(), oxidivert::filter::Error>(())
//! ```
use super::bind::{Bound, Values, bind};
use super::format::{format_set, format_test};
use super::members::{Members, Range};
use super::optimise::{Node, decide};
use super::program::{Class, end};
use super::ranges::Ranges;
use super::types::{Operator, Target, Test};
use super::{Ebpf, Filter, OfInterface, Shared, Vantage};
use crate::address::Layer;
use crate::packet::Transport;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// The interface that every Linux network namespace's loopback is.
const LOOPBACK: u32 = 1;

/// What a filter compiles to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    text: String,
    layer: &'static str,
    normal_form: String,
    tests: Vec<Line>,
    driver: Driver,
    kernel: Vec<Asked>,
    programs: Vec<ClassProgram>,
}

/// What a Linux kernel is asked about the packets of one direction, at some interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    direction: &'static str,
    /// Which interface they have, or have not, each with whether they have it; all packets if there is none.
    interfaces: Vec<(u32, bool)>,
    /// `None` if it is asked nothing.
    program: Option<Ebpf>,
}

/// A test and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    text: String,
    yes: Goal,
    no: Goal,
}

/// Where a test leads: the number of a line, or the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Line(usize),
    Accept,
    Reject,
    /// The layer lacks the field that would be tested, which only objects can ask for.
    Violation,
}

/// What a driver runs in front of the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Driver {
    text: String,
    object: String,
    tests: usize,
    /// The filter is of WinDivert's language.
    is_filter: bool,
    is_exact: bool,
}

/// The program of some classes of packets.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ClassProgram {
    classes: String,
    start: Goal,
    lines: Vec<Line>,
}

impl Filter {
    /// What the filter compiles to.
    pub fn explain(&self) -> Explanation {
        let Shared { tests, sets, text, layer, .. } = &*self.shared;
        Explanation {
            text: text.clone(),
            layer: self.layer().name(),
            normal_form: self.to_string(),
            tests: tests.iter().map(|test| test_line(test, sets, *layer)).collect(),
            driver: Driver {
                text: self.superset().to_string(),
                object: self.object(),
                tests: self.driver_tests().len(),
                is_filter: self.is_plain(),
                is_exact: self.superset_is_exact(),
            },
            kernel: self.asked(),
            programs: programs(tests, sets, *layer),
        }
    }

    fn asked(&self) -> Vec<Asked> {
        let directions: &[(&'static str, bool)] = match self.layer() {
            Layer::Network => &[("outbound", true), ("inbound", false)],
            Layer::NetworkForward => &[("forwarded", true)],
            Layer::Flow | Layer::Socket | Layer::Reflect => &[],
        };
        let mut all = Vec::new();
        for (direction, outbound) in directions {
            let vantage = Vantage::new(*outbound, (!outbound).then_some(false));
            let whole = self.ebpf(vantage);
            let is_exact = whole.as_ref().is_some_and(Ebpf::is_exact);
            match self.ebpf_by_interface(vantage, LOOPBACK).filter(|_| !is_exact) {
                Some(programs) => all.extend(programs.into_iter().map(|OfInterface { interfaces, program }| Asked {
                    direction,
                    interfaces,
                    program: Some(program),
                })),
                None => all.push(Asked { direction, interfaces: Vec::new(), program: whole }),
            }
        }
        all
    }
}

impl Asked {
    /// Which packets are meant.
    fn packets(&self) -> String {
        let names: Vec<String> = self.interfaces.iter().map(|(number, _)| number.to_string()).collect();
        match self.interfaces.first() {
            None => self.direction.to_owned(),
            Some((_, true)) => format!("{}, interface {}", self.direction, names.join(", ")),
            Some((_, false)) => format!("{}, interfaces but {}", self.direction, names.join(", ")),
        }
    }

    fn answer(&self) -> String {
        match &self.program {
            None => "nothing, every packet is matched here".to_owned(),
            Some(program) if program.is_empty() => "no packet matches".to_owned(),
            Some(program) => {
                let count = program.code().len();
                let more = if program.is_exact() { "the same" } else { "the same and more, which is matched here" };
                format!("{more}, {count} instructions")
            }
        }
    }
}

fn test_line(test: &Test, sets: &[Members], layer: u8) -> Line {
    Line { text: format_test(test, sets, layer), yes: test.success.into(), no: test.failure.into() }
}

impl From<Target> for Goal {
    fn from(target: Target) -> Self {
        match target {
            Target::Accept => Self::Accept,
            Target::Reject => Self::Reject,
            Target::Test(index) => Self::Line(index.into()),
        }
    }
}

/// The optimised programs, each with the classes that share it.
fn programs(tests: &[Test], sets: &[Members], layer: u8) -> Vec<ClassProgram> {
    let (nodes, entries) = decide(tests, sets, layer);
    let mut groups: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    for index in (0..Class::COUNT).filter(|index| has_packets(layer) || Class::from_index(*index).is_of_events()) {
        groups.entry(entries.get(index).copied().unwrap_or(end::REJECT)).or_default().push(index);
    }
    let writer = Writer { tests, sets, layer, nodes: &nodes };
    let mut groups: Vec<_> = groups.into_iter().collect();
    // What matches nothing comes last; the rest in the order of the classes.
    groups.sort_by_key(|(entry, classes)| (*entry == end::REJECT, classes.first().copied()));
    groups.iter().map(|(entry, classes)| writer.program(*entry, classes)).collect()
}

const fn has_packets(layer: u8) -> bool {
    matches!(layer, 0 | 1)
}

struct Writer<'a> {
    tests: &'a [Test],
    sets: &'a [Members],
    layer: u8,
    nodes: &'a [Node],
}

impl Writer<'_> {
    fn program(&self, entry: u16, classes: &[usize]) -> ClassProgram {
        // In the order in which a reader meets them: what follows a test that holds comes next.
        let mut order: Vec<u16> = Vec::new();
        let mut waiting = vec![entry];
        while let Some(edge) = waiting.pop() {
            let Some(node) = self.nodes.get(usize::from(edge)).filter(|_| !order.contains(&edge)) else { continue };
            order.push(edge);
            waiting.extend([node.failure, node.success]);
        }
        let goal = |edge: u16| match edge {
            end::ACCEPT => Goal::Accept,
            end::VIOLATION => Goal::Violation,
            _ => order.iter().position(|known| *known == edge).map_or(Goal::Reject, Goal::Line),
        };
        let class = Class::from_index(classes.first().copied().unwrap_or(0));
        let lines = order.iter().filter_map(|edge| {
            let node = self.nodes.get(usize::from(*edge))?;
            Some(Line { text: self.node_text(node, class)?, yes: goal(node.success), no: goal(node.failure) })
        });
        let classes = if has_packets(self.layer) { class_names(classes) } else { event_names(classes) };
        ClassProgram { classes, start: goal(entry), lines: lines.collect() }
    }

    /// The question of a node, in the terms of the test that it was made from.
    fn node_text(&self, node: &Node, class: Class) -> Option<String> {
        let test = self.tests.get(usize::from(node.test))?;
        let Bound::Read(_, values) = bind(test, class, self.layer, self.sets) else { return None };
        // Events tell a header by its number, which has no order.
        if matches!(values, Values::Header { .. }) {
            return Some(format_test(test, self.sets, self.layer));
        }
        let numbers = |ranges: &Ranges| -> Vec<Range> {
            ranges.as_slice().iter().map(|(low, high)| (values.number(*low), values.number(*high))).collect()
        };
        let others = node.accepted.complement(node.place.maximum());
        // Whichever is shorter.
        let (operator, ranges) = if others.as_slice().len() < node.accepted.as_slice().len() {
            (Operator::NotIn, &others)
        } else {
            (Operator::In, &node.accepted)
        };
        let own = |set: &usize| self.sets.get(*set).filter(|set| set.name().is_some());
        if test.set().as_ref().and_then(own).is_some_and(|set| set.ranges().len() == node.accepted.as_slice().len()) {
            return Some(format_test(test, self.sets, self.layer));
        }
        Some(format_set(test, operator, &numbers(ranges), self.layer))
    }
}

/// Likewise for events, which have no more than a direction.
fn event_names(indexes: &[usize]) -> String {
    match indexes {
        [index] => direction_name(Class::from_index(*index)).to_owned(),
        _ => "every event".to_owned(),
    }
}

/// What sets some classes apart from all others.
fn class_names(indexes: &[usize]) -> String {
    let classes: Vec<Class> = indexes.iter().map(|index| Class::from_index(*index)).collect();
    let distinct = |name: fn(Class) -> &'static str| {
        let mut names: Vec<_> = classes.iter().map(|class| name(*class)).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    // Of the two ICMPs one exists under IPv4 only, the other under IPv6 only, so that they are one kind of transport.
    let kinds = distinct(|class| transport_name(class).trim_end_matches("v6")).len();
    let (versions, directions) = (distinct(version_name), distinct(direction_name));
    if classes.len() == Class::COUNT {
        return "every packet".to_owned();
    }
    if versions.len() * kinds * directions.len() == classes.len() {
        let transports = if kinds < 4 { distinct(transport_name) } else { Vec::new() };
        let parts = [(versions, 2), (transports, 5), (directions, 2)]
            .map(|(names, all)| (names.join(" or "), names.len() == all));
        let told = parts.into_iter().filter(|(names, all)| !all && !names.is_empty());
        return told.map(|(names, _)| names).collect::<Vec<_>>().join(", ");
    }
    if classes.len() > 6 {
        return "all others".to_owned();
    }
    let one = |class: &Class| [version_name(*class), transport_name(*class), direction_name(*class)].join(" ");
    classes.iter().map(one).collect::<Vec<_>>().join("; ")
}

const fn version_name(class: Class) -> &'static str {
    if class.ipv6 { "IPv6" } else { "IPv4" }
}

const fn direction_name(class: Class) -> &'static str {
    if class.outbound { "outbound" } else { "inbound" }
}

const fn transport_name(class: Class) -> &'static str {
    match class.transport {
        None => "other transport",
        Some(Transport::Tcp) => "TCP",
        Some(Transport::Udp) => "UDP",
        Some(Transport::Icmp) => "ICMP",
        Some(Transport::Icmpv6) => "ICMPv6",
    }
}

impl Explanation {
    /// The eBPF programs that a Linux kernel is asked, one instruction a line.
    pub fn ebpf(&self) -> String {
        let mut text = String::new();
        for asked in &self.kernel {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}: {}", asked.packets(), asked.answer());
            if let Some(program) = asked.program.as_ref().filter(|program| !program.is_empty()) {
                let _ = write!(text, "{program}");
            }
        }
        text
    }

    /// The explanation as JSON text: `filter`, `layer`, `normal_form`, `tests`, `driver`, `kernel` and `programs`. Targets are the
    /// index of a line, `"accept"`, `"reject"` or `"violation"`.
    pub fn to_json(&self) -> String {
        let goal = |goal: Goal| match goal {
            Goal::Line(line) => json!(line),
            other => json!(other.to_string()),
        };
        let lines = |lines: &[Line]| -> Vec<Value> {
            let one = |line: &Line| json!({"test": line.text, "yes": goal(line.yes), "no": goal(line.no)});
            lines.iter().map(one).collect()
        };
        let program = |program: &ClassProgram| json!({"classes": program.classes, "start": goal(program.start), "tests": lines(&program.lines)});
        json!({
            "filter": self.text,
            "layer": self.layer,
            "dialect": if self.driver.is_filter { "windivert" } else { "extended" },
            "normal_form": self.normal_form,
            "tests": lines(&self.tests),
            "driver": {
                "filter": self.driver.text,
                "object": self.driver.object,
                "tests": self.driver.tests,
                "exact": self.driver.is_exact,
            },
            "kernel": self.kernel.iter().map(|asked| json!({
                "direction": asked.direction,
                "interfaces": asked.interfaces.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
                "other_interfaces": asked.interfaces.iter().any(|(_, is_meant)| !is_meant),
                "exact": asked.program.as_ref().is_some_and(Ebpf::is_exact),
                "instructions": asked.program.as_ref().map_or(0, |program| program.code().len()),
            })).collect::<Vec<_>>(),
            "programs": self.programs.iter().map(program).collect::<Vec<_>>(),
        })
        .to_string()
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "{line}"),
            Self::Accept => f.write_str("accept"),
            Self::Reject => f.write_str("reject"),
            Self::Violation => f.write_str("violation"),
        }
    }
}

/// Characters of what a driver runs that people see; tools see all.
const SHOWN_DRIVER: usize = 400;

fn write_lines(f: &mut fmt::Formatter<'_>, lines: &[Line]) -> fmt::Result {
    const WIDEST: usize = 48;
    let width = lines.iter().map(|line| line.text.chars().count()).max().unwrap_or(0).min(WIDEST);
    for (index, Line { text, yes, no }) in lines.iter().enumerate() {
        writeln!(f, "  {index:>4}  {text:width$}  yes: {:8} no: {no}", yes.to_string())?;
    }
    Ok(())
}

impl fmt::Display for Explanation {
    /// For people, several lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "filter       {}", self.text)?;
        writeln!(f, "layer        {}", self.layer)?;
        writeln!(f, "normal form  {}", self.normal_form)?;
        let Driver { text, tests, is_filter, is_exact, .. } = &self.driver;
        if *is_filter {
            writeln!(f, "driver runs  the same, {tests} of 255 tests")?;
        } else {
            let more = if *is_exact { "exactly the same packets" } else { "the same packets and more" };
            let shown: String = text.chars().take(SHOWN_DRIVER).collect();
            let rest = text.chars().count().saturating_sub(SHOWN_DRIVER);
            let rest = if rest > 0 { format!("... and {rest} characters more") } else { String::new() };
            writeln!(f, "driver runs  {shown}{rest}\n             ({more}, {tests} of 255 tests)")?;
        }
        for asked in &self.kernel {
            writeln!(f, "kernel asks  {}: {}", asked.packets(), asked.answer())?;
        }
        writeln!(f, "\ntests")?;
        write_lines(f, &self.tests)?;
        writeln!(f, "\nprogram")?;
        for ClassProgram { classes, start, lines } in &self.programs {
            if lines.is_empty() {
                writeln!(f, "  {classes}: {start}")?;
                continue;
            }
            writeln!(f, "  {classes}:")?;
            write_lines(f, lines)?;
        }
        Ok(())
    }
}
