//! The Internet checksum (RFC 1071) of whole packets: filled in, and verified.
//!
//! Nothing panics or allocates, and no length field is trusted. What is covered, the order of operations and the answers
//! are those of WinDivert 2.2's `CalcChecksums`; where that reads behind the buffer, missing bytes count as zero.
use super::field::{array, put, u8_at};
use super::layout::{IpVersion, Layout, Transport};
use super::parse::FRAGMENT_BITS;

/// From this length on, wide vectors pay for their set-up.
const VECTOR_THRESHOLD: usize = 128;

/// Longest slice summed at once, so that no accumulator can overflow.
const BLOCK_LEN: usize = 1 << 16;

/// Checksums to leave alone, as bits: WinDivert's `WINDIVERT_HELPER_NO_*_CHECKSUM`. Other bits have no meaning.
pub mod skip {
    /// The IPv4 header's.
    pub const IP: u64 = 1;
    /// ICMP's.
    pub const ICMP: u64 = 2;
    /// ICMPv6's.
    pub const ICMPV6: u64 = 4;
    /// TCP's.
    pub const TCP: u64 = 8;
    /// UDP's.
    pub const UDP: u64 = 16;
}

/// A ones' complement sum in the making. Bytes are added in pieces, of which only the last may have an odd length.
///
/// The sum is kept in the machine's byte order, which a ones' complement sum permits (RFC 1071 §2), and as an integer
/// that is congruent modulo 65535 and zero only if everything added was zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds a 16-bit number.
    #[inline]
    #[must_use]
    pub const fn add_u16(self, value: u16) -> Self {
        self.add(value.to_be() as u64)
    }

    /// Adds a 32-bit number.
    #[inline]
    #[must_use]
    pub const fn add_u32(self, value: u32) -> Self {
        self.add(value.to_be() as u64)
    }

    /// Adds bytes; an odd last one is the high half of its word.
    #[inline(always)]
    #[must_use]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        if bytes.len() < VECTOR_THRESHOLD { self.add(sum_short(bytes)) } else { self.add_long(bytes) }
    }

    #[inline(never)]
    fn add_long(self, bytes: &[u8]) -> Self {
        bytes.chunks(BLOCK_LEN).fold(self, |sum, block| sum.add(sum_block(block)))
    }

    #[inline(always)]
    fn add_native<const N: usize>(self, words: [u8; N]) -> Self {
        self.add(sum_short(&words))
    }

    /// Adds a block of whole words whose length is known.
    #[inline(always)]
    fn add_words<const N: usize>(self, block: &[u8; N]) -> Self {
        block.as_chunks::<8>().0.iter().fold(self, |sum, word| sum.add(u64::from_ne_bytes(*word)))
    }

    /// Adds with the carry fed back, so that nothing is ever lost.
    #[inline(always)]
    const fn add(self, words: u64) -> Self {
        let (sum, carry) = self.0.overflowing_add(words);
        Self(sum + carry as u64)
    }

    /// The sum, 16 bits wide. Zero only if everything added was zero.
    #[inline(always)]
    pub const fn fold(self) -> u16 {
        // The halves added with the carry fed back, in the upper half of a sum with itself turned around.
        let sum = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        let sum = (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16;
        u16::from_be(sum)
    }

    /// The checksum: the sum's complement.
    #[inline]
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// A block of at most [`BLOCK_LEN`] bytes by the widest path that this machine has.
#[inline]
fn sum_block(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if let Some((sum, rest)) = super::checksum_simd::sum_vectors(bytes) {
        return Sum(sum).add(sum_short(rest)).0;
    }
    sum_portable(bytes)
}

/// Plain sums of 32-bit words in independent lanes, which compilers turn into whatever vectors the target has.
fn sum_portable(bytes: &[u8]) -> u64 {
    let mut lanes = [0_u64; 8];
    let (blocks, rest) = bytes.as_chunks::<32>();
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<4>().0) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    Sum(lanes.iter().sum()).add(sum_short(rest)).0
}

/// 64 bits at a time with the carry fed back: the shortest code for short slices.
#[inline(always)]
fn sum_short(bytes: &[u8]) -> u64 {
    let mut sum = Sum::new();
    let (mut blocks, mut rest) = bytes.as_chunks::<64>();
    while let [block, others @ ..] = blocks {
        sum = sum.add_words(block);
        blocks = others;
    }
    // Halving what is left takes fewer branches than a loop over it.
    if let Some((block, others)) = rest.split_first_chunk::<32>() {
        sum = sum.add_words(block);
        rest = others;
    }
    if let Some((block, others)) = rest.split_first_chunk::<16>() {
        sum = sum.add_words(block);
        rest = others;
    }
    if let Some((block, others)) = rest.split_first_chunk::<8>() {
        sum = sum.add_words(block);
        rest = others;
    }
    if !rest.is_empty() {
        sum = sum.add(tail(bytes, rest));
    }
    sum.0
}

