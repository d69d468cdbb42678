//! How packets come out of the kernel, and how those that wait there are answered: by packet queues, by the packet log, or as
//! copies that the filter's own program makes; and what is known of packets that the program holds.
//!
//! It stands on [`kernel`](super::kernel), on [`tables`](super::tables) for the names of hooks, and on
//! [`injection`](super::injection), whose carriers are not to be copied.
pub(super) mod arrival;
pub(super) mod copies;
mod held;
pub(super) mod lines;
pub(super) mod log;
pub(super) mod queue;
pub(super) mod token;
