//! Parsing, checksums and TTL, answer for answer with WinDivert's library.
use crate::vectors::{bytes, format_hex, records};
use oxidivert::packet::{Transport, decrement_ttl, fill_checksums, parse_strict};
use serde_json::{Value, json};

/// What `ParsePacket` would put out for the packet at `at`.
fn parse_step(buffer: &[u8], at: usize) -> Value {
    let Ok(strict) = parse_strict(&buffer[at..]) else { return json!({"at": at, "ok": false}) };
    let layout = strict.layout;
    let transport = |transport| layout.offset_of(transport).map(|offset| offset + at);
    let next = (strict.next_len > 0).then_some(at + layout.total_len());
    json!({
        "at": at,
        "ok": true,
        "ip": (!layout.is_ipv6()).then_some(at),
        "ipv6": layout.is_ipv6().then_some(at),
        "proto": layout.protocol(),
        "icmp": transport(Transport::Icmp),
        "icmpv6": transport(Transport::Icmpv6),
        "tcp": transport(Transport::Tcp),
        "udp": transport(Transport::Udp),
        "data": (layout.payload_len() > 0).then_some(at + layout.payload_offset()),
        "dlen": layout.payload_len(),
        "next": next,
        "nlen": strict.next_len,
    })
}

#[test]
fn parsing_answers_as_windivert_through_whole_batches() {
    let mut asked = 0;
    for record in records("parse") {
        let Some(buffer) = bytes(&record, "packet") else { continue };
        let mut at = Some(0);
        let mut steps = Vec::new();
        while let Some(offset) = at {
            let step = parse_step(&buffer, offset);
            at = step["next"].as_u64().map(|next| next as usize);
            steps.push(step);
        }
        let expected: Vec<Value> = record["steps"].as_array().expect("steps").iter().map(answered).collect();
        assert_eq!(steps, expected, "{}", record["packet"]);
        asked += 1;
    }
    assert!(asked > 3900, "only {asked} records");
}

/// A failed call puts nothing out.
fn answered(step: &Value) -> Value {
    if step["ok"] == true { step.clone() } else { json!({"at": step["at"], "ok": false}) }
}

#[test]
fn checksums_are_filled_in_as_windivert_does() {
    let mut asked = 0;
    for record in records("checksum") {
        let Some(mut packet) = bytes(&record, "packet") else { continue };
        let filled = fill_checksums(&mut packet, record["flags"].as_u64().expect("flags"));
        assert_eq!(
            (Some(filled.complete), Some(format_hex(&packet).as_str())),
            (record["ok"].as_bool(), record["packet_out"].as_str()),
            "{record}"
        );
        if let (Some(before), Some(after)) = (bytes(&record, "addr"), bytes(&record, "addr_out")) {
            let bits = u8::from(filled.ip) << 5 | u8::from(filled.tcp) << 6 | u8::from(filled.udp) << 7;
            assert_eq!(before[10] | bits, after[10], "{record}");
        }
        asked += 1;
    }
    assert!(asked > 3900, "only {asked} records");
}

#[test]
fn ttl_is_decremented_as_windivert_does() {
    let mut asked = 0;
    for record in records("ttl") {
        let Some(mut packet) = bytes(&record, "packet") else { continue };
        let ok = decrement_ttl(&mut packet);
        assert_eq!(
            (Some(ok), Some(format_hex(&packet).as_str())),
            (record["ok"].as_bool(), record["packet_out"].as_str()),
            "{record}"
        );
        asked += 1;
    }
    assert!(asked > 490, "only {asked} records");
}
