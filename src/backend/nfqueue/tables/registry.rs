//! Which handles are open, in any process: their tables say so, and nothing else is kept anywhere.
use super::super::kernel::sys::{self, Descriptor};
use super::nft::{self, Transaction};
use crate::address::{Flags, Layer};
use crate::engine::{OpenOptions, Overload};
use crate::filter::Filter;
use crate::packet::field::{array, u8_at};
use std::io::Result;
use std::sync::atomic::{AtomicU32, Ordering};

/// How the names of all tables begin.
pub(crate) const PREFIX: &str = "oxidivert_";
/// The chain that only holds the filter, in its rules' user data.
pub(crate) const FILTER_CHAIN: &str = "filter";
/// How much user data a rule holds.
const USER_DATA_MAX: usize = 240;
/// How a table's user data begins: what it is, and the version of what follows.
const MAGIC: &[u8; 4] = b"oxd\x01";

/// What is told of a handle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    /// When it was opened, in ticks.
    pub(crate) opened_at: i64,
    pub(crate) process_id: u32,
    pub(super) flags: u64,
    pub(super) priority: i16,
    pub(super) layer: u8,
}

impl Identity {
    /// That of a handle which this process opens.
    pub(crate) fn new(options: &OpenOptions, opened_at: i64) -> Self {
        Self {
            opened_at,
            process_id: sys::process_id(),
            flags: options.flags.0,
            priority: options.priority,
            layer: options.layer.number(),
        }
    }

    /// As a table's user data, little-endian.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.process_id.to_le_bytes());
        bytes.extend_from_slice(&self.opened_at.to_le_bytes());
        bytes.extend_from_slice(&self.flags.to_le_bytes());
        bytes.extend_from_slice(&self.priority.to_le_bytes());
        bytes.push(self.layer);
        bytes
    }

    /// From a table's user data; `None` if it is none of ours.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        Some(Self {
            process_id: u32::from_le_bytes(array(rest, 0)?),
            opened_at: i64::from_le_bytes(array(rest, 4)?),
            flags: u64::from_le_bytes(array(rest, 12)?),
            priority: i16::from_le_bytes(array(rest, 20)?),
            layer: u8_at(rest, 22)?,
        })
    }
}

/// An open handle.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) table: String,
    pub(crate) identity: Identity,
    /// The compiled filter object.
    object: String,
}

impl Entry {
    /// How the handle was opened; `None` if its table says what this version does not know.
    pub(crate) fn options(&self) -> Option<OpenOptions> {
        let layer = Layer::from_number(self.identity.layer)?;
        let filter = Filter::compile(&self.object, layer).ok()?.into();
        let (priority, flags) = (self.identity.priority, Flags(self.identity.flags));
        let on_overload = Overload::Drop;
        Some(OpenOptions { filter, layer, priority, flags, on_overload, track_processes: false })
    }
}

/// Writes a filter down in a handle's table.
pub(crate) fn describe(transaction: &mut Transaction<'_>, filter: &Filter) {
    for part in filter.object().as_bytes().chunks(USER_DATA_MAX) {
        transaction.new_rule(FILTER_CHAIN, &[], part);
    }
}

/// The handles that are open, in the order in which they were opened.
pub(crate) fn entries(socket: &Descriptor) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (table, data) in nft::tables(socket)? {
        if let Some(identity) = Identity::decode(&data).filter(|_| table.starts_with(PREFIX)) {
            let object = nft::user_data(socket, &table, FILTER_CHAIN)?;
            entries.push(Entry { object: String::from_utf8_lossy(&object).into_owned(), table, identity });
        }
    }
    entries.sort_by(|one, other| one.identity.cmp(&other.identity));
    Ok(entries)
}

/// The table of a handle that has no place in netfilter: it is there to be seen, as long as this lives.
#[derive(Debug)]
pub(crate) struct Registration {
    socket: Descriptor,
    table: String,
}

impl Registration {
    pub(crate) fn new(options: &OpenOptions, opened_at: i64) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let registration =
            Self { socket: sys::netlink(&[])?, table: format!("{PREFIX}{}_{number}", sys::process_id()) };
        let mut transaction = Transaction::new(&registration.table);
        transaction.new_table(&Identity::new(options, opened_at).encode());
        transaction.new_chain(FILTER_CHAIN, None);
        describe(&mut transaction, &options.filter);
        transaction.commit(&registration.socket)?;
        Ok(registration)
    }

    /// Removes the table.
    pub(crate) fn remove(&self) -> Result<()> {
        if self.socket.is_foreign() {
            return Ok(());
        }
        let mut transaction = Transaction::new(&self.table);
        transaction.delete_table();
        transaction.commit(&self.socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        let identity = Identity { opened_at: -5, process_id: 77, flags: 0x15, priority: -30000, layer: 1 };
        assert_eq!(Identity::decode(&identity.encode()), Some(identity.clone()));
        assert_eq!(Identity::decode(&identity.encode()[..20]), None);
        assert_eq!(Identity::decode(b"other"), None);
    }
}
