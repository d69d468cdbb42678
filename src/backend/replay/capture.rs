//! Reads a capture record by record, with the crate `pcap-parser` for the framing, and says where in a record's bytes the
//! packet lies. Never panics, and takes no more memory than one record needs.
use super::format::{Format, Interface, MICROSECONDS, PACKET_FLAGS, RecordKind, RecordMeta, epb_is_outbound};
use crate::backend::{Error, ErrorCode};
use flate2::bufread;
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, LegacyPcapReader, PcapBlockOwned, PcapError, PcapNGReader};
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The largest record that is taken, headers included, in bytes; a longer one ends the capture with an error. Snap lengths in
/// the wild end at 262,144 bytes.
pub const MAXIMUM_RECORD_LEN: usize = 16 << 20;

const BUFFER_LEN: usize = 1 << 18;
const BUFFER_LEN_MIN: usize = 1 << 12;
const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];
const OBSOLETE_PACKET: u32 = 2;
const SECTION_MAGIC: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];

/// Where a capture comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file.
    Path(PathBuf),
    /// The bytes of one, shared and not copied.
    Bytes(SharedBytes),
}

/// Bytes that somebody else owns too.
#[derive(Clone)]
pub struct SharedBytes(Arc<dyn AsRef<[u8]> + Send + Sync>);

impl SharedBytes {
    /// Shares bytes, which must not change.
    pub fn new(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self(Arc::new(bytes))
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl std::fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.as_ref().len())
    }
}

impl Source {
    /// The path, or what it is.
    pub fn name(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Bytes(bytes) => format!("{bytes:?} in memory"),
        }
    }

    /// The source's bytes, and how many there are if that is known.
    fn open(&self) -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
        match self {
            Self::Path(path) => {
                let file = File::open(path)?;
                let metadata = file.metadata()?;
                if metadata.is_dir() {
                    return Err(io::Error::from(io::ErrorKind::IsADirectory));
                }
                Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
            }
            Self::Bytes(bytes) => Ok((Box::new(Cursor::new(bytes.clone())), Some(bytes.as_ref().len() as u64))),
        }
    }
}

/// How far the source was read, to be asked from any thread.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    read: Arc<AtomicU64>,
    total: u64,
}

impl Progress {
    pub(super) fn position(&self) -> (u64, u64) {
        (self.read.load(Ordering::Relaxed), self.total)
    }
}

/// A source whose bytes are counted.
struct Counted {
    inner: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.read.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}

/// Gives short reads only at the end or before an error, and keeps the error that the parser's own error type has no room for.
struct Filled {
    inner: Box<dyn Read + Send>,
    /// An error that came behind bytes that were read.
    pending: Option<io::Error>,
    error: Arc<Mutex<Option<io::Error>>>,
}

impl Filled {
    fn fail(&self, error: io::Error) -> io::Error {
        let kind = error.kind();
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        kind.into()
    }
}

impl Read for Filled {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.pending.take() {
            return Err(self.fail(error));
        }
        let mut len = 0;
        while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match self.inner.read(rest) {
                Ok(0) => break,
                Ok(more) => len += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if len == 0 => return Err(self.fail(error)),
                Err(error) => {
                    self.pending = Some(error);
                    break;
                }
            }
        }
        Ok(len)
    }
}

/// A capture that is being read.
pub(super) struct Capture {
    reader: Box<dyn PcapReaderIterator + Send>,
    name: String,
    format: Format,
    progress: Progress,
    read_error: Arc<Mutex<Option<io::Error>>>,
    /// How many bytes the reader's buffer holds.
    capacity: usize,
    /// Length of the record that `advance` found, not yet consumed.
    current_len: usize,
}

