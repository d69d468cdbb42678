//! The table of behaviours that every engine of this kind must show has 90 rows; here each has its test, found by its comment.
use std::collections::BTreeMap;

const SOURCES: [&str; 7] = [
    include_str!("engine_open.rs"),
    include_str!("engine_chain.rs"),
    include_str!("engine_raw.rs"),
    include_str!("engine_send.rs"),
    include_str!("engine_queue.rs"),
    include_str!("engine_end.rs"),
    include_str!("engine_events.rs"),
];

/// Rows and the names of their tests: a comment `/// Row 12.` right above a test.
fn tests_by_row() -> BTreeMap<u32, Vec<&'static str>> {
    let mut tests: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for lines in SOURCES.map(|source| source.lines().collect::<Vec<_>>()) {
        for window in lines.windows(3) {
            let Some(row) = window[0].strip_prefix("/// Row ") else { continue };
            let row = row.trim_end_matches('.').parse().expect("the comment tells a number");
            assert_eq!(window[1], "#[test]", "row {row} has a test");
            let name = window[2].trim_start_matches("fn ").trim_end_matches("() {");
            tests.entry(row).or_default().push(name);
        }
    }
    tests
}

#[test]
fn every_row_of_the_table_has_a_test() {
    let tests = tests_by_row();
    assert_eq!(tests.keys().copied().collect::<Vec<_>>(), (1..=90).collect::<Vec<_>>());
}
