//! Writes a column into a batch's packets: every value is checked before the first one is written. Never panics, and
//! allocates only to tell what is wrong.
use super::super::bind::is_source;
use super::super::field::{Field, Source};
use super::super::program::Class;
use super::ColumnValue;
use super::by_class::ByClass;
use super::error::{ColumnError, ColumnErrorKind, WriteFault};
use super::source::{ColumnSource, Kind, LAYER, Origin};
use crate::batch::Batch;
use crate::packet::{self, Endpoint, Header, IpVersion, Role, fields};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What of a packet is written. A packet whose class has the header has all of it, since the parser recognises no header
/// before it is whole.
#[derive(Clone, Copy, Debug)]
enum Target {
    Field(packet::Field),
    Address(Endpoint),
}

/// What is written into a packet, and fits it.
#[derive(Clone, Copy)]
enum Fitting {
    Field(packet::Field, u32),
    Address(Endpoint, IpAddr),
}

impl ColumnSource {
    /// Whether the column can be written: ports, addresses and other header fields, but none that tells of the packet's
    /// structure.
    pub fn is_settable(&self) -> bool {
        is_settable(self.origin().fields())
    }

    /// Gives packets, told by their index, a value each. Checksums follow as with every edit, and the packets count as
    /// changed. If one packet cannot be given its value, none is changed.
    ///
    /// ```
    /// use oxidivert::address::Address;
    /// use oxidivert::batch::{Batch, Origin};
    /// use oxidivert::filter::{ColumnSource, ColumnValue};
    ///
    /// let mut batch = Batch::new();
    /// let packet = b"\x45\0\0\x20\x12\x34\0\0\x40\x11\x7c\x62\xc0\0\x02\x01\xc6\x33\x64\x02\
    ///                \x30\x39\0\x35\0\x0c\x1e\x6aabcd";
    /// batch.push_parsed(packet, &Address::default(), 0, Origin::Injected(None))?;
    /// ColumnSource::parse("ip.TTL")?.write(&mut batch, [(0, ColumnValue::Number(63))].into_iter())?;
    /// assert_eq!(batch.bytes(0).map(|bytes| bytes[8]), Some(63));
    /// let error = ColumnSource::parse("tcp.DstPort")?.write(&mut batch, [(0, ColumnValue::Number(80))].into_iter());
    /// assert!(error.unwrap_err().to_string().contains("the packet has no tcp header"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write(
        &self,
        batch: &mut Batch,
        edits: impl Iterator<Item = (usize, ColumnValue)> + Clone,
    ) -> Result<(), ColumnError> {
        self.verify_settable()?;
        let mut targets = ByClass::new(|class| target_of(self.origin().fields(), class));
        let mut fit = |batch: &Batch, index: usize, value: ColumnValue| {
            let record = batch.records().get(index).ok_or(WriteFault::NoPacket)?;
            let target = targets.of(&record.layout, &record.address).copied().flatten();
            target.ok_or_else(|| self.absent())?.fit(value, record.layout.version(), self.is_of_ipv4())
        };
        for (index, value) in edits.clone() {
            fit(batch, index, value).map_err(|fault| self.refused(index, fault))?;
        }
        for (index, value) in edits {
            if let Ok(fitting) = fit(batch, index, value) {
                fitting.write(batch, index);
            }
        }
        Ok(())
    }

    /// Gives packets, told by their index, all the same value, as [`write`](Self::write) does: what the value is to a
    /// packet is found out once for each class of packets.
    pub fn write_one(
        &self,
        batch: &mut Batch,
        indices: impl Iterator<Item = usize> + Clone,
        value: ColumnValue,
    ) -> Result<(), ColumnError> {
        self.verify_settable()?;
        let mut fittings = ByClass::new(|class| {
            let target = target_of(self.origin().fields(), class).ok_or_else(|| self.absent())?;
            let version = if class.ipv6 { IpVersion::V6 } else { IpVersion::V4 };
            target.fit(value, version, self.is_of_ipv4())
        });
        for index in indices.clone() {
            let Some(record) = batch.records().get(index) else {
                return Err(self.refused(index, WriteFault::NoPacket));
            };
            if let Some(Err(fault)) = fittings.of(&record.layout, &record.address) {
                return Err(self.refused(index, *fault));
            }
        }
        for index in indices {
            let Some(record) = batch.records().get(index) else { continue };
            if let Some(Ok(fitting)) = fittings.of(&record.layout, &record.address) {
                fitting.write(batch, index);
            }
        }
        Ok(())
    }

    #[cold]
    fn refused(&self, index: usize, fault: WriteFault) -> ColumnError {
        ColumnError::new(ColumnErrorKind::Packet { name: self.name().to_owned(), index, fault })
    }

    fn verify_settable(&self) -> Result<(), ColumnError> {
        if self.is_settable() {
            return Ok(());
        }
        Err(ColumnError::listing(ColumnErrorKind::ReadOnly { name: self.name().to_owned() }, settable_names()))
    }

    const fn absent(&self) -> WriteFault {
        WriteFault::AbsentHeader(self.origin().fields())
    }

    /// Whether the column's addresses are 32 bits.
    const fn is_of_ipv4(&self) -> bool {
        matches!(self.origin(), Origin::Fields { kind: Kind::U32, .. })
    }
}

