//! The filter's questions: each loads a value and looks which of its ranges it lies in.
use super::super::optimise::Node;
use super::super::program::end;
use super::super::ranges::Ranges;
use super::code::{Arithmetic, Assembler, Label, Relation};
use super::head::{CONTEXT, LENGTH, PROTOCOL};
use super::load::{Loaded, Loader};
use super::{Deed, Matched};
use std::collections::BTreeSet;

/// So few ranges are looked through one by one.
const FEW: usize = 3;

/// A range of values, both ends included.
type Range = (u128, u128);

/// The nodes of a filter's program, and where they lie in this one.
pub(super) struct Nodes<'a> {
    all: &'a [Node],
    loader: Loader<'a>,
    ranges_max: usize,
    /// Those that something leads to.
    labels: Vec<Option<Label>>,
    accept: Label,
    reject: Label,
    is_exact: bool,
}

impl<'a> Nodes<'a> {
    pub(super) fn new(nodes: &'a [Node], loader: Loader<'a>, ranges_max: usize, code: &mut Assembler) -> Self {
        let mut labels: Vec<_> = nodes.iter().map(|_| None).collect();
        for label in &mut labels {
            *label = Some(code.label());
        }
        let (accept, reject) = (code.label(), code.label());
        Self { all: nodes, loader, ranges_max, labels, accept, reject, is_exact: true }
    }

    pub(super) const fn accept(&self) -> Label {
        self.accept
    }

    pub(super) const fn reject(&self) -> Label {
        self.reject
    }

    /// Whether nothing was answered otherwise than the filter does.
    pub(super) const fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// The place of a node or an end. Objects can test a field that the layer lacks, which matches nothing.
    pub(super) fn label(&self, edge: u16) -> Label {
        match edge {
            end::ACCEPT => self.accept,
            _ => self.labels.get(usize::from(edge)).copied().flatten().unwrap_or(self.reject),
        }
    }

    /// Writes the nodes that the entries lead to. Edges lead to nodes with lower numbers, so that jumps lead forwards.
    pub(super) fn write(&mut self, code: &mut Assembler, entries: impl Iterator<Item = u16>) {
        let mut needed: BTreeSet<u16> = entries.collect();
        for (number, node) in self.all.iter().enumerate().rev() {
            if needed.contains(&(number as u16)) {
                needed.extend([node.success, node.failure]);
                code.place(self.label(number as u16));
                self.write_node(code, node);
            }
        }
    }

    fn write_node(&mut self, code: &mut Assembler, node: &Node) {
        let (success, failure) = (self.label(node.success), self.label(node.failure));
        let loaded = self.loader.write(code, node.place, failure);
        let ranges = node.accepted.as_slice();
        match loaded {
            Loaded::Unknown => {
                self.is_exact = false;
                let label = self.either(success, failure);
                code.jump(label);
            }
            Loaded::AtLeast(value) => {
                let all = Ranges::new(value.into(), node.place.maximum());
                let accepted = node.accepted.intersection(&all);
                let label = if accepted.is_empty() {
                    failure
                } else if all.is_subset(&accepted) {
                    success
                } else {
                    self.is_exact = false;
                    self.either(success, failure)
                };
                code.jump(label);
            }
            Loaded::Known(value) => {
                code.jump(if node.accepted.contains(value.into()) { success } else { failure });
            }
            Loaded::Narrow | Loaded::Wide => {
                let maximum = node.place.maximum();
                let is_wide = loaded == Loaded::Wide;
                if ranges.len() <= self.ranges_max {
                    write_search(code, ranges, maximum, is_wide, success, failure);
                    return;
                }
                self.is_exact = false;
                let either = self.either(success, failure);
                write_search(code, &close_gaps(ranges, self.ranges_max), maximum, is_wide, either, failure);
            }
        }
    }

