//! The lax parser: bytes to [`Layout`]. Never panics, never allocates, trusts no length field, reads each byte once.
//!
//! One core parse serves parsing, checksums, hash and filters, as in WinDivert 2.2; [`parse_strict`] is the public helper's
//! reading, which also refuses truncated packets.
use super::error::{ErrorKind, ParseError};
use super::field::{array, be16, u8_at};
use super::layout::{EXTENDED, FRAGMENT, IpVersion, Layout, MORE_FRAGMENTS, TRUNCATED, Transport};

/// Smallest packet that is looked at, for IPv6 too.
const MINIMUM_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;
/// More fragments, and the fragment offset.
pub(super) const FRAGMENT_BITS: u16 = 0x3FFF;
const TCP_HEADER_LEN: usize = 20;
const SHORT_HEADER_LEN: usize = 8;

/// Extension headers that are walked over (RFC 8200 §4, RFC 4302, RFC 6275), by protocol number.
mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
    pub(super) const MOBILITY: u8 = 135;
}

/// How far the network layer was read.
struct Walk {
    offset: usize,
    end_offset: usize,
    total_len: usize,
    protocol: u8,
    fragment_offset: u16,
    flags: u8,
}

impl Layout {
    /// Reads the headers of the packet that `bytes` begins with.
    ///
    /// Truncated packets, fragments, unknown protocols and transport headers that are damaged all parse; only bytes without
    /// a usable IP header do not.
    ///
    /// ```
    /// use oxidivert::packet::{Layout, Transport};
    /// let packet = b"\x45\0\0\x20\x12\x34\0\0\x40\x11\0\0\xc0\0\x02\x01\xc6\x33\x64\x02\
    ///                \x30\x39\0\x35\0\x0c\0\0abcd";
    /// let layout = Layout::parse(packet)?;
    /// assert_eq!(layout.offset_of(Transport::Udp), Some(20));
    /// assert_eq!(&packet[layout.payload_range()], b"abcd");
    /// # Ok::<(), oxidivert::packet::ParseError>(())
    /// ```
    #[inline(always)]
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let Some(header) = bytes.first_chunk::<MINIMUM_LEN>() else {
            return Err(too_short(MINIMUM_LEN, bytes.len()));
        };
        match header[0] >> 4 {
            4 => parse_ipv4(bytes, header),
            6 => parse_ipv6(bytes),
            version => Err(ParseError::new(ErrorKind::Version(version))),
        }
    }
}

#[cold]
fn too_short(required_len: usize, actual_len: usize) -> ParseError {
    ParseError::new(ErrorKind::TooShort { required_len, actual_len })
}

#[inline(always)]
fn parse_ipv4(bytes: &[u8], header: &[u8; MINIMUM_LEN]) -> Result<Layout, ParseError> {
    let words = header[0] & 0x0F;
    let header_len = usize::from(words) * 4;
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if words < 5 {
        return Err(ParseError::new(ErrorKind::HeaderLength(words)));
    }
    if total_len < header_len {
        return Err(ParseError::new(ErrorKind::TotalLength { total_len, header_len }));
    }
    if bytes.len() < header_len {
        return Err(too_short(header_len, bytes.len()));
    }
    let fragment_word = u16::from_be_bytes([header[6], header[7]]);
    let (fragment_offset, fragment_flags) =
        if fragment_word & FRAGMENT_BITS == 0 { (0, 0) } else { fragment(fragment_word) };
    let (end_offset, extent_flags) = extent(total_len, bytes.len());
    let walk = Walk {
        offset: header_len,
        end_offset,
        total_len,
        protocol: header[9],
        fragment_offset,
        flags: fragment_flags | extent_flags,
    };
    Ok(finish(bytes, IpVersion::V4, &walk))
}

/// Where the packet ends within the buffer, and how the two lengths compare.
#[inline(always)]
fn extent(total_len: usize, buffer_len: usize) -> (usize, u8) {
    if total_len == buffer_len { (total_len, 0) } else { uneven_extent(total_len, buffer_len) }
}

#[cold]
fn uneven_extent(total_len: usize, buffer_len: usize) -> (usize, u8) {
    if total_len > buffer_len { (buffer_len, TRUNCATED) } else { (total_len, EXTENDED) }
}

/// Offset in bytes and flags of an IPv4 fragment.
#[cold]
fn fragment(word: u16) -> (u16, u8) {
    ((word & 0x1FFF) << 3, FRAGMENT | if word & 0x2000 != 0 { MORE_FRAGMENTS } else { 0 })
}

