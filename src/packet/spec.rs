//! A packet described as plain data, and its bytes with all lengths and checksums right.
//!
//! Building allocates the packet once. It never panics; what no packet can hold is a [`BuildError`]. Layouts are those of
//! RFC 791, 8200, 9293, 768, 792 and 4443, TCP's options those of RFC 9293, 7323 and 2018.
use super::checksum::fill_checksums;
use super::error::ParseError;
use super::layout::{Layout, Transport};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::BitOr;

/// A whole packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketSpec {
    /// The IP header.
    pub network: NetworkSpec,
    /// The transport header.
    pub transport: TransportSpec,
    /// What follows the transport header.
    pub payload: Vec<u8>,
}

/// An IP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkSpec {
    /// RFC 791.
    V4(Ipv4Spec),
    /// RFC 8200.
    V6(Ipv6Spec),
}

/// An IPv4 header. Lengths, protocol and checksum follow from the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv4Spec {
    /// Source address.
    pub src_addr: Ipv4Addr,
    /// Destination address.
    pub dst_addr: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// Type of service.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// Don't fragment.
    pub dont_fragment: bool,
    /// Options as bytes, at most 40; zeros are added up to a multiple of four.
    pub options: Vec<u8>,
}

impl Ipv4Spec {
    /// A header between two addresses with a time to live of 64.
    pub const fn new(src_addr: Ipv4Addr, dst_addr: Ipv4Addr) -> Self {
        Self { src_addr, dst_addr, ttl: 64, tos: 0, id: 0, dont_fragment: false, options: Vec::new() }
    }
}

/// An IPv6 header. Length and next header follow from the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv6Spec {
    /// Source address.
    pub src_addr: Ipv6Addr,
    /// Destination address.
    pub dst_addr: Ipv6Addr,
    /// Hop limit.
    pub hop_limit: u8,
    /// Traffic class.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
}

impl Ipv6Spec {
    /// A header between two addresses with a hop limit of 64.
    pub const fn new(src_addr: Ipv6Addr, dst_addr: Ipv6Addr) -> Self {
        Self { src_addr, dst_addr, hop_limit: 64, traffic_class: 0, flow_label: 0 }
    }
}

/// A transport header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportSpec {
    /// None: the payload is that of this IP protocol.
    Other(u8),
    /// RFC 9293.
    Tcp(TcpSpec),
    /// RFC 768.
    Udp {
        /// Source port.
        src_port: u16,
        /// Destination port.
        dst_port: u16,
    },
    /// RFC 792 under IPv4, RFC 4443 under IPv6.
    Icmp {
        /// Message type.
        message_type: u8,
        /// Code.
        code: u8,
        /// The four bytes behind the checksum.
        body: u32,
    },
}

/// A TCP header. Data offset and checksum follow from the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSpec {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack_number: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Window, unscaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent_pointer: u16,
    /// Options, at most 40 bytes; an end of list is added up to a multiple of four.
    pub options: Vec<TcpOption>,
}

impl TcpSpec {
    /// A header between two ports: no flags, numbers 0, the full window.
    pub const fn new(src_port: u16, dst_port: u16) -> Self {
        Self {
            src_port,
            dst_port,
            seq: 0,
            ack_number: 0,
            flags: TcpFlags(0),
            window: u16::MAX,
            urgent_pointer: 0,
            options: Vec::new(),
        }
    }
}

/// The flags of a TCP header, as its byte 13 holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronize.
    pub const SYN: Self = Self(0x02);
    /// Reset.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// ECN echo.
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced.
    pub const CWR: Self = Self(0x80);
}

impl BitOr for TcpFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A TCP option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// Kind 1, which aligns the next.
    Nop,
    /// Kind 2, in bytes.
    MaximumSegmentSize(u16),
    /// Kind 3, a shift count.
    WindowScale(u8),
    /// Kind 4.
    SackPermitted,
    /// Kind 8.
    Timestamps {
        /// The sender's clock.
        value: u32,
        /// The peer's clock as last seen.
        echo_reply: u32,
    },
    /// Bytes as they are.
    Raw(Vec<u8>),
}

