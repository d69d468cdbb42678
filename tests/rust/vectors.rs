//! The recorded answers of WinDivert's own library, in `tests/data/vectors/`.
use flate2::read::GzDecoder;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Every record of a file, in order.
pub fn records(name: &str) -> impl Iterator<Item = Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vectors").join(format!("{name}.jsonl.gz"));
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    BufReader::new(GzDecoder::new(file)).lines().map(|line| {
        let line = line.expect("a line of text");
        serde_json::from_str(&line).expect("a JSON object")
    })
}

/// The bytes of a field in hex; `None` for a NULL pointer.
pub fn bytes(record: &Value, name: &str) -> Option<Vec<u8>> {
    record[name].as_str().map(parse_hex)
}

/// Bytes from two hex digits each.
pub fn parse_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits")).collect()
}

/// Two hex digits a byte.
pub fn format_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string");
        text
    })
}
