//! Programs to object strings. There is one encoding for each program.
use super::super::field::Width;
use super::super::types::{Target, Test};
use super::{CONTINUE, FINAL, INDEX_BIAS, MAGIC};

/// The object string of a program.
pub(in super::super) fn encode(tests: &[Test]) -> String {
    let mut object = String::with_capacity(MAGIC.len() + 4 + tests.len() * 16);
    object.extend(MAGIC.iter().map(|byte| *byte as char));
    push_number(&mut object, 0);
    push_number(&mut object, tests.len() as u32);
    for test in tests {
        object.push('_');
        push_number(&mut object, test.field as u32);
        push_number(&mut object, test.operator as u32);
        push_number(&mut object, u32::from(test.negative));
        let [first, second, third, fourth] = test.words;
        push_number(&mut object, first);
        match test.field.width() {
            _ if test.field.is_array() => push_number(&mut object, second.wrapping_add(INDEX_BIAS)),
            Width::Narrow | Width::Mapped => {}
            Width::Double => push_number(&mut object, second),
            Width::Quad => [second, third, fourth].iter().for_each(|word| push_number(&mut object, *word)),
        }
        push_target(&mut object, test.success);
        push_target(&mut object, test.failure);
    }
    object
}

fn push_target(object: &mut String, target: Target) {
    match target {
        Target::Accept => object.push('A'),
        Target::Reject => object.push('X'),
        Target::Test(index) => {
            object.push('L');
            push_number(object, index.into());
        }
    }
}

fn push_number(object: &mut String, number: u32) {
    let digits = (32 - number.leading_zeros()).div_ceil(5).max(1);
    for digit in (0..digits).rev() {
        let alphabet = if digit == 0 { FINAL } else { CONTINUE };
        let value = (number >> (5 * digit) & 31) as usize;
        object.push(alphabet.get(value).copied().unwrap_or_default() as char);
    }
}
