//! The expression tree to WinDivert's program: a list of tests, each with two forward targets. Never panics; recursion is as
//! deep as the parentheses, which the parser limits.
use super::ast::{Ast, Comparison, Membership, NodeId, NodeKind};
use super::field::Field;
use super::types::{Folded, Operator, Target, Test, fold, words};

/// More tests than the compiler of the dialect handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyTests;

/// The most tests of a program of the extended dialect.
pub(super) const MAXIMUM_EXTENDED_TESTS: usize = 2048;

/// The program of an expression. Its order is that of the text, and test 0 is the first to run.
pub(super) fn lower(ast: &Ast) -> Result<Vec<Test>, TooManyTests> {
    lower_within(ast, ast.root, Test::MAXIMUM)
}

/// The program of a part of an expression, of at most `maximum` tests. Tests that ask about sets tell them by their numbers
/// in the tree.
pub(super) fn lower_within(ast: &Ast, root: NodeId, maximum: usize) -> Result<Vec<Test>, TooManyTests> {
    // Backwards, since a test must know its targets; the indices turn round at the end.
    let mut emitted = Emitted { tests: Vec::with_capacity(ast.nodes.len().min(maximum)), maximum };
    let entry = lower_node(ast, root, Target::Accept, Target::Reject, &mut emitted)?;
    let mut emitted = emitted.tests;
    let Target::Test(last) = entry else {
        let constant = Test {
            field: Field::Zero,
            operator: Operator::Equal,
            negative: false,
            words: [0; 4],
            success: entry,
            failure: entry,
        };
        return Ok(vec![constant]);
    };
    emitted.truncate(usize::from(last) + 1);
    emitted.reverse();
    let turn = |target: &mut Target| {
        if let Target::Test(index) = target {
            *index = last - *index;
        }
    };
    for test in &mut emitted {
        turn(&mut test.success);
        turn(&mut test.failure);
    }
    Ok(emitted)
}

/// Tests from the last one to the first.
struct Emitted {
    tests: Vec<Test>,
    maximum: usize,
}

impl Emitted {
    fn push(&mut self, test: Test) -> Result<Target, TooManyTests> {
        if self.tests.len() == self.maximum {
            return Err(TooManyTests);
        }
        self.tests.push(test);
        Ok(Target::Test(self.tests.len() as u16 - 1))
    }
}

fn lower_node(
    ast: &Ast,
    mut id: NodeId,
    mut success: Target,
    mut failure: Target,
    emitted: &mut Emitted,
) -> Result<Target, TooManyTests> {
    // Chains grow to the left, so that this loop walks down them and only the right sides recurse.
    while let Some(node) = ast.node(id) {
        match node.kind {
            NodeKind::Test(comparison) => return lower_test(&comparison, success, failure, emitted),
            NodeKind::And(left, right) => {
                success = lower_node(ast, right, success, failure, emitted)?;
                id = left;
            }
            NodeKind::Or(left, right) => {
                failure = lower_node(ast, right, success, failure, emitted)?;
                id = left;
            }
            NodeKind::Conditional { condition, then, otherwise } => {
                let no = lower_node(ast, otherwise, success, failure, emitted)?;
                success = lower_node(ast, then, success, failure, emitted)?;
                failure = no;
                id = condition;
            }
            NodeKind::Not(inner) => {
                (success, failure) = (failure, success);
                id = inner;
            }
            NodeKind::Membership(membership) => return emitted.push(membership_test(membership, success, failure)),
        }
    }
    Ok(failure)
}

fn lower_test(
    comparison: &Comparison,
    success: Target,
    failure: Target,
    emitted: &mut Emitted,
) -> Result<Target, TooManyTests> {
    let Comparison { subject, index, operator, value } = *comparison;
    let test = match fold(subject, operator, value) {
        Folded::Constant(outcome) => return Ok(if outcome { success } else { failure }),
        Folded::Header(field, present) => {
            let words = [u32::from(present), 0, 0, 0];
            Test { field, operator: Operator::Equal, negative: false, words, success, failure }
        }
        Folded::Kept(field) => {
            let mut words = words(value.magnitude);
            if let Some(index) = index {
                words[1] = index as u32;
            }
            Test { field, operator, negative: value.negative, words, success, failure }
        }
    };
    emitted.push(test)
}

fn membership_test(membership: Membership, success: Target, failure: Target) -> Test {
    let Membership { field, index, negated, set, .. } = membership;
    let operator = if negated { Operator::NotIn } else { Operator::In };
    let words = [set, index.unwrap_or_default() as u32, 0, 0];
    Test { field, operator, negative: false, words, success, failure }
}

#[cfg(test)]
mod tests {
    use super::super::lexer::tokenise;
    use super::super::parser::parse;
    use super::*;

    fn compile(text: &str) -> Result<Vec<Test>, TooManyTests> {
        lower(&parse(&tokenise(text.as_bytes(), 0).unwrap(), text.as_bytes()).unwrap())
    }

    fn targets(text: &str) -> Vec<(Target, Target)> {
        compile(text).unwrap().iter().map(|test| (test.success, test.failure)).collect()
    }

    #[test]
    fn jumps_follow_the_text() {
        use Target::{Accept, Reject, Test};
        assert_eq!(targets("tcp and udp"), [(Test(1), Reject), (Accept, Reject)]);
        assert_eq!(targets("tcp or udp"), [(Accept, Test(1)), (Accept, Reject)]);
        assert_eq!(targets("(ip? tcp: udp)"), [(Test(1), Test(2)), (Accept, Reject), (Accept, Reject)]);
        assert_eq!(targets("tcp and false"), [(Reject, Reject)]);
    }

    #[test]
    fn unreachable_tests_between_reachable_ones_stay() {
        use Target::{Accept, Reject, Test};
        let expected = [(Test(2), Reject), (Test(2), Reject), (Accept, Reject)];
        assert_eq!(targets("ip and (true or udp) and tcp"), expected);
        assert_eq!(targets("(true or udp) and tcp"), [(Accept, Reject)]);
    }

    #[test]
    fn the_257th_test_is_too_many_though_it_be_unreachable() {
        let chain = |count: usize| vec!["tcp"; count].join(" and ");
        assert_eq!(compile(&chain(256)).unwrap().len(), 256);
        assert_eq!(compile(&chain(257)), Err(TooManyTests));
        assert_eq!(compile(&("true or ".to_owned() + &chain(257))), Err(TooManyTests));
    }
}
