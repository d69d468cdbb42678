//! Programs to text: WinDivert's normal form, character for character. Never panics; a form that would be far longer than
//! its program, which hostile objects can ask for, is refused.
use super::field::{Field, Style};
use super::members::{Members, Range, bounds};
use super::number::Number;
use super::types::{Operator, Target, Test, words};
use crate::packet::text::{push_ipv4, push_ipv6};
use std::fmt::Write;

/// Tests and operators that a normal form may show.
const LARGEST_FORM: usize = 1 << 16;
/// Ranges that an explanation shows of a set.
const SHOWN_RANGES: usize = 8;

/// The form is too large to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// The normal form of a program. The layer decides on the names of events.
pub(super) fn format(tests: &[Test], layer: u8) -> Result<String, TooLarge> {
    print(tests, &[], layer, false)
}

/// Likewise of a program of the extended dialect, which may ask about `sets` and can say `!(...)`.
pub(super) fn format_extended(tests: &[Test], sets: &[Members], layer: u8) -> Result<String, TooLarge> {
    print(tests, sets, layer, true)
}

fn print(tests: &[Test], sets: &[Members], layer: u8, extended: bool) -> Result<String, TooLarge> {
    let mut graph = Graph::new(tests, extended);
    graph.merge_all();
    let mut printer = Printer { graph: &graph, tests, sets, layer, extended, text: String::new(), left: LARGEST_FORM };
    printer.target(Target::Test(0))?;
    Ok(printer.text)
}

/// A single test of a program, which may ask about `sets`, as the normal form writes it.
pub(super) fn format_test(test: &Test, sets: &[Members], layer: u8) -> String {
    let mut out = String::new();
    push_test(&mut out, test, sets, layer, true);
    out
}

/// A part of the form under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    True,
    False,
    Test(u16),
    And(u32, u32),
    Or(u32, u32),
    Conditional(u32, u32, u32),
    /// Only in the extended dialect.
    Not(u32),
}

/// One test of the program with its targets, or what several of them were merged into.
#[derive(Clone, Copy)]
struct Node {
    form: u32,
    success: Target,
    failure: Target,
    /// How many targets lead here, modulo 256 as in WinDivert.
    references: u8,
}

struct Graph {
    forms: Vec<Form>,
    nodes: Vec<Node>,
    extended: bool,
}

const TRUE: u32 = 0;
const FALSE: u32 = 1;

impl Graph {
    fn new(tests: &[Test], extended: bool) -> Self {
        let mut forms = vec![Form::True, Form::False];
        let mut nodes: Vec<Node> = Vec::with_capacity(tests.len());
        for (index, test) in tests.iter().enumerate() {
            let references = u8::from(index == 0);
            nodes.push(Node { form: forms.len() as u32, success: test.success, failure: test.failure, references });
            forms.push(Form::Test(index as u16));
        }
        for test in tests {
            for target in [test.success, test.failure] {
                if let Some(node) = node_mut(&mut nodes, target) {
                    node.references = node.references.wrapping_add(1);
                }
            }
        }
        Self { forms, nodes, extended }
    }

    fn push(&mut self, form: Form) -> u32 {
        self.forms.push(form);
        self.forms.len() as u32 - 1
    }

    fn node(&self, target: Target) -> Option<&Node> {
        match target {
            Target::Test(index) => self.nodes.get(usize::from(index)),
            Target::Accept | Target::Reject => None,
        }
    }

    /// The node of a target that nothing else leads to.
    fn sole(&self, target: Target) -> Option<Node> {
        self.node(target).filter(|node| node.references == 1).copied()
    }

    fn drop_reference(&mut self, target: Target) {
        if let Some(node) = node_mut(&mut self.nodes, target) {
            node.references = node.references.wrapping_sub(1);
        }
    }

    fn merge_all(&mut self) {
        for index in (0..self.nodes.len()).rev() {
            while let Some(node) = self.nodes.get(index).copied().filter(|node| node.references != 0) {
                let Some(merged) = self.merge(node) else { break };
                if let Some(place) = self.nodes.get_mut(index) {
                    *place = Node { references: place.references, ..merged };
                }
            }
        }
    }

