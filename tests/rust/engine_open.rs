//! Opening handles on the engine, by the driver's call: which arguments are refused, and in which order.
use crate::engine_support::*;
use oxidivert::address::{Address, Flags, Layer};
use oxidivert::engine::{Availability, Engine, ErrorCode, RawHandle, Settings};

const INVALID: Result<(), ErrorCode> = Err(ErrorCode::InvalidParameter);

fn open_raw(engine: &Engine, filter: &str, layer: u32, priority: i64, flags: u64) -> Result<(), ErrorCode> {
    RawHandle::open(engine, filter, layer, priority, flags).map(drop).map_err(|error| error.code())
}

fn engine_that_is(availability: Availability) -> Engine {
    Engine::new(Settings { availability, ..Settings::default() })
}

/// Row 1.
#[test]
fn a_layer_that_does_not_exist_is_refused() {
    let engine = Engine::default();
    assert_eq!(open_raw(&engine, "true", 5, 0, 0), INVALID);
    assert_eq!(open_raw(&engine, "true", u32::MAX, 0, 0), INVALID);
    assert_eq!(open_raw(&engine, "true", 1, 0, 0), Ok(()));
}

/// Row 2.
#[test]
fn a_flag_that_does_not_exist_is_refused() {
    let engine = Engine::default();
    for flags in [0x40, 0x41, 1 << 63] {
        assert_eq!(open_raw(&engine, "true", 0, 0, flags), INVALID, "{flags:#x}");
    }
    assert_eq!(open_raw(&engine, "true", 0, 0, 0x20 | 0x10 | 0x04 | 0x01), Ok(()));
}

/// Row 3.
#[test]
fn flags_that_exclude_each_other_are_refused_with_any_others() {
    let engine = Engine::default();
    for flags in [0x03, 0x03 | 0x04, 0x03 | 0x30, 0x0C, 0x0C | 0x01, 0x0F] {
        assert_eq!(open_raw(&engine, "true", 0, 0, flags), INVALID, "{flags:#x}");
    }
}

/// Row 4.
#[test]
fn priorities_reach_from_minus_30000_to_30000() {
    let engine = Engine::default();
    for (priority, expected) in [(30_000, Ok(())), (-30_000, Ok(())), (30_001, INVALID), (-30_001, INVALID)] {
        assert_eq!(open_raw(&engine, "true", 0, priority, 0), expected, "{priority}");
    }
}

/// Row 5.
#[test]
fn event_layers_need_their_flags() {
    let engine = Engine::default();
    for (layer, flags, expected) in [
        (2, 0x01, INVALID),
        (2, 0x04, INVALID),
        (2, 0x05, Ok(())),
        (3, 0x00, INVALID),
        (3, 0x01, INVALID),
        (3, 0x04, Ok(())),
        (3, 0x05, Ok(())),
        (3, 0x06, Ok(())),
        (4, 0x04, INVALID),
        (4, 0x05, Ok(())),
    ] {
        assert_eq!(open_raw(&engine, "true", layer, 0, flags), expected, "layer {layer}, flags {flags:#x}");
    }
}

/// Row 6.
#[test]
fn a_filter_that_does_not_compile_for_the_layer_is_refused() {
    let engine = Engine::default();
    assert_eq!(open_raw(&engine, "tcp.DstPort ==", 0, 0, 0), INVALID);
    assert_eq!(open_raw(&engine, "processId == 1", 0, 0, 0), INVALID);
    assert_eq!(open_raw(&engine, "outbound", 1, 0, 0), INVALID);
    assert_eq!(open_raw(&engine, "outbound", 0, 0, 0), Ok(()));
    let for_another_layer = options("true", Layer::Flow, 0, DIVERT);
    let mixed = oxidivert::engine::OpenOptions { layer: Layer::Network, ..for_another_layer };
    assert_eq!(code_of_open(&engine, mixed), ErrorCode::InvalidParameter);
}

/// Row 7.
#[test]
fn wrong_arguments_are_told_before_missing_rights_and_missing_layer_flags_after() {
    let engine = engine_that_is(Availability::Forbidden);
    assert_eq!(open_raw(&engine, "true", 0, 0, 0x40), INVALID);
    assert_eq!(open_raw(&engine, "true", 0, 30_001, 0), INVALID);
    assert_eq!(open_raw(&engine, "nonsense", 0, 0, 0), INVALID);
    assert_eq!(open_raw(&engine, "true", 2, 30_001, 0), INVALID);
    assert_eq!(open_raw(&engine, "true", 2, 0, 0), Err(ErrorCode::AccessDenied));
    assert_eq!(open_raw(&engine, "true", 0, 0, 0), Err(ErrorCode::AccessDenied));
}

/// Row 8.
#[test]
fn an_engine_that_does_not_run_is_started_unless_the_flag_forbids_it() {
    let engine = engine_that_is(Availability::NotInstalled);
    let not_running = Err(ErrorCode::ServiceDoesNotExist);
    assert_eq!(open_raw(&engine, "true", 0, 0, 0x10), not_running);
    assert_eq!(open_raw(&engine, "nonsense", 0, 0, 0x10), INVALID);
    assert_eq!(open_raw(&engine, "true", 0, 0, 0), Ok(()));
    assert_eq!(open_raw(&engine, "true", 0, 0, 0x10), Ok(()));
}

/// Row 9.
#[test]
fn a_filter_has_at_most_255_tests() {
    let engine = Engine::default();
    let filter = |tests: usize| vec!["tcp.SrcPort == 80"; tests].join(" and ");
    assert_eq!(open_raw(&engine, &filter(255), 0, 0, 0), Ok(()));
    assert_eq!(open_raw(&engine, &filter(256), 0, 0, 0), INVALID);
}

/// Row 10.
#[test]
fn a_filter_that_never_matches_captures_nothing_and_sends() {
    let engine = Engine::default();
    let injector = open(&engine, "false", 10, DIVERT);
    let low = open(&engine, "udp.SrcPort == 9", 0, DIVERT);
    feed(&engine, 1);
    assert_eq!(delivered_ports(&engine), [1]);
    assert!(receive(&injector).is_empty());
    send_new(&injector, 9);
    assert_eq!(received_ports(&low), [9]);
}

#[test]
fn engines_know_nothing_of_each_other_and_clones_are_one() {
    let (one, other) = (Engine::default(), Engine::default());
    let handle = open(&one, "true", 0, DIVERT);
    feed(&other, 1);
    feed(&one.clone(), 2);
    assert_eq!(delivered_ports(&other), [1]);
    assert_eq!(received_ports(&handle), [2]);
}

#[test]
fn the_last_clone_of_a_handle_closes_it() {
    let engine = Engine::default();
    let handle = open(&engine, "true", 0, DIVERT);
    let clone = handle.clone();
    feed(&engine, 1);
    drop(handle);
    feed(&engine, 2);
    assert!(engine.take_delivered().is_empty());
    drop(clone);
    assert_eq!(delivered_ports(&engine), [1, 2]);
}

#[test]
fn a_handle_tells_what_it_was_opened_with() {
    let engine = Engine::default();
    let handle = open(&engine, "true", -7, Flags::SNIFF);
    assert_eq!((handle.layer(), handle.priority(), handle.flags()), (Layer::Network, -7, Flags::SNIFF));
    let raw = RawHandle::open(&engine, "true", 1, 3, 2).expect("it opens");
    assert_eq!((raw.handle().layer(), raw.handle().priority()), (Layer::NetworkForward, 3));
    assert_eq!(Address::default().interface_index(), 0);
}
