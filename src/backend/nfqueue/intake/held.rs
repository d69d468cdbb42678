//! Which packets the program holds, so that the kernel still waits for their verdicts.
//!
//! The kernel numbers packets in order, and they are handed out in order. A packet that is held while too many others come is
//! given up in the kernel; when it is sent after all, it goes as a new one does.
use std::collections::VecDeque;

/// Packets that are held at most.
const HELD_MAX: usize = 1 << 15;
/// How far the oldest one may lie behind the newest.
const SPAN_MAX: usize = 1 << 20;

/// A stretch of numbers, from the oldest packet that is held on, and which of them are.
#[derive(Debug, Default)]
pub(super) struct Held {
    first: u32,
    flags: VecDeque<bool>,
    count: usize,
}

impl Held {
    /// Notes a packet that is handed out; one to be given up, if there are too many.
    #[must_use]
    pub(super) fn note(&mut self, id: u32) -> Option<u32> {
        let mut given_up = None;
        if self.count >= HELD_MAX || self.flags.len() >= SPAN_MAX {
            given_up = self.oldest();
            self.pop();
        }
        if self.flags.is_empty() {
            self.first = id;
        }
        let at = id.wrapping_sub(self.first) as usize;
        // Numbers of packets that were not handed out.
        while self.flags.len() < at {
            self.flags.push_back(false);
        }
        self.flags.push_back(true);
        self.count += 1;
        given_up
    }

    /// The oldest packet that is held.
    pub(super) fn oldest(&self) -> Option<u32> {
        (!self.flags.is_empty()).then_some(self.first)
    }

    /// Whether a packet was held; it is no more.
    pub(super) fn take(&mut self, id: u32) -> bool {
        let Some(is_held) = self.flags.get_mut(id.wrapping_sub(self.first) as usize) else { return false };
        let was_held = std::mem::take(is_held);
        if was_held {
            self.count -= 1;
            self.trim();
        }
        was_held
    }

    /// Forgets all packets; which they were.
    pub(super) fn take_all(&mut self) -> Vec<u32> {
        let first = self.first;
        self.count = 0;
        let flags = std::mem::take(&mut self.flags).into_iter().zip(0..);
        flags.filter(|(is_held, _)| *is_held).map(|(_, at)| first.wrapping_add(at)).collect()
    }

    fn pop(&mut self) {
        if self.flags.pop_front() == Some(true) {
            self.count -= 1;
        }
        self.first = self.first.wrapping_add(1);
        self.trim();
    }

    fn trim(&mut self) {
        while self.flags.front() == Some(&false) {
            self.flags.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_known_across_the_turn_of_the_numbers() {
        let mut held = Held::default();
        for id in [u32::MAX - 2, u32::MAX, 0, 5] {
            assert_eq!(held.note(id), None);
        }
        assert_eq!(held.oldest(), Some(u32::MAX - 2));
        assert!(!held.take(u32::MAX - 1) && !held.take(4) && !held.take(6));
        assert!(held.take(0) && !held.take(0));
        assert!(held.take(u32::MAX - 2));
        assert_eq!((held.oldest(), held.count), (Some(u32::MAX), 2));
        assert!(held.take(u32::MAX));
        assert_eq!(held.oldest(), Some(5));
        assert!(held.take(5));
        assert_eq!((held.oldest(), held.count), (None, 0));
    }

    #[test]
    fn the_oldest_is_given_up_where_too_many_flags() {
        let mut held = Held::default();
        for id in 0..HELD_MAX as u32 {
            assert_eq!(held.note(id), None);
        }
        assert!(held.take(1));
        assert_eq!(held.note(HELD_MAX as u32), None);
        assert_eq!(held.note(HELD_MAX as u32 + 1), Some(0));
        assert!(!held.take(0) && held.take(2));
    }

    #[test]
    fn one_that_is_never_sent_does_not_make_the_stretch_grow_on() {
        let mut held = Held::default();
        let mut given_up = Vec::new();
        for id in 0..SPAN_MAX as u32 + 10 {
            given_up.extend(held.note(id));
            if id > 0 {
                held.take(id);
            }
        }
        assert_eq!(given_up, [0]);
        assert!(held.flags.is_empty());
    }
}
