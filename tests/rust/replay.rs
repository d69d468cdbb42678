//! The replay backend over captures of every form: what is read, what comes out, and damage.
//!
//! `tests/data/captures/expected.json` tells, for each file there, what a reader must find.
use oxidivert::address::{Flags, Layer, Shutdown};
use oxidivert::backend::replay::{Output, Replay, SharedBuffer, SharedBytes, Source};
use oxidivert::backend::{Backend, Ending, ErrorCode, OpenOptions, Overload, Received, System, Wait};
use oxidivert::batch::{Batch, Origin, Slot};
use oxidivert::filter::Filter;
use proptest::prelude::*;
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/captures")
}

fn expectations() -> Vec<(String, Value)> {
    let text = std::fs::read_to_string(captures().join("expected.json")).expect("expected.json is there");
    let all: serde_json::Map<String, Value> = serde_json::from_str(&text).expect("it is JSON");
    all.into_iter().collect()
}

fn options(filter: &str, priority: i16, flags: Flags) -> OpenOptions {
    let filter = Arc::new(Filter::compile(filter, Layer::Network).expect("the filter compiles"));
    OpenOptions { filter, layer: Layer::Network, priority, flags, on_overload: Overload::Drop, track_processes: false }
}

fn open_all(replay: &Replay) -> Arc<dyn Backend> {
    replay.open(options("true", 0, Flags::default())).expect("the replay opens")
}

struct Run {
    packets: Batch,
    error: Option<ErrorCode>,
    output: Vec<u8>,
}

/// Receives everything and sends it back, `change`d.
fn run(source: &Source, limit: usize, change: impl Fn(&mut Slot)) -> Result<Run, ErrorCode> {
    let buffer = SharedBuffer::default();
    let replay = Replay::new(source, Some(Output::Buffer(Arc::clone(&buffer))), None).map_err(|error| error.code())?;
    let handle = open_all(&replay);
    let mut packets = Batch::new();
    let mut error = None;
    loop {
        let mut batch = Batch::new();
        match handle.receive(&mut batch, limit, Wait::Poll) {
            Ok(Received::Packets) => {}
            Ok(Received::Ended) => break,
            Ok(other) => panic!("a replay does not answer {other:?}"),
            Err(failure) => {
                error = Some(failure.code());
                break;
            }
        }
        for index in 0..batch.len() {
            packets.append_from(&batch, index);
            let mut slot = Slot::default();
            slot.load(&batch, index);
            change(&mut slot);
            slot.store(&mut batch, index).expect("the change leaves a packet");
        }
        handle.send(&batch, None).map_err(|failure| failure.error.code())?;
    }
    let ending = if error.is_some() { Ending::Aborted } else { Ending::Completed };
    handle.close(ending).map_err(|error| error.code())?;
    let output = buffer.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Run { packets, error, output })
}

fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if bytes.starts_with(&[0x1F, 0x8B]) {
        // Of a damaged file, what can be unzipped.
        let _ = flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out);
        out
    } else {
        bytes.to_vec()
    }
}

