//! The integration tests, one binary.
mod captures;
mod diagnostics;
mod filter_explain;
mod filter_extended;
mod filter_properties;
mod filter_reference;
mod filter_strategies;
mod filter_vectors;
mod filter_warnings;
#[path = "../fuzz/checks.rs"]
mod fuzz_checks;
mod fuzz_replay;
mod helper_vectors;
mod packet_build;
mod packet_edits;
mod packet_properties;
mod packet_vectors;
mod replay;
mod replay_rules;
mod strategies;
mod vectors;
