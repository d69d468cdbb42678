//! The kernel's packet queues by raw netlink: making one, reading packets, and answering them.
//!
//! Source: `linux/netfilter/nfnetlink_queue.h`.
use super::super::kernel::exchange;
use super::super::kernel::netlink::{Message, Writer, flag, subsystem};
use super::super::kernel::sys::{self, Descriptor};
use super::super::tables::nft::Hook;
use crate::packet::field::{array, be32, u8_at};
use std::io::{ErrorKind, Result};

/// Numbers of messages.
mod message {
    pub(super) const PACKET: u8 = 0;
    pub(super) const VERDICT: u8 = 1;
    pub(super) const CONFIG: u8 = 2;
    pub(super) const VERDICT_UP_TO: u8 = 3;
}

/// Numbers of a packet's attributes.
mod attribute {
    pub(super) const HEADER: u16 = 1;
    pub(super) const VERDICT: u16 = 2;
    pub(super) const MARK: u16 = 3;
    pub(super) const TIMESTAMP: u16 = 4;
    pub(super) const INTERFACE_IN: u16 = 5;
    pub(super) const INTERFACE_OUT: u16 = 6;
    pub(super) const PAYLOAD: u16 = 10;
    pub(super) const WHOLE_LEN: u16 = 13;
    pub(super) const INFO: u16 = 14;
    pub(super) const PRIORITY: u16 = 21;
}

/// Numbers of a configuration's attributes.
mod config {
    pub(super) const COMMAND: u16 = 1;
    pub(super) const PARAMETERS: u16 = 2;
    pub(super) const LENGTH: u16 = 3;
    pub(super) const MASK: u16 = 4;
    pub(super) const FLAGS: u16 = 5;
    pub(super) const BIND: u8 = 1;
    pub(super) const UNBIND: u8 = 2;
    pub(super) const COPY_PACKET: u8 = 2;
    /// Large segments as they are.
    pub(super) const SEGMENTS: u32 = 4;
}

/// Bits of what is known of a packet's checksums.
const CHECKSUM_OPEN: u32 = 1;

/// The largest payload that fits a message.
pub(crate) const PAYLOAD_MAX: usize = 65531;
/// Room for what the kernel hands over at once: the largest payload and what is told beside it, or copies of many packets, for
/// which it takes a piece of memory of the next power of two and fills that.
pub(crate) const MESSAGE_MAX: usize = 0x2_0000;

/// The first queue number that is tried, far from those that people choose.
const FIRST_NUMBER: u16 = 0x4000;
/// How many are tried.
const NUMBERS: u16 = 0x4000;
/// What of a number tells the queue for large packets; its other bits but the one below are those of the first queue.
const LARGE: u16 = 0x8000;

/// The queues of a handle, which this process listens to by one socket, so that their packets keep their order: one for packets
/// that fit a message, and one for all that are longer. From that one the kernel hands large segments over piece by piece.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) socket: Descriptor,
    /// The first queue's number.
    pub(crate) number: u16,
    takes_large: bool,
}

/// Where a packet waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// In the queue for large packets.
    pub(crate) is_large: bool,
    /// Its number in its queue, counted from 1.
    pub(super) id: u32,
}

/// What happens to a packet that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Verdict {
    Drop = 0,
    Accept = 1,
}

/// What goes on in the place of a packet that waits: bytes, and a mark and a priority where they are to be others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) mark: Option<u32>,
    pub(crate) priority: Option<u32>,
}

/// A packet that waits for its verdict.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waiting<'a> {
    pub(crate) place: Place,
    pub(crate) hook: Hook,
    pub(crate) mark: u32,
    /// When it came, in nanoseconds since the Unix epoch, where the kernel tells it.
    pub(crate) time_ns: Option<i64>,
    pub(crate) interface_in: u32,
    pub(super) interface_out: u32,
    pub(crate) bytes: &'a [u8],
    /// Some bytes at its end are not there.
    pub(crate) is_cut: bool,
    /// The transport checksum is still to be computed.
    pub(super) has_open_checksum: bool,
}

/// Something that came from a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    Packet(Waiting<'a>),
    /// A request failed: its packet was not there any more.
    Failure,
}