impl Capture {
    /// Opens a source and looks at its first bytes.
    pub(super) fn open(source: &Source) -> Result<Self, Error> {
        let name = source.name();
        let unreadable = |error: io::Error| {
            let code =
                if error.kind() == io::ErrorKind::NotFound { ErrorCode::FileNotFound } else { ErrorCode::ReadFault };
            Error::from_io(code, format!("the capture {name} cannot be read"), error)
        };
        let (inner, total) = source.open().map_err(unreadable)?;
        let read = Arc::new(AtomicU64::new(0));
        let progress = Progress { read: Arc::clone(&read), total: total.unwrap_or(0) };
        let (inner, is_zipped) = unzipped(Counted { inner, read }).map_err(unreadable)?;
        // A short source needs no long buffer.
        let known_len = total.filter(|_| !is_zipped).and_then(|total| usize::try_from(total).ok());
        let capacity = known_len.map_or(BUFFER_LEN, |len| len.clamp(BUFFER_LEN_MIN, BUFFER_LEN));
        let read_error = Arc::new(Mutex::new(None));
        let mut filled = Filled { inner, pending: None, error: Arc::clone(&read_error) };
        let mut magic = [0; 4];
        let magic_len = filled.read(&mut magic).map_err(|error| match gzip_fault(&error) {
            Some(what) => no_capture(&name, &what),
            None => unreadable(error),
        })?;
        if magic_len == 0 {
            return Err(no_capture(&name, "it is empty"));
        }
        let start = Cursor::new(magic.get(..magic_len).unwrap_or_default().to_vec());
        let input = Filled { inner: Box::new(start.chain(filled)), pending: None, error: Arc::clone(&read_error) };
        let is_pcapng = magic == SECTION_MAGIC;
        let (reader, format) = open_reader(input, is_pcapng, capacity).map_err(|what| no_capture(&name, what))?;
        Ok(Self { reader, name, format, progress, read_error, capacity, current_len: 0 })
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    pub(super) const fn format(&self) -> &Format {
        &self.format
    }

    /// Goes to the next record; `None` at the end. Its bytes are [`raw`](Self::raw) until the next call.
    pub(super) fn advance(&mut self) -> Result<Option<RecordMeta>, Error> {
        let done = std::mem::take(&mut self.current_len);
        self.reader.consume_noshift(done);
        loop {
            let outcome = match self.reader.next() {
                Ok((len, block)) => {
                    let meta = self.format.read(&block);
                    self.current_len = len;
                    return self.verify(meta).map(Some);
                }
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_)) => Refill::More,
                Err(PcapError::BufferTooSmall) => Refill::Grow,
                Err(PcapError::UnexpectedEof) => Refill::Cut,
                Err(PcapError::ReadError) => return Err(self.read_failed()),
                Err(_) => Refill::Opaque,
            };
            match outcome {
                Refill::More => self.refill()?,
                Refill::Grow => self.grow()?,
                Refill::Cut if self.reader.data().is_empty() => return Ok(None),
                Refill::Cut => return Err(self.damaged("it is cut in the middle of a record")),
                Refill::Opaque => return self.opaque().map(Some),
            }
        }
    }

    /// Refuses a packet of an interface that the capture has not described.
    fn verify(&self, meta: RecordMeta) -> Result<RecordMeta, Error> {
        if meta.kind.has_packet() && meta.described.is_none() {
            return Err(self.damaged(&format!("a packet names interface {}, which is not described", meta.interface)));
        }
        Ok(meta)
    }

    /// The bytes of the record that `advance` found.
    pub(super) fn raw(&self) -> &[u8] {
        self.reader.data().get(..self.current_len).unwrap_or_default()
    }

    fn refill(&mut self) -> Result<(), Error> {
        let failed = self.reader.refill().is_err();
        if failed { Err(self.read_failed()) } else { Ok(()) }
    }

    /// Makes room for a record that is longer than the buffer.
    fn grow(&mut self) -> Result<(), Error> {
        if let Some(len) = self.format.record_len(self.reader.data()).filter(|len| *len > MAXIMUM_RECORD_LEN) {
            return Err(self.damaged(&format!("a record claims {len} bytes, at most {MAXIMUM_RECORD_LEN} are taken")));
        }
        self.read_more()
    }

    /// Fills the buffer, twice as long if it is full: room is made for bytes that are there, not for those that are claimed.
    fn read_more(&mut self) -> Result<(), Error> {
        if self.reader.data().len() >= self.capacity {
            self.capacity *= 2;
            self.reader.grow(self.capacity);
        }
        self.refill()
    }

    /// A block that the parser refuses but whose two lengths agree passes as it is.
    fn opaque(&mut self) -> Result<RecordMeta, Error> {
        loop {
            let data = self.reader.data();
            match self.format.record_len(data) {
                Some(len) if (12..=MAXIMUM_RECORD_LEN).contains(&len) => {
                    if let Some(block) = data.get(..len) {
                        if !self.format.block_is_closed(block) {
                            return Err(self.damaged("a block's two lengths differ"));
                        }
                        if block.starts_with(&SECTION_MAGIC) {
                            return Err(self.damaged("a section header is damaged"));
                        }
                        self.format.note_opaque(block);
                        self.current_len = len;
                        return Ok(RecordMeta::other());
                    }
                    if self.reader.reader_exhausted() {
                        return Err(self.damaged("it is cut in the middle of a block"));
                    }
                    self.read_more()?;
                }
                _ => return Err(self.damaged("a block is damaged")),
            }
        }
    }

    fn damaged(&self, what: &str) -> Error {
        let position = self.reader.consumed();
        Error::new(ErrorCode::InvalidData, format!("the capture {} is damaged at byte {position}: {what}", self.name))
    }

    fn read_failed(&self) -> Error {
        let error = self.read_error.lock().unwrap_or_else(PoisonError::into_inner).take();
        let error = error.unwrap_or_else(|| io::ErrorKind::Other.into());
        match gzip_fault(&error) {
            Some(what) => self.damaged(&what),
            None => Error::from_io(ErrorCode::ReadFault, format!("the capture {} cannot be read on", self.name), error),
        }
    }
}

