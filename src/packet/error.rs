//! Why bytes are no packet. Carries numbers only, so that making one costs nothing.
use std::fmt;

/// Bytes that cannot be read as an IP packet, with what was needed and what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    kind: ErrorKind,
}

/// The ways in which bytes fail to be an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Fewer bytes than the smallest header: 20, for IPv6 40.
    TooShort {
        /// Bytes needed.
        required_len: usize,
        /// Bytes present.
        actual_len: usize,
    },
    /// The version nibble is neither 4 nor 6.
    Version(u8),
    /// IPv4 header length below five words.
    HeaderLength(u8),
    /// IPv4 total length below the header length (0 with segmentation offload).
    TotalLength {
        /// The total length field, in bytes.
        total_len: usize,
        /// The header length, in bytes.
        header_len: usize,
    },
    /// The length in the IP header exceeds the bytes present (only a strict reading refuses that).
    Truncated {
        /// The length in the IP header, in bytes.
        total_len: usize,
        /// Bytes present.
        actual_len: usize,
    },
}

impl ParseError {
    pub(super) const fn new(kind: ErrorKind) -> Self {
        Self { kind }
    }

    /// What is wrong.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ErrorKind::TooShort { required_len, actual_len } => {
                write!(f, "an IP header needs {required_len} bytes, there are {actual_len}")
            }
            ErrorKind::Version(version) => write!(f, "IP version is {version}, neither 4 nor 6"),
            ErrorKind::HeaderLength(words) => write!(f, "IPv4 header length is {words} words, at least 5 are needed"),
            ErrorKind::TotalLength { total_len, header_len } => {
                write!(f, "IPv4 total length {total_len} is below the header length {header_len}")
            }
            ErrorKind::Truncated { total_len, actual_len } => {
                write!(f, "the IP header claims {total_len} bytes, there are {actual_len}")
            }
        }
    }
}

impl std::error::Error for ParseError {}

/// An edit that was refused; the packet is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EditError {
    kind: EditErrorKind,
}

/// Why an edit is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EditErrorKind {
    /// The packet has no such header.
    AbsentHeader(&'static str),
    /// The value does not fit the field.
    OutOfRange {
        /// The field's name.
        field: &'static str,
        /// The value refused.
        value: u32,
        /// The largest value that fits.
        max: u32,
    },
    /// The field follows from others and cannot be set.
    ReadOnly(&'static str),
    /// An IPv4 address for an IPv6 packet, or the other way round. Carries the packet's version.
    AddressVersion(u8),
    /// With this value the bytes would be no packet any more.
    Unparsable(ParseError),
    /// The payload is not all there: a first fragment, a truncated packet, or a transport header that is cut short.
    Partial,
    /// The IP length cannot tell a packet as long as this.
    TooLong {
        /// The length wanted, in bytes, as the length field counts it.
        len: usize,
        /// The largest length that fits.
        max: usize,
    },
}

impl EditError {
    pub(super) const fn new(kind: EditErrorKind) -> Self {
        Self { kind }
    }

    /// What is wrong.
    pub const fn kind(&self) -> EditErrorKind {
        self.kind
    }
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            EditErrorKind::AbsentHeader(header) => write!(f, "the packet has no {header} header"),
            EditErrorKind::OutOfRange { field, value, max } => {
                write!(f, "{field} is at most {max}, {value} does not fit")
            }
            EditErrorKind::ReadOnly(field) => write!(f, "{field} cannot be set"),
            EditErrorKind::AddressVersion(version) => {
                write!(f, "the packet is IPv{version}, the address is not")
            }
            EditErrorKind::Unparsable(error) => write!(f, "the bytes would be no packet any more: {error}"),
            EditErrorKind::Partial => f.write_str(
                "the payload is not all there: a fragment, a truncated packet or a header that is cut short",
            ),
            EditErrorKind::TooLong { len, max } => write!(f, "the IP length would be {len}, at most {max} fits"),
        }
    }
}

impl std::error::Error for EditError {}
