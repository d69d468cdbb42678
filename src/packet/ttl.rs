//! Lowering the TTL or hop limit by one, as WinDivert 2.2's `DecrementTTL` does. Panics never, allocates never.
//!
//! Only the version and the fixed header's length are looked at. The IPv4 checksum is updated blindly (RFC 1624), so a wrong
//! one stays wrong.
use super::checksum::IPV4_CHECKSUM_OFFSET;
use super::field::{be16, put};

const IPV4_TTL_OFFSET: usize = 8;
const IPV6_HOP_LIMIT_OFFSET: usize = 7;

/// Takes one off the TTL or hop limit. False, and nothing changed, if it is 0 or 1 or the bytes hold no IP header.
pub fn decrement_ttl(bytes: &mut [u8]) -> bool {
    let (offset, is_ipv4) = match (bytes.first().map_or(0, |byte| byte >> 4), bytes.len()) {
        (4, 20..) => (IPV4_TTL_OFFSET, true),
        (6, 40..) => (IPV6_HOP_LIMIT_OFFSET, false),
        _ => return false,
    };
    let Some(ttl @ &mut (2..)) = bytes.get_mut(offset) else { return false };
    *ttl -= 1;
    if is_ipv4 && let Some(checksum) = be16(bytes, IPV4_CHECKSUM_OFFSET) {
        let (sum, carry) = checksum.overflowing_add(0x0100);
        // 0xFFFF and 0 mean the same sum; the stored form is 0.
        let checksum = match sum + u16::from(carry) {
            0xFFFF => 0,
            checksum => checksum,
        };
        put(bytes, IPV4_CHECKSUM_OFFSET, checksum.to_be_bytes());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_checksum_moves_by_0100_with_end_around_carry_and_never_becomes_ffff() {
        for checksum in 0..=u16::MAX {
            let mut packet = [0_u8; 20];
            packet[0] = 0x45;
            packet[8] = 64;
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            assert!(decrement_ttl(&mut packet));
            let mut sum = u32::from(checksum) + 0x0100;
            if sum > 0xFFFF {
                sum -= 0xFFFF;
            }
            let expected = if sum == 0xFFFF { 0 } else { sum as u16 };
            assert_eq!(packet[10..12], expected.to_be_bytes(), "{checksum:04x}");
        }
    }
}
