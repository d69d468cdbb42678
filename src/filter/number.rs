//! The numbers that tests compare. Plain data; nothing panics.
use std::cmp::Ordering;

/// A number as WinDivert compares them: sign and magnitude. Minus zero is a value of its own, just below zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Number {
    pub(super) negative: bool,
    pub(super) magnitude: u128,
}

impl Number {
    pub(super) const ZERO: Self = Self::positive(0);

    pub(super) const fn positive(magnitude: u128) -> Self {
        Self { negative: false, magnitude }
    }

    pub(super) const fn negative(magnitude: u128) -> Self {
        Self { negative: true, magnitude }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.magnitude.cmp(&other.magnitude),
            (true, true) => other.magnitude.cmp(&self.magnitude),
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_zero_lies_between_minus_one_and_zero() {
        let mut numbers = [Number::ZERO, Number::negative(1), Number::positive(1), Number::negative(0)];
        numbers.sort();
        assert_eq!(numbers, [Number::negative(1), Number::negative(0), Number::ZERO, Number::positive(1)]);
    }
}
