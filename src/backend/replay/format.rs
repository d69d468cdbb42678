//! What differs between pcap and pcapng: byte order, interfaces, times, and how a record with other bytes is written.
use super::link::LinkType;
use crate::packet::IpVersion;
use pcap_parser::PcapHeader;

/// Nanoseconds in a second.
const SECOND_NS: i128 = 1_000_000_000;
/// Ticks a second where nothing else is said.
pub(super) const MICROSECONDS: u64 = 1_000_000;
/// The option of a packet block that tells its direction.
pub(super) const PACKET_FLAGS: u16 = 2;

/// One interface of a capture; pcap files have one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interface {
    pub(super) link_type: Option<LinkType>,
    pub(super) link_number: i32,
    /// Ticks a second.
    resolution: u64,
    /// Seconds to be added.
    offset_seconds: i64,
    /// The most bytes that were captured of a packet.
    pub(super) snap_len: u32,
}

impl Interface {
    /// An interface; a snap length of 0 says that there is no limit.
    pub(super) const fn new(link_number: i32, resolution: u64, snap_len: u32) -> Self {
        let link_type = LinkType::from_number(link_number);
        let snap_len = if snap_len == 0 { u32::MAX } else { snap_len };
        Self { link_type, link_number, resolution, offset_seconds: 0, snap_len }
    }

    /// The interface with the resolution (code 9) and time offset (code 14) that its options tell.
    pub(super) fn with_options<'a>(
        mut self,
        is_big_endian: bool,
        options: impl Iterator<Item = (u16, &'a [u8])>,
    ) -> Self {
        for (code, value) in options {
            match (code, value.first(), value.first_chunk::<8>()) {
                (9, Some(exponent), _) => self.resolution = resolution(*exponent),
                (14, _, Some(bytes)) => {
                    self.offset_seconds =
                        if is_big_endian { i64::from_be_bytes(*bytes) } else { i64::from_le_bytes(*bytes) };
                }
                _ => {}
            }
        }
        self
    }

    /// Unix time of a tick count, in nanoseconds; what does not fit ends at the ends of the range.
    pub(super) fn time_ns(&self, ticks: u64) -> i64 {
        let ns =
            i128::from(ticks) * SECOND_NS / i128::from(self.resolution) + i128::from(self.offset_seconds) * SECOND_NS;
        ns.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// Unix time of seconds and ticks, which may be a second or more, in nanoseconds.
    pub(super) fn split_time_ns(&self, seconds: u32, ticks: u32) -> i64 {
        i64::from(seconds) * SECOND_NS as i64 + i64::from(ticks) * (SECOND_NS / i128::from(self.resolution)) as i64
    }

    /// The tick count of a Unix time.
    fn ticks(&self, time_ns: i64) -> u64 {
        let ns = (i128::from(time_ns) - i128::from(self.offset_seconds) * SECOND_NS).max(0);
        (ns * i128::from(self.resolution) / SECOND_NS).min(i128::from(u64::MAX)) as u64
    }
}

/// Ticks a second of an exponent: of two if its highest bit is set, else of ten; microseconds if that leaves 64 bits.
fn resolution(exponent: u8) -> u64 {
    let power = u32::from(exponent & 0x7F);
    let base: u64 = if exponent & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(power).unwrap_or(MICROSECONDS)
}

/// The kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordKind {
    /// A record of a pcap file.
    Pcap,
    /// An enhanced packet block, or the obsolete packet block, which lies likewise.
    Enhanced,
    /// A simple packet block.
    Simple,
    /// The header of a section, behind which interfaces and byte order begin anew.
    Section,
    /// Anything else without a packet.
    Other,
}

impl RecordKind {
    /// Whether records of this kind carry a packet.
    pub(super) const fn has_packet(self) -> bool {
        matches!(self, Self::Pcap | Self::Enhanced | Self::Simple)
    }
}

/// How records are written at a place of a capture; a later section may differ.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Encoding {
    is_pcapng: bool,
    is_big_endian: bool,
    /// Length of a pcap record's header.
    record_header_len: usize,
}

