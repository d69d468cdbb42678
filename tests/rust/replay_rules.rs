//! What the replay backend does with what a program sends, drops and adds, over small captures built in memory.
use crate::captures::{block, enhanced, frame, inbound, interface, pcap, section, udp, words};
use crate::replay_support::*;
use oxidivert::address::{Flags, Layer, Shutdown};
use oxidivert::backend::replay::{Output, Replay, SharedBytes, Source};
use oxidivert::backend::{Ending, ErrorCode, OpenOptions, Overload, Received, System, Wait};
use oxidivert::batch::Batch;
use oxidivert::filter::Filter;
use oxidivert::packet::{self, Builder, fields};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn link_padding_is_kept_while_the_length_is_unchanged() {
    let frames = [frame(1, &udp(1), b"padding"), frame(2, &udp(2), b"padding"), frame(3, &udp(3), b"padding")];
    let (replay, buffer) = replay(&pcap(1, &frames));
    let handle = open(&replay, "true", 0, Flags::default());
    let mut batch = receive(&handle, 64);
    assert_eq!(batch.bytes(0), Some(&udp(1)[..]), "a packet is what its IP length says");
    change(&mut batch, 1, |slot| {
        let (bytes, layout) = slot.edit().expect("a packet");
        packet::write(bytes, layout, fields::ipv4::TTL, 9).expect("it has a TTL");
    });
    change(&mut batch, 2, |slot| slot.set_payload(b"longer").expect("it fits"));
    handle.send(&batch, None).expect("it sends");
    let expected: Vec<Vec<u8>> = (0..3)
        .map(|index| {
            let padding = if index == 2 { &b""[..] } else { b"padding" };
            frame(index as u8 + 1, batch.bytes(index).expect("it is there"), padding)
        })
        .collect();
    assert_eq!(completed(&handle, &buffer), pcap(1, &expected));
}

/// Rows 11, 14.
#[test]
fn what_is_not_sent_is_dropped_and_all_else_keeps_its_place() {
    let arp = [&[4; 12][..], &[0x08, 0x06], &[0; 28]].concat();
    let frames =
        [frame(1, &udp(1), b""), arp, frame(2, &udp(2), b""), frame(3, &udp(3), b""), frame(4, &inbound(4), b"")];
    for limit in [1, 2, 64] {
        let (replay, buffer) = replay(&pcap(1, &frames));
        let handle = open(&replay, "outbound", 0, Flags::default());
        loop {
            let batch = receive(&handle, limit);
            if batch.is_empty() {
                break;
            }
            let mask: Vec<bool> = batch.iter().map(|packet| packet.bytes != udp(2)).collect();
            handle.send(&batch, Some(&mask)).expect("it sends");
        }
        let statistics = handle.statistics();
        assert_eq!((statistics.seen, statistics.received, statistics.sent, statistics.dropped), (4, 3, 2, 1));
        let mut expected = pcap(1, &frames);
        let start = 24 + 3 * 16 + frames[0].len() + frames[1].len() - 16;
        expected.drain(start..start + 16 + frames[2].len());
        assert_eq!(completed(&handle, &buffer), expected, "limit {limit}");
    }
}

#[test]
fn a_new_packet_takes_time_and_link_header_of_the_last_one_in_its_direction() {
    let frames = [frame(1, &udp(1), b""), frame(2, &inbound(2), b""), frame(3, &udp(3), b""), frame(4, &udp(4), b"")];
    let (replay, buffer) = replay(&pcap(1, &frames));
    let handle = open(&replay, "true", 0, Flags::default());
    for index in 0..4 {
        let batch = receive(&handle, 1);
        handle.send(&batch, None).expect("it sends");
        if index == 2 {
            handle.send(&new_packet(&inbound(9), false), None).expect("it sends");
            handle.send(&new_packet(&udp(10), true), None).expect("it sends");
        }
    }
    let output = completed(&handle, &buffer);
    let start = 24 + 3 * (16 + frames[0].len());
    let record = |seconds: u32, frame: &[u8]| {
        pcap(1, &[frame.to_vec()])[24..]
            .iter()
            .copied()
            .enumerate()
            .map(|(index, byte)| if index == 0 { seconds as u8 } else { byte })
            .collect::<Vec<u8>>()
    };
    let expected = [record(1, &frame(2, &inbound(9), b"")), record(2, &frame(3, &udp(10), b""))].concat();
    assert_eq!(output[start..start + expected.len()], expected);
    assert_eq!(read(&output).len(), 6);
}