impl Queue {
    /// Makes queues with numbers that nobody has in this network namespace, each of so many packets, together of so many bytes;
    /// the one for large packets if it `takes_large`.
    pub(crate) fn open(length: u32, buffer: i32, takes_large: bool) -> Result<Self> {
        let socket = sys::netlink(&[])?;
        // What does not fit is dropped and counted by the kernel; the socket need not fail as well.
        sys::set_option(&socket, libc::SOL_NETLINK, libc::NETLINK_NO_ENOBUFS, 1)?;
        sys::set_receive_buffer(&socket, buffer);
        sys::set_send_buffer(&socket, SEND_BUFFER);
        let mut queue = Self { socket, number: 0, takes_large };
        let start = sys::process_id() as u16;
        for step in 0..NUMBERS {
            queue.number = FIRST_NUMBER + start.wrapping_add(step) % NUMBERS;
            match queue.bind() {
                Ok(()) => break,
                // Somebody else listens, unless the rights are missing: then the first rule will tell.
                Err(error) if error.kind() == ErrorKind::PermissionDenied && step + 1 < NUMBERS && step < 64 => {}
                Err(error) => return Err(error),
            }
        }
        for number in queue.numbers() {
            let segments = if number == queue.number { config::SEGMENTS } else { 0 };
            queue.configure(number, |writer| {
                let mut parameters = 0xFFFF_u32.to_be_bytes().to_vec();
                parameters.push(config::COPY_PACKET);
                writer.put(config::PARAMETERS, &parameters);
                writer.put_u32(config::FLAGS, segments);
                writer.put_u32(config::MASK, config::SEGMENTS);
                writer.put_u32(config::LENGTH, length);
            })?;
        }
        Ok(queue)
    }

    /// The number of the queue for large packets.
    pub(crate) const fn large_number(&self) -> u16 {
        self.number & !FIRST_NUMBER | LARGE
    }

    /// The numbers of the queues that there are.
    fn numbers(&self) -> impl Iterator<Item = u16> + use<> {
        [self.number].into_iter().chain(self.takes_large.then_some(self.large_number()))
    }

    /// Takes the numbers, all or none.
    fn bind(&self) -> Result<()> {
        self.command(self.number, config::BIND)?;
        if self.takes_large {
            self.command(self.large_number(), config::BIND).inspect_err(|_| {
                // The first error is told.
                drop(self.command(self.number, config::UNBIND));
            })?;
        }
        Ok(())
    }

    /// Gives the numbers up; the kernel drops what still waits.
    pub(crate) fn release(&self) -> Result<()> {
        self.numbers().try_for_each(|number| self.command(number, config::UNBIND))
    }

    fn command(&self, number: u16, command: u8) -> Result<()> {
        self.configure(number, |writer| writer.put(config::COMMAND, &[command, 0, 0, 0]))
    }

    fn configure(&self, number: u16, fill: impl FnOnce(&mut Writer)) -> Result<()> {
        let mut writer = Writer::default();
        writer.begin(subsystem::QUEUE, message::CONFIG, flag::ACK, CONFIGURING, 0, number);
        fill(&mut writer);
        writer.finish();
        // Packets and failed verdicts may come before the answer.
        exchange::request(&self.socket, writer.bytes(), CONFIGURING)
    }

    /// Appends a verdict. A failure comes back under the packet's number.
    pub(crate) fn answer(&self, writer: &mut Writer, place: Place, verdict: Verdict, change: Option<Change<'_>>) {
        writer.begin(subsystem::QUEUE, message::VERDICT, 0, place.id, 0, self.number_of(place));
        let header = u64::from(verdict as u32) << 32 | u64::from(place.id);
        writer.put(attribute::VERDICT, &header.to_be_bytes());
        if let Some(Change { bytes, mark, priority }) = change {
            for (kind, number) in [(attribute::MARK, mark), (attribute::PRIORITY, priority)] {
                if let Some(number) = number {
                    writer.put_u32(kind, number);
                }
            }
            writer.put(attribute::PAYLOAD, bytes);
        }
        writer.finish();
    }

    /// Appends that a packet is dropped, if it is still there.
    pub(crate) fn drop_if_there(&self, writer: &mut Writer, place: Place) {
        writer.begin(subsystem::QUEUE, message::VERDICT, 0, MAY_FAIL, 0, self.number_of(place));
        writer.put(attribute::VERDICT, &u64::from(place.id).to_be_bytes());
        writer.finish();
    }

    /// Appends that everything that waits in the packet's queue is accepted, up to this packet.
    pub(crate) fn accept_up_to(&self, writer: &mut Writer, place: Place) {
        writer.begin(subsystem::QUEUE, message::VERDICT_UP_TO, 0, place.id, 0, self.number_of(place));
        let header = u64::from(Verdict::Accept as u32) << 32 | u64::from(place.id);
        writer.put(attribute::VERDICT, &header.to_be_bytes());
        writer.finish();
    }

    const fn number_of(&self, place: Place) -> u16 {
        if place.is_large { self.large_number() } else { self.number }
    }

    /// What the kernel has counted: packets that did not fit the queues, and messages that did not fit the socket.
    pub(crate) fn lost(&self) -> u64 {
        let text = std::fs::read_to_string("/proc/net/netfilter/nfnetlink_queue").unwrap_or_default();
        let of_line = |line: &str| {
            let columns: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
            let column = |at: usize| columns.get(at).copied().unwrap_or(0);
            let is_own = self.numbers().any(|number| columns.first() == Some(&number.into()));
            if is_own { column(5) + column(6) } else { 0 }
        };
        text.lines().map(of_line).sum()
    }