impl TcpOption {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nop => out.push(1),
            Self::MaximumSegmentSize(len) => {
                out.extend([2, 4]);
                out.extend(len.to_be_bytes());
            }
            Self::WindowScale(shift) => out.extend([3, 3, *shift]),
            Self::SackPermitted => out.extend([4, 2]),
            Self::Timestamps { value, echo_reply } => {
                out.extend([8, 10]);
                out.extend(value.to_be_bytes());
                out.extend(echo_reply.to_be_bytes());
            }
            Self::Raw(bytes) => out.extend(bytes),
        }
    }
}

/// Why a description is that of no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildError {
    kind: BuildErrorKind,
}

/// The ways in which a description is that of no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildErrorKind {
    /// The IP length cannot tell a packet as long as this.
    TooLong {
        /// The length wanted, in bytes, as the length field counts it.
        len: usize,
        /// The largest length that fits.
        max: usize,
    },
    /// The options of this header take more than 40 bytes.
    OptionsTooLong {
        /// The header.
        header: &'static str,
        /// Their length in bytes.
        len: usize,
    },
    /// The value does not fit the field.
    OutOfRange {
        /// The field's name.
        field: &'static str,
        /// The value refused.
        value: u32,
        /// The largest value that fits.
        max: u32,
    },
    /// The packet has no header with this field.
    Inapplicable(&'static str),
    /// The packet to be quoted is none.
    Quoted(ParseError),
}

impl BuildError {
    pub(super) const fn new(kind: BuildErrorKind) -> Self {
        Self { kind }
    }

    /// What is wrong.
    pub const fn kind(&self) -> BuildErrorKind {
        self.kind
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            BuildErrorKind::TooLong { len, max } => write!(f, "the IP length would be {len}, at most {max} fits"),
            BuildErrorKind::OptionsTooLong { header, len } => {
                write!(f, "the {header} options take {len} bytes, at most {MAXIMUM_OPTIONS_LEN} fit")
            }
            BuildErrorKind::OutOfRange { field, value, max } => {
                write!(f, "{field} is at most {max}, {value} does not fit")
            }
            BuildErrorKind::Inapplicable(field) => write!(f, "the packet has no header with the field {field}"),
            BuildErrorKind::Quoted(error) => write!(f, "the quoted bytes are no packet: {error}"),
        }
    }
}

impl std::error::Error for BuildError {}

const MAXIMUM_OPTIONS_LEN: usize = 40;
const IPV4_HEADER_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;
const TCP_HEADER_LEN: usize = 20;
const SHORT_HEADER_LEN: usize = 8;
const MAXIMUM_FLOW_LABEL: u32 = 0xF_FFFF;

impl PacketSpec {
    /// The packet's bytes.
    pub fn build(&self) -> Result<Vec<u8>, BuildError> {
        let tcp_options = self.tcp_options()?;
        let transport_len = match self.transport {
            TransportSpec::Other(_) => 0,
            TransportSpec::Tcp(_) => TCP_HEADER_LEN + tcp_options.len(),
            TransportSpec::Udp { .. } | TransportSpec::Icmp { .. } => SHORT_HEADER_LEN,
        };
        let segment_len = transport_len + self.payload.len();
        let mut bytes = Vec::with_capacity(IPV6_HEADER_LEN + MAXIMUM_OPTIONS_LEN + segment_len);
        match &self.network {
            NetworkSpec::V4(header) => header.encode(self.protocol(), segment_len, &mut bytes)?,
            NetworkSpec::V6(header) => header.encode(self.protocol(), segment_len, &mut bytes)?,
        }
        self.transport.encode(&tcp_options, segment_len, &mut bytes);
        bytes.extend_from_slice(&self.payload);
        fill_checksums(&mut bytes, 0);
        Ok(bytes)
    }

    fn tcp_options(&self) -> Result<Vec<u8>, BuildError> {
        let mut options = Vec::new();
        if let TransportSpec::Tcp(header) = &self.transport {
            header.options.iter().for_each(|option| option.encode(&mut options));
        }
        padded("tcp", options)
    }

    const fn protocol(&self) -> u8 {
        match (&self.transport, &self.network) {
            (TransportSpec::Other(protocol), _) => *protocol,
            (TransportSpec::Tcp(_), _) => Transport::Tcp.protocol(),
            (TransportSpec::Udp { .. }, _) => Transport::Udp.protocol(),
            (TransportSpec::Icmp { .. }, NetworkSpec::V4(_)) => Transport::Icmp.protocol(),
            (TransportSpec::Icmp { .. }, NetworkSpec::V6(_)) => Transport::Icmpv6.protocol(),
        }
    }
}

