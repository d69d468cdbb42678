//! Divert, inspect, edit, drop and re-inject network packets, with WinDivert 2.2's filter language and semantics.
//!
//! The rooms, each of which may only use the ones to its right:
//!
//! ```text
//! bindings (PyO3) -> backend -> engine -> filter -> batch -> address -> packet
//! ```
//!
//! # Input safety
//!
//! Packets, captures, filter texts and address records may hold any bytes. They yield an error or "does not match"; no
//! function of this crate panics, or takes more memory than a small multiple of its input, because of them.
#![deny(unsafe_code)]

pub mod address;
pub mod backend;
pub mod batch;
#[cfg(feature = "python")]
mod bindings;
pub mod engine;
pub mod filter;
pub mod packet;
