//! A builder in front of [`PacketSpec`]: one call a header, then what differs from the defaults.
//!
//! Setters never fail; the first thing wrong is told by [`build`](Builder::build).
use super::spec::{
    BuildError, BuildErrorKind, Ipv4Spec, Ipv6Spec, NetworkSpec, PacketSpec, TcpFlags, TcpOption, TcpSpec,
    TransportSpec, quoted,
};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Protocol number of "no next header" (RFC 8200 §4.7), which a packet without a transport header has at first.
const NO_NEXT_HEADER: u8 = 59;

/// Message types (RFC 792, RFC 4443), under IPv4 and under IPv6.
mod message {
    pub(super) const UNREACHABLE: (u8, u8) = (3, 1);
    pub(super) const ECHO_REQUEST: (u8, u8) = (8, 128);
    pub(super) const ECHO_REPLY: (u8, u8) = (0, 129);
}

/// Builds a packet with all lengths and checksums right.
///
/// ```
/// use oxidivert::packet::{Builder, Layout, TcpFlags, TcpOption, Transport, verify_checksums};
/// let packet = Builder::ipv4([192, 0, 2, 1], [198, 51, 100, 2])
///     .ttl(32)
///     .tcp(50_000, 443)
///     .flags(TcpFlags::SYN)
///     .option(TcpOption::MaximumSegmentSize(1460))
///     .build()?;
/// let layout = Layout::parse(&packet)?;
/// assert!(layout.has(Transport::Tcp) && verify_checksums(&packet, &layout));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    spec: PacketSpec,
    error: Option<BuildError>,
}

impl Builder {
    /// A packet over IPv4.
    pub fn ipv4(src_addr: impl Into<Ipv4Addr>, dst_addr: impl Into<Ipv4Addr>) -> Self {
        Self::over(NetworkSpec::V4(Ipv4Spec::new(src_addr.into(), dst_addr.into())))
    }

    /// A packet over IPv6.
    pub fn ipv6(src_addr: impl Into<Ipv6Addr>, dst_addr: impl Into<Ipv6Addr>) -> Self {
        Self::over(NetworkSpec::V6(Ipv6Spec::new(src_addr.into(), dst_addr.into())))
    }

    fn over(network: NetworkSpec) -> Self {
        let transport = TransportSpec::Other(NO_NEXT_HEADER);
        Self { spec: PacketSpec { network, transport, payload: Vec::new() }, error: None }
    }

    /// The time to live, or under IPv6 the hop limit.
    pub fn ttl(mut self, ttl: u8) -> Self {
        match &mut self.spec.network {
            NetworkSpec::V4(header) => header.ttl = ttl,
            NetworkSpec::V6(header) => header.hop_limit = ttl,
        }
        self
    }

    /// The type of service, or under IPv6 the traffic class.
    pub fn tos(mut self, tos: u8) -> Self {
        match &mut self.spec.network {
            NetworkSpec::V4(header) => header.tos = tos,
            NetworkSpec::V6(header) => header.traffic_class = tos,
        }
        self
    }

    /// The identification, under IPv4.
    pub fn id(self, id: u16) -> Self {
        self.with_ipv4("id", |header| header.id = id)
    }

    /// Forbids fragmentation, under IPv4.
    pub fn dont_fragment(self) -> Self {
        self.with_ipv4("dont_fragment", |header| header.dont_fragment = true)
    }

    /// IP options as bytes, under IPv4.
    pub fn ip_options(self, options: &[u8]) -> Self {
        self.with_ipv4("options", |header| header.options = options.to_vec())
    }

    /// The flow label, under IPv6.
    pub fn flow_label(mut self, flow_label: u32) -> Self {
        if let NetworkSpec::V6(header) = &mut self.spec.network {
            header.flow_label = flow_label;
            self
        } else {
            self.inapplicable("flow_label")
        }
    }