#[test]
fn a_new_packet_before_all_others_takes_over_from_the_first_one() {
    let frame = frame(7, &udp(1), b"");
    let pcapng = [section(true), interface(true, 1, 0), enhanced(true, 0, 5, &frame, Some(1))].concat();
    for bytes in [pcap(1, std::slice::from_ref(&frame)), pcapng] {
        let (replay, buffer) = replay(&bytes);
        let handle = open(&replay, "true", 0, Flags::SEND_ONLY);
        handle.send(&new_packet(&udp(9), true), None).expect("it sends");
        let output = completed(&handle, &buffer);
        let all = read(&output);
        assert_eq!(all.bytes(0), Some(&udp(9)[..]));
        assert_eq!(all.bytes(1), Some(&udp(1)[..]));
        assert_eq!(all.records()[0].time_ns, all.records()[1].time_ns);
        assert!(all.records()[0].address.outbound(), "where records tell directions, a new one tells its own");
        assert!(output.windows(14).any(|window| window == [&[7; 12][..], &[8, 0]].concat()));
    }
}

#[test]
fn a_section_knows_nothing_of_the_interfaces_before_it() {
    let raw = |micros| enhanced(false, 1, micros, &udp(1), None);
    let first = [section(false), interface(false, 1, 0), interface(false, 101, 0), raw(5)].concat();
    let bytes = [first, section(true), interface(true, 1, 0)].concat();
    for limit in [1, 64] {
        let (replay, buffer) = replay(&bytes);
        let handle = open(&replay, "true", 0, Flags::default());
        let batch = receive(&handle, limit);
        handle.send(&batch, None).expect("it sends");
        assert!(receive(&handle, limit).is_empty());
        handle.send(&new_packet(&udp(9), true), None).expect("it sends");
        let output = completed(&handle, &buffer);
        assert!(output.starts_with(&bytes));
        let all = read(&output);
        assert_eq!(all.len(), 2);
        assert_eq!(all.bytes(1), Some(&udp(9)[..]));
        assert_eq!(all.records()[1].address.interface_index(), 1);
    }
}

#[test]
fn a_simple_packet_that_grows_beyond_the_snap_length_stays_whole() {
    let frame = frame(1, &udp(1), b"");
    let simple = block(3, &[words(false, &[frame.len() as u32]), frame.clone()].concat(), false);
    let bytes = [section(false), interface(false, 1, frame.len() as u32), simple].concat();
    let (replay, buffer) = replay(&bytes);
    let handle = open(&replay, "true", 0, Flags::default());
    let mut batch = receive(&handle, 1);
    change(&mut batch, 0, |slot| slot.set_payload(b"twice as long").expect("it fits"));
    handle.send(&batch, None).expect("it sends");
    let all = read(&completed(&handle, &buffer));
    assert_eq!(all.bytes(0), batch.bytes(0));
}

#[test]
fn a_packet_of_another_ip_version_gets_a_link_header_that_fits_or_is_refused() {
    let v6 = Builder::ipv6(std::net::Ipv6Addr::LOCALHOST, std::net::Ipv6Addr::LOCALHOST).udp(1, 2).build().expect("ok");
    for (link_type, header) in [(1, [&[9; 12][..], &[8, 0]].concat()), (0, vec![2, 0, 0, 0]), (228, Vec::new())] {
        let (replay, buffer) = replay(&pcap(link_type, &[[header, udp(1)].concat()]));
        let handle = open(&replay, "true", 0, Flags::default());
        let mut batch = receive(&handle, 1);
        change(&mut batch, 0, |slot| slot.replace(&v6));
        let sent = handle.send(&batch, None).map_err(|failure| failure.error.code());
        if link_type == 228 {
            assert_eq!(sent, Err(ErrorCode::InvalidParameter));
        } else {
            assert_eq!(sent, Ok(1));
            assert_eq!(read(&completed(&handle, &buffer)).bytes(0), Some(&v6[..]), "link type {link_type}");
        }
    }
}

