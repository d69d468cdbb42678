//! The one table of header fields, and the typed header views made from it.
//!
//! A view is bytes and their [`Layout`]; it reads with `T: AsRef<[u8]>` and writes with `AsMut` too. It is made only where
//! the header is present, never panics, never allocates, and writes through [`write`](super::write), so that checksums stay
//! right. RFC 791, 8200, 9293, 768, 792 and 4443 give the positions.
use super::edit::{Endpoint, read, read_addr, write, write_addr};
use super::error::EditError;
use super::layout::{IpVersion, Layout, Transport};
use super::schema::{Field, Header, Role};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The Rust types of fields, as numbers and back. What does not fit the type cannot come from a field of its width.
trait Value: Copy {
    fn from_number(number: u32) -> Self;
    fn number(self) -> u32;
}

macro_rules! value {
    ($($type:ty),*) => {$(
        impl Value for $type {
            #[inline(always)]
            fn from_number(number: u32) -> Self {
                number as Self
            }
            #[inline(always)]
            fn number(self) -> u32 {
                self as u32
            }
        }
    )*};
}
value!(u8, u16, u32);

impl Value for bool {
    #[inline(always)]
    fn from_number(number: u32) -> Self {
        number != 0
    }
    #[inline(always)]
    fn number(self) -> u32 {
        u32::from(self)
    }
}

macro_rules! setter {
    (ReadOnly, $doc:literal, $setter:ident, $type:ty, $field:expr) => {};
    ($role:ident, $doc:literal, $setter:ident, $type:ty, $field:expr) => {
        #[doc = concat!("Sets: ", $doc)]
        #[inline]
        pub fn $setter(&mut self, value: $type) -> Result<(), EditError> {
            write(self.bytes.as_mut(), &mut self.layout, $field, value.number())
        }
    };
}

/// A row: constant, name, getter, setter, type; bits of the word, its offset, lowest bit and number of bits; role; doc.
macro_rules! headers {
    ($(
        $header:ident $view:ident $module:ident {$(
            $constant:ident $name:literal $getter:ident $setter:ident $type:ident
            [$word_bits:literal @ $offset:literal, $shift:literal + $bits:literal] $role:ident $doc:literal;
        )*}
    )*) => {
        /// The fields as constants.
        pub mod fields {
            use super::{Field, Header, Role};

            /// Every field of every header.
            pub const ALL: &[&[Field]] = &[$($module::ALL),*];

            $(
                #[doc = concat!("Fields of [`Header::", stringify!($header), "`].")]
                pub mod $module {
                    use super::{Field, Header, Role};

                    $(
                        #[doc = $doc]
                        pub const $constant: Field =
                            Field::new($name, Header::$header, Role::$role, ($word_bits, $offset), ($shift, $bits));
                    )*

                    /// All of them, in the header's order.
                    pub const ALL: &[Field] = &[$($constant),*];
                }
            )*
        }

        $(
            #[doc = concat!("A view of the ", stringify!($header), " header of a packet.")]
            #[derive(Clone, Copy, Debug)]
            pub struct $view<T> {
                bytes: T,
                layout: Layout,
            }

            impl<T: AsRef<[u8]>> $view<T> {
                /// The view of a packet's header, or `None` if the packet has none. `layout` is that of `bytes`.
                #[inline]
                pub fn new(bytes: T, layout: Layout) -> Option<Self> {
                    let offset = Header::$header.offset(&layout)?;
                    bytes.as_ref().get(offset..)?;
                    Some(Self { bytes, layout })
                }

                /// The packet's offset table, as it is after edits.
                #[inline]
                pub const fn layout(&self) -> &Layout {
                    &self.layout
                }

                $(
                    #[doc = $doc]
                    #[inline]
                    pub fn $getter(&self) -> $type {
                        let number = read(self.bytes.as_ref(), &self.layout, fields::$module::$constant);
                        <$type>::from_number(number.unwrap_or(0))
                    }
                )*
            }

            impl<T: AsRef<[u8]> + AsMut<[u8]>> $view<T> {
                $(setter!($role, $doc, $setter, $type, fields::$module::$constant);)*
            }
        )*
    };
}

