//! nftables by raw netlink: transactions, and what is asked of it.
//!
//! Source: `linux/netfilter/nf_tables.h`. A transaction is applied as a whole or not at all, and answered before the call
//! that sends it returns.
use super::super::kernel::netlink::{Attributes, Message, Messages, Writer, flag, subsystem};
use super::super::kernel::sys::{self, Descriptor};
use super::expression::{ACCEPT, Expression};
use crate::packet::field::be32;
use std::io::{Error, ErrorKind, Result};

/// The family of tables that see both IP versions.
pub(super) const INET: u8 = 1;
/// A table that goes when its maker's socket does, and that nobody else changes.
const TABLE_OWNED: u32 = 2;
/// What kernels lack that refuse such a table. One that stayed behind would hold up its packets for good.
const NO_OWNERS: &str = "this kernel's nftables has no tables that go with their owner, which Linux 5.12 brought";

/// Numbers of messages.
mod message {
    pub(super) const BATCH_BEGIN: u16 = 16;
    pub(super) const BATCH_END: u16 = 17;
    pub(super) const NEW_TABLE: u8 = 0;
    pub(super) const GET_TABLE: u8 = 1;
    pub(super) const DELETE_TABLE: u8 = 2;
    pub(super) const NEW_CHAIN: u8 = 3;
    pub(super) const DELETE_CHAIN: u8 = 5;
    pub(super) const NEW_RULE: u8 = 6;
    pub(super) const GET_RULE: u8 = 7;
    pub(super) const DELETE_RULE: u8 = 8;
}

/// Where a base chain stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    #[default]
    Output = 3,
}

impl Hook {
    /// The hook of this number, if packets are ever taken there.
    pub(crate) const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Prerouting,
            1 => Self::Input,
            2 => Self::Forward,
            3 => Self::Output,
            _ => return None,
        })
    }
}

/// Changes that are applied together.
pub(crate) struct Transaction<'a> {
    table: &'a str,
    writer: Writer,
    sequence: u32,
    /// The message that makes the table, if one does.
    makes_table: Option<u32>,
}

impl<'a> Transaction<'a> {
    /// Changes of one table.
    pub(crate) fn new(table: &'a str) -> Self {
        let mut writer = Writer::default();
        writer.begin_raw(message::BATCH_BEGIN, 0, 0, 0, u16::from(subsystem::TABLES));
        writer.finish();
        Self { table, writer, sequence: 0, makes_table: None }
    }

    fn begin(&mut self, kind: u8, flags: u16) {
        self.sequence += 1;
        self.writer.begin(subsystem::TABLES, kind, flags, self.sequence, INET, 0);
    }

    /// Makes the table, owned by the socket that the transaction is sent by.
    pub(crate) fn new_table(&mut self, user_data: &[u8]) {
        self.begin(message::NEW_TABLE, flag::CREATE);
        self.makes_table = Some(self.sequence);
        self.writer.put_text(1, self.table);
        self.writer.put_u32(2, TABLE_OWNED);
        self.writer.put(6, user_data);
        self.writer.finish();
    }

    /// Removes the table with all that is in it.
    pub(crate) fn delete_table(&mut self) {
        self.begin(message::DELETE_TABLE, 0);
        self.writer.put_text(1, self.table);
        self.writer.finish();
    }

    /// Makes a chain; one without a hook is only there to hold what its rules' user data says.
    pub(crate) fn new_chain(&mut self, name: &str, hook: Option<(Hook, i32)>) {
        self.begin(message::NEW_CHAIN, flag::CREATE);
        self.writer.put_text(1, self.table);
        self.writer.put_text(3, name);
        if let Some((hook, priority)) = hook {
            let nest = self.writer.nest(4);
            self.writer.put_u32(1, hook as u32);
            self.writer.put_u32(2, priority as u32);
            self.writer.close(nest);
            self.writer.put_u32(5, ACCEPT);
            self.writer.put_text(7, "filter");
        }
        self.writer.finish();
    }

    /// Appends a rule.
    pub(crate) fn new_rule(&mut self, chain: &str, expressions: &[Expression], user_data: &[u8]) {
        self.begin(message::NEW_RULE, flag::CREATE | flag::APPEND);
        self.writer.put_text(1, self.table);
        self.writer.put_text(2, chain);
        if !expressions.is_empty() {
            let nest = self.writer.nest(4);
            for expression in expressions {
                expression.write(&mut self.writer);
            }
            self.writer.close(nest);
        }
        if !user_data.is_empty() {
            self.writer.put(7, user_data);
        }
        self.writer.finish();
    }

    /// Removes all rules of a chain.
    pub(crate) fn flush_chain(&mut self, chain: &str) {
        self.begin(message::DELETE_RULE, 0);
        self.writer.put_text(1, self.table);
        self.writer.put_text(2, chain);
        self.writer.finish();
    }

