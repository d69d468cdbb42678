//! Operators, and the tests that a WinDivert program consists of; and the folding of tests that cannot fail or
//! succeed. Pure functions on plain data; nothing panics.
use super::field::{Field, Width};
use super::members::Members;
use super::number::Number;

/// How a test compares. The numbers are those of the object format, which lacks the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// The value is in a set, whose number in the program is the test's argument. Extended dialect only.
    In,
    /// The value is there and not in the set.
    NotIn,
}

impl Operator {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Equal, "="),
        (Self::NotEqual, "!="),
        (Self::Less, "<"),
        (Self::LessOrEqual, "<="),
        (Self::Greater, ">"),
        (Self::GreaterOrEqual, ">="),
        (Self::In, "in"),
        (Self::NotIn, "not in"),
    ];

    /// How many of them WinDivert has.
    const PLAIN: usize = 6;

    pub(super) fn from_number(number: u32) -> Option<Self> {
        let plain = Self::ALL.get(..Self::PLAIN)?;
        plain.get(number as usize).map(|(operator, _)| *operator)
    }

    pub(super) fn symbol(self) -> &'static str {
        Self::ALL.get(self as usize).map_or("", |(_, symbol)| symbol)
    }

    pub(super) const fn negated(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::GreaterOrEqual,
            Self::LessOrEqual => Self::Greater,
            Self::Greater => Self::LessOrEqual,
            Self::GreaterOrEqual => Self::Less,
            Self::In => Self::NotIn,
            Self::NotIn => Self::In,
        }
    }
}

/// Where a test leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    Accept,
    Reject,
    /// The test with this index, which is greater than the own one.
    Test(u16),
}

/// One test of a WinDivert program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) field: Field,
    pub(super) operator: Operator,
    pub(super) negative: bool,
    /// The argument, least significant word first. The byte index of an array field takes the place of the second one.
    pub(super) words: [u32; 4],
    pub(super) success: Target,
    pub(super) failure: Target,
}

impl Test {
    /// The largest number of tests in a program.
    pub(super) const MAXIMUM: usize = 256;

    /// The magnitude of the argument, all 128 bits.
    pub(super) const fn magnitude(&self) -> u128 {
        join(self.words)
    }

    /// The argument as it is compared at run time.
    pub(super) fn compared(&self) -> Number {
        let [word, ..] = self.words;
        let magnitude = if self.field.width() == Width::Narrow { u128::from(word) } else { self.magnitude() };
        Number { negative: self.negative, magnitude }
    }

    /// The number of the set that the test asks about, if it does.
    pub(super) const fn set(&self) -> Option<usize> {
        match self.operator {
            Operator::In | Operator::NotIn => Some(self.words[0] as usize),
            _ => None,
        }
    }

    /// Whether a value of the field passes the test; `sets` are those of the program.
    pub(super) fn holds(&self, value: Number, sets: &[Members]) -> bool {
        let ordering = value.cmp(&self.compared());
        let is_member = || self.set().and_then(|set| sets.get(set)).is_some_and(|set| set.takes(value, self.field));
        match self.operator {
            Operator::In => is_member(),
            Operator::NotIn => !is_member(),
            Operator::Equal => ordering.is_eq(),
            Operator::NotEqual => ordering.is_ne(),
            Operator::Less => ordering.is_lt(),
            Operator::LessOrEqual => ordering.is_le(),
            Operator::Greater => ordering.is_gt(),
            Operator::GreaterOrEqual => ordering.is_ge(),
        }
    }

    /// The byte index of an array field; negative ones count from the end.
    pub(super) const fn index(&self) -> i32 {
        self.words[1] as i32
    }
}

/// A number as four words, the first one least significant.
pub(super) const fn words(magnitude: u128) -> [u32; 4] {
    [magnitude as u32, (magnitude >> 32) as u32, (magnitude >> 64) as u32, (magnitude >> 96) as u32]
}

/// The number of four words, the first one least significant.
pub(super) const fn join([first, second, third, fourth]: [u32; 4]) -> u128 {
    first as u128 | (second as u128) << 32 | (third as u128) << 64 | (fourth as u128) << 96
}

/// What a test is: a field, or a keyword that reads as a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Field(Field),
    True,
    False,
}

impl Subject {
    /// The range of values that folding assumes; `None` if tests are never folded.
    const fn bounds(self) -> Option<&'static (Number, Number)> {
        const TRUE: (Number, Number) = (Number::positive(1), Number::positive(1));
        const FALSE: (Number, Number) = (Number::ZERO, Number::ZERO);
        match self {
            Self::Field(field) => field.bounds(),
            Self::True => Some(&TRUE),
            Self::False => Some(&FALSE),
        }
    }
}

/// The outcome of folding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folded {
    Constant(bool),
    /// Only whether a header is there counts.
    Header(Field, bool),
    Kept(Field),
}

/// Decides a test from the range of its field's values, as WinDivert does. A test that needs a header becomes a test for
/// the header itself, also where it can never succeed: that test then matches packets *without* the header.
pub(super) fn fold(subject: Subject, operator: Operator, value: Number) -> Folded {
    match (subject, decide(subject, operator, value)) {
        (Subject::Field(field), Some(outcome)) => match field.needs() {
            Some(header) => Folded::Header(header, outcome),
            None => Folded::Constant(outcome),
        },
        (Subject::Field(field), None) => Folded::Kept(field),
        // The range of a keyword is a single value, so that its tests are always decided.
        (_, outcome) => Folded::Constant(outcome.unwrap_or(false)),
    }
}

fn decide(subject: Subject, operator: Operator, value: Number) -> Option<bool> {
    let &(low, high) = subject.bounds()?;
    let single = value == low && value == high;
    let (never, always) = match operator {
        // Membership is not folded.
        Operator::In | Operator::NotIn => (false, false),
        Operator::Equal => (value < low || value > high, single),
        Operator::NotEqual => (single, value < low || value > high),
        Operator::Less => (value <= low, value > high),
        Operator::LessOrEqual => (value < low, value >= high),
        Operator::Greater => (value >= high, value < low),
        Operator::GreaterOrEqual => (value > high, value <= low),
    };
    if never {
        return Some(false);
    }
    always.then_some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_needs_a_header_folds_into_a_test_for_the_header() {
        let port = Subject::Field(Field::TcpDstPort);
        assert_eq!(fold(port, Operator::Equal, Number::positive(70000)), Folded::Header(Field::Tcp, false));
        assert_eq!(fold(port, Operator::NotEqual, Number::positive(70000)), Folded::Header(Field::Tcp, true));
        assert_eq!(fold(port, Operator::Equal, Number::positive(65535)), Folded::Kept(Field::TcpDstPort));
    }

    #[test]
    fn keywords_and_zero_always_fold() {
        for operator in (0..6).filter_map(Operator::from_number) {
            for value in [Number::ZERO, Number::positive(1), Number::positive(2), Number::negative(0)] {
                for subject in [Subject::True, Subject::False, Subject::Field(Field::Zero)] {
                    assert!(matches!(fold(subject, operator, value), Folded::Constant(_)));
                }
            }
        }
    }

    #[test]
    fn fields_that_wrap_are_never_folded() {
        for field in [Field::TcpSeqNum, Field::Loopback, Field::Packet32] {
            let kept = fold(Subject::Field(field), Operator::Equal, Number::negative(1 << 100));
            assert_eq!(kept, Folded::Kept(field));
        }
    }
}
