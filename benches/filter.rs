//! Filters: evaluation of a parsed packet and of a batch beside libpcap's interpreter and WinDivert's own C helper, which
//! compiles at each call; compilation beside the latter; a large set beside a single address.
#[path = "support/libpcap.rs"]
mod libpcap;
#[path = "support/windivert_c.rs"]
#[expect(dead_code, reason = "shared with benches that measure the other helpers")]
mod windivert_c;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use oxidivert::address::{Address, Layer};
use oxidivert::batch::{Batch, Origin, PacketRef};
use oxidivert::filter::{Filter, Sets};
use oxidivert::packet::{Builder, Layout, TcpFlags};
use std::ffi::{CStr, CString};
use std::hint::black_box;
use std::net::Ipv4Addr;
use windivert_c::WindivertC;

const FILTER: &str = "outbound and tcp.PayloadLength > 0 and (tcp.DstPort == 80 or tcp.DstPort == 443) \
                      and ip.DstAddr != 10.1.2.3";
/// The same for libpcap, which knows no direction and no payload length.
const EXPRESSION: &CStr = c"tcp and ip[2:2] - ((ip[0] & 15) << 2) - ((tcp[12] >> 4) << 2) > 0 \
                            and (dst port 80 or dst port 443) and not dst host 10.1.2.3";
const BATCH_LEN: usize = 256;
const SET_LEN: usize = 10_000;

fn segment(dst: [u8; 4], dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let builder = Builder::ipv4([192, 0, 2, 1], dst).tcp(50_000, dst_port).flags(TcpFlags::ACK);
    builder.payload(payload).build().expect("a packet")
}

fn compiled() -> Filter {
    Filter::compile(FILTER, Layer::Network).expect("a filter")
}

fn evaluation(criterion: &mut Criterion) {
    let bytes = segment([198, 51, 100, 2], 443, b"hello");
    let layout = Layout::parse(&bytes).expect("a packet");
    let address = Address::default();
    let packet = PacketRef { bytes: &bytes, layout: &layout, address: &address };
    let mut group = criterion.benchmark_group("filter_eval");
    let filter = compiled();
    assert!(filter.matches(packet));
    group.bench_function("oxidivert", |bencher| bencher.iter(|| black_box(&filter).matches(*black_box(&packet))));
    if let Some(program) = libpcap::Program::compile(EXPRESSION) {
        assert!(program.matches(&bytes) && program.len > 10);
        group.bench_function("libpcap", |bencher| bencher.iter(|| black_box(&program).matches(black_box(&bytes))));
    }
    if let Some(library) = WindivertC::load() {
        let eval_filter = library.eval_filter();
        let text = CString::new(FILTER).expect("no NUL");
        assert!(eval_filter(&text, &bytes, address.as_bytes()));
        group.bench_function("windivert_c", |bencher| {
            bencher.iter(|| eval_filter(black_box(&text), black_box(&bytes), address.as_bytes()));
        });
    }
    group.finish();
}

/// Web traffic with some DNS and acknowledgments in it, in an order without a pattern. Few match.
fn traffic() -> Batch {
    let mut batch = Batch::new();
    let mut state = 12345_u32;
    for _ in 0..BATCH_LEN {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let bytes = match state >> 28 {
            0..=9 => segment([198, 51, 100, 2], 443, b"hello"),
            10 => segment([10, 1, 2, 3], 443, b"hello"),
            11 | 12 => segment([198, 51, 100, 2], 80, b""),
            13 => segment([198, 51, 100, 2], 22, b"hello"),
            _ => {
                Builder::ipv4([192, 0, 2, 1], [198, 51, 100, 2]).udp(5353, 53).payload(b"?").build().expect("a packet")
            }
        };
        batch.push_parsed(&bytes, &Address::default(), 0, Origin::Injected(None)).expect("a packet");
    }
    batch
}

fn batches(criterion: &mut Criterion) {
    let batch = traffic();
    let filter = compiled();
    let mut group = criterion.benchmark_group("filter_batch");
    group.throughput(Throughput::Elements(BATCH_LEN as u64));
    let mut mask = Vec::new();
    filter.matches_batch(&batch, &mut mask);
    let expected: Vec<bool> = batch.iter().map(|packet| filter.matches(packet)).collect();
    assert!(mask == expected && mask.contains(&true) && mask.contains(&false));
    group.bench_function("oxidivert", |bencher| {
        bencher.iter(|| black_box(&filter).matches_batch(black_box(&batch), black_box(&mut mask)));
    });
    if let Some(program) = libpcap::Program::compile(EXPRESSION) {
        let run = |mask: &mut Vec<bool>| {
            mask.clear();
            mask.extend(batch.iter().map(|packet| program.matches(packet.bytes)));
        };
        run(&mut mask);
        assert_eq!(mask, expected);
        group.bench_function("libpcap", |bencher| bencher.iter(|| run(black_box(&mut mask))));
    }
    group.finish();
}

/// 10,000 prefixes of 24 bits, as a blocklist has them.
fn prefixes() -> Sets {
    let mut sets = Sets::new();
    let mut state = 1_u32;
    let prefix = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("{}/24", Ipv4Addr::from(state & !0xFF))
    };
    sets.insert("blocked", (0..SET_LEN).map(prefix)).expect("prefixes");
    sets
}

/// A large set of prefixes beside the test of a single address, on packets from everywhere, every other one from within.
fn sets(criterion: &mut Criterion) {
    let mut batch = Batch::new();
    let mut state = 1_u32;
    for index in 0..BATCH_LEN {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let source = if index % 2 == 0 { (state & !0xFF) | 7 } else { state.rotate_left(13) };
        let packet = Builder::ipv4(source.to_be_bytes(), [198, 51, 100, 2]).udp(5353, 53).payload(b"?").build();
        batch
            .push_parsed(&packet.expect("a packet"), &Address::default(), 0, Origin::Injected(None))
            .expect("a packet");
    }
    let mut group = criterion.benchmark_group("filter_set");
    group.throughput(Throughput::Elements(BATCH_LEN as u64));
    let address = Filter::compile("ip.SrcAddr == 192.0.2.1", Layer::Network).expect("a filter");
    let set = Filter::compile_extended("ip.SrcAddr in $blocked", Layer::Network, &prefixes()).expect("a filter");
    let matched = batch.iter().filter(|packet| set.matches(*packet)).count();
    assert!((BATCH_LEN / 2..BATCH_LEN).contains(&matched), "{matched}");
    for (name, filter) in [("address", &address), ("prefixes_10000", &set)] {
        let mut mask = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(filter).matches_batch(black_box(&batch), black_box(&mut mask)));
        });
    }
    group.finish();
}

fn compilation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("filter_compile");
    assert_eq!(compiled().object(), "@WinDiv_Wb_YXWWLXX_1qaWWLYX_1dWW2mLaLZ_1dWWDxLaX_sXW5020GZAX");
    group.bench_function("oxidivert", |bencher| bencher.iter(|| Filter::compile(black_box(FILTER), Layer::Network)));
    if let Some(library) = WindivertC::load() {
        let compile_filter = library.compile_filter();
        let text = CString::new(FILTER).expect("no NUL");
        assert!(compile_filter(&text));
        group.bench_function("windivert_c", |bencher| bencher.iter(|| compile_filter(black_box(&text))));
    }
    group.finish();
}

criterion_group!(benches, evaluation, batches, sets, compilation);
criterion_main!(benches);
