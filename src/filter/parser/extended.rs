//! What the extended dialect adds to the grammar: negated groups, sets, ranges and prefixes.
//!
//! ```text
//! operand    = ("not" | "!") operand in parentheses
//! test       = field ["not"] "in" (set | member) | field relation range | field relation prefix
//! set        = "{" [member {"," member}] "}" | "$" name
//! member     = number | range | prefix
//! range      = number "-" number
//! prefix     = address "/" length
//! ```
//!
//! A relation with a range or prefix asks about all of its numbers: `=` and `!=` whether the value is one of them, `<` and
//! `>` whether it lies before or behind them, `<=` and `>=` whether it lies at most at their end or at least at their start.
use super::super::ast::{Comparison, Membership, NodeId, NodeKind};
use super::super::error::{Error, ErrorKind, Expected};
use super::super::lexer::{Token, TokenKind};
use super::super::members::{Members, Range};
use super::super::number::Number;
use super::super::span::Span;
use super::super::types::{Operator, Subject, join};
use super::Parser;

/// What the magnitude of an IPv4 address has above its 32 bits.
const MAPPED: u128 = 0xFFFF;

/// The member that a whole text is.
pub(in super::super) fn parse_member(tokens: &[Token], text: &[u8]) -> Result<Range, Error> {
    let mut parser = Parser::new(tokens, text, None);
    let member = parser.parse_range().and_then(|(range, _)| {
        if parser.current().kind == TokenKind::End {
            return Some(range);
        }
        parser.fail(ErrorKind::Parse(Expected::Member))
    });
    member.ok_or_else(|| parser.error.unwrap_or_default().into_error(text))
}

