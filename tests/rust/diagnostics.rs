//! The accounts of what is wrong with a filter, whole: `tests/data/diagnostics/filters.txt` holds blocks of a filter with its
//! layer, WinDivert's message and position, and ours with its caret; `warnings.txt` blocks of a filter and its warnings;
//! `extended.txt` blocks of filters of the extended dialect.
//!
//! Where an account is meant to change, the test prints the file as it would be.
use oxidivert::address::Layer;
use oxidivert::filter::{Filter, Sets};
use std::fmt::Write;

/// `text` with the escapes `\t`, `\n` and `\u{..}` resolved, and `{tcp and }*256` repeated.
fn unescape(text: &str) -> String {
    let text = text.replace("\\t", "\t").replace("\\n", "\n").replace("\\0", "\0").replace("\\u{e9}", "\u{e9}");
    match text.split_once("}*") {
        Some((repeated, rest)) => {
            let (count, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            repeated.trim_start_matches('{').repeat(count.parse().expect("a count")) + rest
        }
        None => text,
    }
}

/// A block for each one that `expected` has, with what `account` tells of its filter, must be `expected`.
fn verify(expected: &str, account: impl Fn(&str, Layer) -> String) {
    let mut written = String::new();
    for block in expected.split_inclusive("\n\n") {
        let (name, rest) = block.split_once(": ").expect("a layer and a filter");
        let filter = rest.lines().next().unwrap_or_default();
        let layer = Layer::ALL.iter().find(|known| known.name() == name).expect("a layer");
        let _ = write!(written, "{name}: {filter}\n{}\n", account(&unescape(filter), *layer));
    }
    assert!(expected.trim_end() == written.trim_end(), "the accounts are now\n\n{written}");
}

#[test]
fn errors_are_told_with_a_caret_under_the_spot() {
    verify(include_str!("../data/diagnostics/filters.txt"), |filter, layer| {
        let error = Filter::compile(filter, layer).expect_err("a filter with an error");
        format!("{} at {}\n{error}\n", error.message(), error.position())
    });
}

#[test]
fn warnings_are_told_with_a_caret_under_the_part() {
    verify(include_str!("../data/diagnostics/warnings.txt"), |filter, layer| {
        let warnings = Filter::compile(filter, layer).expect("a filter without an error").warnings();
        if warnings.is_empty() {
            return "no warning\n".to_owned();
        }
        warnings.iter().fold(String::new(), |text, warning| text + &format!("{warning}\n"))
    });
}

#[test]
fn the_extended_dialect_tells_of_its_errors_and_warnings_likewise() {
    let mut sets = Sets::new();
    sets.insert("blocked", ["192.0.2.0/24", "2001:db8::/32"]).expect("prefixes");
    verify(include_str!("../data/diagnostics/extended.txt"), |filter, layer| {
        match Filter::compile_extended(filter, layer, &sets) {
            Err(error) => format!("{} at {}\n{error}\n", error.message(), error.position()),
            Ok(filter) if filter.warnings().is_empty() => "no warning\n".to_owned(),
            Ok(filter) => filter.warnings().iter().fold(String::new(), |text, warning| text + &format!("{warning}\n")),
        }
    });
}
