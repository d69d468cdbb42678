//! The one table of fields. Lexer, folding, evaluation, object format and normal form all read it; a field's number is that
//! of the object format. Plain data.
use super::number::Number;

/// Layers by the bits of a set: bit n is the layer with number n.
mod layers {
    pub(super) const NM: u8 = 0b0_0011;
    pub(super) const FS: u8 = 0b0_1100;
    pub(super) const R: u8 = 0b1_0000;
    pub(super) const NFS: u8 = 0b0_1101;
    pub(super) const NMFS: u8 = NM | FS;
    pub(super) const FSR: u8 = FS | R;
    pub(super) const ALL: u8 = NM | FS | R;
}

/// How much of an argument is compared and stands in an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// The lowest word, both.
    Narrow,
    /// All four words are compared; only the lowest stands in an object, the rest being that of a mapped IPv4 address.
    Mapped,
    /// All four words are compared, the lowest two stand in an object.
    Double,
    /// All four words, both.
    Quad,
}

/// How a field's values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As a test by itself, and with `not`.
    Flag,
    /// As a decimal number.
    Decimal,
    /// As a hexadecimal number.
    Hexadecimal,
    /// As an IPv4 address.
    Ipv4,
    /// As an IPv6 address.
    Ipv6,
    /// By the name of a layer.
    Layer,
    /// By the name of an event.
    Event,
}

impl Style {
    /// The name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Decimal => "decimal",
            Self::Hexadecimal => "hexadecimal",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Layer => "layer",
            Self::Event => "event",
        }
    }
}

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Local,
    Remote,
}

/// Where a field's value is read. Offsets are in bytes unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Always 0.
    Constant,
    Inbound,
    Outbound,
    /// A bit of the address record's byte 10.
    AddressBit(u8),
    /// An integer of the address record: offset and width in bits.
    Address(u8, u8),
    /// A 64-bit integer of the address record.
    Address64(u8),
    /// Whether the header that the field is named after is there.
    Present,
    /// A stretch of the needed header: first bit and number of bits, in the order in which they are sent.
    Bits(u8, u8),
    FlowLabel,
    Ipv4Address(u8),
    Ipv6Address(u8),
    PayloadLength,
    Process,
    EndpointAddress(Side),
    EndpointPort(Side),
    Protocol,
    Priority,
    /// An element of the packet, of so many bytes.
    PacketElement(u8),
    /// An element of the payload, of so many bytes.
    PayloadElement(u8),
    Length,
    Timestamp,
    /// A stretch of the packet's hash: lowest bit and number of bits.
    Random(u8, u8),
    Fragment,
}

/// What the table says about a field.
#[derive(Debug)]
struct Row {
    field: Field,
    name: &'static str,
    doc: &'static str,
    layers: u8,
    needs: Option<Field>,
    bounds: Option<(Number, Number)>,
    width: Width,
    style: Style,
    source: Source,
}

type Bounds = Option<(Number, Number)>;

const NEVER: Bounds = None;
const MAPPED: Bounds = Some((Number::positive(0xFFFF_0000_0000), Number::positive(0xFFFF_FFFF_FFFF)));
const PRIORITY: Bounds = Some((Number::negative(30000), Number::positive(30000)));
const LENGTH: Bounds = Some((Number::positive(20), Number::positive(65575)));
const TIMESTAMP: Bounds = Some((Number::negative(1 << 63), Number::positive((1 << 63) - 1)));

#[expect(clippy::unnecessary_wraps, reason = "a cell of the table, in which other rows have none")]
const fn up_to(high: u128) -> Bounds {
    Some((Number::ZERO, Number::positive(high)))
}

/// A row: variant, spelling, layers, needed header, bounds that folding assumes, width, style, source, doc.
macro_rules! fields {
    ($($variant:ident $name:literal $layers:ident [$($needs:ident)?], $bounds:expr, $width:ident, $style:ident,
       $source:ident $(($($part:expr),*))?, $doc:literal;)*) => {
        /// A field of the filter language.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Field {
            $(#[doc = concat!("`", $name, "`: ", $doc)] $variant,)*
        }

        const ROWS: &[Row] = &[$(Row {
            field: Field::$variant,
            name: $name,
            doc: $doc,
            layers: layers::$layers,
            needs: fields!(@needs $($needs)?),
            bounds: $bounds,
            width: Width::$width,
            style: Style::$style,
            source: Source::$source $(($($part),*))?,
        }),*];

        impl Field {
            /// Every field, in the order of the object format's numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
        }
    };
    (@needs) => { None };
    (@needs $needs:ident) => { Some(Field::$needs) };
}

