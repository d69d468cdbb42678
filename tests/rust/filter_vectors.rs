//! The filter language, answer for answer with WinDivert's library: objects, messages, positions, normal form, verdicts.
use crate::vectors::{bytes, records};
use oxidivert::address::{Address, Layer};
use oxidivert::batch::PacketRef;
use oxidivert::filter::{Error, EvaluateErrorKind, Filter, Sets, compile_object, evaluate_text, format};
use oxidivert::packet::Layout;
use serde_json::{Value, json};

/// Counts answers and shows the first wrong ones.
#[derive(Default)]
struct Tally {
    asked: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn compare(&mut self, record: &Value, expected: &Value, answer: &Value) {
        self.asked += 1;
        if expected != answer {
            self.wrong.push(format!("{record}\n  expected {expected}\n  answered {answer}"));
        }
    }

    #[expect(clippy::print_stdout, reason = "the share of right answers is worth a line")]
    fn finish(self, at_least: usize) {
        let (asked, right) = (self.asked, self.asked - self.wrong.len());
        println!("{right} of {asked} right");
        let shown: Vec<_> = self.wrong.iter().take(5).map(String::as_str).collect();
        assert!(self.wrong.is_empty(), "{right} of {asked} right\n{}", shown.join("\n"));
        assert!(asked >= at_least, "only {asked} records");
    }
}

fn filter_of(record: &Value) -> &[u8] {
    record["filter"].as_str().expect("a filter").as_bytes()
}

fn layer_of(record: &Value) -> u8 {
    record["layer"].as_u64().expect("a layer") as u8
}

#[test]
fn filters_compile_to_windiverts_objects_and_errors() {
    let mut tally = Tally::default();
    for record in records("compile") {
        let short = record["objlen"].as_u64().is_some_and(|len| len < 16384);
        // Such an object stands for 256 tests, which WinDivert cannot write.
        if short || record["obj"].as_str().is_some_and(|object| object.starts_with("@WinDiv_WW")) {
            continue;
        }
        let answer = match compile_object(filter_of(&record), layer_of(&record)) {
            Ok(_) if record["ok"] == true && record["obj"].is_null() => json!([Value::Null, "No error", 0]),
            Ok(object) => json!([object, "No error", 0]),
            Err(error) => json!([Value::Null, error.message(), error.position()]),
        };
        tally.compare(&record, &json!([record["obj"], record["err"], record["pos"]]), &answer);
    }
    tally.finish(5000);
}

#[test]
fn the_extended_dialect_takes_every_plain_text_as_it_is() {
    let mut tally = Tally::default();
    for record in records("compile") {
        let (Ok(text), Some(layer)) = (std::str::from_utf8(filter_of(&record)), Layer::from_number(layer_of(&record)))
        else {
            continue;
        };
        let show = |compiled: Result<Filter, Error>| match compiled {
            Ok(filter) => json!([filter.object(), filter.to_string(), filter.is_plain()]),
            Err(error) => json!([error.message(), error.position(), error.to_string()]),
        };
        let plain = Filter::compile(text, layer);
        let extended = Filter::compile_extended(text, layer, &Sets::new());
        let has_token = text.contains(['{', '}', ',', '/', '$'])
            || text.contains(" in ")
            || ["!(", "! (", "not (", "not("].iter().any(|negation| text.contains(negation))
            || text.split('-').any(|part| part.trim_end().ends_with(|end: char| end.is_ascii_digit()));
        if plain.is_ok() || !has_token {
            tally.compare(&record, &show(plain), &show(extended));
        }
    }
    tally.finish(5000);
}

#[test]
fn filters_are_written_in_windiverts_normal_form() {
    let mut tally = Tally::default();
    for record in records("format") {
        if record["gle"] == 122 || record["buflen"].as_u64() < Some(65536) {
            continue;
        }
        let answer = format(filter_of(&record), layer_of(&record)).ok();
        tally.compare(&record, &record["text"], &json!(answer));
    }
    tally.finish(2000);
}

#[test]
fn packets_and_events_match_as_windivert_says() {
    let mut tally = Tally::default();
    for record in records("eval") {
        let Some(address) = bytes(&record, "addr") else { continue };
        let address = Address::from_raw(address.try_into().expect("80 bytes"));
        let packet = bytes(&record, "packet");
        let expected = if record["gle"] == 87 { Value::Null } else { record["result"].clone() };
        let answer = evaluate_text(filter_of(&record), packet.as_deref(), &address);
        tally.compare(&record, &expected, &json!(answer.as_ref().ok()));
        if let (Some(layer), Ok(text)) = (address.layer(), std::str::from_utf8(filter_of(&record))) {
            let compiled = Filter::compile(text, layer).ok();
            let answer = answer.map_err(|error| error.kind().clone());
            if let Some(filter) = compiled {
                compare_compiled(&mut tally, &record, &filter, packet.as_deref(), &address, &answer);
            }
        }
    }
    tally.finish(19000);
}

/// A filter that was compiled before answers as one that is compiled for the question, and a parsed packet matches alike.
fn compare_compiled(
    tally: &mut Tally,
    record: &Value,
    filter: &Filter,
    packet: Option<&[u8]>,
    address: &Address,
    expected: &Result<bool, EvaluateErrorKind>,
) {
    let answer = filter.evaluate(packet, address).map_err(|error| error.kind().clone());
    assert_eq!(&answer, expected, "{record}");
    if let (Some(bytes), Ok(matches), Some(Layer::Network | Layer::NetworkForward)) = (packet, answer, address.layer())
    {
        let layout = Layout::parse(bytes).expect("it was parsed before");
        let answer = filter.matches(PacketRef { bytes, layout: &layout, address });
        tally.compare(record, &json!(matches), &json!(answer));
    }
}

#[test]
fn objects_of_filters_answer_and_read_like_the_filters() {
    for record in records("compile").filter(|record| record["obj"].is_string()) {
        let object = record["obj"].as_str().expect("an object");
        if record["objlen"].as_u64() != Some(16384) || object.starts_with("@WinDiv_WW") {
            continue;
        }
        assert_eq!(compile_object(object.as_bytes(), layer_of(&record)).as_deref(), Ok(object));
    }
}
