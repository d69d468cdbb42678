//! The accounts of what is wrong with a filter, whole: `tests/data/diagnostics/filters.txt` holds blocks of a filter with its
//! layer, WinDivert's message and position, and ours with its caret.
//!
//! Where an account is meant to change, the test prints the file as it would be.
use oxidivert::address::Layer;
use oxidivert::filter::Filter;
use std::fmt::Write;

const EXPECTED: &str = include_str!("../data/diagnostics/filters.txt");

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

fn block(layer: Layer, filter: &str) -> String {
    let error = Filter::compile(&unescape(filter), layer).expect_err("a filter with an error");
    let mut block = String::new();
    let _ = writeln!(block, "{}: {filter}", layer.name());
    let _ = writeln!(block, "{} at {}", error.message(), error.position());
    let _ = writeln!(block, "{error}");
    block
}

#[test]
fn errors_are_told_with_a_caret_under_the_spot() {
    let mut written = String::new();
    for expected in EXPECTED.split_inclusive("\n\n") {
        let (layer, rest) = expected.split_once(": ").expect("a layer and a filter");
        let filter = rest.lines().next().unwrap_or_default();
        let layer = Layer::ALL.iter().find(|known| known.name() == layer).expect("a layer");
        written.push_str(&block(*layer, filter));
        written.push('\n');
    }
    assert!(EXPECTED.trim_end() == written.trim_end(), "the accounts are now\n\n{written}");
}
