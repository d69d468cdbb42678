//! Tokens to the expression tree, by recursive descent of limited depth. Never panics, whatever the tokens.
//!
//! WinDivert keeps a single error and goes on where a parenthesis follows a failure, so that a later error replaces an
//! earlier one. The parser does the same, because the reported position depends on it.
mod extended;

pub(super) use extended::parse_member;

use super::ast::{Ast, Comparison, Node, NodeId, NodeKind};
use super::error::{Error, ErrorKind, Expected};
use super::field::Field;
use super::lexer::{Token, TokenKind};
use super::members::Members;
use super::number::Number;
use super::span::Span;
use super::types::{Operator, Subject, join};
use std::collections::BTreeMap;

/// What nesting may cost: a parenthesis 3, an `or` to the left 1. Bounds the recursion.
const BUDGET: u32 = 1022;
const PARENTHESIS_COST: u32 = 3;
/// No index is larger than the largest packet.
const LARGEST_INDEX: u128 = 65575;
/// The last byte that an array index may address.
const LARGEST_BYTE_INDEX: u128 = 65535;

/// The tree of a whole filter. `tokens` ends with its end.
pub(super) fn parse(tokens: &[Token], text: &[u8]) -> Result<Ast, Error> {
    parse_with(Parser::new(tokens, text, None))
}

/// The tree of a whole filter of the extended dialect.
pub(super) fn parse_extended(tokens: &[Token], text: &[u8], sets: &BTreeMap<String, Members>) -> Result<Ast, Error> {
    parse_with(Parser::new(tokens, text, Some(sets)))
}

fn parse_with(mut parser: Parser<'_>) -> Result<Ast, Error> {
    let text = parser.text;
    let root = parser.parse_or(0).and_then(|root| {
        if parser.current().kind != TokenKind::End {
            return parser.fail(ErrorKind::Parse(Expected::End));
        }
        Some(root)
    });
    match (root, parser.hole.or(parser.error)) {
        (Some(root), _) if parser.hole.is_none() => Ok(Ast { nodes: parser.nodes, root, sets: parser.sets }),
        (Some(_), Some(problem)) => Err(problem.into_error(text)),
        (_, _) => Err(parser.error.unwrap_or_default().into_error(text)),
    }
}

/// The last error and the token at which it arose.
#[derive(Clone, Copy)]
struct Problem {
    kind: ErrorKind,
    token: Token,
}

impl Default for Problem {
    fn default() -> Self {
        let token = Token { kind: TokenKind::End, span: Span::default() };
        Self { kind: ErrorKind::Parse(Expected::Test), token }
    }
}

impl Problem {
    #[cold]
    fn into_error(self, text: &[u8]) -> Error {
        Error::new(self.kind, self.token.position(), self.token.span, text)
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    text: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    /// The sets by their names, in the extended dialect.
    named: Option<&'a BTreeMap<String, Members>>,
    /// The sets that nodes ask about.
    sets: Vec<Members>,
    error: Option<Problem>,
    /// A `?` whose condition failed, though the rest was in order.
    hole: Option<Problem>,
}

impl<'a> Parser<'a> {
    fn new(tokens: &'a [Token], text: &'a [u8], named: Option<&'a BTreeMap<String, Members>>) -> Self {
        let nodes = Vec::with_capacity(tokens.len().min(4096) / 2 + 1);
        Self { tokens, text, at: 0, nodes, named, sets: Vec::new(), error: None, hole: None }
    }

    fn current(&self) -> Token {
        self.tokens.get(self.at).or(self.tokens.last()).copied().unwrap_or(Problem::default().token)
    }

    /// Steps over a token of this kind.
    fn take(&mut self, kind: TokenKind) -> bool {
        let found = self.current().kind == kind;
        self.at += usize::from(found);
        found
    }

    /// Notes an error at the current token, over any earlier one.
    fn fail<T>(&mut self, kind: ErrorKind) -> Option<T> {
        let token = self.current();
        let kind = match (kind, token.kind) {
            (ErrorKind::Parse(_), TokenKind::ForeignMacro(name)) => ErrorKind::MacroLayer(name),
            _ => kind,
        };
        self.error = Some(Problem { kind, token });
        None
    }

