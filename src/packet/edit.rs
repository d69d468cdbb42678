//! Reads and writes of header fields. A write keeps checksums as they are: right, wrong, absent or unfinished.
//!
//! Nothing panics, and only [`set_payload`] allocates. Writes apply RFC 1624 (equation 3) to every checksum that the
//! field takes part in, without asking whether it was right: IPv4 fields to the header's, addresses to the header's and
//! through the pseudo-header to those of TCP, UDP and ICMPv6, transport fields to the transport's. [`Role::Structural`]
//! fields update only the IPv4 header's and then parse anew; what the transport checksum covers has changed with them.
//!
//! # Which sum a checksum field holds
//!
//! - *A checksum*, right or wrong: `~sum`. The update is `HC' = ~(~HC + ~m + m')`. A right one comes out byte for byte as a
//!   full calculation would give it. Two sums, +0 and -0, mean the same; a folded sum of something that is not all zero is
//!   never +0, so keeping the integers of the update positive keeps the form, and two cases need care: UDP stores 0xFFFF
//!   for 0, and an ICMP message (which has no pseudo-header) may become all zero.
//! - *None*: 0 in UDP over IPv4. It stays 0.
//! - *An unfinished sum*: the folded pseudo-header sum itself, not complemented, left for the network card to finish.
//!   The same update would have to add where that of a checksum subtracts, and fields outside the pseudo-header are not in
//!   it. So a field that holds exactly the pseudo-header sum, in a whole packet of which it is not the right checksum, is
//!   taken for unfinished: addresses update it as a sum, and other fields leave it alone. The packet's flags
//!   play no part in this.
use super::checksum::{Filled, IPV4_CHECKSUM_OFFSET, fill_checksums_with, unfinished_checksum, verify_transport};
use super::error::{EditError, EditErrorKind};
use super::field::{array, be16, be32, put, udp};
use super::layout::{IpVersion, Layout, Transport};
use super::schema::{Field, Header, Role};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One of the two ends that a packet names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Where the packet comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// The value of a field, or `None` if the packet lacks the header.
#[inline(always)]
pub fn read(bytes: &[u8], layout: &Layout, field: Field) -> Option<u32> {
    let word = read_word(bytes, field, field.header.offset(layout)?)?;
    Some(word >> field.shift & field.max())
}

/// Sets a field, and keeps checksums as the module's documentation tells.
///
/// ```
/// use oxidivert::packet::{Layout, field, verify_checksums, write};
/// let mut packet = *b"\x45\0\0\x20\x12\x34\0\0\x40\x11\x7c\x62\xc0\0\x02\x01\xc6\x33\x64\x02\
///                     \x30\x39\0\x35\0\x0c\x1e\x6aabcd";
/// let mut layout = Layout::parse(&packet)?;
/// write(&mut packet, &mut layout, field::ipv4::TTL, 7)?;
/// write(&mut packet, &mut layout, field::udp::DST_PORT, 5353)?;
/// assert!(verify_checksums(&packet, &layout));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[inline(always)]
pub fn write(bytes: &mut [u8], layout: &mut Layout, field: Field, value: u32) -> Result<(), EditError> {
    let Some(offset) = field.header.offset(layout) else { return Err(absent(field.header)) };
    if value > field.max() {
        return Err(out_of_range(field, value));
    }
    let Some(old) = read_word(bytes, field, offset) else { return Err(absent(field.header)) };
    let new = old & !(field.max() << field.shift) | value << field.shift;
    match field.role {
        Role::ReadOnly => Err(EditError::new(EditErrorKind::ReadOnly(field.name))),
        Role::Structural => write_structure(bytes, layout, field, (old, new)),
        Role::Checksum => {
            put_word(bytes, field, offset, new);
            Ok(())
        }
        Role::Plain => {
            if old != new {
                write_plain(bytes, layout, field, (offset, old, new));
            }
            Ok(())
        }
    }
}

#[inline(always)]
fn write_plain(bytes: &mut [u8], layout: &Layout, field: Field, (offset, old, new): (usize, u32, u32)) {
    let change = Change::words(old, new);
    let Some(transport) = field.header.transport() else {
        put_word(bytes, field, offset, new);
        if field.header == Header::Ipv4 {
            change.update_ipv4(bytes);
        }
        return;
    };
    let stored = Stored::of(bytes, layout, transport);
    put_word(bytes, field, offset, new);
    if let Stored::Checksum(checksum) = stored {
        change.update(bytes, layout, transport, checksum);
    }
}

#[inline(never)]
fn write_structure(
    bytes: &mut [u8],
    layout: &mut Layout,
    field: Field,
    (old, new): (u32, u32),
) -> Result<(), EditError> {
    let Some(offset) = field.header.offset(layout) else { return Err(absent(field.header)) };
    put_word(bytes, field, offset, new);
    match Layout::parse(bytes) {
        Ok(parsed) => *layout = parsed,
        Err(error) => {
            put_word(bytes, field, offset, old);
            return Err(EditError::new(EditErrorKind::Unparsable(error)));
        }
    }
    if field.header == Header::Ipv4 && old != new {
        Change::words(old, new).update_ipv4(bytes);
    }
    Ok(())
}

