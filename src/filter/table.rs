//! Sorted ranges that are searched fast: a static B-tree over their starts, whose nodes are compared whole, which the
//! compiler does with vector instructions. Never panics.
//!
//! The time grows with the logarithm of the number of ranges to the base of a node's size, in which every step costs little
//! more than one comparison, and no step is a branch that could be guessed wrong.

/// Ranges of 32-bit values: a node fills a cache line.
pub(super) type NarrowTable = Table<u32, 16>;
/// Ranges of 128-bit values: a node fills a cache line.
pub(super) type WideTable = Table<u128, 4>;

/// Sorted ranges, both ends included, that do not overlap. Nodes have `NODE` starts.
#[derive(Clone, Debug)]
pub(super) struct Table<T, const NODE: usize> {
    /// From the top, which has one node, to the starts of all ranges. Each level holds the first start of every node of the
    /// next one; what is left of a last node is filled up with the last start.
    levels: Vec<Box<[[T; NODE]]>>,
    ends: Box<[T]>,
}

impl<T: Copy + Ord + Default, const NODE: usize> Table<T, NODE> {
    /// A table of sorted ranges that do not overlap.
    pub(super) fn new(ranges: impl Iterator<Item = (T, T)>) -> Self {
        let (starts, ends): (Vec<T>, Vec<T>) = ranges.unzip();
        let mut levels = vec![nodes(&starts)];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let firsts: Vec<T> = below.iter().filter_map(|node| node.first().copied()).collect();
            levels.push(nodes(&firsts));
        }
        levels.reverse();
        Self { levels, ends: ends.into() }
    }

    /// Whether a value lies in one of the ranges.
    #[inline]
    pub(super) fn contains(&self, value: T) -> bool {
        let mut at = 0;
        for level in &self.levels {
            let Some(node) = level.get(at).or(level.last()) else { return false };
            let below: u32 = node.iter().map(|start| u32::from(*start <= value)).sum();
            // No start at or before the value: it lies before all ranges.
            let Some(last) = below.checked_sub(1) else { return false };
            // A value behind the last start counts the copies of it too, and so leads behind the last node.
            at = at.min(level.len() - 1) * NODE + last as usize;
        }
        self.ends.get(at).or(self.ends.last()).is_some_and(|end| value <= *end)
    }
}

/// A level of so many starts.
fn nodes<T: Copy + Default, const NODE: usize>(starts: &[T]) -> Box<[[T; NODE]]> {
    let last = starts.last().copied().unwrap_or_default();
    starts
        .chunks(NODE)
        .map(|chunk| {
            let mut node = [last; NODE];
            node.iter_mut().zip(chunk).for_each(|(place, start)| *place = *start);
            node
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn linear(ranges: &[(u32, u32)], value: u32) -> bool {
        ranges.iter().any(|(low, high)| (*low..=*high).contains(&value))
    }

    proptest! {
        #[test]
        fn a_table_answers_as_its_ranges_do(mut bounds in prop::collection::btree_set(any::<u32>(), 0..1400), at in any::<u32>()) {
            if bounds.len() % 2 == 1 {
                bounds.pop_last();
            }
            let bounds: Vec<u32> = bounds.into_iter().collect();
            let ranges: Vec<_> = bounds.chunks(2).map(|pair| (pair[0], pair[1])).collect();
            let table = NarrowTable::new(ranges.iter().copied());
            let near = bounds.iter().flat_map(|bound| [bound.saturating_sub(1), *bound, bound.saturating_add(1)]);
            for value in near.chain([0, at, u32::MAX]) {
                prop_assert_eq!(table.contains(value), linear(&ranges, value), "{}", value);
            }
        }
    }

    #[test]
    fn sizes_around_whole_nodes_and_levels_work() {
        for count in [0_u32, 1, 2, 15, 16, 17, 255, 256, 257, 4096, 4097] {
            let table = NarrowTable::new((0..count).map(|index| (index * 10, index * 10 + 3)));
            let wide = WideTable::new((0..u128::from(count)).map(|index| (index * 10, index * 10 + 3)));
            for value in 0..count * 10 + 30 {
                let expected = value < count * 10 && value % 10 < 4;
                assert_eq!(table.contains(value), expected, "{count} {value}");
                assert_eq!(wide.contains(value.into()), expected, "{count} {value}");
            }
        }
        assert!(WideTable::new([(5_u128, u128::MAX)].into_iter()).contains(u128::MAX));
    }
}
