//! How a new packet gets into the stack, exactly below the handle that sends it.
//!
//! It stands on [`kernel`](super::kernel), and on [`tables`](super::tables) for the names of hooks.
pub(super) mod carrier;
mod inlet;
