//! WinDivert's program to the executable one. Every answer stays the same, that on an absent header too: its test is decided
//! for the class before anything is merged.
//!
//! For each class, from the last test to the first: decided tests vanish, tests whose targets are equal vanish, neighbours
//! that read the same value become one test of a set, and a test whose answer follows from the one before is jumped over.
//! Equal parts are shared between classes. Never panics; time and memory are at most quadratic in the number of tests.
use super::bind::{Bound, Place, Values, bind};
use super::field::{Field, Source};
use super::members::Members;
use super::program::{Class, Load, Operation, Path, Program, end};
use super::ranges::Ranges;
use super::table::{NarrowTable, WideTable};
use super::types::{Target, Test};
use smallvec::{SmallVec, smallvec};

/// No node or no operation yet.
const UNSET: u16 = u16::MAX;

/// A number for each test or node, without an allocation where they are few.
type Numbers = SmallVec<[u16; 24]>;

/// The executable form of a program, which may ask about `sets`, on a layer.
pub(super) fn optimise(tests: &[Test], sets: &[Members], layer: u8) -> Program {
    let (nodes, entries) = decide(tests, sets, layer);
    Emitter::new(&nodes).emit(entries)
}

/// The decisions of a program, and for each class the first of them or the end.
pub(super) fn decide(tests: &[Test], sets: &[Members], layer: u8) -> (Vec<Node>, [u16; Class::COUNT]) {
    let mut graph = Graph {
        tests,
        sets,
        layer,
        nodes: Vec::with_capacity(tests.len()),
        made: smallvec![UNSET; tests.len()],
        references: count_references(tests),
    };
    let mut known: Numbers = smallvec![UNSET; tests.len()];
    let mut entries = [end::REJECT; Class::COUNT];
    let aspects = tests.iter().fold(0, |all, test| all | aspects(test.field));
    for index in 0..Class::COUNT {
        let model = model_class(index, layer, aspects);
        let entry = match entries.get(model) {
            Some(entry) if model < index => *entry,
            _ => {
                if index > 0 {
                    known.fill(UNSET);
                }
                graph.resolve(Target::Test(0), Class::from_index(index), &mut known)
            }
        };
        if let Some(place) = entries.get_mut(index) {
            *place = entry;
        }
    }
    (graph.nodes, entries)
}

/// What a program tells apart, as bits.
mod aspect {
    pub(super) const TCP: u8 = 1;
    pub(super) const UDP: u8 = 2;
    pub(super) const ICMP: u8 = 4;
    pub(super) const VERSION: u8 = 8;
    pub(super) const DIRECTION: u8 = 16;
}

/// A class that is treated alike and comes no later, for a program that tells these aspects apart.
const fn model_class(index: usize, layer: u8, aspects: u8) -> usize {
    let transport = match index & 3 {
        1 if aspects & aspect::TCP != 0 => 1,
        2 if aspects & aspect::UDP != 0 => 2,
        3 if aspects & aspect::ICMP != 0 => 3,
        _ => 0,
    };
    let version = if aspects & aspect::VERSION != 0 { index & 4 } else { 0 };
    let direction = if aspects & aspect::DIRECTION != 0 { index & 8 } else { 0 };
    // Only packets have headers.
    if matches!(layer, 2..=4) { direction } else { direction | version | transport }
}

/// The aspects that the meaning of a field depends on.
const fn aspects(field: Field) -> u8 {
    let header = match field.needs() {
        Some(header) => header,
        None => field,
    };
    let of_header = match header {
        Field::Ip | Field::Ipv6 => aspect::VERSION,
        Field::Tcp => aspect::TCP,
        Field::Udp => aspect::UDP,
        Field::Icmp | Field::Icmpv6 => aspect::ICMP | aspect::VERSION,
        _ => 0,
    };
    let all_transports = aspect::TCP | aspect::UDP | aspect::ICMP | aspect::VERSION;
    match field.source() {
        Source::Inbound | Source::Outbound => aspect::DIRECTION,
        Source::EndpointAddress(_) => aspect::DIRECTION | aspect::VERSION,
        Source::EndpointPort(_) => aspect::DIRECTION | all_transports,
        Source::Protocol => all_transports,
        _ => of_header,
    }
}

/// A test of a set of values. Edges are numbers of nodes made before, or ends.
#[derive(Debug)]
pub(super) struct Node {
    /// The test of the program that it was made from first.
    pub(super) test: u16,
    pub(super) place: Place,
    pub(super) accepted: Ranges,
    pub(super) success: u16,
    pub(super) failure: u16,
    /// The node made before from the same test of the program, for another class.
    sibling: u16,
}

struct Graph<'a> {
    tests: &'a [Test],
    sets: &'a [Members],
    layer: u8,
    nodes: Vec<Node>,
    /// The last node made from each test.
    made: Numbers,
    /// How many targets lead to each test.
    references: Numbers,
}

fn count_references(tests: &[Test]) -> Numbers {
    let mut references: Numbers = smallvec![0; tests.len()];
    for target in tests.iter().flat_map(|test| [test.success, test.failure]) {
        if let Target::Test(index) = target
            && let Some(count) = references.get_mut(usize::from(index))
        {
            *count += 1;
        }
    }
    references
}

