//! WinDivert 2.2's 64-bit packet hash: a variant of xxHash64 over eight words made of the IP and transport headers.
//!
//! It reads the first 20 (IPv4) or 40 (IPv6) bytes and the first 20 (TCP) or 8 (UDP, ICMP, ICMPv6) of the transport
//! header; options, extension headers, payload and address do not count. Never panics, never allocates.
use super::layout::{Layout, Transport};

const PRIME_1: u64 = 0x9E37_79B1_85EB_CA87;
const PRIME_2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const PRIME_3: u64 = 0x1656_67B1_9E37_79F9;
const PRIME_4: u64 = 0x85EB_CA77_C2B2_AE63;

const INPUT_KEYS: [u64; 4] =
    [0x428A_2F98_7137_4491, 0xB5C0_FBCF_E9B5_DBA5, 0x3956_C25B_59F1_11F1, 0x923F_82A4_AB1C_5ED5];
const SLOT_KEYS: [u64; 4] =
    [0xD807_AA98_1283_5B01, 0x2431_85BE_550C_7DC3, 0x72BE_5D74_80DE_B1FE, 0x9BDC_06A7_C19B_F174];

/// The words that are hashed, before the keys.
struct Words {
    input: [u64; 4],
    slots: [u64; 4],
}

/// The hash of a packet's headers. `layout` is that of `bytes`; with bytes that it does not fit, the answer is 0.
///
/// A truncated packet has a hash too, though WinDivert's own helper function answers 0 for it.
#[inline]
pub fn hash(bytes: &[u8], layout: &Layout, seed: u64) -> u64 {
    words(bytes, layout, seed).map_or(0, |words| mix(&words))
}

#[inline(always)]
fn words(bytes: &[u8], layout: &Layout, seed: u64) -> Option<Words> {
    let transport = bytes.get(layout.transport_offset()..)?;
    if layout.is_ipv6() {
        let header = bytes.first_chunk::<40>()?;
        let mut input = [seed, le64(header, 0)?, le64(header, 8)?, le64(header, 16)?];
        let (s0, s1) = (le64(header, 24)?, le64(header, 32)?);
        let slots = match layout.transport() {
            None => [s0, s1, seed, seed],
            Some(Transport::Tcp) => {
                let header = transport.first_chunk::<20>()?;
                // No slot is left for the last four bytes.
                input[1] ^= le32(header, 16)? << 32;
                [s0, s1, le64(header, 0)?, le64(header, 8)?]
            }
            Some(_) => [s0, s1, le64(transport, 0)?, seed],
        };
        return Some(Words { input, slots });
    }
    let header = bytes.first_chunk::<20>()?;
    let input = [seed, le64(header, 0)?, le64(header, 8)?, le32(header, 16)?];
    let slots = match layout.transport() {
        None => [seed; 4],
        Some(Transport::Tcp) => {
            let header = transport.first_chunk::<20>()?;
            [le64(header, 0)?, le64(header, 8)?, le32(header, 16)?, seed]
        }
        Some(_) => [le64(transport, 0)?, seed, seed, seed],
    };
    Some(Words { input, slots })
}

#[inline(always)]
fn le64(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[inline(always)]
fn le32(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?)))
}

#[inline(always)]
const fn round(accumulator: u64, input: u64) -> u64 {
    accumulator.wrapping_add(input.wrapping_mul(PRIME_2)).rotate_left(31).wrapping_mul(PRIME_1)
}

#[inline(always)]
fn mix(words: &Words) -> u64 {
    let Words { input: [b0, b1, b2, b3], slots: [s0, s1, s2, s3] } = *words;
    let v0 = round(s0 ^ SLOT_KEYS[0], b0 ^ INPUT_KEYS[0]);
    let v1 = round(s1 ^ SLOT_KEYS[1], b1 ^ INPUT_KEYS[1]);
    let v2 = round(s2 ^ SLOT_KEYS[2], b2 ^ INPUT_KEYS[2]);
    let v3 = round(s3 ^ SLOT_KEYS[3], b3 ^ INPUT_KEYS[3]);
    let mut hash = v0
        .rotate_left(1)
        .wrapping_add(v1.rotate_left(7))
        .wrapping_add(v2.rotate_left(12))
        .wrapping_add(v3.rotate_left(18));
    // The rounds do not depend on each other, so that they are done while the chain below waits for its products.
    let rounds = [round(0, v0), round(0, v1), round(0, v2), round(0, v3)];
    for value in rounds {
        hash = (hash ^ value).wrapping_mul(PRIME_1).wrapping_add(PRIME_4);
    }
    hash = hash.wrapping_add(32);
    hash = (hash ^ hash >> 33).wrapping_mul(PRIME_2);
    hash = (hash ^ hash >> 29).wrapping_mul(PRIME_3);
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: &[u8] = b"\x45\0\0\x28\x12\x34\0\0\x40\x06\x7c\x65\xc0\0\x02\x01\xc6\x33\x64\x02\
                         \xc3\x7e\0\x50\x01\x02\x03\x04\x05\x06\x07\x08\x50\x02\x20\0\xcf\xc8\0\0";

    #[test]
    fn known_packets_have_their_hash() {
        let layout = Layout::parse(SYN).unwrap();
        assert_eq!(hash(SYN, &layout, 0), 0x4F5B_C4B6_2819_EC30);
        assert_eq!(hash(SYN, &layout, u64::MAX), 0x5A62_E3B3_6AC1_FC40);
    }

    #[test]
    fn bytes_that_the_layout_does_not_fit_give_zero() {
        let layout = Layout::parse(SYN).unwrap();
        assert_eq!(hash(SYN.split_at(39).0, &layout, 0), 0);
        assert_eq!(hash(&[], &layout, 0), 0);
    }
}
