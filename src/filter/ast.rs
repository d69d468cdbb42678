//! The expression tree, in an arena: nodes refer to each other by number. Plain data.
use super::field::Field;
use super::members::Members;
use super::number::Number;
use super::span::Span;
use super::types::{Operator, Subject};

/// The number of a node in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(pub(super) u32);

/// A node. The negation of a test has no node: the parser turns the operator round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    Test(Comparison),
    And(NodeId, NodeId),
    Or(NodeId, NodeId),
    Conditional {
        condition: NodeId,
        then: NodeId,
        otherwise: NodeId,
    },
    /// True where the node is false; extended dialect only, like the next one.
    Not(NodeId),
    Membership(Membership),
}

/// A comparison with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) subject: Subject,
    /// Byte index of an array field; negative ones count from the end.
    pub(super) index: Option<i32>,
    pub(super) operator: Operator,
    pub(super) value: Number,
}

/// The question whether a value is in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) field: Field,
    pub(super) index: Option<i32>,
    /// Whether the value is to be there and not in the set.
    pub(super) negated: bool,
    /// The number of the set in the tree.
    pub(super) set: u32,
    /// Whether members were written that are no values of the field.
    pub(super) reaches_out: bool,
}

/// A node and the text that it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    pub(super) span: Span,
}

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ast {
    pub(super) nodes: Vec<Node>,
    pub(super) root: NodeId,
    /// The sets that nodes ask about, each confined to the values of its field.
    pub(super) sets: Vec<Members>,
}

impl Ast {
    /// The node with this number, which every number in the tree has.
    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0 as usize)
    }
}
