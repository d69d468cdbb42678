//! The plain filter that matches at least what a filter of the extended dialect matches, and fits WinDivert's limits: what a
//! driver runs in front of the exact program. Never panics; recursion is as deep as the parentheses.
//!
//! Sets become ranges. Where they would need too many tests, their narrowest gaps are closed (or, where a set is asked for
//! under a negation, only its longest ranges are kept), as little as makes the whole fit. What still does not fit is left
//! out, where leaving it out lets more packets through.
use super::ast::{Ast, Comparison, Membership, Node, NodeId, NodeKind};
use super::lower::lower_within;
use super::members::Members;
use super::number::Number;
use super::span::Span;
use super::types::{Operator, Subject, Test};

/// What a driver may run.
const MAXIMUM: usize = Test::MAXIMUM - 1;

/// A plain program in the place of an extended one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Superset {
    pub(super) tests: Vec<Test>,
    /// Whether it matches nothing more.
    pub(super) is_exact: bool,
}

/// The superset of an expression.
pub(super) fn superset(ast: &Ast) -> Superset {
    let longest = ast.sets.iter().map(|set| set.ranges().len()).max().unwrap_or(0);
    // Each range takes a test at least.
    let mut maker = Maker::make(ast, longest.min(MAXIMUM));
    if maker.is_pruned {
        let (mut fits, mut beyond) = (1, longest.min(MAXIMUM));
        while beyond > fits + 1 {
            let middle = fits.midpoint(beyond);
            if Maker::make(ast, middle).is_pruned {
                beyond = middle;
            } else {
                fits = middle;
            }
        }
        maker = Maker::make(ast, fits);
    }
    let tests = lower_within(&maker.made, maker.made.root, MAXIMUM);
    Superset { is_exact: maker.is_exact && tests.is_ok(), tests: tests.unwrap_or_else(|_| anything()) }
}

/// The program that matches everything.
fn anything() -> Vec<Test> {
    let root = NodeId(0);
    let nodes = vec![Node { kind: keyword(true), span: Span::default() }];
    lower_within(&Ast { nodes, root, sets: Vec::new() }, root, MAXIMUM).unwrap_or_default()
}

/// A part of the superset under construction, and how many tests it has.
type Part = (NodeId, usize);

struct Maker<'a> {
    source: &'a Ast,
    made: Ast,
    /// How many ranges of a set are kept.
    limit: usize,
    /// Nothing was left out and no set changed.
    is_exact: bool,
    /// Something was left out.
    is_pruned: bool,
}

impl<'a> Maker<'a> {
    fn make(source: &'a Ast, limit: usize) -> Self {
        let made = Ast { nodes: Vec::new(), root: NodeId(0), sets: Vec::new() };
        let mut maker = Self { source, made, limit, is_exact: true, is_pruned: false };
        let (root, _) = maker.node(source.root, true, MAXIMUM);
        maker.made.root = root;
        maker
    }

    fn push(&mut self, kind: NodeKind) -> NodeId {
        self.made.nodes.push(Node { kind, span: Span::default() });
        NodeId(self.made.nodes.len() as u32 - 1)
    }

    fn join(&mut self, (left, ours): Part, (right, theirs): Part, all: bool) -> Part {
        let kind = if all { NodeKind::And(left, right) } else { NodeKind::Or(left, right) };
        (self.push(kind), ours + theirs)
    }

    fn constant(&mut self, value: bool) -> Part {
        (self.push(keyword(value)), 0)
    }

    /// `true` in the place of what does not fit.
    fn prune(&mut self) -> Part {
        self.is_pruned = true;
        self.is_exact = false;
        self.constant(true)
    }

    /// What holds at least where a node does, or, if not `wanted`, at least where it does not; of at most `budget` tests.
    fn node(&mut self, mut id: NodeId, wanted: bool, budget: usize) -> Part {
        // Chains grow to the left and may be long, so that only their right sides recurse.
        let mut chain = Vec::new();
        let mut part = loop {
            let Some(node) = self.source.node(id) else { return self.prune() };
            match node.kind {
                NodeKind::And(left, right) => {
                    chain.push((right, wanted));
                    id = left;
                }
                NodeKind::Or(left, right) => {
                    chain.push((right, !wanted));
                    id = left;
                }
                NodeKind::Not(inner) => break self.node(inner, !wanted, budget),
                NodeKind::Test(comparison) => {
                    let test = self.push(NodeKind::Test(comparison));
                    break (if wanted { test } else { self.push(NodeKind::Not(test)) }, 1);
                }
                NodeKind::Membership(membership) => break self.membership(membership, wanted),
                NodeKind::Conditional { condition, then, otherwise } => {
                    break self.conditional([condition, then, otherwise], wanted, budget);
                }
            }
        };
        if part.1 > budget {
            part = self.prune();
        }
        while let Some((right, all)) = chain.pop() {
            let other = self.node(right, wanted, budget - part.1);
            part = self.join(part, other, all);
        }
        part
    }

