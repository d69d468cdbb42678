//! Flows that pass a handle unseen, both directions, until they end.
//!
//! A TCP connection ends with a reset, or [`LINGER`] after the last packet once both sides have sent a FIN, so that the
//! last acknowledgement and repeated segments still pass; a SYN behind a FIN opens a new connection, which is seen from
//! there on. Any other flow ends when it was idle for long: an hour with TCP, three minutes otherwise. Fragments tell
//! no flow and are seen.
use super::clock::TICKS_PER_SECOND;
use crate::packet::{self, FlowKey, Layout, fields::tcp};
use std::collections::HashMap;

/// How long a connection that both sides closed still passes, in ticks.
const LINGER: u64 = 2 * TICKS_PER_SECOND as u64;
/// How long a TCP connection may be silent.
const TCP_IDLE: u64 = 3600 * TICKS_PER_SECOND as u64;
/// How long any other flow may be silent.
const OTHER_IDLE: u64 = 180 * TICKS_PER_SECOND as u64;
/// The most flows that a handle lets pass.
const FLOWS_MAX: usize = 1 << 16;
/// So many flows are kept before the first look for those that ended.
const SWEEP_MIN: usize = 1024;
/// How long there is no other look, in ticks.
const SWEEP_PAUSE: u64 = TICKS_PER_SECOND as u64;

/// TCP's protocol number.
const TCP: u8 = 6;

#[derive(Clone, Debug)]
struct Passing {
    last_seen: i64,
    /// Which ends have sent a FIN: the lower, the upper.
    finished: [bool; 2],
}

impl Passing {
    fn is_over(&self, key: &FlowKey, now: i64) -> bool {
        let idle = match key.protocol() {
            TCP if self.finished == [true; 2] => LINGER,
            TCP => TCP_IDLE,
            _ => OTHER_IDLE,
        };
        now.abs_diff(self.last_seen) > idle
    }
}

/// The flows that pass one handle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bypasses {
    flows: HashMap<FlowKey, Passing>,
    /// How many flows there are at the next look for those that ended.
    sweep_at: usize,
    swept: i64,
}

impl Bypasses {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Lets a flow pass. False if too many pass already.
    pub(crate) fn insert(&mut self, key: FlowKey, now: i64) -> bool {
        if self.flows.len() >= self.sweep_at.max(SWEEP_MIN) && now.abs_diff(self.swept) >= SWEEP_PAUSE {
            self.flows.retain(|key, passing| !passing.is_over(key, now));
            self.sweep_at = (self.flows.len() * 2).min(FLOWS_MAX);
            self.swept = now;
        }
        if self.flows.len() >= FLOWS_MAX && !self.flows.contains_key(&key) {
            return false;
        }
        self.flows.insert(key, Passing { last_seen: now, finished: [false; 2] });
        true
    }

    /// Whether a packet passes unseen.
    pub(crate) fn lets_pass(&mut self, bytes: &[u8], layout: &Layout, now: i64) -> bool {
        let Some((key, from_lower)) = FlowKey::with_direction(bytes, layout) else { return false };
        let Some(passing) = self.flows.get_mut(&key) else { return false };
        let has = |flag| packet::read(bytes, layout, flag) == Some(1);
        let reopens = passing.finished != [false; 2] && has(tcp::SYN) && !has(tcp::ACK);
        if reopens || passing.is_over(&key, now) {
            self.flows.remove(&key);
            return false;
        }
        passing.last_seen = now;
        if has(tcp::FIN) {
            let [lower, upper] = &mut passing.finished;
            *if from_lower { lower } else { upper } = true;
        }
        if has(tcp::RST) {
            self.flows.remove(&key);
        }
        true
    }
}
