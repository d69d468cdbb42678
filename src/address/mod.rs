//! The 80-byte address record that travels with every packet and event, bit for bit as WinDivert 2.2 lays it out.
//!
//! [`Address`] *is* those bytes; the accessors read and write single fields (little-endian integers) and leave all other
//! bits, reserved ones too, as they are. Nothing panics: [`Address::decode`] refuses what the typed form cannot name.
mod error;
mod flags;
mod layer;
mod record;

pub use error::{AddressError, AddressErrorKind};
pub use flags::{ChecksumFlags, Flags, OpenError, PRIORITY_HIGHEST, PRIORITY_LOWEST, Parameter, Shutdown, verify_open};
pub use layer::{Event, Layer};
pub use record::{ADDRESS_LEN, Address, IpWords, address_of};