/// What is wrong with the gzip stream that is read, if it is not the reading itself.
fn gzip_fault(error: &io::Error) -> Option<String> {
    match error.kind() {
        // Only unzipping gives these.
        io::ErrorKind::UnexpectedEof => Some("its gzip stream is cut".to_owned()),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            Some(format!("its gzip stream cannot be unzipped: {error}"))
        }
        _ => None,
    }
}

enum Refill {
    More,
    Grow,
    Cut,
    Opaque,
}

fn no_capture(name: &str, what: &str) -> Error {
    Error::new(ErrorCode::InvalidData, format!("{name} is no capture that can be read: {what}"))
}

/// The source itself, or what it unzips to; whether it is zipped.
fn unzipped(mut source: Counted) -> io::Result<(Box<dyn Read + Send>, bool)> {
    let mut magic = Vec::with_capacity(GZIP_MAGIC.len());
    source.by_ref().take(GZIP_MAGIC.len() as u64).read_to_end(&mut magic)?;
    let is_zipped = magic == GZIP_MAGIC;
    let whole = Cursor::new(magic).chain(source);
    Ok(if is_zipped {
        (Box::new(bufread::MultiGzDecoder::new(io::BufReader::with_capacity(BUFFER_LEN, whole))), true)
    } else {
        // The reader behind this has a buffer of its own.
        (Box::new(whole), false)
    })
}

type OpenedReader = (Box<dyn PcapReaderIterator + Send>, Format);