    fn expect(&mut self, kind: TokenKind, expected: Expected) -> Option<()> {
        if self.take(kind) { Some(()) } else { self.fail(ErrorKind::Parse(expected)) }
    }

    fn push(&mut self, kind: NodeKind, span: Span) -> NodeId {
        self.nodes.push(Node { kind, span });
        NodeId(self.nodes.len() as u32 - 1)
    }

    fn span_of(&self, id: NodeId) -> Span {
        self.nodes.get(id.0 as usize).map_or(Span::default(), |node| node.span)
    }

    /// `spent` is what parentheses and `or`s around and before have used of the budget.
    fn parse_or(&mut self, spent: u32) -> Option<NodeId> {
        let mut left = self.parse_and(spent)?;
        let mut count = 0;
        while self.take(TokenKind::Or) {
            count += 1;
            let right = self.parse_and(spent + count)?;
            left = self.push(NodeKind::Or(left, right), self.span_of(left).to(self.span_of(right)));
        }
        Some(left)
    }

    fn parse_and(&mut self, spent: u32) -> Option<NodeId> {
        let mut left = self.parse_operand(spent)?;
        while self.take(TokenKind::And) {
            let right = self.parse_operand(spent)?;
            left = self.push(NodeKind::And(left, right), self.span_of(left).to(self.span_of(right)));
        }
        Some(left)
    }

    fn parse_operand(&mut self, spent: u32) -> Option<NodeId> {
        if spent > BUDGET {
            return self.fail(ErrorKind::Deep);
        }
        let open = self.current().span;
        if self.named.is_some() && self.current().kind == TokenKind::Not && self.negates_group() {
            return self.parse_negation(spent);
        }
        if !self.take(TokenKind::LeftParenthesis) {
            return self.parse_test();
        }
        let spent = spent + PARENTHESIS_COST;
        let inner = self.parse_or(spent);
        if self.take(TokenKind::RightParenthesis) {
            return inner;
        }
        let question = self.current();
        if !self.take(TokenKind::Question) {
            return self.fail(ErrorKind::Parse(Expected::ClosingOrQuestion));
        }
        let then = self.parse_or(spent)?;
        self.expect(TokenKind::Colon, Expected::Colon)?;
        let otherwise = self.parse_or(spent)?;
        let close = self.current().span;
        self.expect(TokenKind::RightParenthesis, Expected::Closing)?;
        let condition = inner.unwrap_or_else(|| {
            let kind = ErrorKind::Parse(Expected::Condition);
            self.hole.get_or_insert(Problem { kind, token: question });
            then
        });
        Some(self.push(NodeKind::Conditional { condition, then, otherwise }, open.to(close)))
    }

    fn parse_test(&mut self) -> Option<NodeId> {
        let start = self.current().span;
        let mut negated = false;
        while self.take(TokenKind::Not) {
            negated = !negated;
        }
        let first = self.current();
        let (subject, index) = self.parse_subject()?;
        if self.named.is_some() && self.asks_for_membership() {
            return self.parse_membership(start, first, subject, index, negated);
        }
        let (operator, value) = match self.current().kind {
            TokenKind::Relation(operator) => {
                self.at += 1;
                (operator, self.parse_value()?)
            }
            _ => (Operator::NotEqual, Number::ZERO),
        };
        let operator = if negated { operator.negated() } else { operator };
        let end = self.tokens.get(self.at.wrapping_sub(1)).map_or(start, |token| token.span);
        Some(self.push(NodeKind::Test(Comparison { subject, index, operator, value }), start.to(end)))
    }

    fn parse_subject(&mut self) -> Option<(Subject, Option<i32>)> {
        let subject = match self.current().kind {
            TokenKind::True => Subject::True,
            TokenKind::False => Subject::False,
            TokenKind::Field(field) => Subject::Field(field),
            _ => return self.fail(ErrorKind::Parse(Expected::Test)),
        };
        self.at += 1;
        let index = match subject {
            Subject::Field(field) if field.is_array() => Some(self.parse_index(field)?),
            _ => None,
        };
        Some((subject, index))
    }

    fn parse_value(&mut self) -> Option<Number> {
        let negative = self.take(TokenKind::Minus);
        let TokenKind::Number(words) = self.current().kind else {
            return self.fail(ErrorKind::Parse(Expected::Value));
        };
        self.at += 1;
        Some(Number { negative, magnitude: join(words) })
    }