/// The address of one end. `None` only if `layout` is not that of `bytes`.
#[inline(always)]
pub fn read_addr(bytes: &[u8], layout: &Layout, endpoint: Endpoint) -> Option<IpAddr> {
    let offset = endpoint.addr_offset(layout.version());
    match layout.version() {
        IpVersion::V4 => array::<4>(bytes, offset).map(|octets| Ipv4Addr::from(octets).into()),
        IpVersion::V6 => array::<16>(bytes, offset).map(|octets| Ipv6Addr::from(octets).into()),
    }
}

/// Sets the address of one end, and keeps checksums as the module's documentation tells.
#[inline]
pub fn write_addr(bytes: &mut [u8], layout: &Layout, endpoint: Endpoint, address: IpAddr) -> Result<(), EditError> {
    let offset = endpoint.addr_offset(layout.version());
    match (layout.version(), address) {
        (IpVersion::V4, IpAddr::V4(address)) => write_octets(bytes, layout, offset, address.octets()),
        (IpVersion::V6, IpAddr::V6(address)) => write_octets(bytes, layout, offset, address.octets()),
        (version, _) => Err(EditError::new(EditErrorKind::AddressVersion(version as u8))),
    }
}

#[inline(always)]
fn write_octets<const N: usize>(
    bytes: &mut [u8],
    layout: &Layout,
    offset: usize,
    new: [u8; N],
) -> Result<(), EditError> {
    let header = if layout.is_ipv6() { Header::Ipv6 } else { Header::Ipv4 };
    let Some(old) = array::<N>(bytes, offset) else { return Err(absent(header)) };
    if old == new {
        return Ok(());
    }
    let change = Change::octets(old, new);
    // ICMP has no pseudo-header.
    let stored = layout.transport().filter(|&transport| transport != Transport::Icmp);
    let stored = stored.map(|transport| (transport, Stored::of(bytes, layout, transport)));
    put(bytes, offset, new);
    if header == Header::Ipv4 {
        change.update_ipv4(bytes);
    }
    match stored {
        Some((transport, Stored::Checksum(checksum))) => change.update(bytes, layout, transport, checksum),
        Some((transport, Stored::Unfinished(sum))) => {
            let at = layout.transport_offset() + transport.checksum_offset();
            put(bytes, at, change.apply(sum).to_be_bytes());
        }
        Some((_, Stored::Absent)) | None => {}
    }
    Ok(())
}

/// The port of one end, in TCP and UDP.
#[inline(always)]
pub fn read_port(bytes: &[u8], layout: &Layout, endpoint: Endpoint) -> Option<u16> {
    // Both headers have them at the same place.
    let field = endpoint.port(layout.transport())?;
    be16(bytes, layout.transport_offset() + usize::from(field.offset))
}

/// Sets the port of one end, in TCP and UDP.
#[inline]
pub fn write_port(bytes: &mut [u8], layout: &mut Layout, endpoint: Endpoint, port: u16) -> Result<(), EditError> {
    match endpoint.port(layout.transport()) {
        Some(field) => write(bytes, layout, field, u32::from(port)),
        None => Err(EditError::new(EditErrorKind::AbsentHeader("tcp or udp"))),
    }
}

/// Puts another payload, of any length, in the place of the packet's, sets the IP and the UDP length, and computes the
/// checksums in full. Bytes behind the IP length are dropped. `layout` is that of `bytes` before; parse anew afterwards.
///
/// A first fragment, a truncated packet and one whose transport header is cut short are refused, as are lengths above
/// 65535. Refused packets are unchanged.
pub fn set_payload(bytes: &mut Vec<u8>, layout: &Layout, payload: &[u8]) -> Result<Filled, EditError> {
    let first_fragment = layout.more_fragments() && layout.fragment_offset() == 0;
    if layout.is_truncated() || first_fragment || is_header_cut(bytes, layout) || bytes.len() < layout.end_offset() {
        return Err(EditError::new(EditErrorKind::Partial));
    }
    // IPv4 counts its header, IPv6 does not.
    let (length_offset, uncounted_len) = if layout.is_ipv6() { (4, 40) } else { (2, 0) };
    let len = (layout.payload_offset() + payload.len()).saturating_sub(uncounted_len);
    let Ok(length) = u16::try_from(len) else {
        return Err(EditError::new(EditErrorKind::TooLong { len, max: usize::from(u16::MAX) }));
    };
    bytes.truncate(layout.payload_offset());
    bytes.extend_from_slice(payload);
    put(bytes, length_offset, length.to_be_bytes());
    if let Some(offset) = layout.offset_of(Transport::Udp) {
        let length = (bytes.len() - offset) as u16;
        put(bytes, offset + usize::from(udp::LENGTH.offset), length.to_be_bytes());
    }
    match Layout::parse(bytes) {
        Ok(layout) => Ok(fill_checksums_with(bytes, &layout, 0)),
        Err(error) => Err(EditError::new(EditErrorKind::Unparsable(error))),
    }
}