impl Graph<'_> {
    /// The node or end that a target means for a class. Targets lead forwards, so that the recursion ends.
    fn resolve(&mut self, target: Target, class: Class, known: &mut [u16]) -> u16 {
        let index = match target {
            Target::Accept => return end::ACCEPT,
            Target::Reject => return end::REJECT,
            Target::Test(index) => usize::from(index),
        };
        let Some(test) = self.tests.get(index) else { return end::REJECT };
        if let Some(edge) = known.get(index).filter(|edge| **edge != UNSET) {
            return *edge;
        }
        let edge = match bind(test, class, self.layer, self.sets) {
            Bound::Violation => end::VIOLATION,
            Bound::Decided(outcome) => self.resolve(if outcome { test.success } else { test.failure }, class, known),
            Bound::Read(place, values) => self.read(index, place, values, class, known),
        };
        if let Some(slot) = known.get_mut(index) {
            *slot = edge;
        }
        edge
    }

    /// The node of a test that reads a value, together with the tests that follow it in a row of alternatives to it.
    fn read(&mut self, index: usize, place: Place, values: Values, class: Class, known: &mut [u16]) -> u16 {
        let Some(test) = self.tests.get(index) else { return end::REJECT };
        let (target, mut failure) = (test.success, test.failure);
        let mut alternatives: SmallVec<[Ranges; 4]> = SmallVec::new();
        while let Some((next, values)) = self.alternative(failure, target, test.field, place, class) {
            alternatives.push(values.accepted(next, place, self.sets));
            failure = next.failure;
        }
        let success = self.resolve(target, class, known);
        let failure = self.resolve(failure, class, known);
        if success == failure {
            return success;
        }
        let mut accepted = values.accepted(test, place, self.sets);
        if !alternatives.is_empty() {
            let all = alternatives.iter().chain([&accepted]).flat_map(Ranges::as_slice).copied();
            accepted = all.collect();
        }
        self.join(index, place, accepted, success, failure)
    }

    /// The test that a failing one leads to, if nothing else leads there, and it reads the same and succeeds alike.
    fn alternative(
        &self,
        failure: Target,
        success: Target,
        field: Field,
        place: Place,
        class: Class,
    ) -> Option<(&Test, Values)> {
        let Target::Test(index) = failure else { return None };
        let next = self.tests.get(usize::from(index))?;
        if next.field != field || next.success != success || self.references.get(usize::from(index)) != Some(&1) {
            return None;
        }
        match bind(next, class, self.layer, self.sets) {
            Bound::Read(other, values) if other == place => Some((next, values)),
            _ => None,
        }
    }

    fn follower(&self, edge: u16, place: Place) -> Option<&Node> {
        self.nodes.get(usize::from(edge)).filter(|node| node.place == place)
    }

    /// A node for a test, after taking up what follows it and reads the same value.
    fn join(&mut self, index: usize, place: Place, mut accepted: Ranges, mut success: u16, mut failure: u16) -> u16 {
        let maximum = place.maximum();
        let absent = place.load.may_be_absent();
        loop {
            if success == failure || accepted.is_empty() {
                return failure;
            }
            if accepted.is_full(maximum) && !absent {
                return success;
            }
            // A value that is absent takes the failure edge throughout, which each of these steps keeps.
            if let Some(next) = self.follower(success, place) {
                if next.failure == failure {
                    (accepted, success) = (accepted.intersection(&next.accepted), next.success);
                    continue;
                }
                if next.success == failure {
                    (accepted, success) = (accepted.intersection(&next.accepted.complement(maximum)), next.failure);
                    continue;
                }
                if accepted.is_subset(&next.accepted) {
                    success = next.success;
                    continue;
                }
                if accepted.intersection(&next.accepted).is_empty() {
                    success = next.failure;
                    continue;
                }
            }
            let Some(next) = self.follower(failure, place) else { break };
            if next.success == success {
                (accepted, failure) = (accepted.union(&next.accepted), next.failure);
            } else if next.failure == success {
                let rest = next.accepted.intersection(&accepted.complement(maximum));
                (accepted, success, failure) = (rest, next.success, next.failure);
            } else if next.accepted.is_subset(&accepted) {
                failure = next.failure;
            } else if !absent && accepted.complement(maximum).is_subset(&next.accepted) {
                failure = next.success;
            } else {
                break;
            }
        }
        self.share(index, place, accepted, success, failure)
    }

    /// The node as it was made for another class, or a new one.
    fn share(&mut self, index: usize, place: Place, accepted: Ranges, success: u16, failure: u16) -> u16 {
        let last = self.made.get(index).copied().unwrap_or(UNSET);
        let mut candidate = last;
        while let Some(node) = self.nodes.get(usize::from(candidate)) {
            if (node.place, node.success, node.failure) == (place, success, failure) && node.accepted == accepted {
                return candidate;
            }
            candidate = node.sibling;
        }
        let id = self.nodes.len() as u16;
        self.nodes.push(Node { test: index as u16, place, accepted, success, failure, sibling: last });
        if let Some(made) = self.made.get_mut(index) {
            *made = id;
        }
        id
    }
}