/// What a record is and where in its bytes the captured data lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordMeta {
    pub(super) kind: RecordKind,
    pub(super) encoding: Encoding,
    pub(super) interface: u32,
    /// The interface itself; a capture need not have described it.
    pub(super) described: Option<Interface>,
    pub(super) data_offset: usize,
    pub(super) data_len: usize,
    pub(super) original_len: u32,
    pub(super) time_ns: i64,
    pub(super) is_outbound: Option<bool>,
}

/// What a new packet takes over from the last one in its direction.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// The record that it was: interface and time.
    pub(super) meta: RecordMeta,
    pub(super) link_header: Vec<u8>,
}

impl RecordMeta {
    pub(super) const fn other() -> Self {
        Self {
            kind: RecordKind::Other,
            encoding: Encoding { is_pcapng: false, is_big_endian: false, record_header_len: 0 },
            interface: 0,
            described: None,
            data_offset: 0,
            data_len: 0,
            original_len: 0,
            time_ns: 0,
            is_outbound: None,
        }
    }
}

/// The direction that an enhanced packet block's flags tell, if they do.
pub(super) fn epb_is_outbound(flags: &[u8], is_big_endian: bool) -> Option<bool> {
    let bytes = flags.first_chunk::<4>()?;
    let flags = if is_big_endian { u32::from_be_bytes(*bytes) } else { u32::from_le_bytes(*bytes) };
    match flags & 3 {
        1 => Some(false),
        2 => Some(true),
        _ => None,
    }
}

/// The format of a capture, as far as it is known at the place where it is read.
#[derive(Clone, Debug)]
pub(super) struct Format {
    encoding: Encoding,
    interfaces: Vec<Interface>,
}

impl Format {
    pub(super) fn pcap(header: &PcapHeader) -> Self {
        let resolution = if header.is_nanosecond_precision() { 1_000_000_000 } else { MICROSECONDS };
        // The upper bits of the link type field tell the length of frame check sequences, which we do not need.
        let interface = Interface::new(header.network.0 & 0x03FF_FFFF, resolution, header.snaplen);
        let encoding = Encoding {
            is_pcapng: false,
            is_big_endian: header.is_bigendian(),
            record_header_len: if header.is_modified_format() { 24 } else { 16 },
        };
        Self { encoding, interfaces: vec![interface] }
    }

    pub(super) const fn pcapng() -> Self {
        let encoding = Encoding { is_pcapng: true, is_big_endian: false, record_header_len: 0 };
        Self { encoding, interfaces: Vec::new() }
    }

    /// What a new packet takes over where none was read yet: the first interface, at time 0.
    pub(super) fn first_template(&self) -> Option<Template> {
        self.interface(0)?;
        let meta = self.packet(RecordKind::Other, 0, 0, 0, 0, None);
        Some(Template { meta, link_header: Vec::new() })
    }

    pub(super) const fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub(super) const fn is_big_endian(&self) -> bool {
        self.encoding.is_big_endian
    }

    pub(super) fn begin_section(&mut self, is_big_endian: bool) {
        self.encoding.is_big_endian = is_big_endian;
        self.interfaces.clear();
    }

    pub(super) fn add_interface(&mut self, interface: Interface) {
        self.interfaces.push(interface);
    }

    pub(super) fn interface(&self, index: u32) -> Option<&Interface> {
        self.interfaces.get(index as usize)
    }

    pub(super) fn packet(
        &self,
        kind: RecordKind,
        interface: u32,
        data_len: usize,
        original_len: u32,
        time_ns: i64,
        is_outbound: Option<bool>,
    ) -> RecordMeta {
        let data_offset = match kind {
            RecordKind::Pcap => self.encoding.record_header_len,
            RecordKind::Enhanced => 28,
            RecordKind::Simple => 12,
            RecordKind::Section | RecordKind::Other => 0,
        };
        let described = self.interface(interface).copied();
        let encoding = self.encoding;
        RecordMeta { kind, encoding, interface, described, data_offset, data_len, original_len, time_ns, is_outbound }
    }

    /// Learns what must be known of a block that the parser refuses: an interface counts, or later ones had wrong numbers.
    pub(super) fn note_opaque(&mut self, block: &[u8]) {
        let (Some(1), Some(link_number)) = (self.encoding.u32_at(block, 0), self.encoding.u16_at(block, 8)) else {
            return;
        };
        let snap_len = self.encoding.u32_at(block, 12).unwrap_or(0);
        self.add_interface(Interface::new(i32::from(link_number), MICROSECONDS, snap_len));
    }

