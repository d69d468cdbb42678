//! What is known of each of a handle's two queues: which packets the program holds there, and which are gone.
use super::super::kernel::netlink::Writer;
use super::held::Held;
use super::queue::{Place, Queue, Verdict};
use super::token;
use crate::batch::Token;

/// What is known of one queue, which numbers its packets by itself.
#[derive(Debug, Default)]
struct Line {
    held: Held,
    /// The number of the last packet that came.
    last: u32,
    /// The last packet that the kernel does not have any more, though nobody answered.
    gone: Option<u32>,
}

impl Line {
    /// Everything up to the last packet that came is gone; which of it was held.
    fn lose(&mut self) -> Vec<u32> {
        self.gone = Some(self.last);
        self.held.take_all()
    }
}

/// What is known of both.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    ordinary: Line,
    large: Line,
}

impl Lines {
    const fn of(&self, is_large: bool) -> &Line {
        if is_large { &self.large } else { &self.ordinary }
    }

    const fn of_mut(&mut self, is_large: bool) -> &mut Line {
        if is_large { &mut self.large } else { &mut self.ordinary }
    }

    /// Notes a packet that came.
    #[inline]
    pub(crate) const fn note(&mut self, place: Place) {
        self.of_mut(place.is_large).last = place.id;
    }

    /// The number of the last packet that came to the queue for large ones; 0 if none did.
    pub(crate) const fn last_large(&self) -> u32 {
        self.large.last
    }

    /// Whether the kernel does not have a packet any more, since it gave up all up to a number.
    pub(crate) fn is_gone(&self, token: Token) -> bool {
        let Place { is_large, id } = token::place(token);
        self.of(is_large).gone.is_some_and(|last| last.wrapping_sub(id) < u32::MAX / 2)
    }

    /// Whether a packet is held, and the oldest of those that are.
    pub(crate) fn is_oldest(&self, token: Token) -> bool {
        let Place { is_large, id } = token::place(token);
        self.of(is_large).held.oldest() == Some(id)
    }

    /// Notes a packet that is handed out; one to be given up, if there are too many.
    #[must_use]
    pub(crate) fn hold(&mut self, token: Token) -> Option<Place> {
        let Place { is_large, id } = token::place(token);
        self.of_mut(is_large).held.note(id).map(|id| Place { is_large, id })
    }

    /// Notes a packet that is handed out, and gives the oldest one up if too many are.
    pub(crate) fn note_held(&mut self, queue: &Queue, answers: &mut Writer, token: Token) {
        if let Some(place) = self.hold(token) {
            queue.answer(answers, place, Verdict::Drop, None);
        }
    }

    /// Whether a packet was held; it is no more.
    pub(crate) fn take(&mut self, token: Token) -> bool {
        let Place { is_large, id } = token::place(token);
        self.of_mut(is_large).held.take(id)
    }

    /// Everything that came is gone; which of it was held.
    pub(crate) fn lose(&mut self) -> Vec<Place> {
        let [ordinary, large] = [(&mut self.ordinary, false), (&mut self.large, true)]
            .map(|(line, is_large)| line.lose().into_iter().map(move |id| Place { is_large, id }));
        ordinary.chain(large).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::Waiting;
    use super::*;

    #[test]
    fn packets_of_one_number_in_both_queues_are_told_apart() {
        let of =
            |is_large, id| token::token(&Waiting { place: Place { is_large, id }, ..Waiting::default() }, 0xFF_FFFF);
        let (ordinary, large) = (of(false, 7), of(true, 7));
        let mut lines = Lines::default();
        assert!(lines.hold(ordinary).is_none() && !lines.take(large));
        assert!(lines.hold(large).is_none() && lines.is_oldest(large));
        assert!(lines.take(ordinary) && !lines.take(ordinary) && !lines.is_oldest(ordinary));
        lines.note(token::place(large));
        assert_eq!(lines.lose(), [Place { is_large: true, id: 7 }]);
        assert!(lines.is_gone(large) && !lines.is_gone(ordinary) && !lines.is_gone(of(true, 8)));
    }
}
