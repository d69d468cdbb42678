//! Open flags, checksum flags, parameters, shutdown, priorities: the numbers, their bounds, and the rules between them.
//!
//! Source: WinDivert 2.2's constants and the driver's checks at open, in the driver's order.
use super::layer::Layer;
use std::fmt;

/// Makes a set of named bits.
macro_rules! bit_set {
    ($(#[$meta:meta])* $name:ident($repr:ty) { $($(#[$doc:meta])* $flag:ident = $value:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name(pub $repr);

        impl $name {
            $($(#[$doc])* pub const $flag: Self = Self($value);)*
            /// Every defined bit.
            pub const ALL: Self = Self($($value)|*);
            /// The names of the bits, lowest first.
            pub const NAMES: &'static [(&'static str, Self)] = &[$((stringify!($flag), Self::$flag)),*];

            /// Whether all bits of `other` are set.
            pub const fn has(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// The bits of both.
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }
    };
}

bit_set! {
    /// How a handle is opened.
    Flags(u64) {
        /// Copies instead of the packets; the originals go on at once.
        SNIFF = 1;
        /// Matching packets are dropped and not received.
        DROP = 2;
        /// The handle does not send.
        RECV_ONLY = 4;
        /// The handle does not receive.
        SEND_ONLY = 8;
        /// Opening fails rather than installing the driver.
        NO_INSTALL = 16;
        /// Inbound fragments are seen as they arrive, not reassembled.
        FRAGMENTS = 32;
    }
}

bit_set! {
    /// Checksums that a calculation leaves alone.
    ChecksumFlags(u64) {
        /// The IPv4 header checksum.
        NO_IP = 1;
        /// The ICMP checksum.
        NO_ICMP = 2;
        /// The `ICMPv6` checksum.
        NO_ICMPV6 = 4;
        /// The TCP checksum.
        NO_TCP = 8;
        /// The UDP checksum.
        NO_UDP = 16;
    }
}

/// What a shutdown ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Shutdown {
    /// Receiving: what is queued can still be received.
    Receive = 1,
    /// Sending.
    Send = 2,
    /// Both.
    Both = 3,
}

impl Shutdown {
    /// The value with WinDivert's number, if there is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Receive),
            2 => Some(Self::Send),
            3 => Some(Self::Both),
            _ => None,
        }
    }

    /// Whether receiving ends.
    pub const fn ends_receiving(self) -> bool {
        self as u8 & 1 != 0
    }

    /// Whether sending ends.
    pub const fn ends_sending(self) -> bool {
        self as u8 & 2 != 0
    }
}

/// A parameter of a handle's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Parameter {
    /// Packets that fit into the queue.
    QueueLength = 0,
    /// How long a packet may wait, in milliseconds.
    QueueTime = 1,
    /// Bytes that fit into the queue.
    QueueSize = 2,
    /// The driver's major version; read only.
    VersionMajor = 3,
    /// The driver's minor version; read only.
    VersionMinor = 4,
}

impl Parameter {
    /// Every parameter, in order of its number.
    pub const ALL: [Self; 5] =
        [Self::QueueLength, Self::QueueTime, Self::QueueSize, Self::VersionMajor, Self::VersionMinor];

    /// Default, smallest and largest value; `None` where the parameter is read only.
    pub const fn bounds(self) -> Option<(u64, u64, u64)> {
        match self {
            Self::QueueLength => Some((4096, 32, 16384)),
            Self::QueueTime => Some((2000, 100, 16000)),
            Self::QueueSize => Some((4_194_304, 65535, 33_554_432)),
            Self::VersionMajor | Self::VersionMinor => None,
        }
    }

    /// The parameter's name and unit.
    const fn description(self) -> &'static str {
        match self {
            Self::QueueLength => "queue_length (packets)",
            Self::QueueTime => "queue_time (milliseconds)",
            Self::QueueSize => "queue_size (bytes)",
            Self::VersionMajor => "the major version",
            Self::VersionMinor => "the minor version",
        }
    }

    /// Refuses a value that the driver refuses; the error says why.
    pub fn verify(self, value: u64) -> Result<(), String> {
        match self.bounds() {
            None => Err(format!("{} can only be read", self.description())),
            Some((_, min, max)) if value < min || value > max => {
                Err(format!("{} is {min} to {max}, not {value}", self.description()))
            }
            Some(_) => Ok(()),
        }
    }
}

/// The highest priority, served first.
pub const PRIORITY_HIGHEST: i16 = 30000;
/// The lowest priority, served last.
pub const PRIORITY_LOWEST: i16 = -30000;

/// An argument of open that the driver refuses with 87 (`ERROR_INVALID_PARAMETER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// Bits that mean nothing.
    UnknownFlags(u64),
    /// Two flags that exclude each other.
    Conflict(&'static str, &'static str),
    /// The layer needs a flag that is missing.
    Missing(Layer, &'static str),
    /// The priority is out of range.
    Priority(i64),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnknownFlags(bits) => write!(f, "flags {bits:#x} mean nothing; the flags are those of the enum Flag"),
            Self::Conflict(one, other) => write!(f, "the flags {one} and {other} exclude each other; give one of them"),
            Self::Missing(layer, flag) => write!(f, "layer {} needs the flag {flag}; add it", layer.name()),
            Self::Priority(priority) => {
                write!(f, "priority {priority} is out of range; it is {PRIORITY_LOWEST} to {PRIORITY_HIGHEST}")
            }
        }
    }
}

impl std::error::Error for OpenError {}

/// Checks layer, flags and priority as the driver does at open, in its order.
pub fn verify_open(layer: Layer, flags: Flags, priority: i64) -> Result<i16, OpenError> {
    if flags.0 & !Flags::ALL.0 != 0 {
        return Err(OpenError::UnknownFlags(flags.0 & !Flags::ALL.0));
    }
    for (one, other, names) in [
        (Flags::SNIFF, Flags::DROP, ("SNIFF", "DROP")),
        (Flags::RECV_ONLY, Flags::SEND_ONLY, ("RECV_ONLY", "SEND_ONLY")),
    ] {
        if flags.has(one.with(other)) {
            return Err(OpenError::Conflict(names.0, names.1));
        }
    }
    let bounds = PRIORITY_LOWEST..=PRIORITY_HIGHEST;
    let priority = i16::try_from(priority)
        .ok()
        .filter(|priority| bounds.contains(priority))
        .ok_or(OpenError::Priority(priority))?;
    let needs_sniff = matches!(layer, Layer::Flow | Layer::Reflect);
    if needs_sniff && !flags.has(Flags::SNIFF) {
        return Err(OpenError::Missing(layer, "SNIFF"));
    }
    if !layer.has_packets() && !flags.has(Flags::RECV_ONLY) {
        return Err(OpenError::Missing(layer, "RECV_ONLY"));
    }
    Ok(priority)
}