    fn conditional(&mut self, [condition, then, otherwise]: [NodeId; 3], wanted: bool, budget: usize) -> Part {
        let was_exact = std::mem::replace(&mut self.is_exact, true);
        let mut condition = self.node(condition, true, budget);
        let is_exact = std::mem::replace(&mut self.is_exact, was_exact);
        if !is_exact {
            // Either branch may count.
            self.is_exact = false;
            condition.1 = 0;
        }
        let then = self.node(then, wanted, budget - condition.1);
        let otherwise = self.node(otherwise, wanted, budget - condition.1 - then.1);
        if !is_exact {
            return self.join(then, otherwise, false);
        }
        let kind = NodeKind::Conditional { condition: condition.0, then: then.0, otherwise: otherwise.0 };
        (self.push(kind), condition.1 + then.1 + otherwise.1)
    }

    fn membership(&mut self, membership: Membership, wanted: bool) -> Part {
        let Some(set) = self.source.sets.get(membership.set as usize) else { return self.constant(true) };
        // More members mean more matches, or fewer.
        let grows = membership.negated != wanted;
        let fits = set.ranges().len() <= self.limit;
        self.is_exact &= fits;
        let set = match (fits, grows) {
            (true, _) => set.clone(),
            (false, true) => set.widened(self.limit),
            (false, false) => set.narrowed(self.limit),
        };
        let (part, tests) = self.ranges(membership, &set);
        (if wanted { part } else { self.push(NodeKind::Not(part)) }, tests)
    }

    /// The tests of a set's ranges, which join as `or` for members and as `and` for the others.
    fn ranges(&mut self, membership: Membership, set: &Members) -> Part {
        let Membership { negated, field, .. } = membership;
        let mut all: Option<Part> = None;
        for bounds in set.opened(field) {
            let part = self.range(membership, bounds);
            all = Some(match all {
                Some(before) => self.join(before, part, negated),
                None => part,
            });
        }
        all.unwrap_or_else(|| if negated { self.presence(membership) } else { self.constant(false) })
    }

    fn range(&mut self, membership: Membership, (low, high): (Option<Number>, Option<Number>)) -> Part {
        let Membership { field, index, negated, .. } = membership;
        let turn = |operator: Operator| if negated { operator.negated() } else { operator };
        let compare = |operator, value| {
            NodeKind::Test(Comparison { subject: Subject::Field(field), index, operator: turn(operator), value })
        };
        match (low, high) {
            (Some(low), Some(high)) if low == high => (self.push(compare(Operator::Equal, low)), 1),
            (Some(low), Some(high)) => {
                let first = self.push(compare(Operator::GreaterOrEqual, low));
                let last = self.push(compare(Operator::LessOrEqual, high));
                self.join((first, 1), (last, 1), !negated)
            }
            (Some(low), None) => (self.push(compare(Operator::GreaterOrEqual, low)), 1),
            (None, Some(high)) => (self.push(compare(Operator::LessOrEqual, high)), 1),
            (None, None) if negated => self.constant(false),
            (None, None) => self.presence(membership),
        }
    }

    /// Holds where the value is there.
    fn presence(&mut self, membership: Membership) -> Part {
        let Membership { field, index, .. } = membership;
        let test = |field, index, operator| {
            NodeKind::Test(Comparison { subject: Subject::Field(field), index, operator, value: Number::ZERO })
        };
        match field.needs() {
            // An element may lie behind the packet's end, whatever headers there are.
            _ if field.is_array() => {
                let zero = self.push(test(field, index, Operator::Equal));
                let other = self.push(test(field, index, Operator::NotEqual));
                self.join((zero, 1), (other, 1), false)
            }
            Some(header) => (self.push(test(header, None, Operator::NotEqual)), 1),
            None => self.constant(true),
        }
    }
}

const fn keyword(value: bool) -> NodeKind {
    let subject = if value { Subject::True } else { Subject::False };
    NodeKind::Test(Comparison { subject, index: None, operator: Operator::NotEqual, value: Number::ZERO })
}
