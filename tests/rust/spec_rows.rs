//! The table of behaviours that every backend of this kind must show: each row has its tests, found by their comments, and
//! `docs/behaviour.md` lists them.
//!
//! `/// Row 12.` or `/// Rows 12, 13.` right above a test names what it shows; in Python it is `# Row 12.` above the function.
//! The Python tests named here run on every backend.
use crate::spec_table::ROWS;
use std::collections::BTreeMap;
use std::fmt::Write;

const ENGINE: [&str; 7] = [
    include_str!("engine_open.rs"),
    include_str!("engine_chain.rs"),
    include_str!("engine_raw.rs"),
    include_str!("engine_send.rs"),
    include_str!("engine_queue.rs"),
    include_str!("engine_end.rs"),
    include_str!("engine_events.rs"),
];
const REPLAY: [&str; 4] = [
    include_str!("replay.rs"),
    include_str!("replay_rules.rs"),
    include_str!("replay_rows.rs"),
    include_str!("replay_rows_send.rs"),
];
const BOTH: &str = include_str!("../python/test_rows.py");

const HEADING: &str = "\
# Behaviour

What every backend must show, and the tests that show it: written by `tests/rust/spec_rows.rs`, which tells when this list is out
of date. Tests with `test_` are those of `tests/python/test_rows.py`, which run on every backend; the others are in `tests/rust/`.

| row | what must hold | engine | replay of a capture |
| --- | --- | --- | --- |
";

type Tests = BTreeMap<usize, Vec<&'static str>>;

/// The rows that a comment above a test names.
fn rows_of(comment: &str) -> Option<Vec<usize>> {
    let comment = comment.trim_start_matches(['/', '#', ' ']);
    let numbers = comment.strip_prefix("Rows ").or_else(|| comment.strip_prefix("Row "))?.strip_suffix('.')?;
    Some(numbers.split(", ").map(|number| number.parse().expect("the comment tells numbers")).collect())
}

/// Adds the tests of a source to those that are known.
fn collect(tests: &mut Tests, source: &'static str) {
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let Some(rows) = rows_of(line) else { continue };
        let name = lines.find_map(|line| line.strip_prefix("fn ").or_else(|| line.strip_prefix("def ")));
        let name = name.and_then(|name| name.split('(').next()).expect("a test follows its comment");
        for row in rows {
            tests.entry(row).or_default().push(name);
        }
    }
}

fn tests_of(sources: &[&'static str]) -> Tests {
    let mut tests = Tests::new();
    for source in sources.iter().chain([&BOTH]) {
        collect(&mut tests, source);
    }
    tests
}

/// A cell of the list: the names of tests.
fn names(tests: &Tests, row: usize) -> Option<String> {
    Some(tests.get(&row)?.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
}

#[test]
fn every_row_has_a_test_on_the_engine_and_on_the_replay_one_or_a_reason() {
    let (engine, replay) = (tests_of(&ENGINE), tests_of(&REPLAY));
    for (row, (_, reason)) in (1..).zip(&ROWS) {
        assert!(engine.contains_key(&row), "row {row} has no test on the engine");
        assert_eq!(replay.contains_key(&row), reason.is_none(), "row {row}: a test on the replay, or a reason");
    }
    assert!(engine.keys().chain(replay.keys()).all(|row| (1..=ROWS.len()).contains(row)));
}

#[test]
fn the_list_of_rows_and_their_tests_is_up_to_date() {
    let (engine, replay) = (tests_of(&ENGINE), tests_of(&REPLAY));
    let mut list = HEADING.to_owned();
    for (row, (behaviour, reason)) in (1..).zip(ROWS) {
        let on_engine = names(&engine, row).unwrap_or_default();
        let on_replay = names(&replay, row).or(reason.map(|reason| format!("none: {reason}"))).unwrap_or_default();
        let _ = writeln!(list, "| {row} | {behaviour} | {on_engine} | {on_replay} |");
    }
    assert!(include_str!("../../docs/behaviour.md") == list, "docs/behaviour.md should be\n\n{list}");
}
