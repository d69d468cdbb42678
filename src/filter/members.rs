//! Sets of numbers that a test of the extended dialect asks about. Pure functions on plain data; nothing panics.
//!
//! Time and memory grow with the number of ranges, never with the number of numbers in them.
use super::field::Field;
use super::number::Number;
use std::sync::Arc;

/// A stretch of numbers, both ends included.
pub(super) type Range = (Number, Number);

/// A set of numbers as sorted ranges that do not overlap, with the name that it was given under. Clones share the ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Members {
    name: Option<Arc<str>>,
    ranges: Arc<[Range]>,
}

/// The number before this one; none before minus zero, which lies between two numbers, nor before the first one.
const fn before(number: Number) -> Option<Number> {
    match number {
        Number { negative: false, magnitude: 0 } => Some(Number::negative(1)),
        Number { negative: false, magnitude } => Some(Number::positive(magnitude - 1)),
        Number { magnitude: 0, .. } => None,
        Number { magnitude, .. } => match magnitude.checked_add(1) {
            Some(magnitude) => Some(Number::negative(magnitude)),
            None => None,
        },
    }
}

impl Members {
    /// The numbers in any of the ranges, which may overlap and have any order.
    pub(super) fn new(name: Option<&str>, mut ranges: Vec<Range>) -> Self {
        ranges.retain(|(low, high)| low <= high);
        ranges.sort_unstable();
        ranges.dedup_by(|next, last| {
            let touches = next.0 <= last.1 || before(next.0).is_some_and(|number| number <= last.1);
            if touches {
                last.1 = last.1.max(next.1);
            }
            touches
        });
        Self { name: name.map(Arc::from), ranges: ranges.into() }
    }

    /// The name that the set was given under.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    pub(super) fn contains(&self, value: Number) -> bool {
        let index = self.ranges.partition_point(|(_, high)| *high < value);
        self.ranges.get(index).is_some_and(|(low, _)| *low <= value)
    }

    /// Whether a value of a field is in a set that is confined to it. One that tests of the field do not expect counts as the
    /// nearest that they do.
    pub(super) fn takes(&self, value: Number, field: Field) -> bool {
        let (least, greatest) = bounds(field);
        self.contains(value.clamp(least, greatest))
    }

    /// The part of the set that the field's values reach, as tests of the field assume them.
    pub(super) fn confined(&self, field: Field) -> Self {
        let (least, greatest) = bounds(field);
        let fits = |(low, high): &Range| *low >= least && *high <= greatest;
        if self.ranges.iter().all(fits) {
            return self.clone();
        }
        let inside = self.ranges.iter().filter(|(low, high)| *high >= least && *low <= greatest);
        let ranges = inside.map(|(low, high)| (*low.max(&least), *high.min(&greatest))).collect();
        Self { name: self.name.clone(), ranges }
    }

    /// The ranges of a confined set with open ends: one that reaches the first or last value of the field takes in what lies
    /// beyond, since a few fields have values that tests do not expect of them.
    pub(super) fn opened(&self, field: Field) -> impl Iterator<Item = (Option<Number>, Option<Number>)> + '_ {
        let (least, greatest) = bounds(field);
        self.ranges.iter().map(move |(low, high)| ((*low > least).then_some(*low), (*high < greatest).then_some(*high)))
    }

    /// A set of at most `limit` ranges that has all the numbers of this one: the narrowest gaps are closed.
    pub(super) fn widened(&self, limit: usize) -> Self {
        let excess = self.ranges.len().saturating_sub(limit.max(1));
        let mut gaps: Vec<(u128, usize)> = self
            .ranges
            .windows(2)
            .enumerate()
            .filter_map(|(index, pair)| match pair {
                [(_, end), (start, _)] => Some((distance(*end, *start), index + 1)),
                _ => None,
            })
            .collect();
        if (1..gaps.len()).contains(&excess) {
            gaps.select_nth_unstable(excess);
        }
        let mut closed: Vec<usize> = gaps.into_iter().take(excess).map(|(_, index)| index).collect();
        closed.sort_unstable();
        let mut ranges: Vec<Range> = Vec::with_capacity(self.ranges.len() - closed.len());
        for (index, range) in self.ranges.iter().enumerate() {
            match ranges.last_mut() {
                Some(last) if closed.binary_search(&index).is_ok() => last.1 = range.1,
                _ => ranges.push(*range),
            }
        }
        Self { name: None, ranges: ranges.into() }
    }

    /// A set of at most `limit` ranges of this one: the longest.
    pub(super) fn narrowed(&self, limit: usize) -> Self {
        let mut by_length: Vec<&Range> = self.ranges.iter().collect();
        by_length.sort_by_key(|(low, high)| std::cmp::Reverse(distance(*low, *high)));
        by_length.truncate(limit);
        by_length.sort_unstable();
        Self { name: None, ranges: by_length.into_iter().copied().collect() }
    }
}

/// The values that tests of a field expect.
pub(super) fn bounds(field: Field) -> Range {
    // Tests of the fields without bounds are never folded; all of their values have 32 bits.
    field.bounds().copied().unwrap_or((Number::ZERO, Number::positive(u32::MAX.into())))
}

/// How far apart two numbers lie.
const fn distance(low: Number, high: Number) -> u128 {
    match (low.negative, high.negative) {
        (true, false) => low.magnitude.saturating_add(high.magnitude),
        _ => low.magnitude.abs_diff(high.magnitude),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(ranges: &[(i64, i64)]) -> Members {
        let number = |value: i64| Number { negative: value < 0, magnitude: value.unsigned_abs().into() };
        Members::new(None, ranges.iter().map(|(low, high)| (number(*low), number(*high))).collect())
    }

    #[test]
    fn ranges_that_touch_or_overlap_become_one() {
        assert_eq!(numbers(&[(5, 9), (1, 2), (3, 4), (20, 30), (22, 25)]), numbers(&[(1, 9), (20, 30)]));
        assert_eq!(numbers(&[(-3, -1), (0, 4)]).ranges().len(), 1);
        assert_eq!(numbers(&[(4, 1)]), numbers(&[]));
    }

    #[test]
    fn a_set_is_confined_to_the_values_of_its_field() {
        let set = numbers(&[(-5, 3), (65000, 70000), (80000, 80001)]);
        assert_eq!(set.confined(Field::TcpDstPort), numbers(&[(0, 3), (65000, 65535)]));
        let open: Vec<_> = set.confined(Field::TcpDstPort).opened(Field::TcpDstPort).collect();
        assert_eq!(open, [(None, Some(Number::positive(3))), (Some(Number::positive(65000)), None)]);
    }

    #[test]
    fn widening_closes_the_narrowest_gaps_and_narrowing_keeps_the_longest_ranges() {
        let set = numbers(&[(1, 1), (3, 3), (10, 20), (100, 100)]);
        assert_eq!(set.widened(4), set);
        assert_eq!(set.widened(3), numbers(&[(1, 3), (10, 20), (100, 100)]));
        assert_eq!(set.widened(1), numbers(&[(1, 100)]));
        assert_eq!(set.narrowed(1), numbers(&[(10, 20)]));
        assert_eq!(set.narrowed(0), numbers(&[]));
    }

    #[test]
    fn the_ends_of_the_numbers_do_not_overflow() {
        let ends = (Number::negative(u128::MAX), Number::positive(u128::MAX));
        let all = Members::new(None, vec![ends, (Number::positive(5), Number::positive(u128::MAX))]);
        assert_eq!(all.ranges(), [ends]);
        assert!(all.contains(Number::negative(0)));
        assert!(!numbers(&[]).contains(Number::ZERO));
    }
}
