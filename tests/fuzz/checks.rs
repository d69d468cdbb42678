//! What must hold for any bytes whatever: one plain function for each fuzz target, which panics where it does not.
//!
//! The fuzz targets and the test that replays their corpora call the same functions. Whoever includes this file has the
//! module `filter_reference`, the second evaluator, at its root.
use crate::filter_reference::{Input, decode, evaluate};
use oxidivert::address::{Address, Flags, Layer};
use oxidivert::backend::replay::{Output, Replay, SharedBuffer, SharedBytes, Source};
use oxidivert::backend::{Ending, ErrorCode, OpenOptions, Overload, Received, System, Wait};
use oxidivert::batch::{Batch, Origin, PacketRef, Slot};
use oxidivert::filter::{
    Claim, Error, EvaluateErrorKind, Filter, Sets, Span, Warning, compile_object, evaluate_text, format as normal_form,
};
use oxidivert::packet::{
    Endpoint, Field, Layout, ParsedBatch, decrement_ttl, field, fields, fill_checksums, fill_checksums_with, hash,
    parse_strict, read, read_addr, read_port, set_payload, summary, verify_checksums, write, write_addr, write_port,
};
use std::io::Read;
use std::sync::Arc;

/// Parsing, edits, checksums: the bytes are a packet, and their end chooses the edits.
pub fn check_packet(data: &[u8]) {
    for (packet, layout) in ParsedBatch::new(data).take(16) {
        assert_eq!(Layout::parse(packet), Ok(layout.without_rest()));
    }
    let mut ttl = data.to_vec();
    assert!(decrement_ttl(&mut ttl) || ttl == data);
    let Ok(mut layout) = Layout::parse(data) else {
        assert!(parse_strict(data).is_err());
        return;
    };
    let ends = [layout.transport_offset(), layout.payload_offset(), layout.end_offset(), data.len()];
    assert!(ends.is_sorted(), "{ends:?}");
    assert_eq!(parse_strict(data).is_ok(), !layout.is_truncated());
    assert!(!summary(data, &layout).is_empty());
    hash(data, &layout, 7);
    let mut bytes = data.to_vec();
    let filled = fill_checksums(&mut bytes, 0);
    assert_eq!(Layout::parse(&bytes), Ok(layout));
    assert!(!filled.complete || verify_checksums(&bytes, &layout));
    for edit in data.rchunks(4).take(8) {
        check_edit(&mut bytes, &mut layout, edit);
    }
    check_payload(&bytes, layout, data.get(..data.len() % 64).unwrap_or_default());
    // A table of other bytes: an error or nothing, but no panic.
    let mut cut = data.get(..data.len() / 2).unwrap_or_default().to_vec();
    verify_checksums(&cut, &layout);
    fill_checksums_with(&mut cut, &layout, 0);
    summary(&cut, &layout);
    hash(&cut, &layout, 7);
    for field in all_fields() {
        let _ = (read(&cut, &layout, field), write(&mut cut, &mut layout.clone(), field, 1));
    }
    let _ = set_payload(&mut cut, &layout, b"abc");
}

fn all_fields() -> impl Iterator<Item = Field> {
    field::ALL.iter().copied().flatten().copied()
}

/// An edit that succeeds is read back and leaves the table true; one that fails changes nothing.
fn check_edit(bytes: &mut [u8], layout: &mut Layout, edit: &[u8]) {
    let [choice, rest @ ..] = edit else { return };
    let before = (bytes.to_vec(), *layout);
    let value = rest.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
    let endpoint = if value & 1 == 0 { Endpoint::Source } else { Endpoint::Destination };
    let succeeds = match (all_fields().nth(usize::from(*choice)), choice & 1) {
        (Some(field), _) => {
            let result = write(bytes, layout, field, value);
            assert!(result.is_err() || read(bytes, layout, field).is_none_or(|read| read == value), "{field:?}");
            result.is_ok()
        }
        (None, 0) => {
            let result = write_port(bytes, layout, endpoint, value as u16);
            assert!(result.is_err() || read_port(bytes, layout, endpoint) == Some(value as u16));
            result.is_ok()
        }
        _ => {
            let other = if endpoint == Endpoint::Source { Endpoint::Destination } else { Endpoint::Source };
            let address = read_addr(bytes, layout, other).expect("every packet has addresses");
            write_addr(bytes, layout, endpoint, address).expect("of the same version");
            assert_eq!(read_addr(bytes, layout, endpoint), Some(address));
            true
        }
    };
    if succeeds {
        assert_eq!(Layout::parse(bytes), Ok(*layout));
    } else {
        assert!((&*bytes, *layout) == (&before.0, before.1), "a refused edit changes something");
    }
}