    /// `[`, the index and `]`; the byte index.
    fn parse_index(&mut self, field: Field) -> Option<i32> {
        self.expect(TokenKind::LeftBracket, Expected::Subscript)?;
        let negative = self.take(TokenKind::Minus);
        let TokenKind::Number(words) = self.current().kind else {
            return self.fail(ErrorKind::Parse(Expected::Index));
        };
        let number = join(words);
        if number > LARGEST_INDEX {
            return self.fail(ErrorKind::Index);
        }
        self.at += 1;
        let size = u128::from(field.element_len().unwrap_or(1));
        let index = if self.take(TokenKind::Bytes) { number } else { number * size };
        let fits =
            if negative { (size..=LARGEST_BYTE_INDEX).contains(&index) } else { index <= LARGEST_BYTE_INDEX - size };
        if !fits {
            return self.fail(ErrorKind::Index);
        }
        self.expect(TokenKind::RightBracket, Expected::ClosingBracket)?;
        let index = index as i32;
        Some(if negative { -index } else { index })
    }
}

#[cfg(test)]
mod tests {
    use super::super::lexer::tokenise;
    use super::*;

    fn verdict(text: &str) -> (&'static str, u32) {
        let tokens = tokenise(text.as_bytes(), 0).unwrap();
        parse(&tokens, text.as_bytes()).map_or_else(|error| (error.message(), error.position()), |_| ("", 0))
    }

    const PARSE: &str = "Filter expression parse error";
    const DEEP: &str = "Filter expression too deep";
    const INDEX: &str = "Filter expression array index is out-of-bounds";

    #[test]
    fn parentheses_report_the_last_error_not_the_first() {
        for (text, expected) in [
            ("packet[70000] = 1", (INDEX, 7)),
            ("(packet[70000] = 1)", (PARSE, 8)),
            ("packet[65535]", (INDEX, 12)),
            ("(packet[65535])", (PARSE, 13)),
            ("(tcp ==)", (PARSE, 7)),
            ("((tcp ==))", (PARSE, 8)),
            ("((tcp ==) and udp)", (PARSE, 10)),
            ("(tcp == ? udp ip)", (PARSE, 14)),
            ("tcp = 10b", (PARSE, 0)),
        ] {
            assert_eq!(verdict(text), expected, "{text}");
        }
    }

    #[test]
    fn a_conditional_without_condition_fails_at_its_question_mark() {
        for (text, position) in [("(tcp == ? udp: ip)", 8), ("(? udp: ip)", 1), ("((tcp ==) ? udp: ip)", 10)] {
            assert_eq!(verdict(text), (PARSE, position), "{text}");
        }
    }

    #[test]
    fn nesting_is_limited_by_parentheses_and_ors() {
        let nested = |open: &str, count: usize| open.repeat(count) + "tcp" + &")".repeat(count);
        assert_eq!(verdict(&nested("(", 340)), ("", 0));
        assert_eq!(verdict(&nested("(", 341)), (PARSE, 341));
        assert_eq!(verdict(&("(".repeat(341) + &")".repeat(341))), (DEEP, 341));
        assert_eq!(verdict(&("(".repeat(342) + &")".repeat(342))), (PARSE, 341));
        assert_eq!(verdict(&nested("true or (", 255)), ("", 0));
        assert_ne!(verdict(&nested("true or (", 256)), ("", 0));
        assert_eq!(verdict(&nested("true or true or (", 204)), ("", 0));
        assert_ne!(verdict(&nested("true or true or (", 205)), ("", 0));
    }

    #[test]
    fn index_bounds_follow_the_element_size() {
        for text in ["packet[65534]", "packet[-65535]", "packet16[65533b]", "packet32[-4b]", "packet32[-16383]"] {
            assert_eq!(verdict(text), ("", 0), "{text}");
        }
        for (text, position) in [
            ("packet[-0]", 9),
            ("packet16[-1b]", 12),
            ("packet32[16383]", 14),
            ("packet32[-16384]", 15),
            ("packet[65575", 12),
        ] {
            assert_eq!(verdict(text), (INDEX, position), "{text}");
        }
    }
}