    /// Takes up one node that follows this one, or two, if the three form an `and`, an `or` or a conditional.
    fn merge(&mut self, node: Node) -> Option<Node> {
        let (success, failure) = (self.sole(node.success), self.sole(node.failure));
        if let Some((form, absorbed)) = self.extended.then(|| self.merge_negated(node, success, failure)).flatten() {
            self.drop_reference(node.success);
            self.drop_reference(node.failure);
            // What follows is negated, so that its targets change places.
            return Some(Node { form, success: absorbed.failure, failure: absorbed.success, references: 0 });
        }
        let (form, absorbed) = match (success, failure) {
            (Some(next), _) if next.failure == node.failure => (Form::And(node.form, next.form), next),
            (Some(next), _) if next.success == node.failure => (Form::Conditional(node.form, next.form, TRUE), next),
            (_, Some(next)) if next.success == node.success => (Form::Or(node.form, next.form), next),
            (_, Some(next)) if next.failure == node.success => (Form::Conditional(node.form, FALSE, next.form), next),
            (Some(yes), Some(no)) if yes.success == no.success && yes.failure == no.failure => {
                self.drop_reference(yes.success);
                self.drop_reference(yes.failure);
                (Form::Conditional(node.form, yes.form, no.form), yes)
            }
            _ => return None,
        };
        self.drop_reference(node.success);
        self.drop_reference(node.failure);
        let form = self.push(form);
        Some(Node { form, success: absorbed.success, failure: absorbed.failure, references: 0 })
    }

    /// A node with the negation of one that follows it, as an `and` or an `or`.
    fn merge_negated(&mut self, node: Node, success: Option<Node>, failure: Option<Node>) -> Option<(u32, Node)> {
        match (success, failure) {
            (Some(next), _) if next.success == node.failure && next.failure != node.failure => {
                let negated = self.push(Form::Not(next.form));
                Some((self.push(Form::And(node.form, negated)), next))
            }
            (_, Some(next)) if next.failure == node.success && next.success != node.success => {
                let negated = self.push(Form::Not(next.form));
                Some((self.push(Form::Or(node.form, negated)), next))
            }
            _ => None,
        }
    }

    /// The target without the nodes on the way that have no say.
    fn settled(&self, mut target: Target) -> Target {
        while let Some(node) = self.node(target).filter(|node| node.success == node.failure) {
            target = node.success;
        }
        target
    }
}

fn node_mut(nodes: &mut [Node], target: Target) -> Option<&mut Node> {
    match target {
        Target::Test(index) => nodes.get_mut(usize::from(index)),
        Target::Accept | Target::Reject => None,
    }
}

/// What a part of the form stands directly under.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parent {
    None,
    And,
    Or,
}

struct Printer<'a> {
    graph: &'a Graph,
    tests: &'a [Test],
    sets: &'a [Members],
    layer: u8,
    /// Whether groups may be negated.
    extended: bool,
    text: String,
    left: usize,
}

