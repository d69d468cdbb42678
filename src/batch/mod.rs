//! Packets with their addresses: one in a [`Slot`] that owns its bytes, many in a [`Batch`] over one buffer.
//!
//! Every backend fills batches; whoever wants to keep or edit a packet loads it into a slot. A slot's buffer is used again
//! for the next packet, so a loop that recycles its slot allocates nothing per packet.
mod flow_table;
mod record;
mod slot;

pub use flow_table::{Count, FlowRow, FlowTable, SortBy};
pub use record::{Batch, Origin, PacketRef, Record, Token};
pub use slot::{Slot, SlotError, note_filled};
