//! The integration tests, one binary.
mod captures;
mod diagnostics;
mod engine;
mod engine_support;
mod filter_properties;
mod filter_reference;
mod filter_vectors;
mod helper_vectors;
mod packet_build;
mod packet_edits;
mod packet_properties;
mod packet_vectors;
mod replay;
mod replay_rules;
mod strategies;
mod vectors;