impl Ipv4Spec {
    fn encode(&self, protocol: u8, segment_len: usize, out: &mut Vec<u8>) -> Result<(), BuildError> {
        let options = padded("ipv4", self.options.clone())?;
        let header_len = IPV4_HEADER_LEN + options.len();
        let length = length_field(header_len + segment_len)?;
        out.extend([0x40 | (header_len / 4) as u8, self.tos]);
        out.extend(length.to_be_bytes());
        out.extend(self.id.to_be_bytes());
        out.extend([u8::from(self.dont_fragment) << 6, 0, self.ttl, protocol, 0, 0]);
        out.extend(self.src_addr.octets());
        out.extend(self.dst_addr.octets());
        out.extend(options);
        Ok(())
    }
}

impl Ipv6Spec {
    fn encode(&self, protocol: u8, segment_len: usize, out: &mut Vec<u8>) -> Result<(), BuildError> {
        let (value, max) = (self.flow_label, MAXIMUM_FLOW_LABEL);
        if value > max {
            return Err(BuildError::new(BuildErrorKind::OutOfRange { field: "flow_label", value, max }));
        }
        let length = length_field(segment_len)?;
        out.extend((6 << 28 | u32::from(self.traffic_class) << 20 | value).to_be_bytes());
        out.extend(length.to_be_bytes());
        out.extend([protocol, self.hop_limit]);
        out.extend(self.src_addr.octets());
        out.extend(self.dst_addr.octets());
        Ok(())
    }
}

impl TransportSpec {
    fn encode(&self, tcp_options: &[u8], segment_len: usize, out: &mut Vec<u8>) {
        match self {
            Self::Other(_) => {}
            Self::Tcp(header) => {
                out.extend(header.src_port.to_be_bytes());
                out.extend(header.dst_port.to_be_bytes());
                out.extend(header.seq.to_be_bytes());
                out.extend(header.ack_number.to_be_bytes());
                let words = (TCP_HEADER_LEN + tcp_options.len()) / 4;
                out.extend([(words as u8) << 4, header.flags.0]);
                out.extend(header.window.to_be_bytes());
                out.extend([0, 0]);
                out.extend(header.urgent_pointer.to_be_bytes());
                out.extend_from_slice(tcp_options);
            }
            Self::Udp { src_port, dst_port } => {
                out.extend(src_port.to_be_bytes());
                out.extend(dst_port.to_be_bytes());
                // Fits, since the IP length, which is no less, was found to.
                out.extend((segment_len as u16).to_be_bytes());
                out.extend([0, 0]);
            }
            Self::Icmp { message_type, code, body } => {
                out.extend([*message_type, *code, 0, 0]);
                out.extend(body.to_be_bytes());
            }
        }
    }
}

fn length_field(len: usize) -> Result<u16, BuildError> {
    let too_long = BuildErrorKind::TooLong { len, max: usize::from(u16::MAX) };
    u16::try_from(len).map_err(|_| BuildError::new(too_long))
}

fn padded(header: &'static str, mut options: Vec<u8>) -> Result<Vec<u8>, BuildError> {
    let len = options.len();
    if len > MAXIMUM_OPTIONS_LEN {
        return Err(BuildError::new(BuildErrorKind::OptionsTooLong { header, len }));
    }
    options.resize(len.next_multiple_of(4), 0);
    Ok(options)
}

/// How much of a packet an error message about it quotes: under IPv4 the header and 8 bytes (RFC 792), under IPv6 as much
/// as keeps the message within the smallest MTU (RFC 4443 §2.4).
pub(super) fn quoted(packet: &[u8]) -> Result<&[u8], BuildError> {
    const MINIMUM_MTU: usize = 1280;
    let layout = Layout::parse(packet).map_err(|error| BuildError::new(BuildErrorKind::Quoted(error)))?;
    let max =
        if layout.is_ipv6() { MINIMUM_MTU - IPV6_HEADER_LEN - SHORT_HEADER_LEN } else { layout.transport_offset() + 8 };
    Ok(packet.get(..max.min(layout.end_offset())).unwrap_or_default())
}
