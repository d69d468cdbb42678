//! What a warning says of a part of a filter is true of every packet, and says nothing of other filters.
use crate::filter_strategies::{Subject, push_shape, shape, subject};
use oxidivert::address::Layer;
use oxidivert::filter::{Claim, Field, Filter, Warning};
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn holds(text: &str, subject: &Subject) -> bool {
    let filter = Filter::compile(text, subject.layer).expect("a filter or a whole part of one");
    filter.evaluate(subject.packet.as_deref(), &subject.address).expect("of the filter's layer")
}

fn verify(warning: &Warning, subject: &Subject) -> Result<(), TestCaseError> {
    let span = warning.span();
    let part = &warning.text()[span.start as usize..span.end as usize];
    let present = |header: Field| holds(header.name(), subject);
    let expected = match warning.claim() {
        Claim::Never => false,
        Claim::Always => true,
        Claim::With(header) => present(header),
        Claim::Without(header) => !present(header),
        other => panic!("{other:?} is new"),
    };
    prop_assert_eq!(holds(part, subject), expected, "{}", warning);
    if let Some(matches) = warning.filter() {
        prop_assert_eq!(holds(warning.text(), subject), matches, "{}", warning);
    }
    Ok(())
}

/// Filters of the fields and numbers that packets here often have, so that parts often exclude each other.
fn repetitive(layer: Layer) -> BoxedStrategy<String> {
    let words: Vec<&str> = match layer {
        Layer::Network => {
            "outbound ip tcp localPort localAddr protocol event tcp.DstPort ipv6.FlowLabel ip.TTL ip.TOS packet[9] \
            packet[-1] tcp.SeqNum length"
        }
        Layer::NetworkForward => "ip udp icmp udp.DstPort packet32[12] icmp.Type ip.SrcAddr timestamp",
        Layer::Reflect => "processId layer priority timestamp event",
        _ => "outbound ip ipv6 tcp udp localPort localAddr protocol timestamp event",
    }
    .split_whitespace()
    .collect();
    let field = prop::sample::select(words);
    let operator = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let value = prop::sample::select(vec!["0", "-0", "1", "6", "255", "256", "65535", "65536", "4294967296", "-1"]);
    let test = prop_oneof![
        field.clone().prop_map(str::to_owned),
        field.clone().prop_map(|field| format!("not {field}")),
        (field, operator, value).prop_map(|(field, operator, value)| format!("{field} {operator} {value}")),
    ];
    let filter = test.prop_recursive(4, 16, 3, |part| {
        let (a, b, c) = (part.clone(), part.clone(), part);
        prop_oneof![
            2 => (a.clone(), b.clone()).prop_map(|(a, b)| format!("{a} and {b}")),
            2 => (a.clone(), b.clone()).prop_map(|(a, b)| format!("( {a} or ({b}))")),
            1 => (a, b, c).prop_map(|(a, b, c)| format!("({a}? {b} : {c})")),
        ]
    });
    filter.boxed()
}

fn filter_and_subjects() -> BoxedStrategy<(String, Vec<Subject>)> {
    let of_subject = |subject: Subject| (repetitive(subject.layer), Just(subject.layer), vec(self::subject(), 12));
    let with = |(filter, layer, mut subjects): (String, Layer, Vec<Subject>)| {
        subjects.retain(|subject| subject.layer == layer);
        (filter, subjects)
    };
    subject().prop_flat_map(of_subject).prop_map(with).boxed()
}

proptest! {
    #[test]
    fn what_a_warning_says_holds_for_any_shape(shape in shape(), first in subject(), others in vec(subject(), 6)) {
        let mut text = String::new();
        push_shape(&mut text, &shape, &first.input());
        if let Ok(filter) = Filter::compile(&text, first.layer) {
            let layer = first.layer;
            for warning in filter.warnings() {
                for subject in [&first].into_iter().chain(&others).filter(|subject| subject.layer == layer) {
                    verify(&warning, subject)?;
                }
            }
        }
    }

    #[test]
    fn what_a_warning_says_holds_where_parts_exclude_each_other((text, subjects) in filter_and_subjects()) {
        for subject in &subjects {
            for warning in Filter::compile(&text, subject.layer).expect("a filter").warnings() {
                verify(&warning, subject)?;
            }
        }
    }
}

#[test]
fn nothing_is_said_of_object_strings_and_plain_filters() {
    let filters = [
        "true",
        "false",
        "not true",
        "zero",
        "tcp and false",
        "outbound and tcp.DstPort == 443",
        "@WinDiv_WX_WWWWXX",
        "ip and !loopback and (outbound? tcp.DstPort == 80 or udp.DstPort == 53 : icmp.Type == 11 and icmp.Code == 0)",
        "tcp.PayloadLength > 0 and tcp.Payload32[0] == 0x47455420",
        "ip.DstAddr >= 10.0.0.0 and ip.DstAddr <= 10.255.255.255",
    ];
    for text in filters {
        assert_eq!(Filter::compile(text, Layer::Network).expect("a filter").warnings(), [], "{text}");
    }
}

#[test]
fn the_largest_filters_are_looked_through_at_once() {
    let some = |count, test: &dyn Fn(usize) -> String, word: &str| (0..count).map(test).collect::<Vec<_>>().join(word);
    let tests = |test: &dyn Fn(usize) -> String, word: &str| some(255, test, word);
    let filters = [
        some(182, &|index| format!("packet[{index}] > {index}"), " and "),
        tests(&|index| format!("tcp.DstPort == {}", index * 2), " or "),
        tests(&|index| format!("packet[{index}]"), " or "),
        "(".repeat(127)
            + &tests(&|index| format!("ip.TTL == {index}{}", if index % 2 == 0 { "" } else { ")" }), " or "),
    ];
    for text in filters {
        let filter = Filter::compile(&text, Layer::Network).expect("a filter");
        let start = Instant::now();
        assert_eq!(filter.warnings(), [], "{text}");
        assert!(start.elapsed() < Duration::from_secs(5), "it takes some 50 ms");
    }
}
