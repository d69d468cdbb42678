//! Finds the parts of a filter that can never hold or always do. Never panics; time and memory are at most quadratic in the
//! number of nodes, which is limited.
//!
//! For each class of packets and each node, from the leaves to the root, it follows which values are left where the node
//! holds and where it fails. A node for which none are left, in any class, is constant; the smallest such nodes are
//! reported. What it says is true of every packet; contradictions that only a search through all combinations would show
//! are passed over.
use super::ast::{Ast, Membership, Node, NodeId, NodeKind};
use super::bind::{Bound, bind};
use super::excerpt::{quoted, spanned};
use super::facts::{Facts, Outcome, both};
use super::field::Field;
use super::lower::lower;
use super::program::Class;
use super::remark::{self, Joint, Remark};
use super::span::Span;
use super::types::{Folded, Subject, Target, Test, fold};
use super::warning::Warning;
use smallvec::{SmallVec, smallvec};

/// Filters with more nodes, which nobody writes by hand, are not looked at.
const MAXIMUM_NODES: usize = 1024;

/// What is odd about a filter, in the order of the text. A node comes behind its parts in the tree; `matches` is the
/// filter's outcome where the optimiser found it to be constant.
pub(super) fn analyse(ast: &Ast, matches: Option<bool>, text: &str, layer: u8) -> Vec<Warning> {
    if ast.nodes.len() > MAXIMUM_NODES {
        return Vec::new();
    }
    let leaves = ast.nodes.iter().map(leaf).collect();
    let mut analysis = Analysis { ast, text, layer, leaves, verdicts: Vec::new() };
    analysis.verdicts = analysis.decide();
    if let (Some(matches), Some(root)) = (matches, analysis.verdicts.get_mut(ast.root.0 as usize)) {
        *root = Verdict { holds: matches, fails: !matches };
    }
    let mut warnings: Vec<_> =
        analysis.remarks().into_iter().map(|(id, remark)| analysis.warning(id, remark)).collect();
    warnings.sort_by_key(|warning| warning.span().start);
    warnings
}

/// Whether a node holds for some packets, and whether it fails for some.
#[derive(Clone, Copy, Default)]
struct Verdict {
    holds: bool,
    fails: bool,
}

impl Verdict {
    /// The outcome, if it is the same for all packets.
    fn constant(self) -> Option<bool> {
        (self.holds != self.fails).then_some(self.holds)
    }
}

/// The test that a leaf is lowered to; `None` of other nodes.
fn leaf(node: &Node) -> Option<Test> {
    let (NodeKind::Test(_) | NodeKind::Membership(_)) = node.kind else { return None };
    // The number of a set needs no set to be lowered.
    lower(&Ast { nodes: vec![*node], root: NodeId(0), sets: Vec::new() }).ok()?.first().copied()
}

/// The nodes directly below.
fn children(kind: &NodeKind) -> SmallVec<[NodeId; 3]> {
    match *kind {
        NodeKind::Test(_) | NodeKind::Membership(_) => SmallVec::new(),
        NodeKind::Not(inner) => smallvec![inner],
        NodeKind::And(left, right) | NodeKind::Or(left, right) => smallvec![left, right],
        NodeKind::Conditional { condition, then, otherwise } => smallvec![condition, then, otherwise],
    }
}

/// The classes of packets or events that a layer has.
fn classes(layer: u8) -> impl Iterator<Item = Class> {
    // Events differ in their direction only.
    let step = if matches!(layer, 2..=4) { Class::COUNT / 2 } else { 1 };
    (0..Class::COUNT).step_by(step).map(Class::from_index)
}

struct Analysis<'a> {
    ast: &'a Ast,
    text: &'a str,
    layer: u8,
    leaves: Vec<Option<Test>>,
    /// One for each node.
    verdicts: Vec<Verdict>,
}

/// Of a node that is not there, nothing is known.
static UNKNOWN: Outcome = Outcome { holds: Some(Facts::NONE), fails: Some(Facts::NONE) };

