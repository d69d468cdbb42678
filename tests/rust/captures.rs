//! Small captures built in memory.
use oxidivert::packet::Builder;

/// A UDP packet of 29 bytes and a port that tells it apart.
pub fn udp(port: u16) -> Vec<u8> {
    Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]).udp(port, 53).payload(b"x").build().expect("it builds")
}

/// A frame with an outbound or inbound packet, and a link header that tells it apart.
pub fn frame(mark: u8, packet: &[u8], padding: &[u8]) -> Vec<u8> {
    [&[mark; 12], &[0x08, 0][..], packet, padding].concat()
}

/// The like of it in the other direction.
pub fn inbound(port: u16) -> Vec<u8> {
    Builder::ipv4([192, 0, 2, 1], [10, 0, 0, 1]).udp(port, 53).payload(b"x").build().expect("it builds")
}

/// A pcap file of little-endian microseconds; the record at index `n` has the time `n` seconds.
pub fn pcap(link_type: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(0xA1B2_C3D4_u32.to_le_bytes());
    out.extend([2, 0, 4, 0]);
    for word in [0, 0, 65535, link_type] {
        out.extend(word.to_le_bytes());
    }
    for (index, frame) in frames.iter().enumerate() {
        for word in [index as u32, 0, frame.len() as u32, frame.len() as u32] {
            out.extend(word.to_le_bytes());
        }
        out.extend(frame);
    }
    out
}

/// A pcapng block; `big` tells the byte order.
pub fn block(kind: u32, body: &[u8], big: bool) -> Vec<u8> {
    let number = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let len = number((12 + body.len().next_multiple_of(4)) as u32);
    let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
    [&number(kind)[..], &len, body, &padding, &len].concat()
}

/// 32-bit numbers.
pub fn words(big: bool, values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| if big { value.to_be_bytes() } else { value.to_le_bytes() }).collect()
}

/// A section header.
pub fn section(big: bool) -> Vec<u8> {
    let version = if big { [0, 1, 0, 0] } else { [1, 0, 0, 0] };
    block(0x0A0D_0D0A, &[words(big, &[0x1A2B_3C4D]), version.to_vec(), vec![0xFF; 8]].concat(), big)
}

/// An interface description.
pub fn interface(big: bool, link_type: u16, snap_len: u32) -> Vec<u8> {
    let link_type = if big { link_type.to_be_bytes() } else { link_type.to_le_bytes() };
    block(1, &[&link_type[..], &[0, 0], &words(big, &[snap_len])].concat(), big)
}

/// An enhanced packet block, with its direction flags if there are any.
pub fn enhanced(big: bool, interface: u32, micros: u32, frame: &[u8], flags: Option<u32>) -> Vec<u8> {
    let mut body = words(big, &[interface, 0, micros, frame.len() as u32, frame.len() as u32]);
    body.extend(frame);
    body.resize(body.len().next_multiple_of(4), 0);
    if let Some(flags) = flags {
        body.extend(if big { [0, 2, 0, 4] } else { [2, 0, 4, 0] });
        body.extend(words(big, &[flags, 0]));
    }
    block(6, &body, big)
}
