//! The expression tree, in an arena: nodes refer to each other by number. Plain data.
use super::span::Span;
use super::types::{Number, Operator, Subject};

/// The number of a node in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(pub(super) u32);

/// A node. Negation has no node: the parser turns the operator of a test round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    Test(Comparison),
    And(NodeId, NodeId),
    Or(NodeId, NodeId),
    Conditional { condition: NodeId, then: NodeId, otherwise: NodeId },
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
}

impl Ast {
    /// The node with this number, which every number in the tree has.
    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0 as usize)
    }
}