fn check_payload(bytes: &[u8], layout: Layout, payload: &[u8]) {
    let mut changed = bytes.to_vec();
    match set_payload(&mut changed, &layout, payload) {
        Ok(filled) => {
            let (before, layout) = (layout, Layout::parse(&changed).expect("it stays a packet"));
            // Without a transport header the payload may begin with one, or with an extension header.
            if before.transport().is_some() {
                assert_eq!(before.payload_offset(), layout.payload_offset());
                assert_eq!(changed.get(layout.payload_range()), Some(payload));
            }
            assert!(!filled.complete || verify_checksums(&changed, &layout));
        }
        Err(_) => assert_eq!(changed, bytes),
    }
}

/// The number of a layer by its digit; other bytes are numbers of no layer, which the helper functions take too.
fn layer_of(digit: u8) -> u8 {
    digit.wrapping_sub(b'0')
}

/// Filter text: a digit for the layer, then the text. It compiles or has an error that can be shown.
pub fn check_filter_text(data: &[u8]) {
    let Some((digit, text)) = data.split_first() else { return };
    let layer = layer_of(*digit);
    check_filter(text, layer);
    if let (Some(layer), Ok(text)) = (Layer::from_number(layer), str::from_utf8(text)) {
        check_extended(text, layer);
    }
}

/// Text of the extended dialect, and the sets that it may name.
fn check_extended(text: &str, layer: Layer) {
    let filter = match Filter::compile_extended(text, layer, &sets()) {
        Ok(filter) => filter,
        Err(error) => return check_error(&error),
    };
    let explanation = filter.explain();
    assert!(!explanation.to_string().is_empty() && !explanation.to_json().is_empty());
    if filter.is_plain() {
        assert_eq!(Filter::compile(text, layer).map(|plain| plain.object()), Ok(filter.object()));
    } else {
        check_warnings(&filter);
        assert!(filter.superset().is_plain());
        assert_eq!(filter.superset().object(), filter.object());
    }
}

fn sets() -> Sets {
    let mut sets = Sets::new();
    sets.insert("some", ["80", "443", "8000-8080", "10.0.0.0/8", "2001:db8::/32"]).expect("a set");
    sets.insert("none", [""; 0]).expect("a set");
    sets
}

/// The like of it, with the beginning of an object string put before the text if it lacks it.
pub fn check_filter_object(data: &[u8]) {
    const MAGIC: &[u8] = b"@WinDiv_W";
    let Some((digit, text)) = data.split_first() else { return };
    let text = if text.starts_with(MAGIC) { text.to_vec() } else { [MAGIC, text].concat() };
    check_filter(&text, layer_of(*digit));
}

fn check_filter(text: &[u8], layer: u8) {
    let filter = match Filter::compile_bytes(text, layer) {
        Ok(filter) => filter,
        Err(error) => return check_error(&error),
    };
    check_warnings(&filter);
    match compile_object(text, layer) {
        Ok(object) => {
            assert_eq!(compile_object(object.as_bytes(), layer).as_ref(), Ok(&object));
            let decoded = Filter::compile_bytes(object.as_bytes(), layer).expect("an object of our own");
            assert_eq!(decoded.object(), object);
        }
        // The one limit that objects have and programs do not.
        Err(error) => assert_eq!(error.position(), 0, "{error}"),
    }
    if let Ok(form) = normal_form(text, layer) {
        // Some have no way back: a colon that touches an address, a form that is too long.
        let _ = Filter::compile_bytes(form.as_bytes(), layer);
    }
}

fn check_error(error: &Error) {
    assert!(!error.message().is_empty() && !error.to_string().is_empty());
    check_span(error.span(), error.text());
}

fn check_warnings(filter: &Filter) {
    assert!(!filter.to_string().is_empty());
    for warning in filter.warnings() {
        check_span(warning.span(), warning.text());
        assert_eq!(warning.to_string().lines().count(), 3, "{warning}");
    }
}

fn check_span(span: Span, text: &str) {
    assert!(span.start <= span.end && span.end as usize <= text.len(), "{span:?}");
}