headers! {
    Ipv4 Ipv4Header ipv4 {
        HEADER_LENGTH "header_length" header_length set_header_length u8 [16 @ 0, 8 + 4] ReadOnly
            "Header length in 32-bit words.";
        TOS "tos" tos set_tos u8 [16 @ 0, 0 + 8] Plain "Type of service: DSCP and ECN.";
        LENGTH "length" length set_length u16 [16 @ 2, 0 + 16] Structural "Total length in bytes.";
        ID "id" id set_id u16 [16 @ 4, 0 + 16] Plain "Identification.";
        DONT_FRAGMENT "dont_fragment" dont_fragment set_dont_fragment bool [16 @ 6, 14 + 1] Plain "Don't fragment.";
        MORE_FRAGMENTS "more_fragments" more_fragments set_more_fragments bool [16 @ 6, 13 + 1] Structural
            "More fragments follow.";
        FRAGMENT_OFFSET "fragment_offset" fragment_offset set_fragment_offset u16 [16 @ 6, 0 + 13] Structural
            "Fragment offset in units of 8 bytes.";
        TTL "ttl" ttl set_ttl u8 [16 @ 8, 8 + 8] Plain "Time to live.";
        PROTOCOL "protocol" protocol set_protocol u8 [16 @ 8, 0 + 8] Structural "Protocol number.";
        CHECKSUM "checksum" checksum set_checksum u16 [16 @ 10, 0 + 16] Checksum "Header checksum.";
    }
    Ipv6 Ipv6Header ipv6 {
        TRAFFIC_CLASS "traffic_class" traffic_class set_traffic_class u8 [16 @ 0, 4 + 8] Plain
            "Traffic class: DSCP and ECN.";
        FLOW_LABEL "flow_label" flow_label set_flow_label u32 [32 @ 0, 0 + 20] Plain "Flow label.";
        LENGTH "length" length set_length u16 [16 @ 4, 0 + 16] Structural "Payload length in bytes.";
        NEXT_HEADER "next_header" next_header set_next_header u8 [16 @ 6, 8 + 8] Structural
            "Protocol number of what follows the fixed header.";
        HOP_LIMIT "hop_limit" hop_limit set_hop_limit u8 [16 @ 6, 0 + 8] Plain "Hop limit.";
    }
    Tcp TcpHeader tcp {
        SRC_PORT "src_port" src_port set_src_port u16 [16 @ 0, 0 + 16] Plain "Source port.";
        DST_PORT "dst_port" dst_port set_dst_port u16 [16 @ 2, 0 + 16] Plain "Destination port.";
        SEQ "seq" seq set_seq u32 [32 @ 4, 0 + 32] Plain "Sequence number.";
        ACK_NUMBER "ack_number" ack_number set_ack_number u32 [32 @ 8, 0 + 32] Plain "Acknowledgment number.";
        DATA_OFFSET "data_offset" data_offset set_data_offset u8 [16 @ 12, 12 + 4] ReadOnly
            "Header length in 32-bit words.";
        CWR "cwr" cwr set_cwr bool [16 @ 12, 7 + 1] Plain "Congestion window reduced.";
        ECE "ece" ece set_ece bool [16 @ 12, 6 + 1] Plain "ECN echo.";
        URG "urg" urg set_urg bool [16 @ 12, 5 + 1] Plain "The urgent pointer counts.";
        ACK "ack" ack set_ack bool [16 @ 12, 4 + 1] Plain "The acknowledgment number counts.";
        PSH "psh" psh set_psh bool [16 @ 12, 3 + 1] Plain "Push.";
        RST "rst" rst set_rst bool [16 @ 12, 2 + 1] Plain "Reset.";
        SYN "syn" syn set_syn bool [16 @ 12, 1 + 1] Plain "Synchronize.";
        FIN "fin" fin set_fin bool [16 @ 12, 0 + 1] Plain "No more data from the sender.";
        WINDOW "window" window set_window u16 [16 @ 14, 0 + 16] Plain "Window, unscaled.";
        CHECKSUM "checksum" checksum set_checksum u16 [16 @ 16, 0 + 16] Checksum "Checksum.";
        URGENT_POINTER "urgent_pointer" urgent_pointer set_urgent_pointer u16 [16 @ 18, 0 + 16] Plain "Urgent pointer.";
    }
    Udp UdpHeader udp {
        SRC_PORT "src_port" src_port set_src_port u16 [16 @ 0, 0 + 16] Plain "Source port.";
        DST_PORT "dst_port" dst_port set_dst_port u16 [16 @ 2, 0 + 16] Plain "Destination port.";
        LENGTH "length" length set_length u16 [16 @ 4, 0 + 16] Structural "Length of header and payload in bytes.";
        CHECKSUM "checksum" checksum set_checksum u16 [16 @ 6, 0 + 16] Checksum "Checksum; 0 under IPv4 means none.";
    }
    Icmp IcmpHeader icmp {
        TYPE "type" message_type set_message_type u8 [16 @ 0, 8 + 8] Plain "Message type.";
        CODE "code" code set_code u8 [16 @ 0, 0 + 8] Plain "Code.";
        CHECKSUM "checksum" checksum set_checksum u16 [16 @ 2, 0 + 16] Checksum "Checksum.";
        BODY "body" body set_body u32 [32 @ 4, 0 + 32] Plain "The four bytes behind the checksum.";
    }
    Icmpv6 Icmpv6Header icmpv6 {
        TYPE "type" message_type set_message_type u8 [16 @ 0, 8 + 8] Plain "Message type.";
        CODE "code" code set_code u8 [16 @ 0, 0 + 8] Plain "Code.";
        CHECKSUM "checksum" checksum set_checksum u16 [16 @ 2, 0 + 16] Checksum "Checksum.";
        BODY "body" body set_body u32 [32 @ 4, 0 + 32] Plain "The four bytes behind the checksum.";
    }
}

