//! The header fields by name, as constants for [`read`](super::read) and [`write`](super::write), and inside the crate
//! reads and writes of big-endian integers at an offset. None panics; what does not fit is `None`.
pub use super::header::fields::{ALL, icmp, icmpv6, ipv4, ipv6, tcp, udp};

/// `N` bytes at `offset`.
#[inline(always)]
pub(crate) fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk::<N>().copied()
}

/// One byte.
#[inline(always)]
pub(crate) fn u8_at(bytes: &[u8], offset: usize) -> Option<u8> {
    bytes.get(offset).copied()
}

/// A big-endian 16-bit integer.
#[inline(always)]
pub(crate) fn be16(bytes: &[u8], offset: usize) -> Option<u16> {
    array(bytes, offset).map(u16::from_be_bytes)
}

/// A big-endian 32-bit integer.
#[inline(always)]
pub(crate) fn be32(bytes: &[u8], offset: usize) -> Option<u32> {
    array(bytes, offset).map(u32::from_be_bytes)
}

/// Writes bytes at `offset`; false, and nothing written, where they do not fit.
#[inline(always)]
pub(crate) fn put<const N: usize>(bytes: &mut [u8], offset: usize, value: [u8; N]) -> bool {
    match bytes.get_mut(offset..).and_then(|rest| rest.first_chunk_mut::<N>()) {
        Some(place) => {
            *place = value;
            true
        }
        None => false,
    }
}
