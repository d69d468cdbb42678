//! Filters of all kinds on packets of all kinds: nothing panics, and all ways to evaluate a filter agree.
use crate::filter_reference::{Input, Signed, exists, read};
use crate::fuzz_checks::{assert_engines_agree, push_number};
use crate::strategies::{any_bytes, damaged_packet};
use oxidivert::address::{Address, Layer};
use oxidivert::filter::{Field, Filter, compile_object, format};
use oxidivert::packet::Layout;
use proptest::collection::vec;
use proptest::prelude::*;
use std::fmt::Write;

/// A test of a filter under construction; its value is chosen with the packet at hand, so that tests come out both ways.
#[derive(Clone, Debug)]
pub struct Choice {
    field: prop::sample::Index,
    index: i32,
    in_bytes: bool,
    operator: prop::sample::Index,
    /// Distance from the packet's value, or any value at all.
    value: Result<i64, (bool, u128)>,
    negated: bool,
}

#[derive(Clone, Debug)]
pub enum Shape {
    Test(Choice),
    Keyword(bool),
    And(Box<Shape>, Box<Shape>),
    Or(Box<Shape>, Box<Shape>),
    Conditional(Box<Shape>, Box<Shape>, Box<Shape>),
}

fn choice() -> BoxedStrategy<Choice> {
    let number = prop_oneof![
        Just(0_u128),
        0..300_u128,
        any::<u16>().prop_map(u128::from),
        any::<u32>().prop_map(u128::from),
        any::<u128>()
    ];
    let value = prop_oneof![6 => (-1..=1_i64).prop_map(Ok), 1 => (any::<bool>(), number).prop_map(Err)];
    let index = prop_oneof![4 => 0..24, 2 => -24..0, 1 => -16383..16382];
    (any::<prop::sample::Index>(), index, any::<bool>(), any::<prop::sample::Index>(), value, any::<bool>())
        .prop_map(|(field, index, in_bytes, operator, value, negated)| Choice {
            field,
            index,
            in_bytes,
            operator,
            value,
            negated,
        })
        .boxed()
}

pub fn shape() -> BoxedStrategy<Shape> {
    let leaf = prop_oneof![12 => choice().prop_map(Shape::Test), 1 => any::<bool>().prop_map(Shape::Keyword)];
    leaf.prop_recursive(5, 24, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            3 => two.clone().prop_map(|(a, b)| Shape::And(a.into(), b.into())),
            3 => two.prop_map(|(a, b)| Shape::Or(a.into(), b.into())),
            1 => (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| Shape::Conditional(a.into(), b.into(), c.into())),
        ]
        .boxed()
    })
    .boxed()
}

pub fn push_shape(text: &mut String, shape: &Shape, input: &Input<'_>) {
    let mut push_all = |parts: &[&Shape], words: &[&str]| {
        text.push('(');
        for (part, word) in parts.iter().zip(words) {
            push_shape(text, part, input);
            text.push_str(word);
        }
        text.push(')');
    };
    match shape {
        Shape::And(a, b) => push_all(&[a, b], &[" and ", ""]),
        Shape::Or(a, b) => push_all(&[a, b], &[" or ", ""]),
        Shape::Conditional(a, b, c) => push_all(&[a, b, c], &["? ", ": ", ""]),
        Shape::Test(choice) => push_choice(text, choice, input),
        Shape::Keyword(keyword) => write!(text, "{keyword}").expect("writing to a string"),
    }
}

fn push_choice(text: &mut String, choice: &Choice, input: &Input<'_>) {
    let fields: Vec<_> = Field::ALL.iter().filter(|field| exists(**field as u32, input.layer)).collect();
    let field = *choice.field.get(&fields);
    let operator = choice.operator.get(&["", "=", "==", "!=", "<", "<=", ">", ">="]);
    text.push_str(if choice.negated { "not " } else { "" });
    text.push_str(field.name());
    let len = match field.name() {
        name if name.ends_with("16") => 2,
        name if name.ends_with("32") => 4,
        _ => 1,
    };
    let mut index = i64::from(choice.index);
    if field.is_array() {
        if choice.in_bytes && index < 0 {
            index = index.min(-len);
        }
        write!(text, "[{index}{}]", if choice.in_bytes { "b" } else { "" }).expect("writing to a string");
        index *= if choice.in_bytes { 1 } else { len };
    }
    if operator.is_empty() {
        return;
    }
    let (negative, magnitude) = match choice.value {
        Ok(distance) => near(read(*field as u32, index, input).unwrap_or((false, 7)), distance),
        Err(value) => value,
    };
    write!(text, " {operator} {}{magnitude}", if negative { "-" } else { "" }).expect("writing to a string");
}

fn near((negative, magnitude): Signed, distance: i64) -> Signed {
    let moved = if distance < 0 { magnitude.checked_sub(1) } else { magnitude.checked_add(distance as u128) };
    moved.map_or((!negative, 1), |magnitude| (negative, magnitude))
}

/// A layer's packet or event with its address record.
#[derive(Debug)]
pub struct Subject {
    pub layer: Layer,
    pub packet: Option<Vec<u8>>,
    pub address: Address,
}

impl Subject {
    pub fn input(&self) -> Input<'_> {
        let packet = self.packet.as_deref().unwrap_or_default();
        let layout = self.packet.as_ref().map(|packet| Layout::parse(packet).expect("chosen to be a packet"));
        Input { layer: self.layer.number(), packet, layout, address: &self.address }
    }
}

pub fn subject() -> BoxedStrategy<Subject> {
    let layer = prop_oneof![6 => 0..1_u8, 1 => 1..2_u8, 1 => 2..3_u8, 1 => 3..4_u8, 1 => 4..5_u8];
    let protocol = prop::sample::select(vec![1_u8, 6, 17, 58, 0]);
    (layer, damaged_packet(), vec(any::<u8>(), 80), 0..10_u8, protocol, any::<bool>())
        .prop_filter_map("not a packet", |(layer, packet, mut record, event, protocol, small)| {
            let layout = Layout::parse(&packet).ok()?;
            (record[8], record[9]) = (layer, event);
            if small {
                record[..8].fill(0);
                record[16..].fill(0);
            }
            if layer > 1 {
                record[72] = protocol;
            }
            let mut address = Address::from_raw(record.try_into().ok()?);
            let layer = address.layer()?;
            let packet = layer.has_packets().then_some(packet);
            if packet.is_some() {
                address.set_ipv6(layout.is_ipv6());
            }
            Some(Subject { layer, packet, address })
        })
        .boxed()
}

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
            prop_assert_eq!(format(text.as_bytes(), subject.layer.number()).unwrap(), form);
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