/// The names of columns that can be written.
fn settable_names() -> impl Iterator<Item = &'static str> {
    let fields = Field::ALL.iter().filter(|field| field.exists_on(LAYER) && is_settable(std::slice::from_ref(*field)));
    let own = ColumnSource::OWN_NAMES.into_iter();
    let own = own.filter(|name| ColumnSource::parse(name).is_ok_and(|source| source.is_settable()));
    fields.map(|field| field.name()).chain(own)
}

fn is_settable(fields: &[Field]) -> bool {
    (0..Class::COUNT).any(|index| target_of(fields, Class::from_index(index)).is_some())
}

/// What is written of a class's packets to set the first of the fields that they have.
fn target_of(fields: &[Field], class: Class) -> Option<Target> {
    fields.iter().find_map(|field| Target::of(*field, class))
}

impl Target {
    fn of(field: Field, class: Class) -> Option<Self> {
        if field.needs().is_some_and(|header| !class.has(header)) {
            return None;
        }
        let version = if class.ipv6 { IpVersion::V6 } else { IpVersion::V4 };
        let end = |is_source| if is_source { Endpoint::Source } else { Endpoint::Destination };
        match field.source() {
            Source::Bits(first, bits) => header_field(field.needs()?, first, bits).map(Self::Field),
            Source::Ipv4Address(offset) | Source::Ipv6Address(offset) => {
                let ends = [Endpoint::Source, Endpoint::Destination];
                ends.into_iter().find(|end| end.addr_offset(version) == usize::from(offset)).map(Self::Address)
            }
            Source::EndpointAddress(side) => Some(Self::Address(end(is_source(side, class)))),
            Source::EndpointPort(side) => end(is_source(side, class)).port(class.transport).map(Self::Field),
            _ => None,
        }
    }

    fn fit(self, value: ColumnValue, version: IpVersion, is_of_ipv4: bool) -> Result<Fitting, WriteFault> {
        match self {
            Self::Field(field) => {
                let number = number_of(value, field.max().into())?;
                Ok(Fitting::Field(field, number as u32))
            }
            Self::Address(end) => Ok(Fitting::Address(end, address_of(value, version, is_of_ipv4)?)),
        }
    }
}

impl Fitting {
    #[inline(always)]
    fn write(self, batch: &mut Batch, index: usize) {
        let Some((bytes, layout)) = batch.edit(index) else { return };
        let written = match self {
            Self::Field(field, number) => packet::write(bytes, layout, field, number),
            Self::Address(end, address) => packet::write_addr(bytes, layout, end, address),
        };
        debug_assert!(written.is_ok(), "what fits is written");
    }
}

/// The field of a packet's header that a field of the filter language reads, if it can be set and the packet's structure
/// does not hang on it.
fn header_field(header: Field, first: u8, bits: u8) -> Option<packet::Field> {
    let header = match header {
        Field::Ip => Header::Ipv4,
        Field::Ipv6 => Header::Ipv6,
        Field::Tcp => Header::Tcp,
        Field::Udp => Header::Udp,
        Field::Icmp => Header::Icmp,
        Field::Icmpv6 => Header::Icmpv6,
        _ => return None,
    };
    let mut all = fields::ALL.iter().copied().flatten();
    let is_it = |field: &&packet::Field| field.header() == header && field.first_bit() == first && field.bits() == bits;
    all.find(is_it).filter(|field| matches!(field.role(), Role::Plain | Role::Checksum)).copied()
}

fn number_of(value: ColumnValue, max: u128) -> Result<u128, WriteFault> {
    match value {
        ColumnValue::Number(number) if number <= max => Ok(number),
        ColumnValue::Number(magnitude) => Err(WriteFault::OutOfRange { is_negative: false, magnitude, max }),
        ColumnValue::Negative(number) => {
            Err(WriteFault::OutOfRange { is_negative: true, magnitude: number.unsigned_abs().into(), max })
        }
        ColumnValue::Absent => Err(WriteFault::NoValue),
        ColumnValue::Address(_) => Err(WriteFault::Address),
    }
}

/// The address that a value is for a packet of this version.
fn address_of(value: ColumnValue, version: IpVersion, is_of_ipv4: bool) -> Result<IpAddr, WriteFault> {
    let address = match value {
        ColumnValue::Address(address) => address,
        _ if is_of_ipv4 => Ipv4Addr::from_bits(number_of(value, u32::MAX.into())? as u32).into(),
        _ => Ipv6Addr::from_bits(number_of(value, u128::MAX)?).into(),
    };
    match (version, address) {
        (IpVersion::V4, IpAddr::V6(address)) => address.to_ipv4_mapped().map(IpAddr::V4),
        (IpVersion::V6, IpAddr::V4(_)) => None,
        _ => Some(address),
    }
    .ok_or(WriteFault::AddressVersion(version as u8))
}