/// Row 54.
#[test]
fn checksums_are_computed_where_the_address_leaves_them_open_and_nowhere_else() {
    let mut wrong = udp(1);
    wrong[10] ^= 0xFF;
    wrong[26] ^= 0xFF;
    let frames = [frame(1, &wrong, b""), frame(2, &wrong, b"")];
    let (replay, buffer) = replay(&pcap(1, &frames));
    let handle = open(&replay, "true", 0, Flags::default());
    let mut batch = receive(&handle, 64);
    change(&mut batch, 1, |slot| slot.address_mut().set_udp_checksum(false));
    handle.send(&batch, None).expect("it sends");
    handle.send(&new_packet(&wrong, true), None).expect("it sends");
    assert_eq!(handle.statistics().checksums_computed, 3);
    assert_eq!(handle.statistics().modified, 1);
    let all = read(&completed(&handle, &buffer));
    assert_eq!(all.bytes(0), Some(&wrong[..]), "captured flags count as set");
    let half_right = [&wrong[..26], &udp(1)[26..]].concat();
    assert_eq!(all.bytes(1), Some(&half_right[..]));
    assert_eq!(all.bytes(2), Some(&udp(1)[..]));
}

/// Row 45.
#[test]
fn a_cut_packet_passes_edited_and_late_but_a_new_one_must_be_whole() {
    let cut = |port| frame(1, &udp(port)[..28], b"");
    let (replay, buffer) = replay(&pcap(1, &[cut(1), cut(2)]));
    let handle = open(&replay, "true", 0, Flags::default());
    let late = receive(&handle, 1);
    let mut batch = receive(&handle, 1);
    change(&mut batch, 0, |slot| {
        let (bytes, layout) = slot.edit().expect("a packet");
        packet::write(bytes, layout, fields::ipv4::TTL, 9).expect("it has a TTL");
    });
    handle.send(&batch, None).expect("an edited one goes");
    handle.send(&late, None).expect("a late one goes");
    let failure = handle.send(&new_packet(&udp(3)[..28], true), None).expect_err("a new one does not");
    assert_eq!((failure.sent, failure.error.code()), (0, ErrorCode::InsufficientBuffer));
    let output = completed(&handle, &buffer);
    let all = read(&output);
    assert_eq!((all.bytes(0), all.bytes(1), all.len()), (batch.bytes(0), late.bytes(0), 2));
    let original_len = &output[output.len() - 14 - 28 - 4..][..4];
    assert_eq!(original_len, 43_u32.to_le_bytes(), "the late one's record tells what it was before the cut");
}

/// Rows 57, 58.
#[test]
fn a_handle_refuses_what_its_flags_and_state_do_not_allow() {
    let bytes = pcap(1, &[frame(1, &udp(1), b""), frame(2, &udp(2), b"")]);
    let (first, buffer) = replay(&bytes);
    let reader = open(&first, "true", 0, Flags::RECV_ONLY);
    let batch = receive(&reader, 1);
    assert_eq!(reader.send(&batch, None).expect_err("it only receives").error.code(), ErrorCode::InvalidParameter);
    reader.shutdown(Shutdown::Both);
    assert_eq!(reader.send(&batch, None).expect_err("it is shut down").error.code(), ErrorCode::NoData);
    assert_eq!(reader.receive(&mut Batch::new(), 1, Wait::Forever).expect("it ends"), Received::Ended);
    let output = completed(&reader, &buffer);
    assert_eq!(code_of_receive(&reader), ErrorCode::InvalidHandle);
    assert_eq!(read(&output).bytes(0), Some(&udp(2)[..]), "what was received is gone, the rest passes");
    let (second, buffer) = replay(&bytes);
    let writer = open(&second, "true", 0, Flags::SEND_ONLY);
    assert_eq!(code_of_receive(&writer), ErrorCode::InvalidParameter);
    assert_eq!(completed(&writer, &buffer), bytes);
}

