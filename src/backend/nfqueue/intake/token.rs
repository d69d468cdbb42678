//! What a received packet's token tells, so that nothing need be kept for packets that programs hold.
use super::super::tables::nft::Hook;
use super::queue::{Place, Waiting};
use crate::batch::Token;

const CUT: u64 = 1 << 32;
const HOOK_SHIFT: u32 = 33;
const INTERFACE_SHIFT: u32 = 36;
/// The lowest bits of the interface's number, which tell all but contrived ones apart.
const INTERFACE_MASK: u32 = 0xFF_FFFF;
const LARGE: u64 = 1 << 60;

/// The token of a packet that waits.
pub(crate) fn token(waiting: &Waiting<'_>, interface: u32) -> Token {
    let cut = if waiting.is_cut { CUT } else { 0 };
    let large = if waiting.place.is_large { LARGE } else { 0 };
    let hook = (waiting.hook as u64) << HOOK_SHIFT;
    let interface = u64::from(interface & INTERFACE_MASK) << INTERFACE_SHIFT;
    Token(u64::from(waiting.place.id) | cut | large | hook | interface)
}

/// Where the packet waits.
pub(crate) const fn place(token: Token) -> Place {
    Place { is_large: token.0 & LARGE != 0, id: token.0 as u32 }
}

/// Whether some of its bytes are not there.
pub(crate) const fn is_cut(token: Token) -> bool {
    token.0 & CUT != 0
}

/// Whether it was going out or through when it was taken.
pub(crate) const fn is_outbound(token: Token) -> bool {
    token.0 >> HOOK_SHIFT & 7 >= Hook::Forward as u64
}

/// Whether it was taken at this interface.
pub(crate) const fn is_at(token: Token, interface: u32) -> bool {
    (token.0 >> INTERFACE_SHIFT) as u32 & INTERFACE_MASK == interface & INTERFACE_MASK
}
