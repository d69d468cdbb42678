//! Object strings to programs. Never panics and never loops, whatever the bytes; takes no more memory than 256 tests need.
//!
//! As in WinDivert, the program is checked for its form only: neither whether the layer has the fields nor whether the
//! arguments make sense. Jumps lead forwards, so that every program ends.
use super::super::error::ObjectFault;
use super::super::field::{Field, Width};
use super::super::types::{Operator, Target, Test};
use super::{CONTINUE, FINAL, INDEX_BIAS, MAGIC, MAPPED_WORD};

/// The most digits of the numbers in an object.
mod digits {
    pub(super) const VERSION: usize = 4;
    pub(super) const SHORT: usize = 2;
    pub(super) const SIGN: usize = 1;
    pub(super) const WORD: usize = 7;
}

/// A number this large takes no further digit.
const FULL: u32 = 1 << 27;

/// A fault and the byte at which it lies.
pub(in super::super) type Fault = (ObjectFault, usize);

/// The program of an object string, or the fault.
pub(in super::super) fn decode(text: &[u8]) -> Result<Vec<Test>, Fault> {
    let Some(rest) = text.strip_prefix(MAGIC) else { return Err((ObjectFault::Magic, 0)) };
    let mut reader = Reader { text, rest };
    if reader.number(digits::VERSION)? != 0 {
        return Err(reader.fault(ObjectFault::Version));
    }
    let count = reader.number(digits::SHORT)?;
    if count == 0 || count as usize > Test::MAXIMUM {
        return Err(reader.fault(ObjectFault::Count));
    }
    let mut tests = Vec::with_capacity((count as usize).min(text.len() / 6));
    for index in 0..count {
        tests.push(reader.test(index, count)?);
    }
    if reader.rest.is_empty() { Ok(tests) } else { Err(reader.fault(ObjectFault::Trailing)) }
}

struct Reader<'a> {
    text: &'a [u8],
    rest: &'a [u8],
}

impl Reader<'_> {
    const fn fault(&self, fault: ObjectFault) -> Fault {
        (fault, self.text.len() - self.rest.len())
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn number(&mut self, most_digits: usize) -> Result<u32, Fault> {
        let mut value = 0;
        for _ in 0..most_digits {
            let digit_of = |alphabet: &[u8], byte| alphabet.iter().position(|digit| *digit == byte);
            let byte = self.byte().ok_or(self.fault(ObjectFault::Number))?;
            if value >= FULL {
                return Err(self.fault(ObjectFault::Number));
            }
            if let Some(digit) = digit_of(FINAL, byte) {
                return Ok(value << 5 | digit as u32);
            }
            let digit = digit_of(CONTINUE, byte).ok_or(self.fault(ObjectFault::Number))?;
            value = value << 5 | digit as u32;
        }
        Err(self.fault(ObjectFault::Number))
    }

    fn test(&mut self, index: u32, count: u32) -> Result<Test, Fault> {
        if self.byte() != Some(b'_') {
            return Err(self.fault(ObjectFault::Separator));
        }
        let field = Field::from_number(self.number(digits::SHORT)?).ok_or(self.fault(ObjectFault::Field))?;
        let operator = Operator::from_number(self.number(digits::SHORT)?).ok_or(self.fault(ObjectFault::Operator))?;
        let negative = match self.number(digits::SIGN)? {
            0 => false,
            1 => true,
            _ => return Err(self.fault(ObjectFault::Sign)),
        };
        let words = self.words(field)?;
        let success = self.target(index, count)?;
        let failure = self.target(index, count)?;
        Ok(Test { field, operator, negative, words, success, failure })
    }

    fn words(&mut self, field: Field) -> Result<[u32; 4], Fault> {
        let first = self.number(digits::WORD)?;
        Ok(match field.width() {
            _ if field.is_array() => [first, self.number(digits::WORD)?.wrapping_sub(INDEX_BIAS), 0, 0],
            Width::Narrow => [first, 0, 0, 0],
            Width::Mapped => [first, MAPPED_WORD, 0, 0],
            Width::Double => [first, self.number(digits::WORD)?, 0, 0],
            Width::Quad => [first, self.number(digits::WORD)?, self.number(digits::WORD)?, self.number(digits::WORD)?],
        })
    }

    fn target(&mut self, index: u32, count: u32) -> Result<Target, Fault> {
        match self.byte() {
            Some(b'A') => Ok(Target::Accept),
            Some(b'X') => Ok(Target::Reject),
            Some(b'L') => {
                let target = self.number(digits::SHORT)?;
                let forward = target > index && target < count;
                if forward { Ok(Target::Test(target as u16)) } else { Err(self.fault(ObjectFault::Jump)) }
            }
            _ => Err(self.fault(ObjectFault::Target)),
        }
    }
}