    /// The length that the record at the start of `data` claims, headers included.
    pub(super) fn record_len(&self, data: &[u8]) -> Option<usize> {
        let offset = if self.encoding.is_pcapng { 4 } else { 8 };
        let len = self.encoding.u32_at(data, offset)? as usize;
        if self.encoding.is_pcapng {
            // A section header may change the byte order.
            return Some(if data.starts_with(&[0x0A, 0x0D, 0x0D, 0x0A]) && len > super::MAXIMUM_RECORD_LEN {
                len.swap_bytes() >> (usize::BITS - 32)
            } else {
                len
            });
        }
        Some(len + self.encoding.record_header_len)
    }

    /// Whether the length at a block's end is that at its start.
    pub(super) fn block_is_closed(&self, block: &[u8]) -> bool {
        self.encoding.is_pcapng
            && block.len().is_multiple_of(4)
            && block.last_chunk::<4>().map(|bytes| self.encoding.u32(*bytes)) == u32::try_from(block.len()).ok()
    }
}

impl RecordMeta {
    /// What is known of this record once its captured data got another length; its original length changed as much.
    fn resized(mut self, data_len: usize) -> Self {
        let original_len = i64::from(self.original_len) + data_len as i64 - self.data_len as i64;
        self.original_len = original_len.clamp(0, i64::from(u32::MAX)) as u32;
        self.data_len = data_len;
        self
    }

    /// A record for a new packet on this one's interface. It tells its direction if this one does.
    pub(super) fn new_packet(mut self, data_len: usize, original_len: usize, time_ns: i64, is_outbound: bool) -> Self {
        (self.kind, self.data_offset) = if self.encoding.is_pcapng {
            (RecordKind::Enhanced, 28)
        } else {
            (RecordKind::Pcap, self.encoding.record_header_len)
        };
        self.time_ns = time_ns;
        self.data_len = data_len;
        self.original_len = original_len as u32;
        self.is_outbound = self.is_outbound.map(|_| is_outbound);
        self
    }

    /// The link type, if it is one that is understood.
    pub(super) fn link_type(&self) -> Option<LinkType> {
        self.described?.link_type
    }

    /// The one IP version that the link type allows, if it is so narrow.
    pub(super) fn only_version(&self) -> Option<IpVersion> {
        match self.described?.link_number {
            228 => Some(IpVersion::V4),
            229 => Some(IpVersion::V6),
            _ => None,
        }
    }

    /// Appends a record like `raw`, with other captured data. The original length changes as the captured one does. What
    /// is known of the new record.
    pub(super) fn encode_like(&self, out: &mut Vec<u8>, raw: &[u8], data: &[&[u8]]) -> Self {
        let data_len: usize = data.iter().map(|part| part.len()).sum();
        let mut meta = self.resized(data_len);
        let original_len = meta.original_len;
        let encoding = self.encoding;
        let padded_end = self.data_offset + self.data_len.next_multiple_of(4);
        let options = raw.get(padded_end..raw.len().saturating_sub(4)).unwrap_or_default();
        match self.kind {
            RecordKind::Pcap => {
                out.extend_from_slice(raw.get(..8).unwrap_or_default());
                encoding.push_u32(out, data_len as u32);
                encoding.push_u32(out, original_len);
                out.extend_from_slice(raw.get(16..encoding.record_header_len).unwrap_or_default());
                append(out, data);
            }
            RecordKind::Enhanced => {
                let head = raw.get(8..20).unwrap_or_default();
                let block_type = encoding.u32_at(raw, 0).unwrap_or(6);
                encoding.push_block(out, block_type, &[head], Some((data_len, original_len)), data, options);
            }
            RecordKind::Simple => {
                // The block does not tell its captured length: it is the original one, but at most the snap length.
                let snap_len = self.described.map_or(u32::MAX, |interface| interface.snap_len);
                if data_len == original_len.min(snap_len) as usize {
                    encoding.push_block(out, 3, &[], Some((usize::MAX, original_len)), data, &[]);
                } else {
                    (meta.kind, meta.data_offset) = (RecordKind::Enhanced, 28);
                    encoding.push_block(out, 6, &[&[0; 12]], Some((data_len, original_len)), data, &[]);
                }
            }
            RecordKind::Section | RecordKind::Other => {}
        }
        meta
    }