    /// Sends the verdicts that were appended, and forgets them. There may be more than the socket takes at once: those with
    /// many large packets.
    pub(crate) fn flush(&self, writer: &mut Writer) -> Result<()> {
        let mut outcome = Ok(());
        for piece in writer.pieces(FLUSH_AT) {
            outcome = outcome.and(sys::send(&self.socket, piece).map(|_| ()));
        }
        writer.clear();
        outcome
    }
}

/// Bytes of verdicts that are sent at once, unless one alone is longer, and what the socket takes.
pub(crate) const FLUSH_AT: usize = 1 << 18;
const SEND_BUFFER: i32 = 1 << 20;

/// The number of requests whose failure means nothing: of packets it is that of the last one before they begin anew.
const MAY_FAIL: u32 = u32::MAX;
/// The number of requests that configure a queue.
const CONFIGURING: u32 = u32::MAX - 1;

/// What a message of a queue says.
#[inline]
pub(crate) fn event<'a>(message: &Message<'a>) -> Option<Event<'a>> {
    if let Some(number) = message.report {
        return (number != 0 && message.sequence != MAY_FAIL).then_some(Event::Failure);
    }
    if !message.is(subsystem::QUEUE, message::PACKET) {
        return None;
    }
    let (mut id, mut hook, mut mark, mut time_ns, mut whole_len) = (None, 0, 0, None, 0);
    let (mut interface_in, mut interface_out, mut info) = (0, 0, 0);
    let mut bytes: &[u8] = &[];
    for (kind, value) in message.attributes.clone() {
        let number = || be32(value, 0).unwrap_or(0);
        match kind {
            attribute::HEADER => {
                id = be32(value, 0);
                hook = u8_at(value, 6).unwrap_or(0);
            }
            attribute::MARK => mark = number(),
            attribute::TIMESTAMP => time_ns = timestamp(value),
            attribute::INTERFACE_IN => interface_in = number(),
            attribute::INTERFACE_OUT => interface_out = number(),
            attribute::PAYLOAD => bytes = value,
            attribute::WHOLE_LEN => whole_len = number(),
            attribute::INFO => info = number(),
            _ => {}
        }
    }
    Some(Event::Packet(Waiting {
        place: Place { is_large: message.resource & LARGE != 0, id: id? },
        hook: hook_of(hook),
        mark,
        time_ns,
        interface_in,
        interface_out,
        bytes,
        is_cut: whole_len as usize > bytes.len(),
        has_open_checksum: info & CHECKSUM_OPEN != 0,
    }))
}

/// The hook of this number, as messages tell it.
pub(super) fn hook_of(number: u8) -> Hook {
    Hook::from_number(number.into()).unwrap_or_default()
}

/// Seconds and microseconds.
pub(super) fn timestamp(value: &[u8]) -> Option<i64> {
    let seconds = array(value, 0).map(i64::from_be_bytes)?;
    let microseconds = array(value, 8).map(i64::from_be_bytes)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(microseconds.checked_mul(1000)?)
}

#[cfg(test)]
mod tests {
    use super::super::super::kernel::netlink::Messages;
    use super::*;

    #[test]
    fn a_packet_is_read_with_all_that_is_told_of_it() {
        let mut writer = Writer::default();
        writer.begin(subsystem::QUEUE, message::PACKET, 0, 0, 2, 0x8009);
        writer.put(attribute::HEADER, &[0, 0, 1, 2, 8, 0, 3]);
        writer.put_u32(attribute::MARK, 77);
        writer.put(attribute::TIMESTAMP, &[[0, 0, 0, 0, 0, 0, 0, 5], [0, 0, 0, 0, 0, 0, 0, 7]].concat());
        writer.put_u32(attribute::INTERFACE_OUT, 4);
        writer.put_u32(attribute::INFO, 1);
        writer.put_u32(attribute::WHOLE_LEN, 30);
        writer.put(attribute::PAYLOAD, &[0x45, 0, 0]);
        writer.finish();
        let message = Messages::new(writer.bytes()).next().unwrap();
        let Some(Event::Packet(waiting)) = event(&message) else { panic!("no packet") };
        assert_eq!(waiting.place, Place { is_large: true, id: 0x102 });
        assert_eq!((waiting.hook, waiting.mark), (Hook::Output, 77));
        assert_eq!((waiting.time_ns, waiting.interface_in, waiting.interface_out), (Some(5_000_007_000), 0, 4));
        assert_eq!((waiting.bytes, waiting.is_cut, waiting.has_open_checksum), (&[0x45, 0, 0][..], true, true));
    }
}