fn at(outcomes: &[Outcome], id: NodeId) -> &Outcome {
    outcomes.get(id.0 as usize).unwrap_or(&UNKNOWN)
}

impl Analysis<'_> {
    /// What is known of each node, for a class.
    fn outcomes(&self, class: Class) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(self.ast.nodes.len());
        for (node, leaf) in self.ast.nodes.iter().zip(&self.leaves) {
            let outcome = match node.kind {
                NodeKind::Not(inner) => at(&outcomes, inner).not(),
                NodeKind::Test(_) | NodeKind::Membership(_) => {
                    leaf.map_or(UNKNOWN.clone(), |test| self.of_leaf(&test, class))
                }
                NodeKind::And(left, right) => at(&outcomes, left).and(at(&outcomes, right)),
                NodeKind::Or(left, right) => at(&outcomes, left).or(at(&outcomes, right)),
                NodeKind::Conditional { condition, then, otherwise } => {
                    at(&outcomes, condition).choose(at(&outcomes, then), at(&outcomes, otherwise))
                }
            };
            outcomes.push(outcome);
        }
        outcomes
    }

    fn of_leaf(&self, test: &Test, class: Class) -> Outcome {
        // What folds away leaves a test with a single target.
        if test.success == test.failure {
            return Outcome::constant(test.success == Target::Accept);
        }
        Outcome::of_test(test, &self.ast.sets, class, self.layer)
    }

    fn decide(&self) -> Vec<Verdict> {
        let mut verdicts = vec![Verdict::default(); self.ast.nodes.len()];
        for class in classes(self.layer) {
            for (verdict, outcome) in verdicts.iter_mut().zip(self.outcomes(class)) {
                verdict.holds |= outcome.holds.is_some();
                verdict.fails |= outcome.fails.is_some();
            }
        }
        verdicts
    }

    fn constant(&self, id: NodeId) -> Option<bool> {
        self.verdicts.get(id.0 as usize)?.constant()
    }

    /// What is to be said, with the node that it is about.
    fn remarks(&self) -> Vec<(NodeId, Remark)> {
        let mut remarks = Vec::new();
        let mut combinations = Vec::new();
        for (index, node) in self.ast.nodes.iter().enumerate() {
            let id = NodeId(index as u32);
            if let Some(remark) = self.test_remark(id, node) {
                remarks.push((id, remark));
            } else if self.is_odd_combination(id, &children(&node.kind)) {
                combinations.push(Combination::new(self.ast, id, node));
            }
        }
        self.pair(&mut combinations);
        remarks.extend(combinations.iter().filter_map(|each| Some((each.id, self.combination_remark(each)?))));
        remarks
    }

    fn test_remark(&self, id: NodeId, node: &Node) -> Option<Remark> {
        let comparison = match &node.kind {
            NodeKind::Test(comparison) => comparison,
            NodeKind::Membership(membership) => return self.membership_remark(id, node, membership),
            _ => return None,
        };
        let Subject::Field(field) = comparison.subject else { return None };
        if field == Field::Zero {
            return None;
        }
        let (value, quote) = (comparison.value, quoted(self.text, node.span));
        if let Some(outcome) = self.constant(id) {
            return Some(remark::on_constant_test(field, value, outcome, self.layer, &quote));
        }
        let (header, outcome) = match fold(comparison.subject, comparison.operator, value) {
            Folded::Header(header, outcome) => (header, outcome),
            _ => (field.needs().filter(|_| self.holds_wherever_read(id))?, true),
        };
        Some(remark::on_header_test(field, value, header, outcome, &quote))
    }

    fn membership_remark(&self, id: NodeId, node: &Node, membership: &Membership) -> Option<Remark> {
        let Membership { field, negated, reaches_out, .. } = *membership;
        let (outcome, quote) = (self.constant(id), quoted(self.text, node.span));
        let set = self.ast.sets.get(membership.set as usize)?;
        // A set that was given from outside may serve several fields, or be empty for now.
        if outcome == Some(false) && !negated && set.name().is_some() {
            return None;
        }
        if outcome.is_none() && self.holds_wherever_read(id) && set.name().is_none() {
            return field.needs().map(|header| remark::on_full_set(field, header, &quote));
        }
        match outcome {
            Some(outcome) => {
                let is_empty = set.ranges().is_empty() && !reaches_out;
                Some(remark::on_constant_set(field, is_empty, outcome, self.layer, &quote))
            }
            None => reaches_out.then(|| remark::on_reaching_set(field, &quote)),
        }
    }

    /// Whether a test holds whatever the value that it reads.
    fn holds_wherever_read(&self, id: NodeId) -> bool {
        let Some(test) = self.leaves.get(id.0 as usize).copied().flatten() else { return false };
        classes(self.layer).all(|class| match bind(&test, class, self.layer, &self.ast.sets) {
            Bound::Read(place, values) => {
                values.accepted(&test, place, &self.ast.sets).is_full(place.maximum()) && !place.load.may_be_absent()
            }
            Bound::Decided(outcome) => !outcome,
            Bound::Violation => false,
        })
    }

    /// Whether a node with these parts is constant, and none of the parts.
    fn is_odd_combination(&self, id: NodeId, parts: &[NodeId]) -> bool {
        self.constant(id).is_some() && !parts.is_empty() && parts.iter().all(|part| self.constant(*part).is_none())
    }

    /// Leaves in each combination the operands that go together with the right one for no packet.
    fn pair(&self, combinations: &mut [Combination]) {
        if combinations.is_empty() {
            return;
        }
        for class in classes(self.layer) {
            let outcomes = self.outcomes(class);
            for Combination { joint, left, right, .. } in combinations.iter_mut() {
                let side = |id| if *joint == Joint::Or { &at(&outcomes, id).fails } else { &at(&outcomes, id).holds };
                left.retain(|operand| both(side(*operand), side(*right)).is_none());
            }
        }
    }

    fn combination_remark(&self, combination: &Combination) -> Option<Remark> {
        let quote = |id| Some(quoted(self.text, self.span(id)?));
        let pair = combination.left.first().and_then(|left| Some((quote(*left)?, quote(combination.right)?)));
        Some(remark::on_combination(combination.joint, self.constant(combination.id)?, pair, self.layer))
    }

    fn warning(&self, id: NodeId, remark: Remark) -> Warning {
        let Remark { claim, mut message } = remark;
        let filter = self.constant(self.ast.root).filter(|matches| claim.outcome() == Some(*matches));
        if let Some(matches) = filter {
            message.push_str("; the whole filter matches ");
            message.push_str(&remark::extent(matches, self.layer));
        }
        let span = self.span(id).unwrap_or_default();
        Warning { claim, span, filter, message, text: self.text.to_owned() }
    }

    /// The text of a node with all of the parentheses that it begins or ends in; those around operands are not the operands'.
    fn span(&self, id: NodeId) -> Option<Span> {
        let span = self.ast.node(id)?.span;
        let (mut open, mut missing) = (0_usize, 0_usize);
        for byte in spanned(self.text, span).bytes() {
            match byte {
                b'(' => open += 1,
                b')' if open > 0 => open -= 1,
                b')' => missing += 1,
                _ => {}
            }
        }
        let (before, after) = (self.text.get(..span.start as usize)?, self.text.get(span.end as usize..)?);
        let start =
            missing.checked_sub(1).map_or(Some(before.len()), |nth| Some(before.rmatch_indices('(').nth(nth)?.0));
        let end = open.checked_sub(1).map_or(Some(0), |nth| Some(after.match_indices(')').nth(nth)?.0 + 1));
        Some(Span::new(start?, span.end as usize + end?))
    }
}