fields! {
    Zero "zero" ALL [], up_to(0), Narrow, Flag, Constant, "The number 0.";
    Inbound "inbound" NFS [], up_to(1), Narrow, Flag, Inbound, "The packet comes in.";
    Outbound "outbound" NFS [], up_to(1), Narrow, Flag, Outbound, "The packet goes out.";
    IfIdx "ifIdx" NM [], up_to(u32::MAX as u128), Narrow, Decimal, Address(16, 32), "Interface index.";
    SubIfIdx "subIfIdx" NM [], up_to(u32::MAX as u128), Narrow, Decimal, Address(20, 32), "Sub-interface index.";
    Ip "ip" NMFS [], up_to(1), Narrow, Flag, Present, "The packet is IPv4; never so for flows and sockets.";
    Ipv6 "ipv6" NMFS [], up_to(1), Narrow, Flag, Present, "The packet is IPv6; never so for flows and sockets.";
    Icmp "icmp" NMFS [], up_to(1), Narrow, Flag, Present, "There is an ICMP header.";
    Tcp "tcp" NMFS [], up_to(1), Narrow, Flag, Present, "There is a TCP header.";
    Udp "udp" NMFS [], up_to(1), Narrow, Flag, Present, "There is a UDP header.";
    Icmpv6 "icmpv6" NMFS [], up_to(1), Narrow, Flag, Present, "There is an ICMPv6 header.";
    IpHdrLength "ip.HdrLength" NM [Ip], up_to(15), Narrow, Decimal, Bits(4, 4), "Header length in 32-bit words.";
    IpTos "ip.TOS" NM [Ip], up_to(0xFFFF), Narrow, Decimal, Bits(8, 8), "Type of service.";
    IpLength "ip.Length" NM [Ip], up_to(0xFFFF), Narrow, Decimal, Bits(16, 16), "Total length in bytes.";
    IpId "ip.Id" NM [Ip], up_to(0xFFFF), Narrow, Hexadecimal, Bits(32, 16), "Identification.";
    IpDontFragment "ip.DF" NM [Ip], up_to(1), Narrow, Flag, Bits(49, 1), "Don't fragment.";
    IpMoreFragments "ip.MF" NM [Ip], up_to(1), Narrow, Flag, Bits(50, 1), "More fragments follow.";
    IpFragOff "ip.FragOff" NM [Ip], up_to(0x1FFF), Narrow, Decimal, Bits(51, 13), "Fragment offset in units of 8 bytes.";
    IpTtl "ip.TTL" NM [Ip], up_to(0xFF), Narrow, Decimal, Bits(64, 8), "Time to live.";
    IpProtocol "ip.Protocol" NM [Ip], up_to(0xFF), Narrow, Decimal, Bits(72, 8), "Protocol number.";
    IpChecksum "ip.Checksum" NM [Ip], up_to(0xFFFF), Narrow, Hexadecimal, Bits(80, 16), "Header checksum.";
    IpSrcAddr "ip.SrcAddr" NM [Ip], MAPPED, Mapped, Ipv4, Ipv4Address(12), "Source address.";
    IpDstAddr "ip.DstAddr" NM [Ip], MAPPED, Mapped, Ipv4, Ipv4Address(16), "Destination address.";
    Ipv6TrafficClass "ipv6.TrafficClass" NM [Ipv6], up_to(0xFF), Narrow, Decimal, Bits(4, 8), "Traffic class.";
    Ipv6FlowLabel "ipv6.FlowLabel" NM [Ipv6], up_to(0xF_FFFF), Narrow, Decimal, FlowLabel, "Flow label, with its bytes in another order: `0x12345` reads as `0x23450100`.";
    Ipv6Length "ipv6.Length" NM [Ipv6], up_to(0xFFFF), Narrow, Decimal, Bits(32, 16), "Payload length in bytes.";
    Ipv6NextHdr "ipv6.NextHdr" NM [Ipv6], up_to(0xFF), Narrow, Decimal, Bits(48, 8), "Protocol number of what follows the fixed header.";
    Ipv6HopLimit "ipv6.HopLimit" NM [Ipv6], up_to(0xFF), Narrow, Decimal, Bits(56, 8), "Hop limit.";
    Ipv6SrcAddr "ipv6.SrcAddr" NM [Ipv6], up_to(u128::MAX), Quad, Ipv6, Ipv6Address(8), "Source address.";
    Ipv6DstAddr "ipv6.DstAddr" NM [Ipv6], up_to(u128::MAX), Quad, Ipv6, Ipv6Address(24), "Destination address.";
    IcmpType "icmp.Type" NM [Icmp], up_to(0xFF), Narrow, Decimal, Bits(0, 8), "Message type.";
    IcmpCode "icmp.Code" NM [Icmp], up_to(0xFF), Narrow, Decimal, Bits(8, 8), "Message code.";
    IcmpChecksum "icmp.Checksum" NM [Icmp], up_to(0xFFFF), Narrow, Hexadecimal, Bits(16, 16), "Checksum.";
    IcmpBody "icmp.Body" NM [Icmp], NEVER, Narrow, Decimal, Bits(32, 32), "The four bytes behind the checksum.";
    Icmpv6Type "icmpv6.Type" NM [Icmpv6], up_to(0xFF), Narrow, Decimal, Bits(0, 8), "Message type.";
    Icmpv6Code "icmpv6.Code" NM [Icmpv6], up_to(0xFF), Narrow, Decimal, Bits(8, 8), "Message code.";
    Icmpv6Checksum "icmpv6.Checksum" NM [Icmpv6], up_to(0xFFFF), Narrow, Hexadecimal, Bits(16, 16), "Checksum.";
    Icmpv6Body "icmpv6.Body" NM [Icmpv6], NEVER, Narrow, Decimal, Bits(32, 32), "The four bytes behind the checksum.";
    TcpSrcPort "tcp.SrcPort" NM [Tcp], up_to(0xFFFF), Narrow, Decimal, Bits(0, 16), "Source port.";
    TcpDstPort "tcp.DstPort" NM [Tcp], up_to(0xFFFF), Narrow, Decimal, Bits(16, 16), "Destination port.";
    TcpSeqNum "tcp.SeqNum" NM [Tcp], NEVER, Narrow, Decimal, Bits(32, 32), "Sequence number.";
    TcpAckNum "tcp.AckNum" NM [Tcp], NEVER, Narrow, Decimal, Bits(64, 32), "Acknowledgment number.";
    TcpHdrLength "tcp.HdrLength" NM [Tcp], up_to(15), Narrow, Decimal, Bits(96, 4), "Header length in 32-bit words.";
    TcpUrg "tcp.Urg" NM [Tcp], up_to(1), Narrow, Flag, Bits(106, 1), "The urgent pointer counts.";
    TcpAck "tcp.Ack" NM [Tcp], up_to(1), Narrow, Flag, Bits(107, 1), "The acknowledgment number counts.";
    TcpPsh "tcp.Psh" NM [Tcp], up_to(1), Narrow, Flag, Bits(108, 1), "Push.";
    TcpRst "tcp.Rst" NM [Tcp], up_to(1), Narrow, Flag, Bits(109, 1), "Reset.";
    TcpSyn "tcp.Syn" NM [Tcp], up_to(1), Narrow, Flag, Bits(110, 1), "Synchronize.";
    TcpFin "tcp.Fin" NM [Tcp], up_to(1), Narrow, Flag, Bits(111, 1), "No more data from the sender.";
    TcpWindow "tcp.Window" NM [Tcp], up_to(0xFFFF), Narrow, Decimal, Bits(112, 16), "Window, unscaled.";
    TcpChecksum "tcp.Checksum" NM [Tcp], up_to(0xFFFF), Narrow, Hexadecimal, Bits(128, 16), "Checksum.";
    TcpUrgPtr "tcp.UrgPtr" NM [Tcp], up_to(0xFFFF), Narrow, Decimal, Bits(144, 16), "Urgent pointer.";
    TcpPayloadLength "tcp.PayloadLength" NM [Tcp], up_to(0xFFFF), Narrow, Decimal, PayloadLength, "Payload length in bytes.";
    UdpSrcPort "udp.SrcPort" NM [Udp], up_to(0xFFFF), Narrow, Decimal, Bits(0, 16), "Source port.";
    UdpDstPort "udp.DstPort" NM [Udp], up_to(0xFFFF), Narrow, Decimal, Bits(16, 16), "Destination port.";
    UdpLength "udp.Length" NM [Udp], up_to(0xFFFF), Narrow, Decimal, Bits(32, 16), "Length of header and payload in bytes, as stored.";
    UdpChecksum "udp.Checksum" NM [Udp], up_to(0xFFFF), Narrow, Hexadecimal, Bits(48, 16), "Checksum.";
    UdpPayloadLength "udp.PayloadLength" NM [Udp], up_to(0xFFFF), Narrow, Decimal, PayloadLength, "Payload length in bytes, by the IP length.";
    Loopback "loopback" NFS [], NEVER, Narrow, Flag, AddressBit(2), "The packet stays within this host.";
    Impostor "impostor" NM [], NEVER, Narrow, Flag, AddressBit(3), "Another driver made the packet.";
    ProcessId "processId" FSR [], up_to(u32::MAX as u128), Narrow, Decimal, Process, "Process.";
    LocalAddr "localAddr" NFS [], up_to(u128::MAX), Quad, Ipv6, EndpointAddress(Side::Local), "Address on this side; IPv4 is mapped.";
    RemoteAddr "remoteAddr" NFS [], up_to(u128::MAX), Quad, Ipv6, EndpointAddress(Side::Remote), "Address on the other side; IPv4 is mapped.";
    LocalPort "localPort" NFS [], up_to(0xFFFF), Narrow, Decimal, EndpointPort(Side::Local), "Port on this side; for ICMP the message type stands for the source port.";
    RemotePort "remotePort" NFS [], up_to(0xFFFF), Narrow, Decimal, EndpointPort(Side::Remote), "Port on the other side; for ICMP the message type stands for the source port.";
    Protocol "protocol" NFS [], up_to(0xFF), Narrow, Decimal, Protocol, "Protocol number behind the extension headers.";
    EndpointId "endpointId" FS [], up_to(u64::MAX as u128), Double, Decimal, Address64(16), "Endpoint.";
    ParentEndpointId "parentEndpointId" FS [], up_to(u64::MAX as u128), Double, Decimal, Address64(24), "The endpoint that this one came from.";
    Layer "layer" R [], up_to(4), Narrow, Layer, Address(28, 32), "Layer of the handle.";
    Priority "priority" R [], PRIORITY, Narrow, Decimal, Priority, "Priority of the handle.";
    Event "event" ALL [], up_to(9), Narrow, Event, Address(9, 8), "What happened.";
    Packet "packet" NM [], up_to(0xFF), Narrow, Hexadecimal, PacketElement(1), "Byte of the packet.";
    Packet16 "packet16" NM [], up_to(0xFFFF), Narrow, Hexadecimal, PacketElement(2), "16 bits of the packet, big-endian.";
    Packet32 "packet32" NM [], NEVER, Narrow, Hexadecimal, PacketElement(4), "32 bits of the packet, big-endian.";
    TcpPayload "tcp.Payload" NM [Tcp], up_to(0xFF), Narrow, Hexadecimal, PayloadElement(1), "Byte of the TCP payload.";
    TcpPayload16 "tcp.Payload16" NM [Tcp], up_to(0xFFFF), Narrow, Hexadecimal, PayloadElement(2), "16 bits of the TCP payload, big-endian.";
    TcpPayload32 "tcp.Payload32" NM [Tcp], up_to(u32::MAX as u128), Narrow, Hexadecimal, PayloadElement(4), "32 bits of the TCP payload, big-endian.";
    UdpPayload "udp.Payload" NM [Udp], up_to(0xFF), Narrow, Hexadecimal, PayloadElement(1), "Byte of the UDP payload.";
    UdpPayload16 "udp.Payload16" NM [Udp], up_to(0xFFFF), Narrow, Hexadecimal, PayloadElement(2), "16 bits of the UDP payload, big-endian.";
    UdpPayload32 "udp.Payload32" NM [Udp], up_to(u32::MAX as u128), Narrow, Hexadecimal, PayloadElement(4), "32 bits of the UDP payload, big-endian.";
    Length "length" NM [], LENGTH, Narrow, Decimal, Length, "Length of the packet in bytes, with what follows the IP length.";
    Timestamp "timestamp" ALL [], TIMESTAMP, Double, Decimal, Timestamp, "Capture time in performance-counter ticks.";
    Random8 "random8" NM [], up_to(0xFF), Narrow, Decimal, Random(48, 8), "8 bits of the packet's hash, with the timestamp as seed.";
    Random16 "random16" NM [], up_to(0xFFFF), Narrow, Decimal, Random(32, 16), "16 bits of the packet's hash, with the timestamp as seed.";
    Random32 "random32" NM [], up_to(u32::MAX as u128), Narrow, Decimal, Random(0, 32), "32 bits of the packet's hash, with the timestamp as seed.";
    Fragment "fragment" NM [], up_to(1), Narrow, Flag, Fragment, "The packet is a fragment.";
}