impl Printer<'_> {
    fn count(&mut self) -> Result<(), TooLarge> {
        self.left = self.left.checked_sub(1).ok_or(TooLarge)?;
        Ok(())
    }

    /// What follows from a target: the form of its node, as part of a conditional unless its own targets are plain.
    fn target(&mut self, target: Target) -> Result<(), TooLarge> {
        let target = self.graph.settled(target);
        let Some(node) = self.graph.node(target) else {
            self.text.push_str(if target == Target::Accept { "true" } else { "false" });
            return Ok(());
        };
        let (success, failure) = (self.graph.settled(node.success), self.graph.settled(node.failure));
        if (success, failure) == (Target::Accept, Target::Reject) {
            return self.form(node.form, Parent::None);
        }
        if self.extended && (success, failure) == (Target::Reject, Target::Accept) {
            return self.negation(node.form);
        }
        self.count()?;
        self.text.push('(');
        self.form(node.form, Parent::None)?;
        self.text.push_str("? ");
        self.target(success)?;
        self.text.push_str(": ");
        self.target(failure)?;
        self.text.push(')');
        Ok(())
    }

    fn form(&mut self, id: u32, parent: Parent) -> Result<(), TooLarge> {
        self.count()?;
        match self.graph.forms.get(id as usize).copied().unwrap_or(Form::False) {
            Form::True => self.text.push_str("true"),
            Form::False => self.text.push_str("false"),
            Form::Test(index) => {
                if let Some(test) = self.tests.get(usize::from(index)) {
                    push_test(&mut self.text, test, self.sets, self.layer, self.extended);
                }
            }
            Form::And(left, right) => self.chain([left, right], " and ", Parent::And, parent == Parent::Or)?,
            Form::Or(left, right) => self.chain([left, right], " or ", Parent::Or, parent == Parent::And)?,
            Form::Not(inner) => self.negation(inner)?,
            Form::Conditional(condition, then, otherwise) => {
                self.text.push('(');
                self.form(condition, Parent::None)?;
                self.text.push_str("? ");
                self.form(then, Parent::None)?;
                self.text.push_str(": ");
                self.form(otherwise, Parent::None)?;
                self.text.push(')');
            }
        }
        Ok(())
    }

    fn negation(&mut self, id: u32) -> Result<(), TooLarge> {
        if let Some(Form::Test(index)) = self.graph.forms.get(id as usize)
            && let Some(test) = self.tests.get(usize::from(*index))
            && test.field.needs().is_none()
            && !test.field.is_array()
        {
            // The field is always there, so that the negation of the test says the same.
            let negated = Test { operator: test.operator.negated(), ..*test };
            push_test(&mut self.text, &negated, self.sets, self.layer, self.extended);
            return Ok(());
        }
        self.text.push_str("!(");
        self.form(id, Parent::None)?;
        self.text.push(')');
        Ok(())
    }

    fn chain(&mut self, [left, right]: [u32; 2], word: &str, own: Parent, enclosed: bool) -> Result<(), TooLarge> {
        if enclosed {
            self.text.push('(');
        }
        self.form(left, own)?;
        self.text.push_str(word);
        self.form(right, own)?;
        if enclosed {
            self.text.push(')');
        }
        Ok(())
    }
}

/// The argument as the normal form shows it: of array fields the lowest word only, and in WinDivert's own form without its
/// sign.
fn shown(test: &Test, extended: bool) -> Number {
    let [word, ..] = test.words;
    if test.field.is_array() {
        return Number { negative: test.negative && extended, magnitude: word.into() };
    }
    Number { negative: test.negative, magnitude: test.magnitude() }
}

fn push_test(out: &mut String, test: &Test, sets: &[Members], layer: u8, extended: bool) {
    if let Some(set) = test.set() {
        return push_membership(out, test, sets.get(set), layer);
    }
    let value = shown(test, extended);
    let signed = value.negative && extended;
    let asks = match (test.operator, value.magnitude) {
        _ if signed => None,
        (Operator::Equal, 1) | (Operator::NotEqual, 0) => Some(true),
        (Operator::Equal, 0) | (Operator::NotEqual, 1) => Some(false),
        _ => None,
    };
    if let (Style::Flag, Some(asks)) = (test.field.style(), asks) {
        out.push_str(if asks { "" } else { "not " });
        out.push_str(test.field.name());
        return;
    }
    push_field(out, test);
    // Writing to a string cannot fail.
    let sign = if value.negative { "-" } else { "" };
    let _ = write!(out, " {} {sign}", test.operator.symbol());
    push_value(out, test.field, value.magnitude, test.words, layer);
}

fn push_field(out: &mut String, test: &Test) {
    out.push_str(test.field.name());
    if test.field.is_array() {
        let _ = write!(out, "[{}b]", test.index());
    }
}

fn push_membership(out: &mut String, test: &Test, set: Option<&Members>, layer: u8) {
    if let Some(name) = set.and_then(Members::name) {
        push_field(out, test);
        let _ = write!(out, " {} ${name}", test.operator.symbol());
        return;
    }
    push_ranges(out, test, test.operator, set.map_or(&[], Members::ranges), usize::MAX, layer);
}

