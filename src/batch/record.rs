//! Many packets over one contiguous buffer. No index panics: what is not there is `None`.
use crate::address::Address;
use crate::packet::{Endpoint, Layout, ParseError, read_addr, read_port};
use std::net::SocketAddr;

/// A backend's own name for a packet that it handed out and waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Where a packet came from, which decides what sending it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Received from a backend and not yet sent: sending it re-injects the original.
    Received(Token),
    /// Made here, copied, or sent before: sending it injects a new packet, in the place of the one with this token (or
    /// right behind it), where a backend knows places.
    Injected(Option<Token>),
}

impl Origin {
    /// The token of a packet that was received and not yet sent.
    #[inline]
    pub const fn received(self) -> Option<Token> {
        match self {
            Self::Received(token) => Some(token),
            Self::Injected(_) => None,
        }
    }
}

/// One packet of a [`Batch`], without its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    start: usize,
    len: usize,
    /// The offset table of the bytes.
    pub layout: Layout,
    /// The address record.
    pub address: Address,
    /// Capture time in nanoseconds since the Unix epoch.
    pub time_ns: i64,
    /// Where the packet came from.
    pub origin: Origin,
    /// The process that the packet belongs to; 0 if unknown.
    pub process_id: u32,
    /// Whether bytes or address were changed since the backend handed the packet out; an unchanged one goes back byte
    /// for byte.
    pub changed: bool,
}

impl Record {
    /// The packet's length in bytes.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes, which no parsed packet has.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A packet of a batch or a slot, borrowed: what filters look at.
#[derive(Clone, Copy, Debug)]
pub struct PacketRef<'a> {
    /// The packet's bytes.
    pub bytes: &'a [u8],
    /// The offset table of the bytes.
    pub layout: &'a Layout,
    /// The address record.
    pub address: &'a Address,
}

impl PacketRef<'_> {
    /// This host's end and the other one, by the packet's direction; `None` for what has no ports.
    pub fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        let Self { bytes, layout, address } = *self;
        let end = |end| Some(SocketAddr::new(read_addr(bytes, layout, end)?, read_port(bytes, layout, end)?));
        let (source, destination) = (end(Endpoint::Source)?, end(Endpoint::Destination)?);
        Some(if address.outbound() { (source, destination) } else { (destination, source) })
    }
}

/// Packets with their addresses over one buffer.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    buffer: Vec<u8>,
    records: Vec<Record>,
}

impl Batch {
    /// An empty batch.
    pub const fn new() -> Self {
        Self { buffer: Vec::new(), records: Vec::new() }
    }

    /// How many bytes the buffer holds.
    #[inline]
    pub(crate) const fn bytes_len(&self) -> usize {
        self.buffer.len()
    }

    /// How much memory the packets may take before more is asked for, in bytes.
    pub(crate) const fn memory(&self) -> usize {
        self.buffer.capacity() + self.records.capacity() * size_of::<Record>()
    }

    /// Makes room for `len` bytes more. Grows by half: a queue consists of many of these.
    #[inline]
    pub(crate) fn reserve_bytes(&mut self, len: usize) {
        if self.buffer.capacity() - self.buffer.len() < len {
            self.buffer.reserve_exact(len.max(self.buffer.capacity() / 2));
        }
    }

    /// Forgets the packets and keeps the memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.records.clear();
    }

    /// How many packets there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records, in order.
    #[inline]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The records, in order, to change addresses and origins.
    #[inline]
    pub fn records_mut(&mut self) -> &mut [Record] {
        &mut self.records
    }

    /// Appends a packet whose offset table is known.
    #[inline]
    pub fn push(&mut self, bytes: &[u8], layout: Layout, address: &Address, time_ns: i64, origin: Origin) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        self.records.push(Record {
            start,
            len: bytes.len(),
            layout,
            address: *address,
            time_ns,
            origin,
            process_id: 0,
            changed: false,
        });
    }

    /// Parses and appends a packet.
    pub fn push_parsed(
        &mut self,
        bytes: &[u8],
        address: &Address,
        time_ns: i64,
        origin: Origin,
    ) -> Result<(), ParseError> {
        let layout = Layout::parse(bytes)?;
        self.push(bytes, layout, address, time_ns, origin);
        Ok(())
    }

    /// The bytes of the packet at `index`.
    #[inline]
    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        let record = self.records.get(index)?;
        self.buffer.get(record.start..record.start + record.len)
    }

    /// The packet at `index`.
    #[inline]
    pub fn packet(&self, index: usize) -> Option<PacketRef<'_>> {
        let record = self.records.get(index)?;
        let bytes = self.buffer.get(record.start..record.start + record.len)?;
        Some(PacketRef { bytes, layout: &record.layout, address: &record.address })
    }

    /// The bytes and the offset table of the packet at `index`, to be edited in place; marks the packet changed.
    #[inline]
    pub fn edit(&mut self, index: usize) -> Option<(&mut [u8], &mut Layout)> {
        let record = self.records.get_mut(index)?;
        let bytes = self.buffer.get_mut(record.start..record.start + record.len)?;
        record.changed = true;
        Some((bytes, &mut record.layout))
    }

    /// Puts other bytes in the place of the packet at `index`: over the old ones if they are as long, else behind the last
    /// packet's. False if there is no such packet.
    pub fn replace(&mut self, index: usize, bytes: &[u8], layout: Layout) -> bool {
        let Some(record) = self.records.get_mut(index) else { return false };
        if record.len != bytes.len() {
            record.start = self.buffer.len();
            record.len = bytes.len();
            self.buffer.extend_from_slice(bytes);
        } else if let Some(place) = self.buffer.get_mut(record.start..record.start + record.len) {
            place.copy_from_slice(bytes);
        }
        record.layout = layout;
        record.changed = true;
        true
    }

    /// Appends the packet at `index` of another batch, with all that is known of it. False if there is no such packet.
    pub fn append_from(&mut self, other: &Self, index: usize) -> bool {
        let (Some(record), Some(bytes)) = (other.records.get(index), other.bytes(index)) else { return false };
        self.push_again(record, bytes, record.origin);
        true
    }

    /// Appends bytes of which all but the origin is known from a record of them.
    pub(crate) fn push_again(&mut self, record: &Record, bytes: &[u8], origin: Origin) {
        let (start, len) = (self.buffer.len(), bytes.len());
        self.buffer.extend_from_slice(bytes);
        self.records.push(Record { start, len, origin, ..*record });
    }

    /// Appends `count` packets of another batch from index `from` on, with all that is known of them; how many bytes they
    /// have.
    pub(crate) fn append_run(&mut self, other: &Self, from: usize, count: usize) -> usize {
        let before = self.buffer.len();
        for index in from..from + count {
            self.append_from(other, index);
        }
        self.buffer.len() - before
    }

    /// Makes new packets of all from index `from` on: whoever sends them injects copies, in no place of any other.
    pub fn make_new(&mut self, from: usize) {
        for record in self.records.iter_mut().skip(from) {
            record.origin = Origin::Injected(None);
        }
    }

    /// Keeps the first `len` packets.
    pub fn truncate(&mut self, len: usize) {
        self.records.truncate(len);
    }

    /// Drops the first `count` packets and keeps the rest in order.
    pub fn remove_front(&mut self, count: usize) {
        self.records.drain(..count.min(self.records.len()));
        if self.records.is_empty() {
            self.buffer.clear();
        }
    }

    /// The packets, in order.
    pub fn iter(&self) -> impl Iterator<Item = PacketRef<'_>> {
        (0..self.len()).filter_map(|index| self.packet(index))
    }
}
