//! The record itself and its fields. One table, checked when the crate is built: fields of one part never overlap.
use super::error::{AddressError, AddressErrorKind};
use super::layer::{Event, Layer};
use std::net::{IpAddr, Ipv6Addr};

/// Length of the record in bytes.
pub const ADDRESS_LEN: usize = 80;

/// A 128-bit address as four words, the first one least significant; IPv4 is mapped (`::ffff:a.b.c.d`).
pub type IpWords = [u32; 4];

/// The 80-byte address record (`WINDIVERT_ADDRESS`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct Address {
    bytes: [u8; ADDRESS_LEN],
}

impl Default for Address {
    /// Layer NETWORK, outbound, nothing else set.
    fn default() -> Self {
        let mut address = Self { bytes: [0; ADDRESS_LEN] };
        address.set_outbound(true);
        address
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address")
            .field("timestamp", &self.timestamp())
            .field("layer", &self.layer())
            .field("event", &self.event())
            .field("flags", &self.flag_bits())
            .finish_non_exhaustive()
    }
}

/// Declares integer fields: getter, setter, type, offset in bytes; each getter's line is its documentation.
macro_rules! integers {
    ($($(#[$doc:meta])* $getter:ident $setter:ident: $type:ty = $offset:literal;)*) => {
        impl Address {
            $(
                $(#[$doc])*
                #[inline]
                pub const fn $getter(&self) -> $type {
                    let mut value = [0; size_of::<$type>()];
                    let mut index = 0;
                    while index < value.len() {
                        value[index] = self.bytes[$offset + index];
                        index += 1;
                    }
                    <$type>::from_le_bytes(value)
                }

                $(#[$doc])*
                #[inline]
                pub const fn $setter(&mut self, value: $type) {
                    let value = value.to_le_bytes();
                    let mut index = 0;
                    while index < value.len() {
                        self.bytes[$offset + index] = value[index];
                        index += 1;
                    }
                }
            )*
        }

        /// The fields' places, for the tests that hold the table against the layout.
        #[cfg(test)]
        pub(super) const INTEGERS: &[(&str, usize, usize)] =
            &[$((stringify!($getter), $offset, size_of::<$type>())),*];
    };
}

integers! {
    /// Capture time in performance-counter ticks; the Unix time of a replayed packet is [its record's](crate::batch::Record).
    timestamp set_timestamp: i64 = 0;
    /// NETWORK and NETWORK_FORWARD: interface index.
    interface_index set_interface_index: u32 = 16;
    /// NETWORK and NETWORK_FORWARD: sub-interface index.
    subinterface_index set_subinterface_index: u32 = 20;
    /// FLOW and SOCKET: endpoint.
    endpoint_id set_endpoint_id: u64 = 16;
    /// FLOW and SOCKET: the endpoint that this one came from.
    parent_endpoint_id set_parent_endpoint_id: u64 = 24;
    /// FLOW and SOCKET: process.
    process_id set_process_id: u32 = 32;
    /// FLOW and SOCKET: local port, host order.
    local_port set_local_port: u16 = 68;
    /// FLOW and SOCKET: remote port, host order.
    remote_port set_remote_port: u16 = 70;
    /// FLOW and SOCKET: IP protocol.
    protocol set_protocol: u8 = 72;
    /// REFLECT: when the handle was opened, in performance-counter ticks.
    reflect_timestamp set_reflect_timestamp: i64 = 16;
    /// REFLECT: the process that opened the handle.
    reflect_process_id set_reflect_process_id: u32 = 24;
    /// REFLECT: the handle's layer.
    reflect_layer set_reflect_layer: u32 = 28;
    /// REFLECT: the handle's open flags.
    reflect_flags set_reflect_flags: u64 = 32;
    /// REFLECT: the handle's priority.
    reflect_priority set_reflect_priority: i16 = 40;
}

/// Declares the single bits of byte 10.
macro_rules! bits {
    ($($(#[$doc:meta])* $getter:ident $setter:ident = $bit:literal;)*) => {
        impl Address {
            $(
                $(#[$doc])*
                #[inline]
                pub const fn $getter(&self) -> bool {
                    self.bytes[10] & (1 << $bit) != 0
                }

                $(#[$doc])*
                #[inline]
                pub const fn $setter(&mut self, value: bool) {
                    self.bytes[10] = self.bytes[10] & !(1 << $bit) | ((value as u8) << $bit);
                }
            )*
        }
        const _: () = assert!(0xFF == $((1_u8 << $bit))|*, "each bit of byte 10 has one name");
    };
}

bits! {
    /// Whether the packet is a copy.
    sniffed set_sniffed = 0;
    /// Whether the packet leaves this host.
    outbound set_outbound = 1;
    /// Whether the packet stays within this host.
    loopback set_loopback = 2;
    /// Whether another driver made the packet.
    impostor set_impostor = 3;
    /// Whether the packet is IPv6.
    ipv6 set_ipv6 = 4;
    /// Whether the IPv4 header checksum is final; if not it is computed when the packet is sent.
    ip_checksum set_ip_checksum = 5;
    /// Whether the TCP checksum is final; if not it is computed when the packet is sent.
    tcp_checksum set_tcp_checksum = 6;
    /// Whether the UDP checksum is final; if not it is computed when the packet is sent.
    udp_checksum set_udp_checksum = 7;
}

impl Address {
    /// A record from any 80 bytes; the layer and event bytes may name nothing, see [`decode`](Self::decode).
    #[inline]
    pub const fn from_raw(bytes: [u8; ADDRESS_LEN]) -> Self {
        Self { bytes }
    }

    /// A record from bytes, refused if they are not 80 or name no layer or event.
    pub fn decode(bytes: &[u8]) -> Result<Self, AddressError> {
        let Ok(bytes) = <[u8; ADDRESS_LEN]>::try_from(bytes) else {
            return Err(AddressError::new(AddressErrorKind::Length(bytes.len())));
        };
        if Layer::from_number(bytes[8]).is_none() {
            return Err(AddressError::new(AddressErrorKind::Layer(bytes[8])));
        }
        if Event::from_number(bytes[9]).is_none() {
            return Err(AddressError::new(AddressErrorKind::Event(bytes[9])));
        }
        Ok(Self { bytes })
    }

    /// The record's bytes.
    #[inline]
    pub const fn as_bytes(&self) -> &[u8; ADDRESS_LEN] {
        &self.bytes
    }

    /// The layer; `None` if byte 8 names none.
    #[inline]
    pub const fn layer(&self) -> Option<Layer> {
        Layer::from_number(self.bytes[8])
    }

    /// Sets the layer.
    pub const fn set_layer(&mut self, layer: Layer) {
        self.bytes[8] = layer.number();
    }

    /// The layer byte as it is.
    #[inline]
    pub const fn raw_layer(&self) -> u8 {
        self.bytes[8]
    }

    /// The event; `None` if byte 9 names none.
    #[inline]
    pub const fn event(&self) -> Option<Event> {
        Event::from_number(self.bytes[9])
    }

    /// Sets the event.
    pub const fn set_event(&mut self, event: Event) {
        self.bytes[9] = event.number();
    }

    /// The event byte as it is.
    #[inline]
    pub const fn raw_event(&self) -> u8 {
        self.bytes[9]
    }

    /// Byte 10: the eight flag bits.
    #[inline]
    pub const fn flag_bits(&self) -> u8 {
        self.bytes[10]
    }

    /// FLOW and SOCKET: the local address.
    #[inline]
    pub fn local_addr(&self) -> IpWords {
        self.words(36)
    }

    /// FLOW and SOCKET: the remote address.
    #[inline]
    pub fn remote_addr(&self) -> IpWords {
        self.words(52)
    }

    /// Sets the local address (FLOW and SOCKET).
    pub fn set_local_addr(&mut self, words: IpWords) {
        self.set_words(36, words);
    }

    /// Sets the remote address (FLOW and SOCKET).
    pub fn set_remote_addr(&mut self, words: IpWords) {
        self.set_words(52, words);
    }

    fn words(&self, offset: usize) -> IpWords {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(self.bytes[offset..].chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        words
    }

    fn set_words(&mut self, offset: usize, words: IpWords) {
        for (word, bytes) in words.iter().zip(self.bytes[offset..].chunks_exact_mut(4)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }
}

/// The address of four words, as events have them: the first one least significant; IPv4-mapped words are IPv4.
pub fn address_of(words: IpWords) -> IpAddr {
    let bits = words.iter().rev().fold(0_u128, |bits, word| bits << 32 | u128::from(*word));
    let address = Ipv6Addr::from_bits(bits);
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_one_part_do_not_overlap() {
        let parts: [&[&str]; 3] = [
            &["timestamp", "interface_index", "subinterface_index"],
            &["timestamp", "endpoint_id", "parent_endpoint_id", "process_id", "local_port", "remote_port", "protocol"],
            &[
                "timestamp",
                "reflect_timestamp",
                "reflect_process_id",
                "reflect_layer",
                "reflect_flags",
                "reflect_priority",
            ],
        ];
        for part in parts {
            let mut used = [false; ADDRESS_LEN];
            used[8..16].fill(true);
            for (name, offset, len) in INTEGERS.iter().filter(|(name, ..)| part.contains(name)) {
                for place in &mut used[*offset..offset + len] {
                    assert!(!std::mem::replace(place, true), "{name} overlaps");
                }
            }
        }
    }

    #[test]
    fn every_field_reads_what_was_written_and_leaves_the_rest() {
        let mut address = Address::from_raw([0xFF; ADDRESS_LEN]);
        address.set_local_addr([1, 2, 3, 4]);
        address.set_local_port(80);
        address.set_outbound(false);
        assert_eq!(address.local_addr(), [1, 2, 3, 4]);
        assert_eq!(address.local_port(), 80);
        assert_eq!(address.flag_bits(), 0xFD);
        assert_eq!(address.remote_addr(), [u32::MAX; 4]);
        assert_eq!(address.as_bytes()[11..16], [0xFF; 5]);
    }

    #[test]
    fn a_record_that_names_no_layer_or_event_is_refused() {
        let mut bytes = [0; ADDRESS_LEN];
        bytes[8] = 5;
        assert_eq!(Address::decode(&bytes).unwrap_err().kind(), AddressErrorKind::Layer(5));
        bytes[8] = 4;
        bytes[9] = 10;
        assert_eq!(Address::decode(&bytes).unwrap_err().kind(), AddressErrorKind::Event(10));
        assert_eq!(Address::decode(&bytes[..79]).unwrap_err().kind(), AddressErrorKind::Length(79));
    }
}