#[test]
fn every_capture_is_read_as_expected_and_passes_through_byte_for_byte() {
    let mut failures = Vec::new();
    for (name, expected) in expectations() {
        let path = captures().join(&name);
        let ends = expected["ends"].as_str().expect("it tells how the file ends");
        for limit in [1, 64] {
            let outcome = run(&Source::Path(path.clone()), limit, |_| {});
            if ends == "not a capture" {
                if outcome.as_ref().err() != Some(&ErrorCode::InvalidData) {
                    failures.push(format!("{name}: it opens"));
                }
                continue;
            }
            let run = match outcome {
                Ok(run) => run,
                // Damage within the first buffer is told at once.
                Err(ErrorCode::InvalidData) if ends != "complete" => continue,
                Err(code) => {
                    failures.push(format!("{name}: {code:?}"));
                    continue;
                }
            };
            let is_damaged = run.error.is_some();
            if is_damaged != (ends != "complete") {
                failures.push(format!("{name}: ends {ends}, got {:?}", run.error));
            }
            if !is_damaged && run.output != unzipped(&std::fs::read(&path).expect("the file is there")) {
                failures.push(format!("{name}: the output differs"));
            }
            if let Some(packets) = expected["packets"].as_array() {
                compare(&name, packets, &run.packets, &mut failures);
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The IP packets of a capture, in order: what was received against what is expected.
fn compare(name: &str, expected: &[Value], received: &Batch, failures: &mut Vec<String>) {
    let known = [0, 1, 12, 14, 101, 108, 113, 228, 229, 276];
    let is_ip = |packet: &&Value| {
        !packet["ip_version"].is_null() && known.contains(&packet["link_type"].as_i64().unwrap_or(-1))
    };
    let expected: Vec<&Value> = expected.iter().filter(is_ip).collect();
    if expected.len() != received.len() {
        failures.push(format!("{name}: {} packets expected, {} received", expected.len(), received.len()));
        return;
    }
    for (index, packet) in expected.iter().enumerate() {
        let record = &received.records()[index];
        let got = (
            if record.layout.is_ipv6() { 6 } else { 4 },
            u64::from(record.layout.protocol()),
            record.layout.total_len() as u64,
        );
        let wanted = (
            packet["ip_version"].as_u64().unwrap_or(0),
            packet["protocol"].as_u64().unwrap_or(0),
            packet["ip_length"].as_u64().unwrap_or(0),
        );
        if got != wanted {
            failures.push(format!("{name} packet {index}: version, protocol, length {got:?}, expected {wanted:?}"));
        }
        if packet["time_ns"].as_i64().is_some_and(|time_ns| time_ns != record.time_ns) {
            failures.push(format!("{name} packet {index}: time {}, expected {}", record.time_ns, packet["time_ns"]));
        }
        if let Some(direction) = packet["direction"].as_str()
            && record.address.outbound() != (direction == "outbound")
        {
            failures.push(format!("{name} packet {index}: is not {direction}"));
        }
    }
}

#[test]
fn an_edited_capture_reads_back_with_the_edits_and_nothing_else_changed() {
    for (name, expected) in expectations() {
        if expected["ends"] != "complete" {
            continue;
        }
        let lower = |slot: &mut Slot| {
            if let Ok((bytes, layout)) = slot.edit() {
                let field = if layout.is_ipv6() {
                    oxidivert::packet::fields::ipv6::HOP_LIMIT
                } else {
                    oxidivert::packet::fields::ipv4::TTL
                };
                oxidivert::packet::write(bytes, layout, field, 7).expect("every packet has hops");
            }
        };
        let source = Source::Path(captures().join(&name));
        let first = run(&source, 64, lower).unwrap_or_else(|code| panic!("{name}: {code:?}"));
        let again = run(&Source::Bytes(SharedBytes::new(first.output.clone())), 64, |_| {})
            .unwrap_or_else(|code| panic!("{name}: the output is no capture: {code:?}"));
        assert_eq!(again.output, first.output, "{name}");
        assert_eq!(again.packets.len(), first.packets.len(), "{name}");
        for index in 0..again.packets.len() {
            let (mut wanted, mut expected) = (Slot::default(), Batch::new());
            wanted.load(&first.packets, index);
            lower(&mut wanted);
            wanted.append_to(&mut expected).expect("it is a packet");
            assert_eq!(again.packets.bytes(index), expected.bytes(0), "{name} packet {index}");
            let (before, after) = (&first.packets.records()[index], &again.packets.records()[index]);
            assert_eq!(before.time_ns, after.time_ns, "{name} packet {index}");
            assert_eq!(before.address, after.address, "{name} packet {index}");
        }
    }
}

#[test]
fn a_longer_payload_keeps_the_capture_readable() {
    for name in ["pcap_le_micro.pcap", "pcap_be_nano.pcap"] {
        let grow = |slot: &mut Slot| {
            let _ = slot.set_payload(b"a payload that is longer than what was there, by some bytes, and odd");
        };
        let first =
            run(&Source::Path(captures().join(name)), 64, grow).unwrap_or_else(|code| panic!("{name}: {code:?}"));
        let again = run(&Source::Bytes(SharedBytes::new(first.output)), 64, |_| {})
            .unwrap_or_else(|code| panic!("{name}: {code:?}"));
        assert_eq!(again.error, None);
        assert_eq!(again.packets.len(), first.packets.len());
        assert!(again.packets.iter().any(|packet| packet.bytes.ends_with(b"by some bytes, and odd")));
    }
}

#[test]
fn a_capture_cut_anywhere_is_served_up_to_the_cut_and_then_is_an_error() {
    for (name, expected) in expectations() {
        let bytes = std::fs::read(captures().join(&name)).expect("the file is there");
        if expected["ends"] != "complete" || bytes.len() > 3000 || bytes.starts_with(&[0x1F, 0x8B]) {
            continue;
        }
        let whole = run(&Source::Bytes(SharedBytes::new(bytes.clone())), 64, |_| {}).expect("the whole file reads");
        for len in 0..bytes.len() {
            match run(&Source::Bytes(SharedBytes::new(bytes[..len].to_vec())), 64, |_| {}) {
                Err(code) => assert_eq!(code, ErrorCode::InvalidData, "{name} cut at {len}"),
                Ok(cut) => {
                    assert!(cut.packets.len() <= whole.packets.len());
                    for (packet, before) in cut.packets.iter().zip(whole.packets.iter()) {
                        assert_eq!(packet.bytes, before.bytes, "{name} cut at {len}");
                    }
                    let is_between_records = cut.error.is_none() && cut.output == bytes[..len];
                    assert!(is_between_records || cut.error == Some(ErrorCode::InvalidData), "{name} cut at {len}");
                }
            }
        }
    }
}

#[test]
fn a_source_that_cannot_be_read_is_named() {
    let folder = captures();
    let missing = folder.join("missing.pcap");
    for (path, code) in [(&folder, ErrorCode::ReadFault), (&missing, ErrorCode::FileNotFound)] {
        let error = Replay::new(&Source::Path(path.clone()), None, None).err().expect("it cannot be read");
        assert_eq!(error.code(), code);
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn a_record_that_claims_more_than_any_packet_is_an_error_and_takes_no_memory() {
    let mut bytes = std::fs::read(captures().join("pcap_le_micro.pcap")).expect("the file is there");
    bytes[32..36].copy_from_slice(&0xFFFF_FF00_u32.to_le_bytes());
    let outcome = run(&Source::Bytes(SharedBytes::new(bytes)), 1, |_| {}).expect("the header is fine");
    assert_eq!(outcome.error, Some(ErrorCode::InvalidData));
}

fn two_handles(flags: Flags) -> (Arc<dyn Backend>, Arc<dyn Backend>, SharedBuffer, Vec<u8>) {
    let bytes = std::fs::read(captures().join("pcap_le_micro.pcap")).expect("the file is there");
    let buffer = SharedBuffer::default();
    let output = Output::Buffer(Arc::clone(&buffer));
    let replay =
        Replay::new(&Source::Bytes(SharedBytes::new(bytes.clone())), Some(output), None).expect("it is a capture");
    let low = replay.open(options("true", -5, Flags::default())).expect("it opens");
    let high = replay.open(options("true", 5, flags)).expect("it opens");
    (high, low, buffer, bytes)
}

/// Row 15.
#[test]
fn a_packet_passes_the_handles_by_priority() {
    let (high, low, buffer, bytes) = two_handles(Flags::default());
    let mut order = Vec::new();
    loop {
        let mut batch = Batch::new();
        match high.receive(&mut batch, 1, Wait::Poll).expect("it receives") {
            Received::Packets => order.push("high"),
            Received::Ended => break,
            other => panic!("{other:?}"),
        }
        let mut below = Batch::new();
        assert_eq!(
            low.receive(&mut below, 1, Wait::Poll).expect("it receives"),
            Received::TimedOut,
            "nothing was sent yet"
        );
        high.send(&batch, None).expect("it sends");
        assert_eq!(low.receive(&mut below, 1, Wait::Poll).expect("it receives"), Received::Packets);
        order.push("low");
        low.send(&below, None).expect("it sends");
    }
    assert!(order.len() > 4 && order.chunks(2).all(|pair| pair == ["high", "low"]));
    high.close(Ending::Completed).expect("it closes");
    assert!(buffer.lock().expect("nobody panicked").is_empty(), "the output waits for the last handle");
    low.close(Ending::Completed).expect("it closes");
    assert_eq!(*buffer.lock().expect("nobody panicked"), bytes);
}

/// Row 12.
#[test]
fn a_copy_for_a_sniffing_handle_leaves_the_packet_to_the_next() {
    let (high, low, buffer, bytes) = two_handles(Flags::SNIFF);
    let (mut copies, mut originals) = (Batch::new(), Batch::new());
    loop {
        let from_high = high.receive(&mut copies, 1, Wait::Poll).expect("it receives");
        let mut batch = Batch::new();
        let from_low = low.receive(&mut batch, 64, Wait::Poll).expect("it receives");
        low.send(&batch, None).expect("it sends");
        (0..batch.len()).for_each(|index| {
            originals.append_from(&batch, index);
        });
        if from_high == Received::Ended && from_low == Received::Ended {
            break;
        }
    }
    assert_eq!(copies.len(), originals.len());
    assert!(copies.records().iter().all(|record| record.address.sniffed()));
    assert!(copies.iter().zip(originals.iter()).all(|(copy, original)| copy.bytes == original.bytes));
    high.close(Ending::Completed).expect("it closes");
    low.close(Ending::Completed).expect("it closes");
    assert_eq!(*buffer.lock().expect("nobody panicked"), bytes);
}

#[test]
fn a_handle_cannot_be_opened_once_the_replay_has_begun() {
    let replay =
        Replay::new(&Source::Path(captures().join("pcap_le_micro.pcap")), None, None).expect("it is a capture");
    let handle = open_all(&replay);
    handle.receive(&mut Batch::new(), 1, Wait::Poll).expect("it receives");
    let error = replay.open(options("true", 0, Flags::default())).err().expect("it has begun");
    assert_eq!(error.code(), ErrorCode::BadCommand);
}

#[test]
fn a_late_send_is_appended_where_the_replay_stands() {
    let buffer = SharedBuffer::default();
    let source = Source::Path(captures().join("pcap_le_micro.pcap"));
    let replay = Replay::new(&source, Some(Output::Buffer(Arc::clone(&buffer))), None).expect("it is a capture");
    let handle = open_all(&replay);
    let (mut first, mut second) = (Batch::new(), Batch::new());
    handle.receive(&mut first, 1, Wait::Poll).expect("it receives");
    handle.receive(&mut second, 1, Wait::Poll).expect("it receives");
    handle.send(&second, None).expect("it sends");
    handle.send(&first, None).expect("it sends");
    handle.close(Ending::Completed).expect("it closes");
    let output = buffer.lock().expect("nobody panicked").clone();
    let result = run(&Source::Bytes(SharedBytes::new(output)), 64, |_| {}).expect("it is a capture");
    assert_eq!(result.packets.bytes(0), second.bytes(0));
    assert_eq!(result.packets.bytes(1), first.bytes(0));
    assert_eq!(result.packets.records()[1].time_ns, first.records()[0].time_ns);
}

#[test]
fn waking_ends_a_wait_and_shutting_down_ends_receiving() {
    let (high, low, ..) = two_handles(Flags::default());
    let mut batch = Batch::new();
    high.receive(&mut batch, 1, Wait::Poll).expect("it receives");
    high.send(&batch, None).expect("it sends");
    // The low handle has a packet, so the high one must wait for it to be taken.
    let waiter = std::thread::spawn(move || {
        let woken = high.receive(&mut Batch::new(), 1, Wait::Forever).map_err(|error| error.code());
        high.shutdown(Shutdown::Receive);
        (woken, high.receive(&mut Batch::new(), 1, Wait::Forever).map_err(|error| error.code()))
    });
    std::thread::sleep(std::time::Duration::from_millis(20));
    low.receive(&mut Batch::new(), 1, Wait::Poll).expect("it receives");
    low.close(Ending::Completed).expect("it closes");
    let (woken, ended) = waiter.join().expect("it does not panic");
    assert_eq!((woken, ended), (Ok(Received::Packets), Ok(Received::Ended)));
}

#[test]
fn an_output_that_cannot_be_written_is_named_at_open() {
    let missing = captures().join("no such folder").join("out.pcap");
    let source = Source::Path(captures().join("pcap_le_micro.pcap"));
    let replay = Replay::new(&source, Some(Output::Path(missing.clone())), None).expect("it is a capture");
    let error = replay.open(options("true", 0, Flags::default())).err().expect("there is no such folder");
    assert_eq!(error.code(), ErrorCode::WriteFault);
    assert!(error.to_string().contains(&missing.display().to_string()), "{error}");
}

#[test]
fn the_output_may_take_the_sources_place_and_is_zipped_by_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = std::fs::read(captures().join("pcap_le_micro.pcap")).expect("the file is there");
    let same = folder.path().join("same.pcap");
    std::fs::write(&same, &bytes).expect("it writes");
    for (target, is_zipped) in [(same.clone(), false), (folder.path().join("zipped.pcap.gz"), true)] {
        let replay =
            Replay::new(&Source::Path(same.clone()), Some(Output::Path(target.clone())), None).expect("it opens");
        open_all(&replay).close(Ending::Completed).expect("it closes");
        let written = std::fs::read(&target).expect("it is there");
        assert_eq!(written.starts_with(&[0x1F, 0x8B]), is_zipped);
        assert_eq!(unzipped(&written), bytes);
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("it lists").count(), 2, "no other file is left");
}

#[test]
fn an_origin_of_another_handle_injects() {
    let (high, low, ..) = two_handles(Flags::default());
    let mut batch = Batch::new();
    high.receive(&mut batch, 1, Wait::Poll).expect("it receives");
    assert!(matches!(batch.records()[0].origin, Origin::Received(_)));
    low.send(&batch, None).expect("it sends a new packet");
    assert_eq!((low.statistics().sent, high.statistics().sent), (1, 0));
}

proptest! {
    #[test]
    fn no_bytes_crash_the_reader(
        file in 0_usize..40,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let (name, _) = &expectations()[file];
        let mut bytes = std::fs::read(captures().join(name)).expect("the file is there");
        if !bytes.is_empty() {
            for (place, value) in damage {
                let index = place.index(bytes.len());
                bytes[index] = value;
            }
        }
        if let Ok(run) = run(&Source::Bytes(SharedBytes::new(bytes.clone())), 64, |_| {})
            && run.error.is_none()
        {
            prop_assert!(run.output == unzipped(&bytes));
        }
    }
}
