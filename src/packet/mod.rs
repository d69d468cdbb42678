//! IP packets as bytes: parsing, header views, edits that keep checksums right, full checksums, hash, builder.
//!
//! [`Layout::parse`] turns bytes into a small `Copy` table of offsets; everything else takes bytes and that table. No
//! length field of a packet is trusted, and no accessor panics on any bytes: once a `Layout` was parsed from a buffer,
//! every offset in it lies inside that buffer, and a function given another buffer answers `None` or an error.
//!
//! The rules are those of WinDivert 2.2's helper functions, answer for answer (RFC 791, 8200, 9293, 768, 792, 4443 where
//! those follow them).
#![deny(clippy::indexing_slicing)]

mod answer;
mod build;
mod checksum;
#[cfg(target_arch = "x86_64")]
mod checksum_simd;
mod edit;
mod error;
pub mod field;
mod flow;
mod hash;
mod header;
mod layout;
mod parse;
mod schema;
mod spec;
mod summary;
pub(crate) mod text;
mod ttl;

pub use answer::{reset, unreachable};
pub use build::Builder;
pub use checksum::{Filled, Sum, fill_checksums, fill_checksums_with, skip, verify_checksums};
pub use edit::{Endpoint, read, read_addr, read_port, set_payload, write, write_addr, write_port};
pub use error::{EditError, EditErrorKind, ErrorKind, ParseError};
pub use flow::{FlowKey, flow_hash, has_loopback_addrs, is_loopback};
pub use hash::hash;
pub use header::{IcmpHeader, Icmpv6Header, Ipv4Header, Ipv6Header, TcpHeader, UdpHeader, fields};
pub use layout::{IpVersion, Layout, Transport};
pub use parse::{Batch as ParsedBatch, Strict, parse_strict};
pub use schema::{Field, Header, Role};
pub use spec::{
    BuildError, BuildErrorKind, Ipv4Spec, Ipv6Spec, NetworkSpec, PacketSpec, TcpFlags, TcpOption, TcpSpec,
    TransportSpec,
};
pub use summary::summary;
pub use text::{format_ipv4_address, format_ipv6_address, parse_ipv4_address, parse_ipv6_address};
pub use ttl::decrement_ttl;