/// The last, incomplete word of `bytes`, zeros behind it. `rest` has 1 to 7 bytes.
#[inline(always)]
fn tail(bytes: &[u8], rest: &[u8]) -> u64 {
    if let Some(last) = bytes.last_chunk::<8>() {
        // One load that overlaps the word before, whose bytes are shifted out.
        return (u64::from_le_bytes(*last) >> (64 - 8 * rest.len())).to_le();
    }
    let mut word = 0_u64;
    let mut shift = 0;
    if let Some(half) = rest.first_chunk::<4>() {
        word = u64::from(u32::from_le_bytes(*half));
        shift = 32;
    }
    let rest = rest.get(rest.len() & 4..).unwrap_or_default();
    if let Some(quarter) = rest.first_chunk::<2>() {
        word |= u64::from(u16::from_le_bytes(*quarter)) << shift;
        shift += 16;
    }
    if rest.len() & 1 != 0 {
        word |= u64::from(rest.last().copied().unwrap_or(0)) << shift;
    }
    word.to_le()
}

/// What [`fill_checksums`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// WinDivert's answer: false for bytes that are no packet, and if a checksum was wanted but cannot be computed,
    /// since the packet is truncated or a first fragment.
    pub complete: bool,
    /// The IPv4 header's checksum was filled in.
    pub ip: bool,
    /// TCP's checksum was filled in.
    pub tcp: bool,
    /// UDP's checksum was filled in.
    pub udp: bool,
}

/// Computes the checksums of the packet that `bytes` begins with, but for those in `skip` (see [`mod@skip`]).
pub fn fill_checksums(bytes: &mut [u8], skip: u64) -> Filled {
    // The same code twice: knowing this much beforehand, the compiler makes a straight line of the first copy.
    if skip == 0 && is_short_and_plain(bytes) { fill_parsed(bytes, skip) } else { fill_any(bytes, skip) }
}

#[inline(never)]
fn fill_any(bytes: &mut [u8], skip: u64) -> Filled {
    fill_parsed(bytes, skip)
}

#[inline(always)]
fn fill_parsed(bytes: &mut [u8], skip: u64) -> Filled {
    // By reference: moving the table out of the result would pack and unpack it.
    match &Layout::parse(bytes) {
        Ok(layout) => fill(bytes, layout, skip),
        Err(_) => Filled::default(),
    }
}

/// Whether this is IPv4 without options, whole, no fragment, and not worth a vector.
#[inline(always)]
fn is_short_and_plain(bytes: &[u8]) -> bool {
    bytes.len() < VECTOR_THRESHOLD
        && bytes.first_chunk::<20>().is_some_and(|header| {
            header[0] == 0x45
                && usize::from(u16::from_be_bytes([header[2], header[3]])) == bytes.len()
                && u16::from_be_bytes([header[6], header[7]]) & FRAGMENT_BITS == 0
        })
}

/// [`fill_checksums`] for a packet that is parsed already.
pub fn fill_checksums_with(bytes: &mut [u8], layout: &Layout, skip: u64) -> Filled {
    fill(bytes, layout, skip)
}

#[inline(always)]
fn fill(bytes: &mut [u8], layout: &Layout, skip: u64) -> Filled {
    let mut filled = Filled::default();
    if !layout.is_ipv6() && skip & skip::IP == 0 {
        let Some(sum) = ipv4_header_sum(bytes, layout) else { return filled };
        put(bytes, IPV4_CHECKSUM_OFFSET, sum.checksum().to_be_bytes());
        filled.ip = true;
    }
    let Some(transport) = layout.transport() else { return Filled { complete: true, ..filled } };
    if skip != 0 && is_skipped(transport, skip) {
        return Filled { complete: true, ..filled };
    }
    if layout.is_partial() {
        return filled;
    }
    // With the transport as a constant each copy is short and straight.
    match transport {
        Transport::Tcp if fill_transport(bytes, layout, Transport::Tcp) => {
            Filled { complete: true, tcp: true, ..filled }
        }
        Transport::Udp if fill_transport(bytes, layout, Transport::Udp) => {
            Filled { complete: true, udp: true, ..filled }
        }
        Transport::Icmp if fill_transport(bytes, layout, Transport::Icmp) => Filled { complete: true, ..filled },
        Transport::Icmpv6 if fill_transport(bytes, layout, Transport::Icmpv6) => Filled { complete: true, ..filled },
        _ => filled,
    }
}

