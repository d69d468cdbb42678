//! "Did you mean": names that exist on the layer and that a word which means nothing may stand for. Pure; never panics.
//!
//! Sought in this order: the same name in another case, the name of what the word means in other tools, the closest
//! spelling.
use super::names::{self, Name};
use smallvec::SmallVec;
use strsim::damerau_levenshtein;

/// The names to suggest; at most two, the likelier one first.
pub(super) type Names = SmallVec<[&'static str; 2]>;

const MOST: usize = 2;

/// What can stand where the word stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// A number, for which macros are names.
    Value,
    /// A field or keyword.
    Test,
}

/// Words of Wireshark, tcpdump, nftables and scapy that spelling does not lead from, and our names in order of preference.
/// What the layer lacks is passed over.
const FOREIGN: &[(&str, &[&str])] = &[
    ("addr", &["ip.SrcAddr", "ip.DstAddr", "localAddr", "remoteAddr"]),
    ("all", &["true"]),
    ("any", &["true"]),
    ("daddr", &["ip.DstAddr", "ipv6.DstAddr"]),
    ("dport", &["tcp.DstPort", "udp.DstPort"]),
    ("dst", &["ip.DstAddr", "ipv6.DstAddr"]),
    ("eq", &["=="]),
    ("frame.len", &["length"]),
    ("ge", &[">="]),
    ("gt", &[">"]),
    ("host", &["ip.SrcAddr", "ip.DstAddr", "localAddr", "remoteAddr"]),
    ("icmp6", &["icmpv6", "ICMPV6"]),
    ("iif", &["ifIdx"]),
    ("in", &["inbound"]),
    ("ip.addr", &["ip.SrcAddr", "ip.DstAddr", "localAddr", "remoteAddr"]),
    ("ip.dst", &["ip.DstAddr"]),
    ("ip.flags.df", &["ip.DF"]),
    ("ip.flags.mf", &["ip.MF"]),
    ("ip.proto", &["ip.Protocol", "protocol"]),
    ("ip.src", &["ip.SrcAddr"]),
    ("ip.version", &["ip", "ipv6"]),
    ("ip4", &["ip"]),
    ("ipv4", &["ip"]),
    ("ipv6.addr", &["ipv6.SrcAddr", "ipv6.DstAddr", "localAddr", "remoteAddr"]),
    ("ipv6.dst", &["ipv6.DstAddr"]),
    ("ipv6.hlim", &["ipv6.HopLimit"]),
    ("ipv6.src", &["ipv6.SrcAddr"]),
    ("le", &["<="]),
    ("len", &["length"]),
    ("lt", &["<"]),
    ("ne", &["!="]),
    ("oif", &["ifIdx"]),
    ("out", &["outbound"]),
    ("pid", &["processId"]),
    ("port", &["localPort", "remotePort", "tcp.DstPort", "udp.DstPort"]),
    ("proto", &["protocol", "ip.Protocol"]),
    ("saddr", &["ip.SrcAddr", "ipv6.SrcAddr"]),
    ("sport", &["tcp.SrcPort", "udp.SrcPort"]),
    ("src", &["ip.SrcAddr", "ipv6.SrcAddr"]),
    ("tcp.flags", &["tcp.Syn", "tcp.Ack"]),
    ("tcp.flags.ack", &["tcp.Ack"]),
    ("tcp.flags.fin", &["tcp.Fin"]),
    ("tcp.flags.push", &["tcp.Psh"]),
    ("tcp.flags.reset", &["tcp.Rst"]),
    ("tcp.flags.syn", &["tcp.Syn"]),
    ("tcp.flags.urg", &["tcp.Urg"]),
    ("tcp.len", &["tcp.PayloadLength"]),
    ("tcp.port", &["tcp.SrcPort", "tcp.DstPort", "localPort", "remotePort"]),
    ("tcp.window_size", &["tcp.Window"]),
    ("ttl", &["ip.TTL", "ipv6.HopLimit"]),
    ("udp.port", &["udp.SrcPort", "udp.DstPort", "localPort", "remotePort"]),
];

/// Operators, which no layer lacks.
fn is_operator(target: &str) -> bool {
    target.starts_with(['=', '!', '<', '>'])
}

/// The names of a layer that can stand in a slot.
fn candidates(slot: Slot, layer: u8) -> impl Iterator<Item = &'static str> {
    let fits = move |name: &Name| matches!(name, Name::Macro(_)) == (slot == Slot::Value);
    names::on_layer(layer).filter(move |(_, name)| fits(name)).map(|(spelling, _)| spelling)
}

/// The end of a sentence that asks for what may have been meant; empty if nothing is close.
pub(super) fn did_you_mean(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [name] => format!("; did you mean `{name}`?"),
        [name, other, ..] => format!("; did you mean `{name}` or `{other}`?"),
    }
}

