//! Strategies for filters and for what they are evaluated on; the values in the tests are chosen near those of the packet.
use crate::filter_reference::{Input, Signed, exists, read};
use crate::strategies::damaged_packet;
use oxidivert::address::{Address, Layer};
use oxidivert::filter::Field;
use oxidivert::packet::Layout;
use proptest::collection::vec;
use proptest::prelude::*;
use std::fmt::Write;

/// A test of a filter under construction; its value is chosen with the packet at hand, so that tests come out both ways.
#[derive(Clone, Debug)]
pub struct Choice {
    pub field: prop::sample::Index,
    pub index: i32,
    pub in_bytes: bool,
    pub operator: prop::sample::Index,
    /// Distance from the packet's value, or any value at all.
    pub value: Result<i64, (bool, u128)>,
    pub negated: bool,
}

#[derive(Clone, Debug)]
pub enum Shape {
    Test(Choice),
    Keyword(bool),
    And(Box<Shape>, Box<Shape>),
    Or(Box<Shape>, Box<Shape>),
    Conditional(Box<Shape>, Box<Shape>, Box<Shape>),
}

pub fn choice() -> BoxedStrategy<Choice> {
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

pub fn push_choice(text: &mut String, choice: &Choice, input: &Input<'_>) {
    let operator = choice.operator.get(&["", "=", "==", "!=", "<", "<=", ">", ">="]);
    text.push_str(if choice.negated { "not " } else { "" });
    let (field, index) = push_field(text, choice, input);
    if operator.is_empty() {
        return;
    }
    let (negative, magnitude) = value(choice.value, field, index, input);
    write!(text, " {operator} {}{magnitude}", if negative { "-" } else { "" }).expect("writing to a string");
}

/// Writes the field that is chosen with its index; the byte index.
pub fn push_field(text: &mut String, choice: &Choice, input: &Input<'_>) -> (Field, i64) {
    let fields: Vec<_> = Field::ALL.iter().filter(|field| exists(**field as u32, input.layer)).collect();
    let field = **choice.field.get(&fields);
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
    (field, index)
}

/// A value at a distance from that of the packet, or any other.
pub fn value(chosen: Result<i64, Signed>, field: Field, index: i64, input: &Input<'_>) -> Signed {
    match chosen {
        Ok(distance) => near(read(field as u32, index, input).unwrap_or((false, 7)), distance),
        Err(value) => value,
    }
}

pub fn near((negative, magnitude): Signed, distance: i64) -> Signed {
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