/// Whether `skip` excludes this transport checksum. Out of line, to keep its branches out of the common path.
#[inline(never)]
const fn is_skipped(transport: Transport, skip: u64) -> bool {
    let excluded = match transport {
        Transport::Icmp => skip::ICMP,
        Transport::Icmpv6 => skip::ICMPV6,
        Transport::Tcp => skip::TCP,
        Transport::Udp => skip::UDP,
    };
    skip & excluded != 0
}

#[inline(always)]
fn fill_transport(bytes: &mut [u8], layout: &Layout, transport: Transport) -> bool {
    let Some(checksum) = transport_checksum(bytes, layout, transport) else { return false };
    put(bytes, layout.transport_offset() + transport.checksum_offset(), checksum.to_be_bytes())
}

/// Whether the checksums are right, going by the bytes alone.
///
/// A checksum is right if a receiver takes it for right: the sum over everything covered, the checksum included, is all
/// ones. No checksum (0) is right for UDP over IPv4 only. Where the bytes that a transport checksum covers are not all
/// there (fragments, truncated packets), only the IPv4 header counts.
pub fn verify_checksums(bytes: &[u8], layout: &Layout) -> bool {
    if !layout.is_ipv6() {
        let header = bytes.get(..layout.transport_offset());
        if header.is_none_or(|header| Sum::new().add_bytes(header).fold() != 0xFFFF) {
            return false;
        }
    }
    match layout.transport() {
        Some(transport) if !layout.is_partial() => verify_transport(bytes, layout, transport),
        _ => true,
    }
}

/// Whether the transport checksum of a whole packet is right.
pub(super) fn verify_transport(bytes: &[u8], layout: &Layout, transport: Transport) -> bool {
    let Some((segment, len)) = covered(bytes, layout, transport) else { return false };
    if transport == Transport::Udp && array(segment, transport.checksum_offset()) == Some([0, 0]) {
        return !layout.is_ipv6();
    }
    pseudo_header(bytes, layout, transport, len).is_some_and(|sum| sum.add_bytes(segment).fold() == 0xFFFF)
}

/// The checksum that the transport header of a whole packet should have.
#[inline(always)]
fn transport_checksum(bytes: &[u8], layout: &Layout, transport: Transport) -> Option<u16> {
    let (segment, len) = covered(bytes, layout, transport)?;
    let sum = pseudo_header(bytes, layout, transport, len)?;
    // The checksum itself counts as zero: it is left out rather than zeroed first, which would stall the wide loads.
    let (sum, rest_offset) = match transport {
        Transport::Tcp => (sum.add_native(array::<16>(segment, 0)?), 18),
        Transport::Udp => (sum.add_native(array::<6>(segment, 0)?), 8),
        Transport::Icmp | Transport::Icmpv6 => (sum.add_native(array::<2>(segment, 0)?), 4),
    };
    let sum = sum.add_bytes(segment.get(rest_offset..)?);
    Some(match (transport, sum.checksum()) {
        (Transport::Udp, 0) => 0xFFFF,
        (_, checksum) => checksum,
    })
}

pub(super) const IPV4_CHECKSUM_OFFSET: usize = 10;

/// The sum of an IPv4 header with its options, the checksum left out.
#[inline(always)]
fn ipv4_header_sum(bytes: &[u8], layout: &Layout) -> Option<Sum> {
    let fixed = bytes.first_chunk::<20>()?;
    let sum = Sum::new().add_native(array::<10>(fixed, 0)?).add_native(array::<8>(fixed, 12)?);
    match layout.transport_offset() {
        20 => Some(sum),
        header_len => Some(sum.add(sum_short(bytes.get(20..header_len)?))),
    }
}

/// The bytes that the transport checksum covers, as far as they are there, and how many it covers.
///
/// A TCP data offset that points behind the packet's end makes the checksum cover the bytes up to there.
#[inline(always)]
fn covered<'a>(bytes: &'a [u8], layout: &Layout, transport: Transport) -> Option<(&'a [u8], usize)> {
    let offset = layout.transport_offset();
    let mut len = layout.end_offset().checked_sub(offset)?;
    if transport == Transport::Tcp {
        len = len.max(usize::from(u8_at(bytes, offset + 12)? >> 4) * 4);
    }
    Some((bytes.get(offset..(offset + len).min(bytes.len()))?, len))
}