    /// No transport header: the payload is that of this IP protocol.
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.spec.transport = TransportSpec::Other(protocol);
        self
    }

    /// A TCP header.
    pub fn tcp(mut self, src_port: u16, dst_port: u16) -> Self {
        self.spec.transport = TransportSpec::Tcp(TcpSpec::new(src_port, dst_port));
        self
    }

    /// The TCP flags.
    pub fn flags(self, flags: TcpFlags) -> Self {
        self.with_tcp("flags", |header| header.flags = flags)
    }

    /// The TCP sequence number.
    pub fn seq(self, seq: u32) -> Self {
        self.with_tcp("seq", |header| header.seq = seq)
    }

    /// The TCP acknowledgment number; sets no flag.
    pub fn ack_number(self, ack_number: u32) -> Self {
        self.with_tcp("ack_number", |header| header.ack_number = ack_number)
    }

    /// The TCP window, unscaled.
    pub fn window(self, window: u16) -> Self {
        self.with_tcp("window", |header| header.window = window)
    }

    /// The TCP urgent pointer; sets no flag.
    pub fn urgent_pointer(self, urgent_pointer: u16) -> Self {
        self.with_tcp("urgent_pointer", |header| header.urgent_pointer = urgent_pointer)
    }

    /// One more TCP option.
    pub fn option(self, option: TcpOption) -> Self {
        self.with_tcp("options", |header| header.options.push(option))
    }

    /// A UDP header.
    pub fn udp(mut self, src_port: u16, dst_port: u16) -> Self {
        self.spec.transport = TransportSpec::Udp { src_port, dst_port };
        self
    }

    /// An ICMP header, under IPv6 one of ICMPv6.
    pub fn icmp(mut self, message_type: u8, code: u8, body: u32) -> Self {
        self.spec.transport = TransportSpec::Icmp { message_type, code, body };
        self
    }

    /// An echo request.
    pub fn icmp_echo_request(self, id: u16, seq: u16) -> Self {
        self.echo(message::ECHO_REQUEST, id, seq)
    }

    /// An echo reply.
    pub fn icmp_echo_reply(self, id: u16, seq: u16) -> Self {
        self.echo(message::ECHO_REPLY, id, seq)
    }

    /// "Destination unreachable", which quotes the packet that could not be delivered.
    pub fn icmp_unreachable(mut self, code: u8, packet: &[u8]) -> Self {
        match quoted(packet) {
            Ok(quote) => self.spec.payload = quote.to_vec(),
            Err(error) => self.error = self.error.or(Some(error)),
        }
        let message_type = self.by_version(message::UNREACHABLE);
        self.icmp(message_type, code, 0)
    }

    /// What follows the transport header.
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.spec.payload = payload.to_vec();
        self
    }

    /// The packet's bytes.
    pub fn build(&self) -> Result<Vec<u8>, BuildError> {
        match self.error {
            Some(error) => Err(error),
            None => self.spec.build(),
        }
    }

    fn echo(self, types: (u8, u8), id: u16, seq: u16) -> Self {
        let message_type = self.by_version(types);
        self.icmp(message_type, 0, u32::from(id) << 16 | u32::from(seq))
    }

    const fn by_version(&self, (v4, v6): (u8, u8)) -> u8 {
        match self.spec.network {
            NetworkSpec::V4(_) => v4,
            NetworkSpec::V6(_) => v6,
        }
    }

    fn with_ipv4(mut self, field: &'static str, set: impl FnOnce(&mut Ipv4Spec)) -> Self {
        if let NetworkSpec::V4(header) = &mut self.spec.network {
            set(header);
            self
        } else {
            self.inapplicable(field)
        }
    }

    fn with_tcp(mut self, field: &'static str, set: impl FnOnce(&mut TcpSpec)) -> Self {
        if let TransportSpec::Tcp(header) = &mut self.spec.transport {
            set(header);
            self
        } else {
            self.inapplicable(field)
        }
    }

    fn inapplicable(mut self, field: &'static str) -> Self {
        self.error = self.error.or(Some(BuildError::new(BuildErrorKind::Inapplicable(field))));
        self
    }
}

impl From<PacketSpec> for Builder {
    fn from(spec: PacketSpec) -> Self {
        Self { spec, error: None }
    }
}