/// A node that is constant because of how its parts go together.
struct Combination {
    id: NodeId,
    joint: Joint,
    /// The operands to the left, the nearest first.
    left: Vec<NodeId>,
    right: NodeId,
}

impl Combination {
    fn new(ast: &Ast, id: NodeId, node: &Node) -> Self {
        let (joint, mut left, right) = match node.kind {
            NodeKind::And(left, right) => (Joint::And, Some(left), right),
            NodeKind::Or(left, right) => (Joint::Or, Some(left), right),
            _ => (Joint::Conditional, None, id),
        };
        // A chain grows to the left.
        let mut operands = Vec::new();
        while let Some(id) = left {
            let (operand, next) = match (joint, ast.node(id).map(|node| node.kind)) {
                (Joint::And, Some(NodeKind::And(next, operand))) | (Joint::Or, Some(NodeKind::Or(next, operand))) => {
                    (operand, Some(next))
                }
                _ => (id, None),
            };
            operands.push(operand);
            left = next;
        }
        Self { id, joint, left: operands, right }
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::end;
    use super::super::{Filter, compile_tests, optimise};
    use super::*;
    use crate::address::Layer;
    use proptest::prelude::*;

    /// Filters of few fields and numbers, in which parts often exclude each other.
    fn filter() -> BoxedStrategy<String> {
        let fields = "tcp udp ip ipv6 outbound inbound fragment tcp.DstPort ip.TTL localPort localAddr ipv6.SrcAddr protocol \
            length packet[1] packet[-1] random8 icmp.Type timestamp";
        let field = prop::sample::select(fields.split_whitespace().collect::<Vec<_>>());
        let operator = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
        let test = prop_oneof![
            field.clone().prop_map(str::to_owned),
            field.clone().prop_map(|field| format!("not {field}")),
            (field, operator, 0..4).prop_map(|(field, operator, value)| format!("{field} {operator} {value}")),
        ];
        test.prop_recursive(4, 16, 3, |part| {
            let (a, b, c) = (part.clone(), part.clone(), part);
            prop_oneof![
                3 => (a.clone(), b.clone()).prop_map(|(a, b)| format!("({a} and {b})")),
                2 => (a.clone(), b.clone()).prop_map(|(a, b)| format!("({a} or {b})")),
                1 => (a, b, c).prop_map(|(a, b, c)| format!("({a}? {b} : {c})")),
            ]
        })
        .boxed()
    }

    proptest! {
        #[test]
        fn a_filter_of_which_the_optimiser_leaves_nothing_is_reported(text in filter()) {
            let warnings = Filter::compile(&text, Layer::Network).unwrap().warnings();
            let program = optimise::optimise(&compile_tests(text.as_bytes(), 0).unwrap(), &[], 0);
            for (outcome, matches) in [(end::ACCEPT, true), (end::REJECT, false)] {
                if program.entries.iter().all(|entry| *entry == outcome) {
                    prop_assert!(warnings.iter().all(|warning| warning.filter() != Some(!matches)));
                    prop_assert!(warnings.iter().any(|warning| warning.filter() == Some(matches)), "{}", text);
                }
            }
        }
    }

    #[test]
    fn spans_include_the_parentheses_of_operands() {
        for (text, expected) in [
            ("(tcp) and (udp)", "(tcp) and (udp)"),
            ("((tcp and udp) or ip) and outbound", "tcp and udp"),
            ("((outbound or inbound)) and ip", "outbound or inbound"),
            ("ip and ( outbound or (inbound) )", "outbound or (inbound)"),
            ("((tcp) and (ip or (udp)) and (udp)) or ip", "(tcp) and (ip or (udp)) and (udp)"),
        ] {
            let warnings = Filter::compile(text, Layer::Network).unwrap().warnings();
            let spans: Vec<_> = warnings.iter().map(|warning| spanned(text, warning.span())).collect();
            assert_eq!(spans, [expected]);
        }
    }
}