impl Parser<'_> {
    /// Whether a parenthesis follows the `not`s at hand.
    pub(super) fn negates_group(&self) -> bool {
        let rest = self.tokens.get(self.at..).unwrap_or_default();
        let first = rest.iter().find(|token| token.kind != TokenKind::Not);
        first.is_some_and(|token| token.kind == TokenKind::LeftParenthesis)
    }

    pub(super) fn parse_negation(&mut self, spent: u32) -> Option<NodeId> {
        let start = self.current().span;
        let mut negated = false;
        while self.take(TokenKind::Not) {
            negated = !negated;
        }
        let inner = self.parse_operand(spent)?;
        let end = self.tokens.get(self.at.wrapping_sub(1)).map_or(start, |token| token.span);
        Some(if negated { self.push(NodeKind::Not(inner), start.to(end)) } else { inner })
    }

    /// Whether `in`, `not in`, or a relation with a range or prefix follows.
    pub(super) fn asks_for_membership(&self) -> bool {
        let kind = |ahead: usize| self.tokens.get(self.at + ahead).map_or(TokenKind::End, |token| token.kind);
        match kind(0) {
            TokenKind::In => true,
            TokenKind::Not => kind(1) == TokenKind::In,
            TokenKind::Relation(_) => {
                let number = if kind(1) == TokenKind::Minus { 2 } else { 1 };
                matches!(kind(number), TokenKind::Number(_))
                    && matches!(kind(number + 1), TokenKind::Minus | TokenKind::Slash)
            }
            _ => false,
        }
    }

    /// The rest of a test whose subject is `subject`, as `first` wrote it, behind `not`s that start at `start`.
    pub(super) fn parse_membership(
        &mut self,
        start: Span,
        first: Token,
        subject: Subject,
        index: Option<i32>,
        negated: bool,
    ) -> Option<NodeId> {
        let Subject::Field(field) = subject else {
            self.at = self.tokens.iter().position(|token| token.span == first.span).unwrap_or(self.at);
            return self.fail(ErrorKind::Parse(Expected::MemberField));
        };
        let (members, negated) = if let TokenKind::Relation(operator) = self.current().kind {
            self.at += 1;
            let (range, _) = self.parse_range()?;
            let bound = match operator {
                Operator::Equal | Operator::NotEqual | Operator::In | Operator::NotIn => None,
                Operator::Less | Operator::GreaterOrEqual => Some(range.0),
                Operator::Greater | Operator::LessOrEqual => Some(range.1),
            };
            if let Some(value) = bound {
                let operator = if negated { operator.negated() } else { operator };
                let test = Comparison { subject, index, operator, value };
                let end = self.previous_span();
                return Some(self.push(NodeKind::Test(test), start.to(end)));
            }
            (Members::new(None, vec![range]), negated != (operator == Operator::NotEqual))
        } else {
            let negated = negated != self.take(TokenKind::Not);
            self.at += 1;
            (self.parse_set()?, negated)
        };
        let set = self.sets.len() as u32;
        let confined = members.confined(field);
        let reaches_out = members.name().is_none() && confined != members;
        self.sets.push(confined);
        let end = self.previous_span();
        Some(self.push(NodeKind::Membership(Membership { field, index, negated, set, reaches_out }), start.to(end)))
    }

    fn previous_span(&self) -> Span {
        self.tokens.get(self.at.wrapping_sub(1)).map_or(Span::default(), |token| token.span)
    }

    /// What follows `in`.
    fn parse_set(&mut self) -> Option<Members> {
        match self.current().kind {
            TokenKind::SetName => self.parse_name(),
            TokenKind::LeftBrace => {
                self.at += 1;
                self.parse_braces()
            }
            TokenKind::Number(_) | TokenKind::Minus => Some(Members::new(None, vec![self.parse_range()?.0])),
            _ => self.fail(ErrorKind::Parse(Expected::Set)),
        }
    }

    fn parse_name(&mut self) -> Option<Members> {
        let span = self.current().span;
        let name = self.text.get(span.start as usize + 1..span.end as usize).unwrap_or_default();
        let found = self.named.and_then(|sets| sets.get(std::str::from_utf8(name).ok()?)).cloned();
        if found.is_none() {
            return self.fail(ErrorKind::UnknownSet);
        }
        self.at += 1;
        found
    }

    fn parse_braces(&mut self) -> Option<Members> {
        let mut ranges = Vec::new();
        if self.take(TokenKind::RightBrace) {
            return Some(Members::new(None, ranges));
        }
        loop {
            ranges.push(self.parse_range()?.0);
            if self.take(TokenKind::RightBrace) {
                return Some(Members::new(None, ranges));
            }
            self.expect(TokenKind::Comma, Expected::ClosingBrace)?;
        }
    }

    /// A number, range or prefix, and where it stands.
    fn parse_range(&mut self) -> Option<(Range, Span)> {
        let start = self.current();
        let low = self.parse_number()?;
        let range = if self.take(TokenKind::Slash) {
            self.parse_prefix(start, low)?
        } else if self.take(TokenKind::Minus) {
            (low, self.parse_number()?)
        } else {
            (low, low)
        };
        let span = start.span.to(self.previous_span());
        if range.0 > range.1 {
            return self.fail_at(ErrorKind::RangeOrder, Token { kind: start.kind, span });
        }
        Some((range, span))
    }

    fn parse_number(&mut self) -> Option<Number> {
        let negative = self.take(TokenKind::Minus);
        let TokenKind::Number(words) = self.current().kind else {
            return self.fail(ErrorKind::Parse(Expected::Member));
        };
        self.at += 1;
        Some(Number { negative, magnitude: join(words) })
    }

    /// The addresses that share their first bits with `address`, which may have others set.
    fn parse_prefix(&mut self, written: Token, address: Number) -> Option<Range> {
        let text = self.text.get(written.span.start as usize..written.span.end as usize).unwrap_or_default();
        let bits = match (text.contains(&b':'), text.contains(&b'.')) {
            (true, _) => 128_u8,
            (false, true) if address.magnitude >> 32 == MAPPED => 32,
            _ => return self.fail_at(ErrorKind::PrefixOfNumber, written),
        };
        let TokenKind::Number(words) = self.current().kind else {
            return self.fail(ErrorKind::Parse(Expected::PrefixLength));
        };
        let length = join(words);
        if length > u128::from(bits) {
            return self.fail(ErrorKind::PrefixTooLong(bits));
        }
        self.at += 1;
        let free = u32::from(bits) - length as u32;
        let host = if free == 128 { u128::MAX } else { (1 << free) - 1 };
        Some((Number::positive(address.magnitude & !host), Number::positive(address.magnitude | host)))
    }

    fn fail_at<T>(&mut self, kind: ErrorKind, token: Token) -> Option<T> {
        self.fail::<T>(kind);
        if let Some(problem) = &mut self.error {
            problem.token = token;
        }
        None
    }
}
