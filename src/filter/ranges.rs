//! Sets of numbers as sorted ranges: what a test accepts, so that neighbouring tests of one value become a single one.
//! Pure functions on plain data; nothing panics.
use smallvec::{SmallVec, smallvec};

/// Most sets have one range or two, which need no allocation.
type List = SmallVec<[(u128, u128); 2]>;

/// Sorted ranges, both ends included, that neither overlap nor touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ranges {
    ranges: List,
}

impl Ranges {
    pub(super) const EMPTY: Self = Self { ranges: SmallVec::new_const() };

    /// The numbers from `low` to `high`; none if `low` is greater.
    pub(super) fn new(low: u128, high: u128) -> Self {
        if low > high { Self::EMPTY } else { Self { ranges: smallvec![(low, high)] } }
    }

    /// The numbers below `end`.
    pub(super) fn below(end: u128) -> Self {
        end.checked_sub(1).map_or(Self::EMPTY, |last| Self::new(0, last))
    }

    pub(super) fn as_slice(&self) -> &[(u128, u128)] {
        &self.ranges
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether all numbers up to `maximum` are in.
    pub(super) fn is_full(&self, maximum: u128) -> bool {
        self.as_slice() == [(0, maximum)]
    }

    pub(super) fn contains(&self, value: u128) -> bool {
        let index = self.ranges.partition_point(|(_, high)| *high < value);
        self.ranges.get(index).is_some_and(|(low, _)| *low <= value)
    }

    /// The numbers up to `maximum` that are not in.
    pub(super) fn complement(&self, maximum: u128) -> Self {
        let mut ranges = List::with_capacity(self.ranges.len() + 1);
        let mut low = Some(0);
        for (start, end) in &self.ranges {
            if let (Some(low), Some(before)) = (low, start.checked_sub(1))
                && low <= before
            {
                ranges.push((low, before));
            }
            low = end.checked_add(1);
        }
        if let Some(low) = low.filter(|low| *low <= maximum) {
            ranges.push((low, maximum));
        }
        Self { ranges }
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        self.ranges.iter().chain(&other.ranges).copied().collect()
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut ranges = List::new();
        let (mut ours, mut theirs) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        while let (Some((a, b)), Some((c, d))) = (ours.peek(), theirs.peek()) {
            let (low, high) = (*a.max(c), *b.min(d));
            if low <= high {
                ranges.push((low, high));
            }
            if b < d {
                ours.next()
            } else {
                theirs.next()
            };
        }
        Self { ranges }
    }

    pub(super) fn is_subset(&self, other: &Self) -> bool {
        self.intersection(other) == *self
    }
}

impl FromIterator<(u128, u128)> for Ranges {
    /// The numbers in any of the ranges, which may overlap and have any order.
    fn from_iter<I: IntoIterator<Item = (u128, u128)>>(ranges: I) -> Self {
        let mut ranges: List = ranges.into_iter().collect();
        ranges.sort_unstable();
        ranges.dedup_by(|next, last| {
            let touches = last.1.checked_add(1).is_none_or(|behind| next.0 <= behind);
            if touches {
                last.1 = last.1.max(next.1);
            }
            touches
        });
        Self { ranges }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(members: &[bool]) -> Ranges {
        let mut ranges = Ranges::EMPTY;
        for (value, _) in members.iter().enumerate().filter(|(_, member)| **member) {
            ranges = ranges.union(&Ranges::new(value as u128, value as u128));
        }
        ranges
    }

    proptest! {
        #[test]
        fn sets_behave_as_sets(pairs in prop::collection::vec(any::<(bool, bool)>(), 16)) {
            let (a, b): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let (left, right) = (set(&a), set(&b));
            prop_assert!(left.as_slice().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            for (value, (a, b)) in a.iter().zip(&b).enumerate() {
                let value = value as u128;
                prop_assert_eq!(left.contains(value), *a);
                prop_assert_eq!(left.complement(15).contains(value), !a);
                prop_assert_eq!(left.union(&right).contains(value), a | b);
                prop_assert_eq!(left.intersection(&right).contains(value), a & b);
            }
            prop_assert_eq!(left.is_subset(&right), a.iter().zip(&b).all(|(a, b)| !a | b));
            prop_assert_eq!(left.is_full(15), a.iter().all(|member| *member));
            prop_assert_eq!(left.complement(15).complement(15), left);
        }
    }

    #[test]
    fn the_ends_of_the_domain_do_not_overflow() {
        let all = Ranges::new(0, u128::MAX);
        assert!(all.complement(u128::MAX).is_empty());
        assert_eq!(Ranges::new(u128::MAX, u128::MAX).complement(u128::MAX).as_slice(), [(0, u128::MAX - 1)]);
        assert_eq!(all.union(&Ranges::new(5, u128::MAX)).as_slice(), [(0, u128::MAX)]);
        assert!(Ranges::below(0).is_empty());
    }
}