/// Everything that evaluates filters gives one answer: layer and mode, an address record, the filter's length and the filter,
/// then the packet.
pub fn check_engines_agree(data: &[u8]) {
    let Some(([mode, record @ ..], rest)) = data.split_first_chunk::<81>() else { return };
    let Some(([len], rest)) = rest.split_first_chunk::<1>() else { return };
    let (text, packet) = rest.split_at(usize::from(*len).min(rest.len()));
    let mut record = *record;
    record[8] = mode % 5;
    let mut address = Address::from_raw(record);
    let layer = Layer::from_number(record[8]).expect("below 5");
    let packet = match Layout::parse(packet) {
        _ if !layer.has_packets() => None,
        Ok(layout) => {
            address.set_ipv6(layout.is_ipv6());
            Some(packet)
        }
        Err(_) => return,
    };
    if mode & 0x80 != 0 {
        let filter = Filter::compile(&object_of(text), layer).expect("an object that is valid by construction");
        assert_engines_agree(&filter, packet, &address);
        return;
    }
    let Ok(text) = str::from_utf8(text) else { return };
    let Ok(filter) = Filter::compile_extended(text, layer, &sets()) else { return };
    let matches = filter.evaluate(packet, &address);
    if filter.is_plain() {
        assert_eq!(assert_engines_agree(&filter, packet, &address), matches.as_ref().ok().copied());
    }
    let Ok(matches) = matches else { return };
    let (steps, traced) = filter.trace_bytes(packet, &address).expect("of the filter's layer");
    assert_eq!(traced, matches, "{steps:?}");
    let covered = filter.superset().evaluate(packet, &address).expect("a plain filter");
    assert!(covered == matches || covered && !filter.superset_is_exact(), "{text}");
    for warning in filter.warnings() {
        let holds = |text: &str| {
            let part = Filter::compile_extended(text, layer, &sets()).expect("a part of a filter");
            part.evaluate(packet, &address).expect("of the address's layer")
        };
        check_warning(&warning, matches, holds);
    }
}

/// That what a warning says of a part, and of the filter, holds here.
fn check_warning(warning: &Warning, matches: bool, holds: impl Fn(&str) -> bool) {
    let span = warning.span();
    let part = warning.text().get(span.start as usize..span.end as usize).expect("within the text");
    let expected = match warning.claim() {
        Claim::Never => false,
        Claim::Always => true,
        Claim::With(header) => holds(header.name()),
        Claim::Without(header) => !holds(header.name()),
        Claim::Partly => holds(part),
        other => panic!("{other:?} is new"),
    };
    assert_eq!(holds(part), expected, "{warning}");
    assert!(warning.filter().is_none_or(|claimed| claimed == matches), "{warning}");
}

/// The verdict of a filter by the reference, which everything that evaluates filters must have too; `None` where it tests a
/// field that the layer lacks.
pub fn assert_engines_agree(filter: &Filter, packet: Option<&[u8]>, address: &Address) -> Option<bool> {
    let object = filter.object();
    let layout = packet.map(|bytes| Layout::parse(bytes).expect("chosen to be a packet"));
    let layer = filter.layer();
    let input = Input { layer: layer.number(), packet: packet.unwrap_or_default(), layout, address };
    let expected = evaluate(&decode(&object), &input);
    let answer = |filter: &Filter| match filter.evaluate(packet, address) {
        Ok(verdict) => Some(verdict),
        Err(error) if *error.kind() == EvaluateErrorKind::FieldLayer => None,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(answer(filter), expected, "{object}");
    let decoded = Filter::compile(&object, layer).expect("an object of our own");
    assert_eq!(answer(&decoded), expected, "{object}");
    assert_eq!(evaluate_text(object.as_bytes(), packet, address).ok(), expected, "{object}");
    if let (Some(bytes), Some(layout)) = (packet, &layout) {
        let matches = filter.matches(PacketRef { bytes, layout, address });
        assert_eq!(matches, expected == Some(true), "{object}");
        let mut batch = Batch::new();
        batch.push(bytes, *layout, address, 0, Origin::Injected(None));
        let mut mask = vec![true; 3];
        filter.matches_batch(&batch, &mut mask);
        assert_eq!(mask, [matches], "{object}");
    }
    expected
}

/// A valid object string, whatever the bytes: sixteen of them make a test.
fn object_of(bytes: &[u8]) -> String {
    let tests: Vec<&[u8; 16]> = bytes.chunks_exact(16).filter_map(|chunk| chunk.first_chunk()).collect();
    let mut object = "@WinDiv_W".to_owned();
    push_number(&mut object, tests.len().max(1) as u32);
    for (at, test) in tests.iter().enumerate() {
        let [field, operator, negative, success, failure, next, skip, _, ref number @ ..] = **test;
        let field = u32::from(field % 86);
        let word = |at: usize| {
            number.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |word| u32::from_le_bytes(*word))
        };
        object.push('_');
        for number in [field, u32::from(operator % 6), u32::from(negative & 1), word(0)] {
            push_number(&mut object, number);
        }
        match field {
            71..=79 => push_number(&mut object, 65535 - 64 + word(4) % 128),
            28 | 29 | 61 | 62 => [word(4), word(2), 0].into_iter().for_each(|word| push_number(&mut object, word)),
            66 | 67 | 81 => push_number(&mut object, word(4)),
            _ => {}
        }
        for (kind, ahead) in [(success, next), (failure, skip)] {
            let target = at + 1 + usize::from(ahead % 8);
            match kind % 4 {
                2.. if target < tests.len() => {
                    object.push('L');
                    push_number(&mut object, target as u32);
                }
                kind => object.push(if kind % 2 == 0 { 'A' } else { 'X' }),
            }
        }
    }
    if tests.is_empty() { object + "_WWWWAX" } else { object }
}

