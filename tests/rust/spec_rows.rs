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
const LINUX: [&str; 7] = [
    include_str!("../python/test_linux_basic.py"),
    include_str!("../python/test_linux_fragments.py"),
    include_str!("../python/test_linux_inject.py"),
    include_str!("../python/test_linux_rows_chain.py"),
    include_str!("../python/test_linux_rows_events.py"),
    include_str!("../python/test_linux_rows_queue.py"),
    include_str!("../python/test_linux_rows_send.py"),
];
const ALL: &str = include_str!("../python/test_rows.py");

const HEADING: &str = "\
# Behaviour

What every backend must show, and the tests that show it: written by `tests/rust/spec_rows.rs`, which tells when this list is out
of date. Tests with `test_` are in `tests/python/`: those of `test_rows.py` run on every backend, those of Linux alone are in
`test_linux_*.py` and have real packets pass through the kernel of a network namespace of their own. The others are in `tests/rust/`.

| row | what must hold | engine | replay of a capture | live on Linux |
| --- | --- | --- | --- | --- |
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
    for source in sources.iter().chain([&ALL]) {
        collect(&mut tests, source);
    }
    tests
}

/// A cell of the list: the names of tests.
fn names(tests: &Tests, row: usize) -> Option<String> {
    Some(tests.get(&row)?.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
}

/// A cell of the list: tests, or why there is none.
fn cell(tests: &Tests, row: usize, reason: Option<&str>) -> String {
    names(tests, row).or(reason.map(|reason| format!("none: {reason}"))).unwrap_or_default()
}

#[test]
fn every_row_has_a_test_on_the_engine_and_elsewhere_one_or_a_reason() {
    let (engine, replay, linux) = (tests_of(&ENGINE), tests_of(&REPLAY), tests_of(&LINUX));
    for (row, (_, on_replay, on_linux)) in (1..).zip(&ROWS) {
        assert!(engine.contains_key(&row), "row {row} has no test on the engine");
        assert_eq!(replay.contains_key(&row), on_replay.is_none(), "row {row}: a test on the replay, or a reason");
        assert_eq!(linux.contains_key(&row), on_linux.is_none(), "row {row}: a test on Linux, or a reason");
    }
    assert!(engine.keys().chain(replay.keys()).chain(linux.keys()).all(|row| (1..=ROWS.len()).contains(row)));
}

#[test]
fn the_list_of_rows_and_their_tests_is_up_to_date() {
    let (engine, replay, linux) = (tests_of(&ENGINE), tests_of(&REPLAY), tests_of(&LINUX));
    let mut list = HEADING.to_owned();
    for (row, (behaviour, on_replay, on_linux)) in (1..).zip(ROWS) {
        let on_engine = cell(&engine, row, None);
        let (on_replay, on_linux) = (cell(&replay, row, on_replay), cell(&linux, row, on_linux));
        let _ = writeln!(list, "| {row} | {behaviour} | {on_engine} | {on_replay} | {on_linux} |");
    }
    assert!(include_str!("../../docs/behaviour.md") == list, "docs/behaviour.md should be\n\n{list}");
}