    /// Has the kernel apply everything, or nothing and tell the first failure.
    pub(crate) fn commit(mut self, socket: &Descriptor) -> Result<()> {
        self.writer.begin_raw(message::BATCH_END, 0, 0, 0, u16::from(subsystem::TABLES));
        self.writer.finish();
        sys::send(socket, self.writer.bytes())?;
        // Failures are reported before the call returns; success is silent.
        let mut failure = None;
        answers(socket, |message| {
            if let Some(number) = message.report.filter(|number| *number != 0) {
                failure.get_or_insert((number, message.sequence));
            }
        })?;
        match failure {
            None => Ok(()),
            Some((libc::EINVAL, sequence)) if Some(sequence) == self.makes_table => {
                Err(Error::new(ErrorKind::Unsupported, NO_OWNERS))
            }
            Some((number, _)) => Err(Error::from_raw_os_error(number)),
        }
    }
}

/// Reads what the kernel has answered so far.
pub(super) fn answers(socket: &Descriptor, mut visit: impl FnMut(&Message<'_>)) -> Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match sys::receive(socket, &mut buffer, false) {
            Ok(len) => Messages::new(buffer.get(..len).unwrap_or_default()).for_each(|message| visit(&message)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The multicast group that nftables announces its changes to.
pub(crate) const CHANGES: u32 = 7;

/// Whether an announced change moves the places of packets that wait in a handle's queue: another table gets a base chain at
/// one of the hooks that they wait at, which the kernel counts its chains at, or any goes, with which the kernel drops what
/// waits. The handle itself adds chains only where nothing waits.
pub(crate) fn moves_places(bytes: &[u8], own_table: &str, may_wait: impl Fn(Hook) -> bool) -> bool {
    Messages::new(bytes).any(|message| {
        let hook = message.attributes.get(4);
        if message.is(subsystem::TABLES, message::NEW_CHAIN) {
            let number = hook.and_then(|nest| be32(Attributes::within(nest).get(1)?, 0));
            let is_own = message.attributes.get_text(1) == Some(own_table);
            return !is_own && number.and_then(Hook::from_number).is_some_and(&may_wait);
        }
        let goes = message.is(subsystem::TABLES, message::DELETE_CHAIN) && hook.is_some();
        goes || message.is(subsystem::TABLES, message::DELETE_TABLE)
    })
}

/// All tables with their user data.
pub(super) fn tables(socket: &Descriptor) -> Result<Vec<(String, Vec<u8>)>> {
    let mut writer = Writer::default();
    writer.begin(subsystem::TABLES, message::GET_TABLE, flag::DUMP, 1, INET, 0);
    writer.finish();
    sys::send(socket, writer.bytes())?;
    let mut tables = Vec::new();
    answers(socket, |message| {
        if let (Some(name), Some(data)) = (message.attributes.get_text(1), message.attributes.get(6)) {
            tables.push((name.to_owned(), data.to_vec()));
        }
    })?;
    Ok(tables)
}

/// Has the attributes of each rule of a chain visited.
fn rules(socket: &Descriptor, table: &str, chain: &str, mut visit: impl FnMut(&Attributes<'_>)) -> Result<()> {
    let mut writer = Writer::default();
    writer.begin(subsystem::TABLES, message::GET_RULE, flag::DUMP, 1, INET, 0);
    writer.put_text(1, table);
    writer.put_text(2, chain);
    writer.finish();
    sys::send(socket, writer.bytes())?;
    answers(socket, |message| visit(&message.attributes))
}

/// The user data of a chain's rules, one behind the other.
pub(super) fn user_data(socket: &Descriptor, table: &str, chain: &str) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    rules(socket, table, chain, |rule| data.extend_from_slice(rule.get(7).unwrap_or_default()))?;
    Ok(data)
}

/// How many packets the counters in a chain's rules have counted.
pub(crate) fn counted(socket: &Descriptor, table: &str, chain: &str) -> Result<u64> {
    let mut packets = 0;
    rules(socket, table, chain, |rule| {
        let list = rule.get(4).map(Attributes::within);
        for (_, element) in list.into_iter().flatten() {
            let element = Attributes::within(element);
            if element.get_text(1) == Some("counter") {
                let counter = element.get(2).and_then(|body| Attributes::within(body).get(2));
                packets += counter.and_then(|bytes| bytes.first_chunk().copied()).map_or(0, u64::from_be_bytes);
            }
        }
    })?;
    Ok(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An announcement that a chain comes or goes.
    fn announced(kind: u8, table: &str, hook: Option<Hook>) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.begin(subsystem::TABLES, kind, 0, 0, INET, 0);
        writer.put_text(1, table);
        if let Some(hook) = hook {
            let nest = writer.nest(4);
            writer.put_u32(1, hook as u32);
            writer.put_u32(2, 5);
            writer.close(nest);
        }
        writer.finish();
        writer.bytes().to_vec()
    }

    #[test]
    fn places_move_with_the_chains_of_others_at_the_same_hook() {
        let moves = |bytes: &[u8]| moves_places(bytes, "own", |hook| hook == Hook::Output);
        assert!(moves(&announced(message::NEW_CHAIN, "other", Some(Hook::Output))));
        assert!(!moves(&announced(message::NEW_CHAIN, "other", Some(Hook::Input))));
        assert!(!moves(&announced(message::NEW_CHAIN, "other", None)));
        assert!(!moves(&announced(message::NEW_CHAIN, "own", Some(Hook::Output))));
        assert!(moves(&announced(message::DELETE_CHAIN, "other", Some(Hook::Input))));
        assert!(moves(&announced(message::DELETE_TABLE, "other", None)));
        assert!(!moves(&announced(message::NEW_RULE, "other", None)));
    }
}
