//! The capture that is written. A file appears under its name only when it is complete.
use crate::backend::{Error, ErrorCode};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::NamedTempFile;

/// Bytes that several owners see.
pub type SharedBuffer = Arc<Mutex<Vec<u8>>>;

/// Where a capture goes.
#[derive(Clone, Debug)]
pub enum Output {
    /// A file, gzip'd if its name ends in `.gz`.
    Path(PathBuf),
    /// A buffer in memory, filled when the capture is complete.
    Buffer(SharedBuffer),
}

const BUFFER_LEN: usize = 1 << 18;

/// A capture that is being written.
pub(super) enum Writer {
    /// Nobody wants it.
    Discarded,
    Plain(BufWriter<Target>, PathBuf),
    Zipped(Box<GzEncoder<BufWriter<Target>>>, PathBuf),
    Memory(Vec<u8>, SharedBuffer),
}

/// What the bytes go to.
pub(super) enum Target {
    /// A file that gets its name when it is complete.
    File(NamedTempFile, PathBuf),
    /// A device or pipe, which is written as it is: to put a file in its place would destroy it.
    Device(File),
}

impl Target {
    fn open(path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(metadata) if metadata.is_file() => {
                // What a link leads to is replaced, not the link.
                let path = fs::canonicalize(path)?;
                Ok(Self::File(new_file(folder_of(&path))?, path))
            }
            Ok(_) => Ok(Self::Device(OpenOptions::new().write(true).open(path)?)),
            Err(_) => Ok(Self::File(new_file(folder_of(path))?, path.to_owned())),
        }
    }

    fn complete(self) -> io::Result<()> {
        match self {
            Self::File(file, path) => file.persist(path).map(drop).map_err(|error| error.error),
            Self::Device(_) => Ok(()),
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file, _) => file.write(bytes),
            Self::Device(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file, _) => file.flush(),
            Self::Device(file) => file.flush(),
        }
    }
}

impl Writer {
    /// Begins a capture; the file that will become it lies in the same folder under another name.
    pub(super) fn open(output: Option<Output>) -> Result<Self, Error> {
        let path = match output {
            None => return Ok(Self::Discarded),
            Some(Output::Buffer(buffer)) => return Ok(Self::Memory(Vec::new(), buffer)),
            Some(Output::Path(path)) => path,
        };
        let target = Target::open(&path).map_err(|error| write_failed(&path, error))?;
        let file = BufWriter::with_capacity(BUFFER_LEN, target);
        Ok(if path.extension().is_some_and(|extension| extension == "gz") {
            Self::Zipped(Box::new(GzEncoder::new(file, Compression::default())), path)
        } else {
            Self::Plain(file, path)
        })
    }

    /// Whether what is written goes anywhere.
    pub(super) const fn is_discarded(&self) -> bool {
        matches!(self, Self::Discarded)
    }

    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let (outcome, path) = match self {
            Self::Discarded => return Ok(()),
            Self::Memory(buffer, _) => {
                buffer.extend_from_slice(bytes);
                return Ok(());
            }
            Self::Plain(file, path) => (file.write_all(bytes), path),
            Self::Zipped(file, path) => (file.write_all(bytes), path),
        };
        outcome.map_err(|error| write_failed(path, error))
    }

    /// Completes the capture and gives it its name.
    pub(super) fn complete(self) -> Result<(), Error> {
        let (file, path) = match self {
            Self::Discarded => return Ok(()),
            Self::Memory(bytes, buffer) => {
                *buffer.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
                return Ok(());
            }
            Self::Plain(file, path) => (Ok(file), path),
            Self::Zipped(file, path) => (file.finish(), path),
        };
        let unwritten = |error| write_failed(&path, error);
        let file =
            file.and_then(|file| file.into_inner().map_err(io::IntoInnerError::into_error)).map_err(unwritten)?;
        file.complete().map_err(unwritten)
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// A file in this folder that vanishes unless it gets its name; its rights are those of any new file.
fn new_file(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.prefix(".oxidivert-").tempfile_in(folder)
}

fn write_failed(path: &Path, error: io::Error) -> Error {
    Error::from_io(ErrorCode::WriteFault, format!("the capture {} cannot be written", path.display()), error)
}