/// Row 13.
#[test]
fn a_dropping_handle_drops_what_matches_and_runs_to_the_end() {
    let frames = [frame(1, &udp(1), b""), frame(2, &udp(2), b"")];
    for receives in [true, false] {
        let (replay, buffer) = replay(&pcap(1, &frames));
        let handle = open(&replay, "udp.SrcPort == 1", 0, Flags::DROP);
        if receives {
            assert_eq!(handle.receive(&mut Batch::new(), 1, Wait::Forever).expect("it ends"), Received::Ended);
        }
        let all = read(&completed(&handle, &buffer));
        assert_eq!((all.len(), all.bytes(0)), (1, Some(&udp(2)[..])));
        assert_eq!(handle.statistics().dropped, 1);
    }
}

/// Row 19.
#[test]
fn of_two_handles_of_one_priority_the_later_one_comes_first() {
    let (replay, buffer) = replay(&pcap(1, &[frame(1, &udp(1), b"")]));
    let earlier = open(&replay, "true", 0, Flags::default());
    let later = open(&replay, "true", 0, Flags::default());
    let batch = receive(&later, 1);
    assert_eq!(batch.len(), 1);
    assert!(receive(&earlier, 1).is_empty());
    later.send(&batch, None).expect("it sends");
    let batch = receive(&earlier, 1);
    assert_eq!(batch.len(), 1);
    earlier.send(&batch, None).expect("it sends");
    later.close(Ending::Completed).expect("it closes");
    assert_eq!(read(&completed(&earlier, &buffer)).len(), 1);
}

/// Row 73.
#[test]
fn what_a_closed_handle_had_not_received_goes_on() {
    let bytes = pcap(1, &[frame(1, &udp(1), b""), frame(2, &udp(2), b"")]);
    let (replay, buffer) = replay(&bytes);
    let low = open(&replay, "true", -1, Flags::default());
    let high = open(&replay, "udp.SrcPort == 1", 1, Flags::default());
    assert!(receive(&low, 64).is_empty(), "the first packet waits for the other handle");
    high.close(Ending::Completed).expect("it closes");
    let batch = receive(&low, 64);
    assert_eq!(batch.bytes(0), Some(&udp(1)[..]));
    low.send(&batch, None).expect("it sends");
    assert_eq!(completed(&low, &buffer), bytes);
}

#[test]
fn a_long_read_that_matches_nothing_minds_the_time_and_other_threads() {
    let frames: Vec<Vec<u8>> = (0..20_000).map(|port| frame(1, &udp(port), b"")).collect();
    let (replay, buffer) = replay(&pcap(1, &frames));
    let handle = open(&replay, "false", 0, Flags::default());
    let now = Wait::Until(Instant::now());
    assert_eq!(handle.receive(&mut Batch::new(), 1, now).expect("it reads"), Received::TimedOut);
    let reader = Arc::clone(&handle);
    let ended = std::thread::spawn(move || reader.receive(&mut Batch::new(), 1, Wait::Forever).expect("it reads"));
    while handle.statistics().seen < 2048 {
        std::thread::sleep(Duration::from_micros(50));
    }
    handle.wake();
    assert!(matches!(ended.join().expect("no panic"), Received::Woken | Received::Ended));
    assert_eq!(completed(&handle, &buffer), pcap(1, &frames));
}

#[test]
fn a_packet_held_by_one_handle_holds_no_other_one_up_for_ever() {
    let big =
        Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]).udp(1, 2).payload(&vec![0; 60_000]).build().expect("it builds");
    let frames: Vec<Vec<u8>> = (0..60).map(|_| frame(1, &big, b"")).collect();
    let (replay, buffer) = replay(&pcap(1, &frames));
    let low = open(&replay, "false", -1, Flags::default());
    let high = open(&replay, "udp.SrcPort == 1", 1, Flags::default());
    assert_eq!(receive(&high, 1).len(), 1);
    high.shutdown(Shutdown::Receive);
    assert_eq!(low.receive(&mut Batch::new(), 1, Wait::Forever).expect("it reads"), Received::Ended);
    assert_eq!(high.statistics().dropped, 1);
    high.close(Ending::Completed).expect("it closes");
    assert_eq!(read(&completed(&low, &buffer)).len(), 59);
}

