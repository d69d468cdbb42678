//! Compiling text of the extended dialect: the plain dialect first, then what only the extended one has. Never panics.
use super::ast::Ast;
use super::error::{Error, ErrorKind, Limit};
use super::lexer::{Token, TokenKind, tokenise_extended};
use super::lower::{MAXIMUM_EXTENDED_TESTS, lower_within};
use super::parser::parse_extended;
use super::sets::Sets;
use super::span::Span;
use super::superset::superset;
use super::{Extension, Filter, Shared, optimise};
use crate::address::Layer;
use std::sync::Arc;

/// The filter of a text.
pub(super) fn compile(text: &str, layer: Layer, sets: &Sets) -> Result<Filter, Error> {
    let plain = match Filter::compile_plain(text, layer) {
        Ok(filter) => return Ok(filter),
        Err(error) => error,
    };
    if text.starts_with('@') || !is_extended(&tokenise_extended(text.as_bytes(), layer.number()).0) {
        return Err(plain);
    }
    let ast = parse(text, layer.number(), sets)?;
    let tests = lower_within(&ast, ast.root, MAXIMUM_EXTENDED_TESTS).map_err(|_| {
        let whole = Span::new(0, text.len());
        Error::new(ErrorKind::Long(Limit::ExtendedTests), 0, whole, text.as_bytes())
    })?;
    let extension = Some(Extension { superset: superset(&ast), named: sets.clone() });
    let program = optimise::optimise(&tests, &ast.sets, layer.number());
    let (text, layer) = (text.to_owned(), layer.number());
    Ok(Filter { shared: Arc::new(Shared { program, tests, sets: ast.sets, extension, text, layer }) })
}

/// The tree of a text that has something which only the extended dialect has.
pub(super) fn parse(text: &str, layer: u8, sets: &Sets) -> Result<Ast, Error> {
    let (tokens, error) = tokenise_extended(text.as_bytes(), layer);
    let ast = error.map_or_else(|| parse_extended(&tokens, text.as_bytes(), sets.by_name()), Err);
    ast.map_err(|error| name_sets(error, sets).on_layer(layer))
}

/// The error of the plain dialect, with a word on what the extended one takes.
pub(super) fn point_out(error: Error, layer: u8) -> Error {
    let (tokens, _) = tokenise_extended(error.text().as_bytes(), layer);
    if !is_extended(&tokens) {
        return error;
    }
    error.with_note("; the extended dialect has it".to_owned())
}

/// The error with the sets that there are, if it is about one that is not.
fn name_sets(error: Error, sets: &Sets) -> Error {
    if error.kind() != ErrorKind::UnknownSet {
        return error;
    }
    let names: Vec<_> = sets.names().map(|name| format!("`${name}`")).collect();
    let known = if names.is_empty() { "none was".to_owned() } else { format!("there is {}", names.join(", ")) };
    error.with_note(format!("; {known}"))
}

/// Whether there is anything that only the extended dialect has. What the plain dialect can tell as a mistake of its own, like
/// the word `in` without a field before it, does not count.
fn is_extended(tokens: &[Token]) -> bool {
    use TokenKind::{
        Comma, Field, In, LeftBrace, LeftParenthesis, Not, Relation, RightBrace, RightBracket, SetName, Slash,
    };
    let own = |token: &Token| matches!(token.kind, LeftBrace | RightBrace | Comma | Slash | SetName);
    let pair = |first: &Token, second: &Token| {
        matches!((first.kind, second.kind), (Not, LeftParenthesis) | (Field(_) | RightBracket | Not, In))
    };
    tokens.iter().any(own)
        || tokens.iter().zip(tokens.iter().skip(1)).any(|(first, second)| pair(first, second))
        || tokens.iter().enumerate().any(|(at, token)| matches!(token.kind, Relation(_)) && is_range(tokens, at + 1))
}

/// Whether a range begins at a token: two numbers with `-` between them.
fn is_range(tokens: &[Token], at: usize) -> bool {
    let kind = |at: usize| tokens.get(at).map_or(TokenKind::End, |token| token.kind);
    let behind_number = |at: usize| {
        let at = at + usize::from(kind(at) == TokenKind::Minus);
        matches!(kind(at), TokenKind::Number(_)).then_some(at + 1)
    };
    let minus = behind_number(at).filter(|at| kind(*at) == TokenKind::Minus);
    minus.and_then(|at| behind_number(at + 1)).is_some()
}
