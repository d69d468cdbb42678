//! Checksums and hashes of whole packets, parsing included, beside WinDivert's own C helpers.
#[path = "support/windivert_c.rs"]
#[expect(dead_code, reason = "shared with the bench that measures the filter helpers")]
mod windivert_c;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use oxidivert::packet::{Builder, Layout, TcpFlags, fill_checksums, hash, parse_strict, verify_checksums};
use std::hint::black_box;
use windivert_c::WindivertC;

/// A TCP segment of this many bytes in all.
fn packet(len: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..len - 40).map(|i| (i * 37 + 11) as u8).collect();
    let builder = Builder::ipv4([192, 0, 2, 1], [198, 51, 100, 2]).tcp(50_000, 443).flags(TcpFlags::ACK);
    builder.payload(&payload).build().expect("a packet")
}

fn checksums(criterion: &mut Criterion) {
    let windivert_c = WindivertC::load();
    for len in [1500, 64] {
        let right = packet(len);
        let layout = Layout::parse(&right).expect("a packet");
        assert!(right.len() == len && verify_checksums(&right, &layout));
        let mut group = criterion.benchmark_group(format!("checksum_{len}"));
        group.throughput(Throughput::Bytes(len as u64));
        let mut bytes = right.clone();
        bytes[10..12].fill(0xAA);
        bytes[36..38].fill(0xAA);
        assert!(fill_checksums(&mut bytes, 0).complete && bytes == right);
        group.bench_function("oxidivert", |bencher| {
            bencher.iter(|| fill_checksums(black_box(&mut bytes), black_box(0)));
        });
        if let Some(library) = &windivert_c {
            let calc_checksums = library.calc_checksums();
            bytes[10..12].fill(0xAA);
            bytes[36..38].fill(0xAA);
            assert!(calc_checksums(&mut bytes, 0) && bytes == right);
            group.bench_function("windivert_c", |bencher| {
                bencher.iter(|| calc_checksums(black_box(&mut bytes), black_box(0)));
            });
        }
        group.finish();
    }
}

/// The hash with parsing, as the helper does it: 0 for a packet that is not whole.
fn hash_packet(bytes: &[u8], seed: u64) -> u64 {
    parse_strict(bytes).map_or(0, |strict| hash(bytes, &strict.layout, seed))
}

fn hashes(criterion: &mut Criterion) {
    let packet = packet(64);
    let mut group = criterion.benchmark_group("hash");
    group.bench_function("oxidivert", |bencher| {
        bencher.iter(|| hash_packet(black_box(&packet), black_box(7)));
    });
    if let Some(library) = WindivertC::load() {
        let helper = library.hash_packet();
        assert_eq!(hash_packet(&packet, 7), helper(&packet, 7));
        group.bench_function("windivert_c", |bencher| {
            bencher.iter(|| helper(black_box(&packet), black_box(7)));
        });
    }
    group.finish();
}

criterion_group!(benches, checksums, hashes);
criterion_main!(benches);