#[inline(always)]
fn parse_ipv6(bytes: &[u8]) -> Result<Layout, ParseError> {
    let Some(header) = bytes.first_chunk::<IPV6_HEADER_LEN>() else {
        return Err(too_short(IPV6_HEADER_LEN, bytes.len()));
    };
    let total_len = IPV6_HEADER_LEN + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let (end_offset, flags) = extent(total_len, bytes.len());
    let mut walk =
        Walk { offset: IPV6_HEADER_LEN, end_offset, total_len, protocol: header[6], fragment_offset: 0, flags };
    if !matches!(walk.protocol, 6 | 17 | 58) {
        walk_extension_headers(bytes, &mut walk);
    }
    Ok(finish(bytes, IpVersion::V6, &walk))
}

#[cold]
#[inline(never)]
fn walk_extension_headers(bytes: &[u8], walk: &mut Walk) {
    while walk.fragment_offset == 0 {
        let left = walk.end_offset - walk.offset;
        let (2.., Some([next, length])) = (left, array::<2>(bytes, walk.offset)) else { return };
        let header_len = match walk.protocol {
            extension::HOP_BY_HOP | extension::ROUTING | extension::DESTINATION | extension::MOBILITY => {
                (usize::from(length) + 1) * 8
            }
            extension::AUTHENTICATION => (usize::from(length) + 2) * 4,
            extension::FRAGMENT => {
                if walk.flags & FRAGMENT != 0 || left < 8 {
                    return;
                }
                let word = be16(bytes, walk.offset + 2).unwrap_or(0);
                walk.fragment_offset = word & 0xFFF8;
                walk.flags |= FRAGMENT | if word & 1 != 0 { MORE_FRAGMENTS } else { 0 };
                8
            }
            _ => return,
        };
        if left < header_len {
            return;
        }
        walk.protocol = next;
        walk.offset += header_len;
    }
}

#[inline(always)]
fn finish(bytes: &[u8], version: IpVersion, walk: &Walk) -> Layout {
    let left = walk.end_offset - walk.offset;
    let mut transport = None;
    let mut header_len = 0;
    if walk.fragment_offset == 0 {
        match (walk.protocol, version) {
            (6, _) if left >= TCP_HEADER_LEN => {
                let data_offset = usize::from(u8_at(bytes, walk.offset + 12).unwrap_or(0) >> 4) * 4;
                if data_offset >= TCP_HEADER_LEN {
                    transport = Some(Transport::Tcp);
                    header_len = data_offset.min(left);
                }
            }
            (17, _) if left >= SHORT_HEADER_LEN => {
                transport = Some(Transport::Udp);
                header_len = SHORT_HEADER_LEN;
            }
            (1, IpVersion::V4) if left >= SHORT_HEADER_LEN => {
                transport = Some(Transport::Icmp);
                header_len = SHORT_HEADER_LEN;
            }
            (58, IpVersion::V6) if left >= SHORT_HEADER_LEN => {
                transport = Some(Transport::Icmpv6);
                header_len = SHORT_HEADER_LEN;
            }
            _ => {}
        }
    }
    Layout {
        transport_offset: walk.offset as u32,
        payload_offset: (walk.offset + header_len) as u32,
        end_offset: walk.end_offset as u32,
        total_len: walk.total_len as u32,
        fragment_offset: walk.fragment_offset,
        flags: walk.flags,
        protocol: walk.protocol,
        version,
        transport,
    }
}

/// A packet that is whole, and what lies behind it in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strict {
    /// The offset table.
    pub layout: Layout,
    /// Bytes behind the packet: the next one of a batch, or link padding.
    pub next_len: usize,
}

/// Reads the packet that `bytes` begins with as WinDivert's `ParsePacket` does: a truncated one is refused.
pub fn parse_strict(bytes: &[u8]) -> Result<Strict, ParseError> {
    let layout = Layout::parse(bytes)?;
    if layout.is_truncated() {
        let kind = ErrorKind::Truncated { total_len: layout.total_len(), actual_len: bytes.len() };
        return Err(ParseError::new(kind));
    }
    Ok(Strict { layout, next_len: bytes.len() - layout.total_len() })
}

/// Walks the packets that lie back to back in a buffer, and ends at the first that does not parse.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    rest: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The packets of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Batch<'a> {
    type Item = (&'a [u8], Layout);

    fn next(&mut self) -> Option<Self::Item> {
        let strict = parse_strict(self.rest).ok()?;
        let (packet, rest) = self.rest.split_at_checked(strict.layout.total_len())?;
        self.rest = rest;
        // Parsed anew, since the table of a packet alone is not "extended".
        Layout::parse(packet).ok().map(|layout| (packet, layout))
    }
}
