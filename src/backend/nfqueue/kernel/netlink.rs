//! Netlink messages of netfilter: writing requests into one buffer, and reading what comes back without copying.
//!
//! Numbers in netfilter's attributes are big-endian, those of the frame are the machine's. A message's last attribute need
//! not be padded, so that what remains is never counted below zero. Nothing panics, whatever the bytes.
use crate::packet::field::array;

/// The subsystems of netfilter that are spoken to.
pub(crate) mod subsystem {
    pub(crate) const QUEUE: u8 = 3;
    pub(crate) const LOG: u8 = 4;
    pub(crate) const TABLES: u8 = 10;
    pub(crate) const EXTENSIONS: u8 = 11;
}

/// Flags of a request.
pub(crate) mod flag {
    pub(crate) const REQUEST: u16 = 1;
    pub(crate) const ACK: u16 = 4;
    pub(crate) const EXCLUSIVE: u16 = 0x200;
    pub(crate) const DUMP: u16 = 0x300;
    pub(crate) const CREATE: u16 = 0x400;
    pub(crate) const APPEND: u16 = 0x800;
}

/// A message that reports a failure, or success with number 0.
const ERROR: u16 = 2;
/// The end of an answer of several messages.
const DONE: u16 = 3;
/// The parts of a frame: netlink's header and netfilter's.
const HEADER_LEN: usize = 16;
const FAMILY_LEN: usize = 4;
/// Marks an attribute that holds others.
const NESTED: u16 = 0x8000;
/// What of an attribute's type is its number.
const TYPE_MASK: u16 = 0x3FFF;
/// What precedes an attribute's value.
const ATTRIBUTE_LEN: usize = 4;

const fn align(len: usize) -> usize {
    (len + 3) & !3
}

/// Requests, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    /// Where the last message begins.
    start: usize,
}

/// An attribute that is being written and holds others.
#[must_use]
pub(crate) struct Nest(usize);

/// How many bytes the messages have that come first and fit, one of them at least.
fn whole_messages(bytes: &[u8], most: usize) -> usize {
    let mut end = 0;
    while end < bytes.len() && bytes.len() > most {
        let len = array(bytes, end).map_or(bytes.len(), |len| u32::from_ne_bytes(len) as usize);
        if end > 0 && end + len > most {
            return end;
        }
        end = end.saturating_add(align(len).max(1)).min(bytes.len());
    }
    bytes.len()
}

impl Writer {
    /// The bytes of all messages.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All messages, in pieces of at most so many bytes; a longer message is a piece of its own.
    pub(crate) fn pieces(&self, most: usize) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes();
        std::iter::from_fn(move || {
            let (piece, others) = rest.split_at_checked(whole_messages(rest, most))?;
            rest = others;
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// Forgets all messages.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Begins a message. `kind` is the subsystem's own number; the family and the number behind it are netfilter's header.
    pub(crate) fn begin(&mut self, subsystem: u8, kind: u8, flags: u16, sequence: u32, family: u8, resource: u16) {
        self.begin_raw(u16::from(subsystem) << 8 | u16::from(kind), flags, sequence, family, resource);
    }

    /// The same with a message's whole number.
    pub(crate) fn begin_raw(&mut self, kind: u16, flags: u16, sequence: u32, family: u8, resource: u16) {
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | flag::REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
    }

    /// Ends the message: its length is known now.
    pub(crate) fn finish(&mut self) {
        let len = (self.bytes.len() - self.start) as u32;
        let start = self.start;
        if let Some(place) = self.bytes.get_mut(start..start + 4) {
            place.copy_from_slice(&len.to_ne_bytes());
        }
    }

    /// Appends an attribute.
    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) {
        let len = (ATTRIBUTE_LEN + value.len()) as u16;
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(align(self.bytes.len()), 0);
    }

    /// Appends bytes of a frame that is longer than netfilter's.
    pub(super) fn put_raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends text with the NUL that ends it.
    pub(crate) fn put_text(&mut self, kind: u16, text: &str) {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes);
    }

    /// Appends a number.
    pub(crate) fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// Appends a number.
    pub(crate) fn put_u16(&mut self, kind: u16, value: u16) {
        self.put(kind, &value.to_be_bytes());
    }

    /// Begins an attribute that holds others.
    pub(crate) fn nest(&mut self, kind: u16) -> Nest {
        let at = self.bytes.len();
        self.put(kind | NESTED, &[]);
        Nest(at)
    }

    /// Ends an attribute that holds others.
    pub(crate) fn close(&mut self, Nest(at): Nest) {
        let len = (self.bytes.len() - at) as u16;
        if let Some(place) = self.bytes.get_mut(at..at + 2) {
            place.copy_from_slice(&len.to_ne_bytes());
        }
    }
}