macro_rules! addresses {
    ($view:ident, $address:ident, $version:ident) => {
        impl<T: AsRef<[u8]>> $view<T> {
            fn address(&self, endpoint: Endpoint) -> $address {
                match read_addr(self.bytes.as_ref(), &self.layout, endpoint) {
                    Some(IpAddr::$version(address)) => address,
                    _ => $address::UNSPECIFIED,
                }
            }

            /// Source address.
            #[inline]
            pub fn src_addr(&self) -> $address {
                self.address(Endpoint::Source)
            }

            /// Destination address.
            #[inline]
            pub fn dst_addr(&self) -> $address {
                self.address(Endpoint::Destination)
            }
        }

        impl<T: AsRef<[u8]> + AsMut<[u8]>> $view<T> {
            /// Sets the source address.
            #[inline]
            pub fn set_src_addr(&mut self, address: $address) -> Result<(), EditError> {
                write_addr(self.bytes.as_mut(), &self.layout, Endpoint::Source, address.into())
            }

            /// Sets the destination address.
            #[inline]
            pub fn set_dst_addr(&mut self, address: $address) -> Result<(), EditError> {
                write_addr(self.bytes.as_mut(), &self.layout, Endpoint::Destination, address.into())
            }
        }
    };
}
addresses!(Ipv4Header, Ipv4Addr, V4);
addresses!(Ipv6Header, Ipv6Addr, V6);

impl Endpoint {
    /// Where the address lies in the IP header.
    #[inline(always)]
    pub(crate) const fn addr_offset(self, version: IpVersion) -> usize {
        match (version, self) {
            (IpVersion::V4, Self::Source) => 12,
            (IpVersion::V4, Self::Destination) => 16,
            (IpVersion::V6, Self::Source) => 8,
            (IpVersion::V6, Self::Destination) => 24,
        }
    }

    /// The port's field, for the transport headers that have ports.
    #[inline(always)]
    pub(crate) const fn port(self, transport: Option<Transport>) -> Option<Field> {
        match (transport, self) {
            (Some(Transport::Tcp), Self::Source) => Some(fields::tcp::SRC_PORT),
            (Some(Transport::Tcp), Self::Destination) => Some(fields::tcp::DST_PORT),
            (Some(Transport::Udp), Self::Source) => Some(fields::udp::SRC_PORT),
            (Some(Transport::Udp), Self::Destination) => Some(fields::udp::DST_PORT),
            _ => None,
        }
    }
}