/// Puts nodes in sequence.
struct Emitter<'a> {
    nodes: &'a [Node],
    /// The operation of each node.
    positions: Numbers,
    operations: Vec<Operation>,
    tables: Vec<NarrowTable>,
    wide_tables: Vec<WideTable>,
    /// Nodes that something jumps to.
    waiting: Numbers,
}

impl<'a> Emitter<'a> {
    fn new(nodes: &'a [Node]) -> Self {
        Self {
            nodes,
            positions: smallvec![UNSET; nodes.len()],
            operations: Vec::with_capacity(nodes.len()),
            tables: Vec::new(),
            wide_tables: Vec::new(),
            waiting: Numbers::new(),
        }
    }

    fn emit(mut self, mut entries: [u16; Class::COUNT]) -> Program {
        // Backwards, so that the first class comes first; those that share a program follow each other.
        let mut last = UNSET;
        for entry in entries.iter().rev().filter(|entry| usize::from(**entry) < self.nodes.len()) {
            if *entry != last {
                self.waiting.push(*entry);
            }
            last = *entry;
        }
        while let Some(edge) = self.waiting.pop() {
            self.place(edge);
        }
        // Until here targets are nodes.
        let positions = &self.positions;
        let turn = |edge: &mut u16| *edge = positions.get(usize::from(*edge)).copied().unwrap_or(*edge);
        for operation in &mut self.operations {
            turn(&mut operation.then);
            turn(&mut operation.otherwise);
        }
        entries.iter_mut().for_each(turn);
        Program { entries, operations: self.operations, tables: self.tables, wide_tables: self.wide_tables }
    }

    fn is_unplaced(&self, edge: u16) -> bool {
        self.positions.get(usize::from(edge)) == Some(&UNSET)
    }

    fn wait(&mut self, edge: u16) {
        if self.is_unplaced(edge) {
            self.waiting.push(edge);
        }
    }

    /// Emits a node and what follows it without a jump.
    fn place(&mut self, mut edge: u16) {
        while self.is_unplaced(edge) {
            let Some(node) = self.nodes.get(usize::from(edge)) else { return };
            if let Some(position) = self.positions.get_mut(usize::from(edge)) {
                *position = self.operations.len() as u16;
            }
            let Node { place, success, failure, .. } = *node;
            // What is absent takes the failure edge, so that such tests cannot be turned round.
            if !self.is_unplaced(success) && self.is_unplaced(failure) && !place.load.may_be_absent() {
                let accepted = node.accepted.complement(place.maximum());
                self.push(place, &accepted, end::NEXT, success);
                edge = failure;
            } else if self.is_unplaced(success) {
                self.push(place, &node.accepted, end::NEXT, failure);
                self.wait(failure);
                edge = success;
            } else {
                self.push(place, &node.accepted, success, failure);
                self.wait(failure);
                return;
            }
        }
    }

    fn push(&mut self, place: Place, accepted: &Ranges, then: u16, otherwise: u16) {
        let Place { load, offset, shift, .. } = place;
        let mut operation = Operation {
            mask: (place.maximum() as u32) << shift,
            low: 0,
            span: 0,
            second_low: 0,
            second_span: 0,
            offset,
            relative: if load == (Load::Header { transport: true }) { u32::MAX } else { 0 },
            path: Path::Slow,
            in_table: true,
            load,
            then,
            otherwise,
        };
        let shifted = |value: u128| (value as u32) << shift;
        if load.is_wide() {
            operation.low = self.wide_tables.len() as u32;
            self.wide_tables.push(WideTable::new(accepted.as_slice().iter().copied()));
        } else if let Some([first, second]) = few_ranges(accepted, place) {
            operation.in_table = false;
            (operation.low, operation.span) = (shifted(first.0), shifted(first.1).wrapping_sub(shifted(first.0)));
            operation.second_low = shifted(second.0);
            operation.second_span = shifted(second.1).wrapping_sub(shifted(second.0));
            operation.path = match load {
                Load::Header { .. } => Path::Header,
                Load::PayloadLen => Path::PayloadLen,
                _ => Path::Slow,
            };
        } else {
            operation.low = self.tables.len() as u32;
            let ranges = accepted.as_slice().iter().map(|(low, high)| (shifted(*low), shifted(*high)));
            self.tables.push(NarrowTable::new(ranges));
        }
        self.operations.push(operation);
    }
}

/// The set as two ranges at most, the second one being the first where one is enough. A range may lead over the end of the
/// values to their start.
fn few_ranges(accepted: &Ranges, place: Place) -> Option<[(u128, u128); 2]> {
    let ranges = accepted.as_slice();
    if let [(0, end), inner @ .., (start, last)] = ranges
        && *last == place.maximum()
    {
        let around = (*start, *end);
        return match inner {
            [] => Some([around, around]),
            [one] => Some([around, *one]),
            _ => None,
        };
    }
    match ranges {
        [one] => Some([*one, *one]),
        [one, other] => Some([*one, *other]),
        _ => None,
    }
}
