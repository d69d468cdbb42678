//! Sorted ranges that are searched fast. Never panics.
//!
//! The values between the first and the last start are cut into about as many stretches of equal length as there are ranges,
//! and a table tells which starts lie in a stretch. Mostly there are few, which are compared all at once, without a branch
//! that could be guessed wrong; where they crowd, they are searched in logarithmic time.

/// Ranges of 32-bit values.
pub(super) type NarrowTable = Table<u32>;
/// Ranges of 128-bit values.
pub(super) type WideTable = Table<u128>;

/// How many starts are compared at once.
const WINDOW: usize = 8;
/// So that the table of stretches stays in the processor's caches.
const MOST_STRETCHES: usize = 1 << 16;

/// An unsigned integer.
pub(super) trait Key: Copy + Ord {
    const MAXIMUM: Self;

    /// How many bits the distance from a smaller number has.
    fn distance_bits(self, from: Self) -> u32;

    /// The distance from a smaller number without its lowest `shift` bits.
    fn stretch(self, from: Self, shift: u32) -> usize;
}

macro_rules! key {
    ($type:ty) => {
        impl Key for $type {
            const MAXIMUM: Self = Self::MAX;

            fn distance_bits(self, from: Self) -> u32 {
                Self::BITS - (self - from).leading_zeros()
            }

            #[inline(always)]
            fn stretch(self, from: Self, shift: u32) -> usize {
                usize::try_from((self - from).checked_shr(shift).unwrap_or(0)).unwrap_or(usize::MAX)
            }
        }
    };
}
key!(u32);
key!(u128);

/// Sorted ranges, both ends included, that do not overlap.
#[derive(Clone, Debug)]
pub(super) struct Table<T> {
    /// Bits that the values of a stretch differ in.
    shift: u32,
    /// How many starts lie before each stretch, and before the end.
    stretches: Box<[u32]>,
    /// And a window of the largest number behind them.
    starts: Box<[T]>,
    ends: Box<[T]>,
}

impl<T: Key> Table<T> {
    /// A table of sorted ranges that do not overlap.
    pub(super) fn new(ranges: impl Iterator<Item = (T, T)>) -> Self {
        let (mut starts, ends): (Vec<T>, Vec<T>) = ranges.unzip();
        let wanted = (starts.len() / 2).next_power_of_two().min(MOST_STRETCHES);
        let (mut shift, mut stretches) = (0, vec![0]);
        if let (Some(first), Some(last)) = (starts.first(), starts.last()) {
            shift = last.distance_bits(*first).saturating_sub(wanted.ilog2());
            let mut before = 0;
            for stretch in 1..=last.stretch(*first, shift) + 1 {
                let rest = starts.get(before..).unwrap_or_default();
                before += rest.iter().take_while(|start| start.stretch(*first, shift) < stretch).count();
                stretches.push(before as u32);
            }
        }
        starts.extend([T::MAXIMUM; WINDOW]);
        Self { shift, stretches: stretches.into(), starts: starts.into(), ends: ends.into() }
    }

    /// Whether a value lies in one of the ranges.
    #[inline]
    pub(super) fn contains(&self, value: T) -> bool {
        let Some(first) = self.starts.first().filter(|first| **first <= value) else { return false };
        // A value behind the last start belongs to the last stretch.
        let stretch = value.stretch(*first, self.shift).min(self.stretches.len().saturating_sub(2));
        let Some([before, behind]) = self.stretches.get(stretch..).and_then(<[u32]>::first_chunk) else { return false };
        let (before, behind) = (*before as usize, *behind as usize);
        let Some(window) = self.starts.get(before..).and_then(<[T]>::first_chunk::<WINDOW>) else { return false };
        let mut below = window.iter().map(|start| usize::from(*start <= value)).sum();
        if behind - before > WINDOW {
            let crowd = self.starts.get(before..behind).unwrap_or_default();
            below = crowd.partition_point(|start| *start <= value);
        }
        // The largest number is not below a start that only fills the window.
        let last = (before + below).min(self.ends.len());
        last.checked_sub(1).and_then(|last| self.ends.get(last)).is_some_and(|end| value <= *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn linear(ranges: &[(u32, u32)], value: u32) -> bool {
        ranges.iter().any(|(low, high)| (*low..=*high).contains(&value))
    }

    fn bounds() -> BoxedStrategy<Vec<u32>> {
        // Spread over all values, or crowded around some.
        let bound = prop_oneof![any::<u32>(), 0..300_u32, 4_000_000_000..4_000_009_000_u32];
        prop::collection::btree_set(bound, 0..1400).prop_map(|bounds| bounds.into_iter().collect()).boxed()
    }

    proptest! {
        #[test]
        fn a_table_answers_as_its_ranges_do(mut bounds in bounds(), at in any::<u32>()) {
            if bounds.len() % 2 == 1 {
                bounds.pop();
            }
            let ranges: Vec<_> = bounds.chunks(2).map(|pair| (pair[0], pair[1])).collect();
            let table = NarrowTable::new(ranges.iter().copied());
            let wide = WideTable::new(ranges.iter().map(|(low, high)| (u128::from(*low) << 90, u128::from(*high) << 90)));
            let near = bounds.iter().flat_map(|bound| [bound.saturating_sub(1), *bound, bound.saturating_add(1)]);
            for value in near.chain([0, at, u32::MAX]) {
                prop_assert_eq!(table.contains(value), linear(&ranges, value), "{}", value);
                prop_assert_eq!(wide.contains(u128::from(value) << 90), linear(&ranges, value), "{}", value);
            }
        }
    }

    #[test]
    fn tables_of_all_sizes_work() {
        for count in [0_u32, 1, 2, 7, 8, 9, 15, 16, 17, 255, 256, 257, 4097] {
            let table = NarrowTable::new((0..count).map(|index| (index * 10, index * 10 + 3)));
            for value in 0..count * 10 + 30 {
                let expected = value < count * 10 && value % 10 < 4;
                assert_eq!(table.contains(value), expected, "{count} {value}");
            }
        }
    }

    #[test]
    fn the_ends_of_the_numbers_do_not_overflow() {
        assert!(WideTable::new([(0_u128, 1), (5, u128::MAX)].into_iter()).contains(u128::MAX));
        assert!(!NarrowTable::new([(0, 1), (u32::MAX - 1, u32::MAX - 1)].into_iter()).contains(u32::MAX));
        assert!(NarrowTable::new([(0, 1), (u32::MAX, u32::MAX)].into_iter()).contains(u32::MAX));
        assert!(!NarrowTable::new([].into_iter()).contains(u32::MAX));
    }
}