#[test]
fn a_gzip_stream_that_breaks_off_serves_what_it_held() {
    let mut seed = 1_u32;
    let frames: Vec<Vec<u8>> = (0..200)
        .map(|port| {
            let noise: Vec<u8> = std::iter::repeat_with(|| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            })
            .take(1000)
            .collect();
            let packet = Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]).udp(port, 53).payload(&noise).build();
            frame(1, &packet.expect("it builds"), b"")
        })
        .collect();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&pcap(1, &frames)).expect("it writes");
    let zipped = encoder.finish().expect("it ends");
    let (replay, buffer) = replay(&zipped[..zipped.len() / 2]);
    let handle = open(&replay, "true", 0, Flags::default());
    let mut count = 0;
    let code = loop {
        let mut batch = Batch::new();
        match handle.receive(&mut batch, 64, Wait::Poll) {
            Ok(_) => count += batch.len(),
            Err(error) => break error.code(),
        }
    };
    assert_eq!(code, ErrorCode::InvalidData);
    assert!((50..150).contains(&count), "{count} packets");
    assert_eq!(code_of_receive(&handle), ErrorCode::InvalidData, "the end stays an error");
    assert!(handle.close(Ending::Completed).is_err());
    assert!(buffer.lock().expect("nobody panicked").is_empty());
}

#[test]
fn a_capture_cut_behind_what_was_received_leaves_no_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("out.pcap");
    let mut bytes = pcap(1, &[frame(1, &udp(1), b""), frame(2, &udp(2), b"")]);
    bytes.pop();
    let source = Source::Bytes(SharedBytes::new(bytes));
    let replay = Replay::new(&source, Some(Output::Path(target)), None).expect("it is a capture");
    let handle = open(&replay, "true", 0, Flags::default());
    assert_eq!(receive(&handle, 1).len(), 1);
    let error = handle.close(Ending::Completed).expect_err("the rest is cut");
    assert_eq!(error.code(), ErrorCode::InvalidData);
    assert!(error.to_string().contains("byte 83"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("it lists").count(), 0);
}

#[cfg(unix)]
#[test]
fn an_output_that_is_a_link_stays_one_and_a_device_is_written_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = pcap(1, &[frame(1, &udp(1), b"")]);
    let file = folder.path().join("file.pcap");
    std::fs::write(&file, b"old").expect("it writes");
    for (name, target) in [("link.pcap", file.as_path()), ("null.pcap", std::path::Path::new("/dev/null"))] {
        let link = folder.path().join(name);
        std::os::unix::fs::symlink(target, &link).expect("it links");
        let source = Source::Bytes(SharedBytes::new(bytes.clone()));
        let replay = Replay::new(&source, Some(Output::Path(link.clone())), None).expect("it is a capture");
        open(&replay, "true", 0, Flags::default()).close(Ending::Completed).expect("it closes");
        assert!(link.symlink_metadata().expect("it is there").is_symlink(), "{name}");
    }
    assert_eq!(std::fs::read(&file).expect("it is there"), bytes);
    assert!(!std::fs::metadata("/dev/null").expect("it is there").is_file());
}

#[test]
fn an_event_layer_is_refused_and_a_forwarded_packet_is_outbound() {
    let (replay, _buffer) = replay(&pcap(1, &[frame(1, &inbound(1), b"")]));
    let options = |layer| {
        let filter = Arc::new(Filter::compile("true", layer).expect("it compiles"));
        OpenOptions {
            filter,
            layer,
            priority: 0,
            flags: Flags::SNIFF,
            on_overload: Overload::Drop,
            track_processes: false,
        }
    };
    for layer in [Layer::Flow, Layer::Socket, Layer::Reflect] {
        assert_eq!(replay.open(options(layer)).err().expect("no events").code(), ErrorCode::NotSupported);
    }
    let handle = replay.open(options(Layer::NetworkForward)).expect("it opens");
    let batch = receive(&handle, 1);
    assert_eq!(batch.records()[0].address.layer(), Some(Layer::NetworkForward));
    assert!(batch.records()[0].address.outbound());
}

#[test]
fn an_unknown_link_type_passes_with_one_warning() {
    let bytes = pcap(127, &[frame(1, &udp(1), b""), frame(2, &udp(2), b"")]);
    let (replay, buffer) = replay(&bytes);
    let handle = open(&replay, "true", 0, Flags::default());
    assert!(receive(&handle, 1).is_empty());
    assert_eq!(handle.take_warnings().len(), 1);
    assert_eq!(completed(&handle, &buffer), bytes);
    assert!(handle.take_warnings().is_empty());
}
