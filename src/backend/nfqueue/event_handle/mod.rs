//! Handles on the layers that have no packets: FLOW and SOCKET, and REFLECT.
//!
//! It stands on [`sockets`](super::sockets), which tells what sockets do, and on [`tables`](super::tables), by which handles
//! find each other.
mod events;
mod observed;
mod reflect;

pub(super) use events::open;
pub(super) use reflect::open as open_reflect;