const _: () = assert!(ROWS.len() == 86, "the object format knows 86 fields");

impl Field {
    #[expect(clippy::indexing_slicing, reason = "the macro makes a row for every variant")]
    const fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// The field with this number in the object format.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        ROWS.get(number as usize).map(|row| row.field)
    }

    /// The spelling in filters.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// What it is, in a sentence.
    pub const fn doc(self) -> &'static str {
        self.row().doc
    }

    /// Whether the layer with this number has the field. Like WinDivert, only the lowest five bits of the number count.
    pub const fn exists_on(self, layer: u8) -> bool {
        self.row().layers as u32 >> (layer & 31) & 1 != 0
    }

    /// The header without which a test of the field fails.
    pub const fn needs(self) -> Option<Self> {
        self.row().needs
    }

    /// Whether the field has elements and takes an index.
    pub const fn is_array(self) -> bool {
        self.element_len().is_some()
    }

    /// Length of an element in bytes, of an array field.
    pub const fn element_len(self) -> Option<u8> {
        match self.row().source {
            Source::PacketElement(len) | Source::PayloadElement(len) => Some(len),
            _ => None,
        }
    }

    pub(super) const fn bounds(self) -> Option<&'static (Number, Number)> {
        self.row().bounds.as_ref()
    }

    pub(super) const fn width(self) -> Width {
        self.row().width
    }

    /// How its values are written.
    pub const fn style(self) -> Style {
        self.row().style
    }

    pub(super) const fn source(self) -> Source {
        self.row().source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_object_format() {
        let known =
            [(0, "zero"), (5, "ip"), (31, "icmp.Code"), (39, "tcp.DstPort"), (73, "packet32"), (85, "fragment")];
        for (number, name) in known {
            assert_eq!(Field::from_number(number).unwrap().name(), name);
        }
        assert_eq!(Field::from_number(86), None);
        for (number, field) in Field::ALL.iter().enumerate() {
            assert_eq!(*field as usize, number);
        }
    }

    #[test]
    fn fields_that_read_a_header_need_it() {
        for field in Field::ALL {
            let reads_header = matches!(
                field.source(),
                Source::Bits(..)
                    | Source::FlowLabel
                    | Source::Ipv4Address(_)
                    | Source::Ipv6Address(_)
                    | Source::PayloadLength
                    | Source::PayloadElement(_)
            );
            assert_eq!(field.needs().is_some(), reads_header, "{}", field.name());
            assert!(!reads_header || !field.exists_on(2), "{}", field.name());
        }
    }

    #[test]
    fn every_column_is_filled() {
        for field in Field::ALL {
            assert!(!field.name().is_empty() && field.doc().ends_with('.'), "{field:?}");
            assert!((0..5).any(|layer| field.exists_on(layer)), "{field:?}");
        }
    }
}
