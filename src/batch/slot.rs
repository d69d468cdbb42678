//! One packet that owns its bytes, with offset table, address and what was changed.
use super::record::{Batch, Origin, PacketRef};
use crate::address::Address;
use crate::packet::{self, EditError, Filled, Layout, ParseError};
use std::fmt;

/// Why a slot's payload cannot be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotError {
    /// The bytes are no packet.
    Parse(ParseError),
    /// The edit does not fit the packet.
    Edit(EditError),
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parse(error) => error.fmt(f),
            Self::Edit(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SlotError {}

impl From<ParseError> for SlotError {
    fn from(error: ParseError) -> Self {
        Self::Parse(error)
    }
}

impl From<EditError> for SlotError {
    fn from(error: EditError) -> Self {
        Self::Edit(error)
    }
}

/// Says in an address which checksums were calculated; flags are only ever set, never cleared.
pub fn note_filled(address: &mut Address, filled: &Filled) {
    if filled.ip {
        address.set_ip_checksum(true);
    }
    if filled.tcp {
        address.set_tcp_checksum(true);
    }
    if filled.udp {
        address.set_udp_checksum(true);
    }
}

/// Bytes, offset table and address of one packet.
#[derive(Clone, Debug)]
pub struct Slot {
    bytes: Vec<u8>,
    layout: Result<Layout, ParseError>,
    address: Address,
    time_ns: i64,
    origin: Origin,
    process_id: u32,
    bytes_changed: bool,
    address_changed: bool,
}

impl Default for Slot {
    /// An empty slot.
    fn default() -> Self {
        Self::new(Vec::new(), Address::default(), 0)
    }
}

impl Slot {
    /// A slot with these bytes, which need not be a packet.
    #[inline(always)]
    pub fn new(bytes: Vec<u8>, address: Address, time_ns: i64) -> Self {
        let layout = Layout::parse(&bytes);
        Self {
            bytes,
            layout,
            address,
            time_ns,
            origin: Origin::Injected(None),
            process_id: 0,
            bytes_changed: false,
            address_changed: false,
        }
    }

    /// A slot with a copy of the packet at `index` of a batch; `None` if there is no such packet.
    #[inline(always)]
    pub fn from_batch(batch: &Batch, index: usize) -> Option<Self> {
        let (record, bytes) = (batch.records().get(index)?, batch.bytes(index)?);
        Some(Self {
            bytes: bytes.to_vec(),
            layout: Ok(record.layout),
            address: record.address,
            time_ns: record.time_ns,
            origin: record.origin,
            process_id: record.process_id,
            bytes_changed: false,
            address_changed: false,
        })
    }

    /// Copies the packet at `index` of a batch in, over whatever the slot held. False if there is no such packet.
    #[inline]
    pub fn load(&mut self, batch: &Batch, index: usize) -> bool {
        let (Some(record), Some(bytes)) = (batch.records().get(index), batch.bytes(index)) else { return false };
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        self.layout = Ok(record.layout);
        self.address = record.address;
        self.time_ns = record.time_ns;
        self.origin = record.origin;
        self.process_id = record.process_id;
        self.bytes_changed = false;
        self.address_changed = false;
        true
    }

    /// Copies what was changed back into the batch. Bytes that are no packet any more give the parser's error.
    #[inline]
    pub fn store(&self, batch: &mut Batch, index: usize) -> Result<(), ParseError> {
        if self.bytes_changed {
            batch.replace(index, &self.bytes, self.layout?);
        }
        if self.address_changed
            && let Some(record) = batch.records_mut().get_mut(index)
        {
            record.address = self.address;
            record.changed = true;
        }
        Ok(())
    }

    /// Whether a batch has the same bytes and the same address at `index`.
    pub fn is_in(&self, batch: &Batch, index: usize) -> bool {
        let address = batch.records().get(index).map(|record| &record.address);
        batch.bytes(index) == Some(&self.bytes) && address == Some(&self.address)
    }

    /// Takes over what was edited in place in the batch at `index`. False, and nothing done, if the packet there has another
    /// length or there is none.
    pub fn follow(&mut self, batch: &Batch, index: usize) -> bool {
        let (Some(record), Some(bytes)) = (batch.records().get(index), batch.bytes(index)) else { return false };
        if bytes.len() != self.bytes.len() {
            return false;
        }
        self.bytes.copy_from_slice(bytes);
        self.layout = Ok(record.layout);
        self.bytes_changed = true;
        true
    }

    /// Appends the packet to a batch, to be sent. Bytes that are no packet give the parser's error.
    pub fn append_to(&self, batch: &mut Batch) -> Result<(), ParseError> {
        batch.push(&self.bytes, self.layout?, &self.address, self.time_ns, self.origin);
        if let Some(record) = batch.records_mut().last_mut() {
            record.process_id = self.process_id;
            record.changed = self.bytes_changed || self.address_changed;
        }
        Ok(())
    }

    /// The packet's bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The offset table, or why the bytes are no packet.
    #[inline]
    pub const fn layout(&self) -> Result<&Layout, ParseError> {
        match &self.layout {
            Ok(layout) => Ok(layout),
            Err(error) => Err(*error),
        }
    }

    /// The packet as filters look at it.
    pub fn packet(&self) -> Result<PacketRef<'_>, ParseError> {
        Ok(PacketRef { bytes: &self.bytes, layout: self.layout()?, address: &self.address })
    }

    /// The bytes and their offset table, to be edited in place; marks the packet changed.
    #[inline]
    pub fn edit(&mut self) -> Result<(&mut [u8], &mut Layout), ParseError> {
        match &mut self.layout {
            Ok(layout) => {
                self.bytes_changed = true;
                Ok((&mut self.bytes, layout))
            }
            Err(error) => Err(*error),
        }
    }

    /// Puts other bytes in the place of all, parses them, and marks the packet changed.
    pub fn replace(&mut self, bytes: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        self.layout = Layout::parse(&self.bytes);
        self.bytes_changed = true;
    }

    /// Puts another payload of any length in the place of the packet's, fixes lengths and checksums, and sets the
    /// address's checksum flags.
    pub fn set_payload(&mut self, payload: &[u8]) -> Result<(), SlotError> {
        let layout = self.layout?;
        let filled = packet::set_payload(&mut self.bytes, &layout, payload)?;
        note_filled(&mut self.address, &filled);
        self.layout = Layout::parse(&self.bytes);
        self.bytes_changed = true;
        self.address_changed = true;
        Ok(())
    }

    /// Calculates every checksum anew except those that `skip` names, and sets the address's checksum flags. False if the
    /// transport checksum cannot be known.
    pub fn fill_checksums(&mut self, skip: u64) -> Result<bool, ParseError> {
        let layout = self.layout?;
        let filled = packet::fill_checksums_with(&mut self.bytes, &layout, skip);
        note_filled(&mut self.address, &filled);
        self.bytes_changed = true;
        self.address_changed = true;
        Ok(filled.complete)
    }

    /// The address record.
    #[inline]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// The address record, to be changed; marks it changed.
    pub const fn address_mut(&mut self) -> &mut Address {
        self.address_changed = true;
        &mut self.address
    }

    /// Capture time in nanoseconds since the Unix epoch; 0 if unknown.
    pub const fn time_ns(&self) -> i64 {
        self.time_ns
    }

    /// Where the packet came from.
    #[inline]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// Says where the packet came from; after it was sent that is [`Origin::Injected`].
    #[inline]
    pub const fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
    }

    /// The process that the packet belongs to; 0 if unknown.
    pub const fn process_id(&self) -> u32 {
        self.process_id
    }

    /// Whether bytes or address were changed since the packet was loaded.
    #[inline]
    pub const fn is_changed(&self) -> bool {
        self.bytes_changed || self.address_changed
    }
}
