//! The sentences of warnings: which part of a filter is odd, and why. Pure; never panics.
use super::field::{Field, Source, Style};
use super::number::Number;
use super::warning::Claim;
use crate::address::Layer;
use std::net::Ipv6Addr;

/// What makes one of several parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joint {
    And,
    Or,
    Conditional,
}

/// What is said of a part of a filter.
pub(super) struct Remark {
    pub(super) claim: Claim,
    pub(super) message: String,
}

/// On a test of a field that has the same outcome for all packets or events.
pub(super) fn on_constant_test(field: Field, value: Number, outcome: bool, layer: u8, quote: &str) -> Remark {
    let (claim, verb) = if outcome { (Claim::Always, "always holds") } else { (Claim::Never, "never holds") };
    Remark { claim, message: format!("{quote} {verb}, as {}", reason(field, value, layer)) }
}

/// On a test that only tells whether a header is there: true with it, or true without it.
pub(super) fn on_header_test(field: Field, value: Number, header: Field, outcome: bool, quote: &str) -> Remark {
    let (named, name) = (header_name(header), header.name());
    let bound = bound(field, value);
    if outcome {
        let message = format!("{quote} always holds with {named} header, as {bound}; `{name}` says the same");
        return Remark { claim: Claim::With(header), message };
    }
    let message =
        format!("{quote} never holds with {named} header, as {bound}; as in WinDivert, it matches packets without one");
    Remark { claim: Claim::Without(header), message }
}

/// On a question about a set that has the same outcome for all packets or events.
pub(super) fn on_constant_set(field: Field, is_empty: bool, outcome: bool, layer: u8, quote: &str) -> Remark {
    let reason = match field.source() {
        _ if is_empty => "the set is empty".to_owned(),
        Source::Present | Source::Constant => reason(field, Number::positive(2), layer),
        _ => values(field),
    };
    let (claim, verb) = if outcome { (Claim::Always, "always holds") } else { (Claim::Never, "never holds") };
    Remark { claim, message: format!("{quote} {verb}, as {reason}") }
}

/// On a question about a set that has all values of a field, or none, so that only the header counts.
pub(super) fn on_full_set(field: Field, header: Field, quote: &str) -> Remark {
    let (named, name) = (header_name(header), header.name());
    let message = format!("{quote} always holds with {named} header, as {}; `{name}` says the same", values(field));
    Remark { claim: Claim::With(header), message }
}

/// On a question about a set with members that no value of the field equals.
pub(super) fn on_reaching_set(field: Field, quote: &str) -> Remark {
    Remark { claim: Claim::Partly, message: format!("{quote} has members that never match, as {}", values(field)) }
}

/// What the values of a field are.
fn values(field: Field) -> String {
    let (low, high) = range(field);
    format!("the values of `{}` are {} to {}", field.name(), number(field, low), number(field, high))
}

const fn header_name(header: Field) -> &'static str {
    match header {
        Field::Ip => "an IPv4",
        Field::Ipv6 => "an IPv6",
        Field::Tcp => "a TCP",
        Field::Udp => "a UDP",
        Field::Icmp => "an ICMP",
        _ => "an ICMPv6",
    }
}

/// Why a test has one outcome only.
fn reason(field: Field, value: Number, layer: u8) -> String {
    match field.source() {
        Source::Present if matches!(field, Field::Ip | Field::Ipv6) && matches!(layer, 2 | 3) => {
            let layer = Layer::from_number(layer).unwrap_or_default().name();
            format!("on layer {layer} `{}` is always 0", field.name())
        }
        Source::FlowLabel => {
            "the field has the label's bytes in another order, in which some bits are always 0".to_owned()
        }
        Source::Priority | Source::Timestamp if value == Number::negative(0) => {
            "`-0` lies between -1 and 0 and equals neither".to_owned()
        }
        _ => bound(field, value),
    }
}

/// The end of the field's range that a test for this number runs into.
fn bound(field: Field, value: Number) -> String {
    let (low, high) = range(field);
    // Of narrow fields that are never folded only the lowest word is compared.
    let word = Number { magnitude: value.magnitude & u128::from(u32::MAX), ..value };
    let (compared, note) = if field.bounds().is_none() && word != value {
        (word, "only the lowest 32 bits of the number count and ")
    } else {
        (value, "")
    };
    let (which, end) = if compared >= high { ("largest", high) } else { ("smallest", low) };
    format!("{note}the {which} value is {}", number(field, end))
}

/// The smallest and the largest value of a field.
fn range(field: Field) -> (Number, Number) {
    let bits = match field.source() {
        Source::Bits(_, bits) => bits,
        Source::AddressBit(_) => 1,
        _ => 32,
    };
    let own = (Number::ZERO, Number::positive(u128::MAX >> (128 - u32::from(bits))));
    match field.source() {
        // Folding assumes more of some of these than their bits can hold.
        Source::Bits(..) => own,
        _ => field.bounds().copied().unwrap_or(own),
    }
}

/// A number in the field's own way of writing.
fn number(field: Field, value: Number) -> String {
    let Number { negative, magnitude } = value;
    match field.style() {
        // Unlike the normal form, so that IPv4 addresses are seen to be numbers among those of IPv6.
        Style::Ipv4 | Style::Ipv6 => Ipv6Addr::from_bits(magnitude).to_string(),
        Style::Hexadecimal => format!("{magnitude:#x}"),
        _ => format!("{}{magnitude}", if negative { "-" } else { "" }),
    }
}

/// On a part that is constant because of how its own parts go together: if known, those two that do it, the left one first.
pub(super) fn on_combination(joint: Joint, outcome: bool, pair: Option<(String, String)>, layer: u8) -> Remark {
    let each = each(layer);
    let message = match (joint, pair) {
        (Joint::And, Some((left, right))) => format!("no {each} passes both {left} and {right}"),
        (Joint::And, None) => format!("no {each} passes every part of this `and`"),
        (Joint::Or, Some((left, right))) => format!("every {each} passes {left} or {right}"),
        (Joint::Or, None) => format!("every {each} passes some part of this `or`"),
        (Joint::Conditional, _) => {
            format!("{} {each} passes this conditional", if outcome { "every" } else { "no" })
        }
    };
    Remark { claim: if outcome { Claim::Always } else { Claim::Never }, message }
}

/// What a filter matches that matches everything or nothing.
pub(super) fn extent(matches: bool, layer: u8) -> String {
    if matches { format!("every {}", each(layer)) } else { "nothing".to_owned() }
}

/// What a layer has.
const fn each(layer: u8) -> &'static str {
    if matches!(layer, 2..=4) { "event" } else { "packet" }
}
