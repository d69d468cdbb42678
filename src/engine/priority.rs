//! In which order packets meet handles: by priority, and of equal ones the one that was opened later first.
//!
//! Source: the driver's internal priority, with a counter that does not wrap. Never panics.
use crate::address::PRIORITY_LOWEST;

/// Bits of a rank that count opens; more are opened in no process.
const COUNTER_BITS: u32 = 48;

/// A handle's place among all others of its kind, and its name: no two handles of one engine have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rank(u64);

impl Rank {
    /// The rank of the handle that is opened as number `opened`.
    pub(crate) fn new(priority: i16, opened: u64) -> Self {
        let priority = i64::from(priority) - i64::from(PRIORITY_LOWEST);
        Self((priority as u64) << COUNTER_BITS | opened & ((1 << COUNTER_BITS) - 1))
    }

    /// Which handle of all this one was, in order of opening.
    pub(crate) const fn opened(self) -> u64 {
        self.0 & ((1 << COUNTER_BITS) - 1)
    }
}

/// Handles in the order in which packets meet them.
#[derive(Debug)]
pub(crate) struct Ladder<T> {
    rungs: Vec<(Rank, T)>,
}

impl<T> Default for Ladder<T> {
    fn default() -> Self {
        Self { rungs: Vec::new() }
    }
}

impl<T> Ladder<T> {
    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.rungs.len()
    }

    /// Whether there are none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.rungs.is_empty()
    }

    /// Puts a handle at its place.
    pub(crate) fn insert(&mut self, rank: Rank, handle: T) {
        let at = self.index_below(rank);
        self.rungs.insert(at, (rank, handle));
    }

    /// Takes a handle out.
    pub(crate) fn remove(&mut self, rank: Rank) -> Option<T> {
        let at = self.index_of(rank)?;
        Some(self.rungs.remove(at).1)
    }

    /// The index of a handle.
    pub(crate) fn index_of(&self, rank: Rank) -> Option<usize> {
        self.rungs.binary_search_by(|(other, _)| rank.cmp(other)).ok()
    }

    /// The index of the first handle that a packet sent from this rank meets: it passes all that are not strictly
    /// below.
    pub(crate) fn index_below(&self, rank: Rank) -> usize {
        self.rungs.partition_point(|(other, _)| *other >= rank)
    }

    /// The handle of a rank.
    pub(crate) fn get_mut(&mut self, rank: Rank) -> Option<&mut T> {
        let at = self.index_of(rank)?;
        self.at_mut(at)
    }

    /// The handle at an index.
    #[inline]
    pub(crate) fn at_mut(&mut self, index: usize) -> Option<&mut T> {
        self.rungs.get_mut(index).map(|(_, handle)| handle)
    }

    /// All handles, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Rank, &T)> {
        self.rungs.iter().map(|(rank, handle)| (*rank, handle))
    }

    /// All handles, in order, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Rank, &mut T)> {
        self.rungs.iter_mut().map(|(rank, handle)| (*rank, handle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_priorities_come_first_and_of_equal_ones_the_later() {
        let mut ladder = Ladder::default();
        let ranks: Vec<Rank> =
            [(0, 1), (30_000, 2), (0, 3), (-30_000, 4), (-1, 5)].map(|(priority, at)| Rank::new(priority, at)).into();
        for rank in &ranks {
            ladder.insert(*rank, rank.opened());
        }
        assert_eq!(ladder.iter().map(|(_, opened)| *opened).collect::<Vec<_>>(), [2, 3, 1, 5, 4]);
        assert_eq!(ladder.index_below(ranks[2]), 2);
        assert_eq!(ladder.remove(ranks[2]), Some(3));
        assert_eq!(ladder.index_of(ranks[2]), None);
        assert_eq!(ladder.index_below(ranks[2]), 1);
        assert_eq!(ladder.iter().count(), 4);
    }
}
