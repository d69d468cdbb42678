//! Parsing to the offset table, and an edit that keeps checksums right.
use criterion::{Criterion, criterion_group, criterion_main};
use etherparse::{LaxSlicedPacket, TransportSlice};
use oxidivert::packet::{Builder, Layout, TcpFlags, Transport, field, read, verify_checksums, write};
use std::hint::black_box;
use std::net::Ipv6Addr;

fn packets() -> [(&'static str, Vec<u8>); 3] {
    let ends = (Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 2));
    let tcp = |builder: Builder| builder.tcp(50_000, 443).flags(TcpFlags::ACK).payload(&[7; 1000]);
    [
        ("ipv4_tcp", tcp(Builder::ipv4([192, 0, 2, 1], [198, 51, 100, 2]))),
        ("ipv4_udp", Builder::ipv4([192, 0, 2, 1], [198, 51, 100, 2]).udp(50_000, 53).payload(&[7; 100])),
        ("ipv6_tcp", tcp(Builder::ipv6(ends.0, ends.1))),
    ]
    .map(|(name, builder)| (name, builder.build().expect("a packet")))
}

fn parse(criterion: &mut Criterion) {
    for (name, packet) in packets() {
        let group_name = if name == "ipv4_tcp" { "parse".to_owned() } else { format!("parse_{name}") };
        let mut group = criterion.benchmark_group(group_name);
        let layout = Layout::parse(&packet).expect("a packet");
        let sliced = LaxSlicedPacket::from_ip(&packet).expect("a packet");
        let payload = match sliced.transport {
            Some(TransportSlice::Tcp(tcp)) => tcp.payload(),
            Some(TransportSlice::Udp(udp)) => udp.payload(),
            _ => &[],
        };
        assert_eq!(&packet[layout.payload_range()], payload);
        group.bench_function("oxidivert", |bencher| bencher.iter(|| Layout::parse(black_box(&packet))));
        group.bench_function("etherparse_lax", |bencher| {
            bencher.iter(|| LaxSlicedPacket::from_ip(black_box(&packet)));
        });
        group.finish();
    }
}

fn edit(criterion: &mut Criterion) {
    let [(_, mut packet), ..] = packets();
    let mut layout = Layout::parse(&packet).expect("a packet");
    assert!(layout.has(Transport::Tcp));
    let mut group = criterion.benchmark_group("edit");
    let mut value = 1_u8;
    group.bench_function("ttl", |bencher| {
        bencher.iter(|| {
            value = value.wrapping_add(1);
            write(black_box(&mut packet), black_box(&mut layout), field::ipv4::TTL, u32::from(value))
        });
    });
    group.bench_function("dst_port", |bencher| {
        bencher.iter(|| {
            value = value.wrapping_add(1);
            write(black_box(&mut packet), black_box(&mut layout), field::tcp::DST_PORT, u32::from(value))
        });
    });
    assert!(verify_checksums(&packet, &layout));
    assert_eq!(read(&packet, &layout, field::tcp::DST_PORT), Some(u32::from(value)));
    group.finish();
}

criterion_group!(benches, parse, edit);
criterion_main!(benches);
