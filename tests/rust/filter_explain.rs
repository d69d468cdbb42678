//! Explanations and traces: goldens of what people read, and that a trace ends in the filter's answer.
use crate::filter_extended::any_extended;
use crate::filter_strategies::subject;
use oxidivert::address::{Address, Layer};
use oxidivert::filter::{Filter, Sets};
use proptest::prelude::*;
use std::fmt::Write;

const EXPECTED: &str = include_str!("../data/diagnostics/explanations.txt");
const UDP: &[u8] = b"\x45\0\0\x20\x12\x34\0\0\x40\x11\0\0\xc0\0\x02\x01\xc6\x33\x64\x02\x30\x39\0\x35\0\x0c\0\0abcd";

fn sets() -> Sets {
    let mut sets = Sets::new();
    sets.insert("blocked", (0..300).map(|at| format!("198.51.{}.{}/31", at / 64, at % 64 * 4))).expect("prefixes");
    sets
}

#[test]
fn explanations_are_for_people() {
    let mut written = String::new();
    for expected in EXPECTED.split_inclusive("\n----\n") {
        let (layer, rest) = expected.split_once(": ").expect("a layer and a filter");
        let filter = rest.lines().next().unwrap_or_default();
        let layer = Layer::ALL.iter().find(|known| known.name() == layer).expect("a layer");
        let compiled = Filter::compile_extended(filter, *layer, &sets()).expect("a filter");
        let explanation = compiled.explain();
        let _ = write!(written, "{}: {filter}\n{explanation}----\n", layer.name());
        let json: serde_json::Value = serde_json::from_str(&explanation.to_json()).expect("JSON");
        assert_eq!(json["filter"], filter);
        assert_eq!(json["driver"]["object"], compiled.object());
    }
    assert!(EXPECTED == written, "the explanations are now\n\n{written}");
}

#[test]
fn a_trace_shows_what_each_test_saw() {
    let filter = Filter::compile("udp.DstPort == 53 and ip.SrcAddr == 192.0.2.7 or tcp.Syn", Layer::Network).unwrap();
    let (steps, matches) = filter.trace_bytes(Some(UDP), &Address::default()).unwrap();
    let shown: Vec<_> = steps
        .iter()
        .map(|step| (step.text.as_str(), step.value.as_ref().map(|value| value.shown.as_str()), step.passed))
        .collect();
    let expected = [
        ("udp.DstPort = 53", Some("53"), true),
        ("ip.SrcAddr = 192.0.2.7", Some("192.0.2.1"), false),
        ("tcp.Syn", None, false),
    ];
    assert_eq!((shown.as_slice(), matches), (&expected[..], false));
}

proptest! {
    #[test]
    fn a_trace_ends_in_the_filters_answer(extended in any_extended(), subject in subject()) {
        let filter = extended.compile(&subject);
        let packet = subject.packet.as_deref();
        let (steps, answer) = filter.trace_bytes(packet, &subject.address).expect("a packet and its address");
        prop_assert_eq!(Ok(answer), filter.evaluate(packet, &subject.address), "{}: {:?}", filter, steps);
        prop_assert!(!filter.explain().to_string().is_empty());
    }
}