/// Whether the TCP data offset points behind the packet's end.
fn is_header_cut(bytes: &[u8], layout: &Layout) -> bool {
    let words = read(bytes, layout, super::field::tcp::DATA_OFFSET);
    words.is_some_and(|words| layout.transport_offset() + words as usize * 4 > layout.end_offset())
}

/// What a transport checksum field holds.
enum Stored {
    Checksum(u16),
    Unfinished(u16),
    Absent,
}

impl Stored {
    #[inline(always)]
    fn of(bytes: &[u8], layout: &Layout, transport: Transport) -> Self {
        let Some(value) = be16(bytes, layout.transport_offset() + transport.checksum_offset()) else {
            return Self::Absent;
        };
        if value == 0 && transport == Transport::Udp && !layout.is_ipv6() {
            return Self::Absent;
        }
        if transport != Transport::Icmp
            && unfinished_checksum(bytes, layout, transport) == Some(value)
            && is_unfinished(bytes, layout, transport)
        {
            return Self::Unfinished(value);
        }
        Self::Checksum(value)
    }
}

/// Whether a field that equals the pseudo-header sum is no checksum that happens to.
#[cold]
#[inline(never)]
fn is_unfinished(bytes: &[u8], layout: &Layout, transport: Transport) -> bool {
    !layout.is_partial() && !verify_transport(bytes, layout, transport)
}

/// A change of some 16-bit words, as RFC 1624's `~m + m'`, not yet folded.
#[derive(Clone, Copy)]
struct Change(u32);

impl Change {
    #[inline(always)]
    fn word(old: u16, new: u16) -> u32 {
        u32::from(!old) + u32::from(new)
    }

    /// Of the two words of 32 bits, the upper of which may be nothing.
    #[inline(always)]
    fn words(old: u32, new: u32) -> Self {
        Self(Self::word(old as u16, new as u16) + Self::word((old >> 16) as u16, (new >> 16) as u16))
    }

    #[inline(always)]
    fn octets<const N: usize>(old: [u8; N], new: [u8; N]) -> Self {
        let words = old.as_chunks::<2>().0.iter().zip(new.as_chunks::<2>().0);
        Self(words.map(|(&old, &new)| Self::word(u16::from_be_bytes(old), u16::from_be_bytes(new))).sum())
    }

    /// The sum after the change, zero only if sum and change are.
    #[inline(always)]
    fn apply(self, sum: u16) -> u16 {
        let sum = self.0 + u32::from(sum);
        let (sum, carry) = (sum as u16).overflowing_add((sum >> 16) as u16);
        sum + u16::from(carry)
    }

    #[inline(always)]
    fn update_ipv4(self, bytes: &mut [u8]) {
        if let Some(checksum) = be16(bytes, IPV4_CHECKSUM_OFFSET) {
            put(bytes, IPV4_CHECKSUM_OFFSET, (!self.apply(!checksum)).to_be_bytes());
        }
    }

    #[inline(always)]
    fn update(self, bytes: &mut [u8], layout: &Layout, transport: Transport, checksum: u16) {
        let mut checksum = !self.apply(!checksum);
        if checksum == 0 {
            checksum = zero_checksum(bytes, layout, transport);
        }
        put(bytes, layout.transport_offset() + transport.checksum_offset(), checksum.to_be_bytes());
    }
}

/// How a checksum of 0 is stored: UDP's as 0xFFFF (RFC 768), and so is that of an ICMP message which is nothing but zeros.
#[cold]
#[inline(never)]
fn zero_checksum(bytes: &[u8], layout: &Layout, transport: Transport) -> u16 {
    let is_negative = match transport {
        Transport::Udp => true,
        Transport::Tcp | Transport::Icmpv6 => false,
        Transport::Icmp => {
            let message = bytes.get(layout.transport_offset()..layout.end_offset()).unwrap_or_default();
            message.iter().enumerate().all(|(offset, &byte)| byte == 0 || matches!(offset, 2 | 3))
        }
    };
    if is_negative { 0xFFFF } else { 0 }
}

#[inline(always)]
fn read_word(bytes: &[u8], field: Field, header_offset: usize) -> Option<u32> {
    let offset = header_offset + usize::from(field.offset);
    if field.word_bits == 32 { be32(bytes, offset) } else { be16(bytes, offset).map(u32::from) }
}

#[inline(always)]
fn put_word(bytes: &mut [u8], field: Field, header_offset: usize, word: u32) {
    let offset = header_offset + usize::from(field.offset);
    if field.word_bits == 32 {
        put(bytes, offset, word.to_be_bytes());
    } else {
        put(bytes, offset, (word as u16).to_be_bytes());
    }
}

#[cold]
fn absent(header: Header) -> EditError {
    EditError::new(EditErrorKind::AbsentHeader(header.name()))
}

#[cold]
fn out_of_range(field: Field, value: u32) -> EditError {
    EditError::new(EditErrorKind::OutOfRange { field: field.name, value, max: field.max() })
}