    /// Where to go on if either way may be the right one, so that nothing that matches is missed.
    fn either(&self, success: Label, failure: Label) -> Label {
        if failure == self.reject {
            success
        } else if success == self.reject {
            failure
        } else {
            self.accept
        }
    }

    /// Writes what is done with a packet that matches, and the end, which answers 1.
    pub(super) fn write_deed(&self, code: &mut Assembler, deed: &Deed<'_>) {
        code.place(self.accept);
        (deed.then)(code, &Matched { context: CONTEXT, length: LENGTH, free: PROTOCOL, done: self.reject });
        code.place(self.reject);
        code.compute(Arithmetic::Move, 0, 1);
        code.exit();
    }

    /// Writes the two ends.
    pub(super) fn write_ends(&self, code: &mut Assembler) {
        code.place(self.accept);
        code.compute(Arithmetic::Move, 0, 1);
        code.exit();
        code.place(self.reject);
        code.compute(Arithmetic::Move, 0, 0);
        code.exit();
    }
}

/// The ranges with all but their largest gaps closed.
fn close_gaps(ranges: &[Range], most: usize) -> Vec<Range> {
    let gap = |pair: &[Range]| match pair {
        [(_, end), (start, _)] => start - end,
        _ => 0,
    };
    let mut gaps: Vec<u128> = ranges.windows(2).map(gap).collect();
    gaps.sort_unstable_by(|one, other| other.cmp(one));
    let smallest = gaps.get(most.saturating_sub(1)).copied().unwrap_or(0);
    let mut closed: Vec<Range> = Vec::new();
    for (low, high) in ranges {
        match closed.last_mut() {
            Some((_, end)) if *low - *end <= smallest => *end = *high,
            _ => closed.push((*low, *high)),
        }
    }
    closed
}

/// Goes to `success` if the value lies in one of the ranges, else to `failure`; halves the ranges until there are few.
fn write_search(code: &mut Assembler, ranges: &[Range], maximum: u128, is_wide: bool, success: Label, failure: Label) {
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let Some((pivot, _)) = upper.first().filter(|_| ranges.len() > FEW) else {
        for range in ranges {
            let next = code.label();
            if is_wide {
                write_wide_range(code, *range, success, next);
            } else {
                write_narrow_range(code, *range, maximum, success, next);
            }
            code.place(next);
        }
        code.jump(failure);
        return;
    };
    let in_upper = code.label();
    if is_wide {
        let in_lower = code.label();
        write_below(code, *pivot, in_lower);
        code.jump(in_upper);
        code.place(in_lower);
    } else {
        code.jump_if(0, Relation::AtLeast, *pivot as u32, in_upper);
    }
    write_search(code, lower, maximum, is_wide, success, failure);
    code.place(in_upper);
    write_search(code, upper, maximum, is_wide, success, failure);
}

fn write_narrow_range(code: &mut Assembler, (low, high): Range, maximum: u128, success: Label, next: Label) {
    if low == high {
        code.jump_if(0, Relation::Equal, low as u32, success);
        return;
    }
    if low > 0 {
        code.jump_if(0, Relation::Less, low as u32, next);
    }
    if high >= maximum {
        code.jump(success);
    } else {
        code.jump_if(0, Relation::AtMost, high as u32, success);
    }
}

fn write_wide_range(code: &mut Assembler, (low, high): Range, success: Label, next: Label) {
    if low > 0 {
        write_below(code, low, next);
    }
    match high.checked_add(1) {
        Some(end) => write_below(code, end, success),
        None => code.jump(success),
    }
}

/// Goes to `label` if the wide value is below a number.
fn write_below(code: &mut Assembler, number: u128, label: Label) {
    let not_below = code.label();
    code.set_wide(3, (number >> 64) as u64);
    code.jump_if_wide(1, Relation::Less, 3, label);
    code.jump_if_wide(1, Relation::Greater, 3, not_below);
    code.set_wide(3, number as u64);
    code.jump_if_wide(2, Relation::Less, 3, label);
    code.place(not_below);
}