/// The question whether the field of a test is in some ranges, of which at most `limit` are shown.
fn push_ranges(out: &mut String, test: &Test, operator: Operator, ranges: &[Range], limit: usize, layer: u8) {
    push_field(out, test);
    let _ = write!(out, " {} {{", operator.symbol());
    for (index, (low, high)) in ranges.iter().take(limit).enumerate() {
        out.push_str(if index > 0 { ", " } else { "" });
        push_number(out, test.field, *low, layer);
        if low != high {
            out.push('-');
            push_number(out, test.field, *high, layer);
        }
    }
    if ranges.len() > limit {
        let _ = write!(out, ", and {} more", ranges.len() - limit);
    }
    out.push('}');
}

fn push_number(out: &mut String, field: Field, number: Number, layer: u8) {
    out.push_str(if number.negative { "-" } else { "" });
    push_value(out, field, number.magnitude, words(number.magnitude), layer);
}

/// A value of a field, as tests write it.
pub(super) fn format_value(field: Field, number: Number, layer: u8) -> String {
    let mut out = String::new();
    push_number(&mut out, field, number, layer);
    out
}

/// The question whether the field of a test is in some ranges, in few words.
pub(super) fn format_set(test: &Test, operator: Operator, ranges: &[Range], layer: u8) -> String {
    let mut out = String::new();
    let flag = match (test.field.style(), operator, ranges) {
        (Style::Flag, Operator::In, [(low, high)]) if low == high => Some(low.magnitude),
        (Style::Flag, Operator::NotIn, [(low, high)]) if low == high => Some(1 - low.magnitude.min(1)),
        _ => None,
    };
    let comparison = match ranges {
        [range] => comparison(test.field, operator, *range),
        _ => None,
    };
    match (flag, comparison) {
        (Some(flag), _) => {
            out.push_str(if flag == 0 { "not " } else { "" });
            out.push_str(test.field.name());
        }
        (None, Some((operator, number))) => {
            push_field(&mut out, test);
            let _ = write!(out, " {} ", operator.symbol());
            push_number(&mut out, test.field, number, layer);
        }
        (None, None) => push_ranges(&mut out, test, operator, ranges, SHOWN_RANGES, layer),
    }
    out
}

/// The comparison with a number that asks whether a field is in a range, if there is one.
fn comparison(field: Field, operator: Operator, (low, high): Range) -> Option<(Operator, Number)> {
    let (least, greatest) = bounds(field);
    let (inside, number) = match (low == high, low <= least, high >= greatest) {
        (true, _, _) => (Operator::Equal, low),
        (_, true, false) => (Operator::LessOrEqual, high),
        (_, false, true) => (Operator::GreaterOrEqual, low),
        _ => return None,
    };
    Some((if operator == Operator::In { inside } else { inside.negated() }, number))
}

fn push_value(out: &mut String, field: Field, magnitude: u128, words: [u32; 4], layer: u8) {
    let [word, ..] = words;
    let name = match field.style() {
        Style::Ipv4 => return push_ipv4(out, word),
        Style::Ipv6 => return push_ipv6(out, words),
        Style::Layer => crate::address::Layer::ALL.get(word as usize).map(|layer| layer.name()),
        Style::Event => event_name(layer, word),
        Style::Flag | Style::Decimal | Style::Hexadecimal => None,
    };
    let _ = match (name, field.style()) {
        (Some(name), _) => out.write_str(name),
        (None, Style::Hexadecimal) => write!(out, "{magnitude:#x}"),
        (None, Style::Layer | Style::Event) => write!(out, "{word}"),
        (None, _) => write!(out, "{magnitude}"),
    };
}

/// The macro that means this event on this layer.
fn event_name(layer: u8, event: u32) -> Option<&'static str> {
    super::names::events(layer).find(|(_, value)| u32::from(*value) == event).map(|(name, _)| name)
}
