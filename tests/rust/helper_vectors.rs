//! Addresses as text and packet hashes, answer for answer with WinDivert's library.
use crate::vectors::{bytes, records};
use oxidivert::packet::{
    format_ipv4_address, format_ipv6_address, hash, parse_ipv4_address, parse_ipv6_address, parse_strict,
};
use serde_json::{Value, json};

fn words(value: &Value) -> [u32; 4] {
    serde_json::from_value(value.clone()).expect("four words")
}

#[test]
fn addresses_are_parsed_and_formatted_as_windivert_does() {
    let mut asked = 0;
    for record in records("address") {
        let address = &record["addr"];
        let text = record["in"].as_str().unwrap_or_default();
        let answer = match record["op"].as_str().expect("an operation") {
            "parse4" => json!(parse_ipv4_address(text)),
            "parse6" => json!(parse_ipv6_address(text)),
            // A short buffer is a matter of C.
            _ if record["ok"] == false || record["buflen"].as_u64() < Some(64) => continue,
            "format4" => json!(format_ipv4_address(address.as_u64().expect("a number") as u32)),
            _ => json!(format_ipv6_address(words(address))),
        };
        let expected = if record["in"].is_string() { address } else { &record["text"] };
        assert_eq!(&answer, expected, "{record}");
        asked += 1;
    }
    assert!(asked > 2500, "only {asked} records");
}

#[test]
fn packets_are_hashed_as_windivert_does() {
    let mut asked = 0;
    for record in records("hash") {
        let Some(packet) = bytes(&record, "packet") else { continue };
        let seed = u64::from_str_radix(record["seed"].as_str().expect("a seed"), 16).expect("hex digits");
        let answer = parse_strict(&packet).map_or(0, |strict| hash(&packet, &strict.layout, seed));
        assert_eq!(format!("{answer:016x}"), record["hash"], "{record}");
        asked += 1;
    }
    assert!(asked > 1400, "only {asked} records");
}
