//! Copies of packets by the kernel's packet log: the originals are never touched and never wait.
//!
//! Source: `linux/netfilter/nfnetlink_log.h`. The kernel hands copies over some at a time, and numbers them, so that those that
//! did not fit are counted.
use super::super::kernel::exchange;
use super::super::kernel::netlink::{Message, Writer, flag, subsystem};
use super::super::kernel::sys::{self, Descriptor};
use super::queue::{Waiting, hook_of, timestamp};
use crate::packet::field::{be32, u8_at};
use std::io::Result;

/// Numbers of messages.
mod message {
    pub(super) const PACKET: u8 = 0;
    pub(super) const CONFIG: u8 = 1;
}

/// Numbers of a copy's attributes.
mod attribute {
    pub(super) const HEADER: u16 = 1;
    pub(super) const MARK: u16 = 2;
    pub(super) const TIMESTAMP: u16 = 3;
    pub(super) const INTERFACE_IN: u16 = 4;
    pub(super) const INTERFACE_OUT: u16 = 5;
    pub(super) const PAYLOAD: u16 = 9;
    pub(super) const SEQUENCE: u16 = 12;
}

/// Numbers of a configuration's attributes.
mod config {
    pub(super) const COMMAND: u16 = 1;
    pub(super) const MODE: u16 = 2;
    pub(super) const BUFFER: u16 = 3;
    pub(super) const TIMEOUT: u16 = 4;
    pub(super) const THRESHOLD: u16 = 5;
    pub(super) const FLAGS: u16 = 6;
    pub(super) const BIND: u8 = 1;
    pub(super) const UNBIND: u8 = 2;
    pub(super) const COPY_PACKET: u8 = 2;
    pub(super) const NUMBERED: u16 = 1;
}

/// So many copies are handed over together, or what there is after [`TIMEOUT`].
pub(crate) const THRESHOLD: u16 = 48;
/// In hundredths of a second.
const TIMEOUT: u32 = 1;
/// Bytes that are handed over together.
const TOGETHER: u32 = 1 << 16;

/// A log group that this process listens to.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) socket: Descriptor,
    group: u16,
}

impl Log {
    /// Listens to a group, with a buffer of so many bytes.
    pub(crate) fn open(group: u16, buffer: i32) -> Result<Self> {
        let socket = sys::netlink(&[])?;
        sys::set_option(&socket, libc::SOL_NETLINK, libc::NETLINK_NO_ENOBUFS, 1)?;
        sys::set_receive_buffer(&socket, buffer);
        let log = Self { socket, group };
        log.configure(|writer| writer.put(config::COMMAND, &[config::BIND]))?;
        log.configure(|writer| {
            let mut mode = 0xFFFF_u32.to_be_bytes().to_vec();
            mode.extend_from_slice(&[config::COPY_PACKET, 0]);
            writer.put(config::MODE, &mode);
            writer.put_u32(config::BUFFER, TOGETHER);
            writer.put_u32(config::TIMEOUT, TIMEOUT);
            writer.put_u32(config::THRESHOLD, THRESHOLD.into());
            writer.put_u16(config::FLAGS, config::NUMBERED);
        })?;
        Ok(log)
    }

    /// Listens no more.
    pub(crate) fn release(&self) -> Result<()> {
        self.configure(|writer| writer.put(config::COMMAND, &[config::UNBIND]))
    }

    fn configure(&self, fill: impl FnOnce(&mut Writer)) -> Result<()> {
        let mut writer = Writer::default();
        writer.begin(subsystem::LOG, message::CONFIG, flag::ACK, 0, 0, self.group);
        fill(&mut writer);
        writer.finish();
        exchange::request(&self.socket, writer.bytes(), 0)
    }
}

/// The copy in a message, and its number.
pub(crate) fn copy<'a>(message: &Message<'a>) -> Option<(Waiting<'a>, Option<u32>)> {
    if !message.is(subsystem::LOG, message::PACKET) {
        return None;
    }
    let (mut hook, mut sequence) = (0, None);
    let mut copy = Waiting::default();
    for (kind, value) in message.attributes.clone() {
        let number = || be32(value, 0).unwrap_or(0);
        match kind {
            attribute::HEADER => hook = u8_at(value, 2).unwrap_or(0),
            attribute::MARK => copy.mark = number(),
            attribute::TIMESTAMP => copy.time_ns = timestamp(value),
            attribute::INTERFACE_IN => copy.interface_in = number(),
            attribute::INTERFACE_OUT => copy.interface_out = number(),
            attribute::PAYLOAD => copy.bytes = value,
            attribute::SEQUENCE => sequence = be32(value, 0),
            _ => {}
        }
    }
    copy.hook = hook_of(hook);
    // The log does not tell whether checksums are final.
    copy.has_open_checksum = true;
    Some((copy, sequence))
}
