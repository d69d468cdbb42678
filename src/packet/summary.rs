//! One line about a packet, for people: protocol, both ends, flags, length.
use super::edit::{Endpoint, read, read_addr, read_port};
use super::header::fields;
use super::layout::{Layout, Transport};
use super::schema::Field;
use std::fmt::{self, Write};
use std::net::IpAddr;

/// The TCP flags and their usual letters.
const FLAG_LETTERS: [(Field, char); 8] = [
    (fields::tcp::FIN, 'F'),
    (fields::tcp::SYN, 'S'),
    (fields::tcp::RST, 'R'),
    (fields::tcp::PSH, 'P'),
    (fields::tcp::ACK, 'A'),
    (fields::tcp::URG, 'U'),
    (fields::tcp::ECE, 'E'),
    (fields::tcp::CWR, 'C'),
];

/// A packet to be shown in one line.
struct Summary<'a> {
    bytes: &'a [u8],
    layout: &'a Layout,
}

/// One line about a packet, such as `IPv4 TCP 10.0.0.1:40001 > 192.0.2.7:80 PA, 5 bytes`; the bytes are those of the payload.
pub fn summary(bytes: &[u8], layout: &Layout) -> String {
    Summary { bytes, layout }.to_string()
}

impl Summary<'_> {
    fn write_end(&self, f: &mut fmt::Formatter<'_>, end: Endpoint) -> fmt::Result {
        let port = read_port(self.bytes, self.layout, end);
        match (read_addr(self.bytes, self.layout, end), port) {
            (Some(IpAddr::V6(address)), Some(port)) => write!(f, "[{address}]:{port}"),
            (Some(address), Some(port)) => write!(f, "{address}:{port}"),
            (Some(address), None) => write!(f, "{address}"),
            (None, _) => Ok(()),
        }
    }

    fn write_details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |field| read(self.bytes, self.layout, field).unwrap_or(0);
        match self.layout.transport() {
            Some(Transport::Tcp) => {
                f.write_char(' ')?;
                for (_, letter) in FLAG_LETTERS.iter().filter(|(field, _)| value(*field) != 0) {
                    f.write_char(*letter)?;
                }
                Ok(())
            }
            Some(Transport::Icmp) => {
                write!(f, " type {} code {}", value(fields::icmp::TYPE), value(fields::icmp::CODE))
            }
            Some(Transport::Icmpv6) => {
                write!(f, " type {} code {}", value(fields::icmpv6::TYPE), value(fields::icmpv6::CODE))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.layout.is_ipv6() { "IPv6 " } else { "IPv4 " })?;
        match self.layout.transport() {
            Some(Transport::Tcp) => f.write_str("TCP ")?,
            Some(Transport::Udp) => f.write_str("UDP ")?,
            Some(Transport::Icmp) => f.write_str("ICMP ")?,
            Some(Transport::Icmpv6) => f.write_str("ICMPv6 ")?,
            None => write!(f, "protocol {} ", self.layout.protocol())?,
        }
        self.write_end(f, Endpoint::Source)?;
        f.write_str(" > ")?;
        self.write_end(f, Endpoint::Destination)?;
        self.write_details(f)?;
        if self.layout.is_fragment() {
            write!(f, " fragment at {}", self.layout.fragment_offset())?;
        }
        write!(f, ", {} bytes", self.layout.payload_len())
    }
}
