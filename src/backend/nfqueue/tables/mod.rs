//! nftables: tables, chains and rules as messages, and the notes in tables by which handles find each other.
//!
//! It stands on [`kernel`](super::kernel). What a handle's rules say is decided elsewhere, in [`rules`](super::rules).
pub(super) mod expression;
pub(super) mod extensions;
pub(super) mod nft;
pub(super) mod registry;