/// A message that came.
#[derive(Clone, Debug)]
pub(crate) struct Message<'a> {
    /// The subsystem and its own number.
    pub(super) kind: u16,
    /// The number that was sent with the request that it answers.
    pub(crate) sequence: u32,
    /// The number in netfilter's header: of a packet, the queue's.
    pub(crate) resource: u16,
    pub(crate) attributes: Attributes<'a>,
    /// The system's error number, of a message that reports one; 0 for success.
    pub(crate) report: Option<i32>,
}

impl Message<'_> {
    /// Whether this is the subsystem's message of this number.
    pub(crate) const fn is(&self, subsystem: u8, kind: u8) -> bool {
        self.kind == (subsystem as u16) << 8 | kind as u16
    }
}

/// The messages in what was received.
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let len = u32::from_ne_bytes(array(self.rest, 0)?) as usize;
        let kind = u16::from_ne_bytes(array(self.rest, 4)?);
        let sequence = u32::from_ne_bytes(array(self.rest, 8)?);
        let body = self.rest.get(HEADER_LEN..len)?;
        self.rest = self.rest.get(align(len)..).unwrap_or_default();
        let number = array(body, 0).map(i32::from_ne_bytes);
        let report = if kind == ERROR { number.map(i32::wrapping_neg) } else { None };
        let has_header = kind != ERROR && kind != DONE;
        let resource = array(body, 2).map_or(0, u16::from_be_bytes);
        let attributes = if has_header { body.get(FAMILY_LEN..).unwrap_or_default() } else { &[] };
        Some(Message { kind, sequence, resource, attributes: Attributes { rest: attributes }, report })
    }
}

/// Attributes, one behind the other: numbers with their values.
#[derive(Clone, Debug)]
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// The attributes within a value.
    pub(crate) const fn within(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    /// The value of the first attribute with this number.
    pub(crate) fn get(&self, wanted: u16) -> Option<&'a [u8]> {
        self.clone().find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
    }

    /// The text in the first attribute with this number.
    pub(crate) fn get_text(&self, wanted: u16) -> Option<&'a str> {
        let value = self.get(wanted)?;
        std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let len = usize::from(u16::from_ne_bytes(array(self.rest, 0)?));
        let kind = u16::from_ne_bytes(array(self.rest, 2)?);
        let value = self.rest.get(ATTRIBUTE_LEN..len)?;
        self.rest = self.rest.get(align(len)..).unwrap_or_default();
        Some((kind & TYPE_MASK, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut writer = Writer::default();
        writer.begin(subsystem::TABLES, 3, flag::ACK, 7, 1, 9);
        writer.put_text(1, "abc");
        let nest = writer.nest(4);
        writer.put_u32(2, 0x0102_0304);
        writer.close(nest);
        writer.finish();
        writer.begin(subsystem::QUEUE, 1, 0, 8, 2, 0);
        writer.put(10, &[1, 2, 3]);
        writer.finish();
        let messages: Vec<_> = Messages::new(writer.bytes()).collect();
        assert_eq!(messages.len(), 2);
        assert!(messages[0].is(subsystem::TABLES, 3) && messages[1].is(subsystem::QUEUE, 1));
        assert_eq!(messages[0].attributes.get_text(1), Some("abc"));
        let inner = Attributes::within(messages[0].attributes.get(4).unwrap());
        assert_eq!(inner.get(2), Some(&[1, 2, 3, 4][..]));
        assert_eq!(messages[1].attributes.get(10), Some(&[1, 2, 3][..]));
    }

    #[test]
    fn pieces_are_whole_messages_in_order() {
        let mut writer = Writer::default();
        assert_eq!(writer.pieces(100).count(), 0);
        for len in [5, 200, 1, 2, 3, 40] {
            writer.begin(subsystem::QUEUE, 1, 0, len, 2, 0);
            writer.put(10, &vec![7; len as usize]);
            writer.finish();
        }
        for most in [0, 1, 60, 100, 300, 1000] {
            let pieces: Vec<_> = writer.pieces(most).collect();
            assert_eq!(pieces.concat(), writer.bytes());
            for piece in &pieces {
                let count = Messages::new(piece).map(|message| message.attributes.count()).sum::<usize>();
                assert!(count == 1 || count > 1 && piece.len() <= most, "{most}: {pieces:?}");
            }
            let read: usize = pieces.iter().map(|piece| Messages::new(piece).count()).sum();
            assert_eq!(read, 6);
        }
        assert_eq!(writer.pieces(1000).count(), 1);
        assert_eq!(writer.pieces(1).count(), 6);
    }

    #[test]
    fn no_bytes_make_reading_run_on_or_panic() {
        let mut writer = Writer::default();
        writer.begin(subsystem::QUEUE, 0, 0, 1, 2, 5);
        writer.put(10, &[7; 9]);
        writer.finish();
        let whole = writer.bytes().to_vec();
        for len in 0..whole.len() {
            for message in Messages::new(&whole[..len]) {
                assert!(message.attributes.count() <= 1);
            }
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 3, 4, 0x7F, 0xFF] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                let read: usize = Messages::new(&bytes).map(|message| message.attributes.count()).sum();
                assert!(read <= bytes.len());
            }
        }
    }
}