/// The sum of the pseudo-header (RFC 9293 §3.1, RFC 768, RFC 8200 §8.1), whose addresses are the IP header's as they stand
/// and whose length follows from the IP length. ICMP has none.
#[inline(always)]
fn pseudo_header(bytes: &[u8], layout: &Layout, transport: Transport, len: usize) -> Option<Sum> {
    if transport == Transport::Icmp {
        return Some(Sum::new());
    }
    let addresses = match layout.version() {
        IpVersion::V4 => Sum::new().add_native(array::<8>(bytes, 12)?),
        IpVersion::V6 => Sum::new().add_native(array::<32>(bytes, 8)?),
    };
    // Length and protocol are words of their own, which as numbers add up just as well.
    Some(addresses.add_u32(len as u32 + u32::from(transport.protocol())))
}

/// What an unfinished checksum holds: the folded pseudo-header sum, to be finished by the network card.
#[inline]
pub(super) fn unfinished_checksum(bytes: &[u8], layout: &Layout, transport: Transport) -> Option<u16> {
    let (_, len) = covered(bytes, layout, transport)?;
    pseudo_header(bytes, layout, transport, len).map(Sum::fold)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]
mod tests {
    use super::*;

    /// RFC 1071 §4.1, a pair of bytes at a time.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        sum as u16
    }

    /// Every path, by name.
    fn paths(bytes: &[u8]) -> Vec<(&'static str, u16)> {
        let mut sums = vec![
            ("chosen", Sum::new().add_bytes(bytes)),
            ("short", Sum(sum_short(bytes))),
            ("portable", Sum(sum_portable(bytes))),
        ];
        #[cfg(target_arch = "x86_64")]
        if let Some((sum, rest)) = super::super::checksum_simd::sum_vectors(bytes) {
            sums.push(("avx2", Sum(sum).add(sum_short(rest))));
        }
        sums.into_iter().map(|(name, sum)| (name, sum.fold())).collect()
    }

    #[test]
    fn every_path_equals_the_byte_pair_reference_at_all_lengths_and_alignments() {
        let patterns: [fn(usize) -> u8; 4] =
            [|_| 0, |_| 0xFF, |i| (i * 167 + 13) as u8, |i| if i % 3 == 0 { 0xFF } else { 0x80 }];
        for pattern in patterns {
            let bytes: Vec<u8> = (0..1700).map(pattern).collect();
            for len in (0..=530).chain([1459, 1460, 1480, 1500, 1601]) {
                for alignment in 0..=8 {
                    let slice = &bytes[alignment..alignment + len];
                    for (name, sum) in paths(slice) {
                        assert_eq!(sum, reference(slice), "{name}, {len} bytes at {alignment}");
                    }
                }
            }
        }
    }

    #[test]
    fn pieces_sum_to_the_whole() {
        let bytes: Vec<u8> = (0..200_001_u32).map(|i| ((i * 31) >> 3) as u8).collect();
        for cut in [0, 2, 126, 128, 130, 65_536, 131_074] {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(Sum::new().add_bytes(head).add_bytes(tail).fold(), reference(&bytes), "cut at {cut}");
        }
    }

    #[test]
    fn long_runs_of_ones_do_not_overflow() {
        let ones = vec![0xFF; 300_000];
        assert!(paths(&ones[..BLOCK_LEN]).iter().all(|&(_, sum)| sum == 0xFFFF));
        assert_eq!(Sum::new().add_bytes(&ones).fold(), 0xFFFF);
    }

    #[test]
    fn numbers_are_added_as_their_wire_bytes() {
        let bytes = [0x12, 0x34, 0xAB, 0xCD, 0xEF, 0x01];
        assert_eq!(Sum::new().add_u16(0x1234).add_u32(0xABCD_EF01).fold(), reference(&bytes));
    }

    #[test]
    fn missing_bytes_behind_a_tcp_header_count_as_zero_and_present_ones_are_summed() {
        let hex = "450000281234000040060000c0000201c6336402c37e005001020304050607088018200000000000";
        let mut packet: Vec<u8> =
            (0..hex.len()).step_by(2).filter_map(|i| u8::from_str_radix(&hex[i..i + 2], 16).ok()).collect();
        assert!(fill_checksums(&mut packet, 0).tcp);
        assert_eq!(packet[36..38], [0x9F, 0xA6]);
        packet.extend([0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C]);
        assert!(fill_checksums(&mut packet, 0).complete);
        assert_eq!(packet[36..38], [0x7B, 0x7C]);
        assert!(Layout::parse(&packet).is_ok_and(|layout| verify_checksums(&packet, &layout)));
    }
}
