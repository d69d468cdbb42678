//! Errors of handles, under Windows' numbers on every system, and the one table of those numbers.
use std::error::Error as StdError;
use std::fmt;

/// Declares the error codes: variant, Windows number, nearest POSIX number (Linux), Windows name, advice.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $errno:literal, $symbol:literal, $advice:literal;)*) => {
        /// A Windows error number that a handle can fail with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u32)]
        pub enum ErrorCode { $($(#[$doc])* $variant = $number,)* }

        impl ErrorCode {
            /// Every code, in order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The nearest POSIX error number, as Linux numbers them.
            pub const fn errno(self) -> i32 {
                match self { $(Self::$variant => $errno,)* }
            }

            /// The number's name in Windows' headers.
            pub const fn symbol(self) -> &'static str {
                match self { $(Self::$variant => $symbol,)* }
            }

            /// What to do about it; empty where the account of what happened says all.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }
        }
    };
}

codes! {
    /// A file is not there.
    FileNotFound = 2, 2, "ERROR_FILE_NOT_FOUND", "check the path";
    /// Rights are missing.
    AccessDenied = 5, 13, "ERROR_ACCESS_DENIED", "run with administrator or root rights";
    /// The handle is closed.
    InvalidHandle = 6, 9, "ERROR_INVALID_HANDLE", "open a new handle";
    /// The capture is damaged or no capture.
    InvalidData = 13, 22, "ERROR_INVALID_DATA", "check that the file is a pcap or pcapng capture";
    /// The handle is in the wrong state.
    BadCommand = 22, 1, "ERROR_BAD_COMMAND", "";
    /// A file could not be written.
    WriteFault = 29, 5, "ERROR_WRITE_FAULT", "check the path, the rights and the free space";
    /// A file could not be read.
    ReadFault = 30, 5, "ERROR_READ_FAULT", "check the path and the rights";
    /// The system or backend cannot do this.
    NotSupported = 50, 95, "ERROR_NOT_SUPPORTED", "";
    /// An argument is wrong.
    InvalidParameter = 87, 22, "ERROR_INVALID_PARAMETER", "";
    /// A packet does not fit or is shorter than it claims.
    InsufficientBuffer = 122, 90, "ERROR_INSUFFICIENT_BUFFER", "";
    /// Receiving or sending was shut down.
    NoData = 232, 61, "ERROR_NO_DATA", "";
    /// The network stack refused the packet.
    DataNotAccepted = 592, 22, "ERROR_DATA_NOT_ACCEPTED", "";
    /// The wait was ended.
    OperationAborted = 995, 125, "ERROR_OPERATION_ABORTED", "";
    /// An overlapped operation is still under way.
    IoIncomplete = 996, 115, "ERROR_IO_INCOMPLETE", "";
    /// Memory that was named cannot be used.
    NoAccess = 998, 14, "ERROR_NOACCESS", "";
    /// The driver is not running and must not be installed.
    ServiceDoesNotExist = 1060, 19, "ERROR_SERVICE_DOES_NOT_EXIST", "open once without NO_INSTALL";
    /// An impostor's time to live ran out.
    HostUnreachable = 1232, 113, "ERROR_HOST_UNREACHABLE", "two programs seem to send each other's packets in a loop";
    /// Memory ran out.
    NoSystemResources = 1450, 12, "ERROR_NO_SYSTEM_RESOURCES", "";
}

impl ErrorCode {
    /// The Windows number.
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// What a handle's operation failed with.
#[derive(Debug)]
pub struct Error {
    code: ErrorCode,
    message: String,
    source: Option<std::io::Error>,
}

impl Error {
    /// An error with this account of what happened and where.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), source: None }
    }

    /// An error that the operating system gave.
    pub fn from_io(code: ErrorCode, message: impl Into<String>, source: std::io::Error) -> Self {
        Self { code, message: message.into(), source: Some(source) }
    }

    /// The handle is closed; every backend says so in these words, like the refusals below.
    pub(crate) fn closed() -> Self {
        Self::new(ErrorCode::InvalidHandle, "the handle is closed")
    }

    /// The handle was closed while somebody waited for its packets.
    pub(crate) fn closed_meanwhile() -> Self {
        Self::new(ErrorCode::OperationAborted, "the handle was closed while it waited for a packet")
    }

    /// A handle that only sends was asked for packets.
    pub(crate) fn send_only() -> Self {
        Self::new(ErrorCode::InvalidParameter, "a handle opened with SEND_ONLY does not receive")
    }

    /// The Windows code.
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// What happened and where.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The operating system's own number, if it gave one.
    pub fn os_error(&self) -> Option<i32> {
        self.source.as_ref().and_then(std::io::Error::raw_os_error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(source) = &self.source {
            // Windows' own texts are sentences, here one is a part of another.
            write!(f, ": {}", source.to_string().replacen(". (os error", " (os error", 1))?;
        }
        if !self.code.advice().is_empty() {
            write!(f, "; {}", self.code.advice())?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source as &(dyn StdError + 'static))
    }
}