    /// Appends a record for a new packet on this one's interface, with this time.
    pub(super) fn encode_new(&self, out: &mut Vec<u8>, data: &[&[u8]]) {
        let Some(described) = self.described else { return };
        let encoding = self.encoding;
        let ticks = described.ticks(self.time_ns);
        let lengths = (self.data_len, self.original_len);
        if encoding.is_pcapng {
            let mut head = Vec::with_capacity(12);
            encoding.push_u32(&mut head, self.interface);
            encoding.push_u32(&mut head, (ticks >> 32) as u32);
            encoding.push_u32(&mut head, ticks as u32);
            let mut options = Vec::new();
            if let Some(is_outbound) = self.is_outbound {
                encoding.push_u16(&mut options, PACKET_FLAGS);
                encoding.push_u16(&mut options, 4);
                encoding.push_u32(&mut options, 1 + u32::from(is_outbound));
                encoding.push_u32(&mut options, 0);
            }
            encoding.push_block(out, 6, &[&head], Some(lengths), data, &options);
        } else {
            encoding.push_u32(out, (ticks / described.resolution) as u32);
            encoding.push_u32(out, (ticks % described.resolution) as u32);
            encoding.push_u32(out, lengths.0 as u32);
            encoding.push_u32(out, lengths.1);
            out.resize(out.len() + encoding.record_header_len - 16, 0);
            append(out, data);
        }
    }
}

impl Encoding {
    fn u32(&self, bytes: [u8; 4]) -> u32 {
        if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    pub(super) fn u32_at(&self, data: &[u8], offset: usize) -> Option<u32> {
        data.get(offset..)?.first_chunk::<4>().map(|bytes| self.u32(*bytes))
    }

    pub(super) fn u16_at(&self, data: &[u8], offset: usize) -> Option<u16> {
        let bytes = data.get(offset..)?.first_chunk::<2>()?;
        Some(if self.is_big_endian { u16::from_be_bytes(*bytes) } else { u16::from_le_bytes(*bytes) })
    }

    /// The value of the first option of this code.
    pub(super) fn option<'a>(&self, mut options: &'a [u8], code: u16) -> Option<&'a [u8]> {
        loop {
            let (found, len) = (self.u16_at(options, 0)?, usize::from(self.u16_at(options, 2)?));
            let value = options.get(4..4 + len);
            if found == 0 || found == code {
                return value.filter(|_| found == code);
            }
            options = options.get(4 + len.next_multiple_of(4)..)?;
        }
    }

    fn push_u16(&self, out: &mut Vec<u8>, value: u16) {
        out.extend_from_slice(&if self.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    fn push_u32(&self, out: &mut Vec<u8>, value: u32) {
        out.extend_from_slice(&if self.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    /// Appends a pcapng block: type, head, captured (unless `usize::MAX`) and original length, data, padding, options.
    fn push_block(
        &self,
        out: &mut Vec<u8>,
        block_type: u32,
        head: &[&[u8]],
        lengths: Option<(usize, u32)>,
        data: &[&[u8]],
        options: &[u8],
    ) {
        let start = out.len();
        self.push_u32(out, block_type);
        self.push_u32(out, 0);
        append(out, head);
        if let Some((captured_len, original_len)) = lengths {
            if captured_len != usize::MAX {
                self.push_u32(out, captured_len as u32);
            }
            self.push_u32(out, original_len);
        }
        append(out, data);
        out.resize(start + (out.len() - start).next_multiple_of(4), 0);
        out.extend_from_slice(options);
        let block_len = (out.len() - start + 4) as u32;
        self.push_u32(out, block_len);
        let length = if self.is_big_endian { block_len.to_be_bytes() } else { block_len.to_le_bytes() };
        if let Some(place) = out.get_mut(start + 4..start + 8) {
            place.copy_from_slice(&length);
        }
    }
}

/// Appends the parts whole: as one stream of bytes they would go in one by one.
fn append(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}
