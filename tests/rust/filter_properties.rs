//! Filters of all kinds on packets of all kinds: nothing panics, and all ways to evaluate a filter agree.
use crate::filter_strategies::{Subject, push_shape, shape, subject};
use crate::fuzz_checks::{assert_engines_agree, push_number};
use crate::strategies::any_bytes;
use oxidivert::address::Layer;
use oxidivert::filter::{Filter, compile_object, format};
use proptest::collection::vec;
use proptest::prelude::*;

fn verify(filter: &Filter, subject: &Subject) -> Option<bool> {
    assert_engines_agree(filter, subject.packet.as_deref(), &subject.address)
}

/// A valid object of any tests, sense or not.
fn any_object() -> BoxedStrategy<String> {
    let target = (0..4_u8, any::<prop::sample::Index>());
    let word = prop_oneof![Just(0_u32), 0..300_u32, any::<u32>()];
    let index = prop_oneof![65500..65570_u32, any::<u32>()];
    let test = (0..86_u32, 0..6_u32, 0..2_u32, proptest::array::uniform4(word), index, target.clone(), target);
    vec(test, 1..12)
        .prop_map(|tests| {
            let count = tests.len();
            let mut object = "@WinDiv_W".to_owned();
            push_number(&mut object, count as u32);
            for (at, (field, operator, negative, words, index, success, failure)) in tests.into_iter().enumerate() {
                object.push('_');
                for number in [field, operator, negative, words[0]] {
                    push_number(&mut object, number);
                }
                match field {
                    71..=79 => push_number(&mut object, index),
                    28 | 29 | 61 | 62 => words[1..].iter().for_each(|word| push_number(&mut object, *word)),
                    66 | 67 | 81 => push_number(&mut object, words[1]),
                    _ => {}
                }
                for (kind, next) in [success, failure] {
                    match kind {
                        0 => object.push('A'),
                        2.. if at + 1 < count => {
                            object.push('L');
                            push_number(&mut object, (at + 1 + next.index(count - at - 1)) as u32);
                        }
                        _ => object.push('X'),
                    }
                }
            }
            object
        })
        .boxed()
}

/// Text that looks like a filter here and there.
fn token_soup() -> BoxedStrategy<String> {
    let words: Vec<&str> = "tcp udp ip.SrcAddr packet32 event true false zero and or not ! ( ) ? : [ ] = == != < <= > >= - 1 \
        10b 0x1F b 1.2.3.4 ::1 fe80::1 CLOSE TCP tcp? udp: foo # & && || \u{e9} \t \n processId localPort 340282366920938463463374607431768211456"
        .split(' ')
        .collect();
    vec(prop::sample::select(words), 0..24).prop_map(|words| words.join(" ")).boxed()
}

proptest! {
    #[test]
    fn all_engines_agree_on_filters_of_any_shape(shape in shape(), subject in subject()) {
        let mut text = String::new();
        push_shape(&mut text, &shape, &subject.input());
        if let Ok(filter) = Filter::compile(&text, subject.layer) {
            let verdict = verify(&filter, &subject);
            prop_assert!(verdict.is_some(), "a text filter has only fields of its layer");
            prop_assert_eq!(compile_object(text.as_bytes(), subject.layer.number()).unwrap(), filter.object());
        }
    }

    #[test]
    fn the_normal_form_means_the_same(shape in shape(), subject in subject()) {
        let mut text = String::new();
        push_shape(&mut text, &shape, &subject.input());
        // WinDivert's normal form drops the sign of the arguments of these.
        let unsigned = ["packet32", "loopback", "impostor"].iter().any(|name| text.contains(name));
        if unsigned && text.contains(" -") {
            return Ok(());
        }
        if let Ok(filter) = Filter::compile(&text, subject.layer) {
            let form = filter.to_string();
            // The colon of a conditional touches the address before it, which then ends in `:::` or is a word too long.
            if form.contains(":::") || form.split(' ').any(|word| word.len() >= 40) {
                return Ok(());
            }
            let again = Filter::compile(&form, subject.layer);
            let again = again.map_err(|error| TestCaseError::fail(format!("{form}: {error}")))?;
            let packet = subject.packet.as_deref();
            prop_assert_eq!(
                again.evaluate(packet, &subject.address), filter.evaluate(packet, &subject.address), "{} -> {}", text, form
            );
            prop_assert_eq!(format(text.as_bytes(), subject.layer.number()).unwrap(), form.clone());
            // Tests that have no say vanish step by step, and flags are written in one way only; then the program stays.
            let mut last = again;
            let settles = (0..8).any(|_| {
                let next = Filter::compile(&last.to_string(), subject.layer).expect("a normal form");
                let same = next.object() == last.object();
                last = next;
                same
            });
            prop_assert!(settles, "{} -> {}", text, form);
        }
    }

    #[test]
    fn all_engines_agree_on_objects_that_make_no_sense(object in any_object(), subject in subject()) {
        let filter = Filter::compile(&object, subject.layer).expect("a valid object");
        prop_assert_eq!(filter.object(), object);
        verify(&filter, &subject);
        prop_assert!(!filter.to_string().is_empty());
    }

    #[test]
    fn damaged_objects_are_refused_or_are_programs(object in any_object(), replacement in any::<u8>()) {
        let bytes = object.as_bytes();
        let mut damaged: Vec<Vec<u8>> = (1..bytes.len()).map(|len| bytes[..len].to_vec()).collect();
        for at in 1..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] = replacement;
            damaged.push(changed);
        }
        for text in damaged {
            if let Ok(again) = compile_object(&text, 0) {
                prop_assert_eq!(compile_object(again.as_bytes(), 0).unwrap(), again);
                prop_assert!(Filter::compile_bytes(&text, 0).is_ok());
            }
        }
    }

    #[test]
    fn any_text_compiles_or_has_an_error_that_can_be_shown(text in token_soup(), layer in any::<u8>()) {
        for layer in [layer, layer % 5] {
            match Filter::compile_bytes(text.as_bytes(), layer) {
                Ok(filter) => prop_assert!(!filter.to_string().is_empty()),
                Err(error) => {
                    let lines = error.to_string().lines().count();
                    prop_assert!(lines == 3 || error.span().end as usize <= text.len(), "{}", error);
                    prop_assert!(error.text() == text);
                }
            }
        }
    }

    #[test]
    fn any_bytes_compile_or_are_refused(text in any_bytes(), prefix in prop::sample::select(vec!["", "@", "@WinDiv_", "tcp "])) {
        let text = [prefix.as_bytes(), &text].concat();
        if let Err(error) = Filter::compile_bytes(&text, 0) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn an_object_whose_normal_form_would_never_end_is_refused_at_once() {
    // Each test leads to two later ones that others lead to as well, so that the paths are far too many.
    let mut object = "@WinDiv_W7=".to_owned();
    for at in 0..255_u32 {
        object.push_str("_eXWW");
        for next in [at + 2, at + 3] {
            if next < 255 {
                object.push('L');
                push_number(&mut object, next);
            } else {
                object.push(if next % 2 == 0 { 'A' } else { 'X' });
            }
        }
    }
    let filter = Filter::compile(&object, Layer::Network).expect("a valid object");
    assert_eq!(format(object.as_bytes(), 0).unwrap_err().message(), "Out of memory");
    assert_eq!(filter.to_string(), object);
}
