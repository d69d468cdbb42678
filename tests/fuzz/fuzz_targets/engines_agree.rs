//! Fuzz target: [`checks::check_engines_agree`].
#![no_main]

#[path = "../checks.rs"]
#[expect(dead_code, reason = "each target calls one of the functions")]
mod checks;
#[path = "../../rust/filter_reference.rs"]
#[expect(dead_code, reason = "it serves the other tests too")]
mod filter_reference;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::check_engines_agree(data));