fn open_reader(input: Filled, is_pcapng: bool, capacity: usize) -> Result<OpenedReader, &'static str> {
    let reason = |error: PcapError<&[u8]>| match error {
        PcapError::HeaderNotRecognized => "its first bytes are neither those of pcap nor of pcapng",
        PcapError::Incomplete(_) | PcapError::UnexpectedEof => "it ends within its header",
        PcapError::ReadError => "its first bytes cannot be read",
        _ => "its header is damaged",
    };
    if is_pcapng {
        let reader = PcapNGReader::new(capacity, input).map_err(reason)?;
        return Ok((Box::new(reader), Format::pcapng()));
    }
    let mut reader = LegacyPcapReader::new(capacity, input).map_err(reason)?;
    let format = match reader.next() {
        Ok((_, PcapBlockOwned::LegacyHeader(header))) => Format::pcap(&header),
        _ => return Err("its header is damaged"),
    };
    Ok((Box::new(reader), format))
}

impl Format {
    /// What a block is and where in it the packet lies; learns of sections and interfaces on the way.
    fn read(&mut self, block: &PcapBlockOwned<'_>) -> RecordMeta {
        match block {
            PcapBlockOwned::Legacy(block) => {
                let time_ns =
                    self.interface(0).map_or(0, |interface| interface.split_time_ns(block.ts_sec, block.ts_usec));
                self.packet(RecordKind::Pcap, 0, block.data.len(), block.origlen, time_ns, None)
            }
            PcapBlockOwned::NG(Block::SectionHeader(section)) => {
                self.begin_section(section.big_endian());
                RecordMeta { kind: RecordKind::Section, ..RecordMeta::other() }
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(description)) => {
                let options = description.options.iter().map(|option| (option.code.0, option.value()));
                let interface = Interface::new(description.linktype.0, MICROSECONDS, description.snaplen);
                self.add_interface(interface.with_options(self.is_big_endian(), options));
                RecordMeta::other()
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                let ticks = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
                let time_ns = self.interface(block.if_id).map_or(0, |interface| interface.time_ns(ticks));
                let flags =
                    block.options.iter().find(|option| option.code.0 == PACKET_FLAGS).map(|option| &option.value);
                let is_outbound = flags.and_then(|flags| epb_is_outbound(flags.as_ref(), self.is_big_endian()));
                let data_len = block.data.len().min(block.caplen as usize);
                self.packet(RecordKind::Enhanced, block.if_id, data_len, block.origlen, time_ns, is_outbound)
            }
            PcapBlockOwned::NG(Block::SimplePacket(block)) => {
                let snap_len = self.interface(0).map_or(u32::MAX, |interface| interface.snap_len);
                let data_len = block.data.len().min(block.origlen.min(snap_len) as usize);
                self.packet(RecordKind::Simple, 0, data_len, block.origlen, 0, None)
            }
            PcapBlockOwned::NG(Block::Unknown(block)) if block.block_type == OBSOLETE_PACKET => {
                self.obsolete_packet(block.data).unwrap_or_else(RecordMeta::other)
            }
            _ => RecordMeta::other(),
        }
    }

    /// The obsolete packet block (type 2): its body begins with a 16-bit interface number and a drop count.
    fn obsolete_packet(&self, body: &[u8]) -> Option<RecordMeta> {
        let interface = u32::from(self.encoding().u16_at(body, 0)?);
        let ticks = u64::from(self.encoding().u32_at(body, 4)?) << 32 | u64::from(self.encoding().u32_at(body, 8)?);
        let data_len = (self.encoding().u32_at(body, 12)? as usize).min(body.len().checked_sub(20)?);
        let time_ns = self.interface(interface).map_or(0, |interface| interface.time_ns(ticks));
        let options = body.get(20 + data_len.next_multiple_of(4)..).unwrap_or_default();
        let flags = self.encoding().option(options, PACKET_FLAGS);
        let is_outbound = flags.and_then(|flags| epb_is_outbound(flags, self.is_big_endian()));
        let original_len = self.encoding().u32_at(body, 16)?;
        Some(self.packet(RecordKind::Enhanced, interface, data_len, original_len, time_ns, is_outbound))
    }
}