/// The name that is spelt like the word but for the case of letters.
pub(super) fn respell(word: &str, slot: Slot, layer: u8) -> Names {
    candidates(slot, layer).filter(|name| name.eq_ignore_ascii_case(word)).collect()
}

/// Names that a word may stand for which is none itself.
pub(super) fn suggest(word: &str, slot: Slot, layer: u8) -> Names {
    let sources = [respell, translate, closest];
    sources.iter().map(|source| source(word, slot, layer)).find(|names| !names.is_empty()).unwrap_or_default()
}

/// The names of what the word means in other tools.
fn translate(word: &str, slot: Slot, layer: u8) -> Names {
    let row = FOREIGN.iter().find(|(foreign, _)| foreign.eq_ignore_ascii_case(word));
    let targets = row.map_or(&[][..], |(_, targets)| *targets).iter().copied();
    let exists = |target: &str| is_operator(target) || candidates(slot, layer).any(|name| name == target);
    targets.filter(|target| exists(target)).take(MOST).collect()
}

fn closest(word: &str, slot: Slot, layer: u8) -> Names {
    closest_of(word, candidates(slot, layer))
}

/// Those names whose spelling is closest, if it differs in no more than a third of what stands behind the last dot.
pub(super) fn closest_of(word: &str, names: impl Iterator<Item = &'static str>) -> Names {
    let word = word.to_ascii_lowercase();
    let own_part = word.rsplit('.').next().unwrap_or_default().chars().count();
    let limit = (own_part + 1) / 3;
    let distance = |name: &str| damerau_levenshtein(&word, &name.to_ascii_lowercase());
    // A difference in length is one in spelling, and is found sooner.
    let near = names.filter(|name| name.len().abs_diff(word.len()) <= limit);
    let mut close: Vec<_> = near.map(|name| (distance(name), name)).collect();
    close.retain(|(distance, _)| *distance <= limit);
    // Stable, so that names of equal distance keep the table's order.
    close.sort_by_key(|(distance, _)| *distance);
    let best = close.first().map_or(0, |(distance, _)| *distance);
    close.into_iter().take_while(|(distance, _)| *distance == best).map(|(_, name)| name).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::super::names::lookup;
    use super::*;

    fn suggested(word: &str, slot: Slot, layer: u8) -> Vec<&'static str> {
        suggest(word, slot, layer).to_vec()
    }

    #[test]
    fn what_is_suggested_in_place_of_foreign_words_exists_and_the_words_do_not() {
        for (foreign, targets) in FOREIGN {
            assert_eq!(lookup(foreign.as_bytes()), None, "{foreign}");
            assert!(respell(foreign, Slot::Test, 0).is_empty(), "{foreign} needs no row");
            for target in *targets {
                assert!(is_operator(target) || lookup(target.as_bytes()).is_some(), "{target}");
            }
            assert!((0..5).any(|layer| !translate(foreign, Slot::Test, layer).is_empty()), "{foreign}");
        }
        assert!(FOREIGN.is_sorted_by_key(|(foreign, _)| foreign), "sorted, so that none stands there twice");
    }

    #[test]
    fn case_comes_before_habit_and_habit_before_spelling() {
        for (word, expected) in [
            ("tcp.dstport", &["tcp.DstPort"][..]),
            ("AND", &["and"]),
            ("Tcp", &["tcp"]),
            ("tcp.port", &["tcp.SrcPort", "tcp.DstPort"]),
            ("IP.SRC", &["ip.SrcAddr"]),
            ("ipv4", &["ip"]),
            ("eq", &["=="]),
            ("tcp.dstprt", &["tcp.DstPort"]),
            ("tpc.SrcProt", &["tcp.SrcPort"]),
            ("outbuond", &["outbound"]),
            ("tcp.PayloadLen", &["tcp.PayloadLength", "tcp.Payload"]),
            ("udp.Window", &["tcp.Window"]),
            ("icmp6", &["icmpv6"]),
        ] {
            assert_eq!(suggested(word, Slot::Test, 0), expected, "{word}");
        }
    }

    #[test]
    fn nothing_is_suggested_that_is_far_or_of_another_layer_or_place() {
        for word in ["", "a", "foo", "tcp.foo", "processid", "1.2.3", "payload"] {
            assert!(suggested(word, Slot::Test, 0).is_empty(), "{word}");
        }
        assert_eq!(suggested("processid", Slot::Test, 3), ["processId"]);
        assert_eq!(suggested("port", Slot::Test, 1), ["tcp.DstPort", "udp.DstPort"]);
        assert_eq!(suggested("tcp", Slot::Value, 0), ["TCP"]);
        assert_eq!(suggested("icmp6", Slot::Value, 0), ["ICMPV6"]);
        assert_eq!(suggested("conect", Slot::Value, 3), ["CONNECT"]);
        assert!(suggested("conect", Slot::Value, 0).is_empty());
    }
}