/// A number as object strings have it.
pub fn push_number(object: &mut String, number: u32) {
    const FINAL: &[u8] = b"WXYZabcdefghijklmnopqrstuvwxyz+=";
    const CONTINUE: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
    let mut digits = vec![FINAL[number as usize & 31]];
    let mut rest = number >> 5;
    while rest > 0 {
        digits.push(CONTINUE[rest as usize & 31]);
        rest >>= 5;
    }
    object.extend(digits.iter().rev().map(|digit| char::from(*digit)));
}

/// A capture: what is sent back as it came comes out as it was; what is edited, dropped and added leaves a capture.
pub fn check_capture(data: &[u8]) {
    let Some(passed) = replayed(data, 64, |_, slot| Some(slot)) else { return };
    let one_by_one = replayed(data, 1, |_, slot| Some(slot));
    assert!(one_by_one.is_some_and(|run| run.output == passed.output), "it matters how many are received at once");
    let Some(output) = passed.output else { return };
    assert!(output == unzipped(data), "what nobody touched has changed");
    let edited = replayed(data, 7, |index, mut slot| {
        match index % 4 {
            0 => return None,
            1 => lower_hops(&mut slot),
            2 => drop(slot.set_payload(b"a payload of another length")),
            _ => {}
        }
        Some(slot)
    });
    let edited = edited.and_then(|run| run.output).expect("the same capture");
    let again = replayed(&edited, 64, |_, slot| Some(slot)).expect("a capture of our own");
    assert!(again.output.as_ref() == Some(&edited), "a capture of our own does not read back");
    assert_eq!(again.packets, passed.packets - passed.packets.div_ceil(4));
}

fn lower_hops(slot: &mut Slot) {
    if let Ok((bytes, layout)) = slot.edit() {
        let field = if layout.is_ipv6() { fields::ipv6::HOP_LIMIT } else { fields::ipv4::TTL };
        write(bytes, layout, field, 7).expect("every packet has hops");
    }
}

struct Run {
    packets: usize,
    /// None if reading ended in an error.
    output: Option<Vec<u8>>,
}

/// Receives everything and sends back what `change` leaves; `None` if the bytes are no capture.
fn replayed(data: &[u8], limit: usize, change: impl Fn(usize, Slot) -> Option<Slot>) -> Option<Run> {
    let buffer = SharedBuffer::default();
    let source = Source::Bytes(SharedBytes::new(data.to_vec()));
    let filter = Arc::new(Filter::compile("true", Layer::Network).expect("the filter compiles"));
    let options = OpenOptions {
        filter,
        layer: Layer::Network,
        priority: 0,
        flags: Flags::default(),
        on_overload: Overload::Drop,
        track_processes: false,
    };
    let replay = match Replay::new(&source, Some(Output::Buffer(Arc::clone(&buffer))), None) {
        Ok(replay) => replay,
        Err(error) => {
            assert_eq!(error.code(), ErrorCode::InvalidData, "{error}");
            return None;
        }
    };
    let handle = replay.open(options).expect("the replay opens");
    let mut packets = 0;
    loop {
        let mut batch = Batch::new();
        match handle.receive(&mut batch, limit, Wait::Poll) {
            Ok(Received::Packets) => assert!(!batch.is_empty() && batch.len() <= limit),
            Ok(Received::Ended) => break,
            Ok(other) => panic!("a replay does not answer {other:?}"),
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::InvalidData, "{error}");
                handle.close(Ending::Aborted).expect("it closes");
                return Some(Run { packets, output: None });
            }
        }
        let mut sent = Batch::new();
        for index in 0..batch.len() {
            let slot = Slot::from_batch(&batch, index).expect("it is there");
            if let Some(slot) = change(packets, slot) {
                slot.append_to(&mut sent).expect("the change leaves a packet");
            }
            packets += 1;
        }
        handle.send(&sent, None).expect("it sends");
    }
    handle.close(Ending::Completed).expect("it closes");
    let output = buffer.lock().expect("nobody panicked").clone();
    Some(Run { packets, output: Some(output) })
}

fn unzipped(bytes: &[u8]) -> Vec<u8> {
    if !bytes.starts_with(&[0x1F, 0x8B]) {
        return bytes.to_vec();
    }
    let mut out = Vec::new();
    // Of a damaged file, what can be unzipped.
    let _ = flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out);
    out
}
