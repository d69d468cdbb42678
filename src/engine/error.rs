//! Errors of handles, under Windows' numbers on every system, and the one table of those numbers.
use std::error::Error as StdError;
use std::fmt;

/// Declares the error codes: variant, Windows number, nearest POSIX number (Linux), Windows name, advice.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $errno:literal, $symbol:literal, $advice:literal;)*) => {
        /// A Windows error number that a handle can fail with: one of those named here, or any other that Windows gives.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct ErrorCode(u32);

        #[expect(non_upper_case_globals, reason = "read like the variants of an enumeration, which could hold no others")]
        impl ErrorCode {
            $($(#[$doc])* pub const $variant: Self = Self($number);)*

            /// Every code that has a name, in order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The nearest POSIX error number, as Linux numbers them.
            pub const fn errno(self) -> i32 {
                match self { $(Self::$variant => $errno,)* _ => 5 }
            }

            /// The number's name in Windows' headers; empty for one that is not named here.
            pub const fn symbol(self) -> &'static str {
                match self { $(Self::$variant => $symbol,)* _ => "" }
            }

            /// What to do about it; empty where the account of what happened says all.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* _ => "" }
            }
        }
    };
}

codes! {
    /// A file is not there.
    FileNotFound = 2, 2, "ERROR_FILE_NOT_FOUND", "check the path";
    /// A folder is not there.
    PathNotFound = 3, 2, "ERROR_PATH_NOT_FOUND", "check the path";
    /// Rights are missing.
    AccessDenied = 5, 13, "ERROR_ACCESS_DENIED", "run with administrator or root rights";
    /// The handle is closed.
    InvalidHandle = 6, 9, "ERROR_INVALID_HANDLE", "open a new handle";
    /// Memory ran out.
    NotEnoughMemory = 8, 12, "ERROR_NOT_ENOUGH_MEMORY", "";
    /// The capture is damaged or no capture.
    InvalidData = 13, 22, "ERROR_INVALID_DATA", "check that the file is a pcap or pcapng capture";
    /// Memory ran out.
    OutOfMemory = 14, 12, "ERROR_OUTOFMEMORY", "";
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
    /// The driver could not be installed, and nobody says why.
    OpenFailed = 110, 5, "ERROR_OPEN_FAILED", "";
    /// A packet does not fit or is shorter than it claims.
    InsufficientBuffer = 122, 90, "ERROR_INSUFFICIENT_BUFFER", "";
    /// A path is too long or cannot be used.
    BadPathname = 161, 36, "ERROR_BAD_PATHNAME", "";
    /// A program file is for another processor.
    BadExeFormat = 193, 8, "ERROR_BAD_EXE_FORMAT", "";
    /// Receiving or sending was shut down.
    NoData = 232, 61, "ERROR_NO_DATA", "";
    /// The signature of a program file is missing or not accepted.
    InvalidImageHash = 577, 129, "ERROR_INVALID_IMAGE_HASH", "";
    /// The network stack refuses a packet.
    DataNotAccepted = 592, 22, "ERROR_DATA_NOT_ACCEPTED", "";
    /// Another, incompatible version of the driver is loaded.
    DriverFailedPriorUnload = 654, 16, "ERROR_DRIVER_FAILED_PRIOR_UNLOAD", "";
    /// The wait was ended.
    OperationAborted = 995, 125, "ERROR_OPERATION_ABORTED", "";
    /// An overlapped operation is still under way.
    IoIncomplete = 996, 115, "ERROR_IO_INCOMPLETE", "";
    /// An overlapped operation has begun.
    IoPending = 997, 115, "ERROR_IO_PENDING", "";
    /// Memory that was named cannot be used.
    NoAccess = 998, 14, "ERROR_NOACCESS", "";
    /// The service runs already.
    ServiceAlreadyRunning = 1056, 114, "ERROR_SERVICE_ALREADY_RUNNING", "";
    /// The service cannot be started now.
    ServiceDisabled = 1058, 19, "ERROR_SERVICE_DISABLED", "";
    /// The driver is not running and must not be installed.
    ServiceDoesNotExist = 1060, 19, "ERROR_SERVICE_DOES_NOT_EXIST", "open once without NO_INSTALL";
    /// The service does not run.
    ServiceNotActive = 1062, 19, "ERROR_SERVICE_NOT_ACTIVE", "";
    /// The service waits for being removed.
    ServiceMarkedForDelete = 1072, 16, "ERROR_SERVICE_MARKED_FOR_DELETE", "";
    /// A library's or driver's own start failed.
    DllInitFailed = 1114, 5, "ERROR_DLL_INIT_FAILED", "";
    /// An impostor's time to live ran out.
    HostUnreachable = 1232, 113, "ERROR_HOST_UNREACHABLE", "two programs seem to send each other's packets in a loop";
    /// The network stack cannot send the protocol.
    ProtocolUnreachable = 1233, 93, "ERROR_PROTOCOL_UNREACHABLE", "";
    /// Something keeps the driver from being loaded.
    DriverBlocked = 1275, 1, "ERROR_DRIVER_BLOCKED", "";
    /// Memory ran out.
    NoSystemResources = 1450, 12, "ERROR_NO_SYSTEM_RESOURCES", "";
    /// The Base Filtering Engine does not run.
    EndpointNotRegistered = 1753, 111, "EPT_S_NOT_REGISTERED", "";
    /// What a driver of another version answers at times.
    NoTrustAccount = 1808, 16, "ERROR_NOLOGON_WORKSTATION_TRUST_ACCOUNT", "";
    /// The Windows Filtering Platform does not know a hook of the driver.
    CalloutNotFound = 0x8032_0001, 5, "FWP_E_CALLOUT_NOT_FOUND", "";
    /// The Windows Filtering Platform does not know what was named.
    PlatformNotFound = 0x8032_0008, 5, "FWP_E_NOT_FOUND", "";
    /// The Windows Filtering Platform has such a thing already.
    PlatformAlreadyExists = 0x8032_0009, 5, "FWP_E_ALREADY_EXISTS", "";
    /// The Windows Filtering Platform still needs what was to be removed.
    PlatformInUse = 0x8032_000A, 5, "FWP_E_IN_USE", "";
    /// The Windows Filtering Platform has given a transaction up.
    TransactionAborted = 0x8032_000F, 5, "FWP_E_TXN_ABORTED", "";
    /// The Windows Filtering Platform has given a session up.
    SessionAborted = 0x8032_0010, 5, "FWP_E_SESSION_ABORTED", "";
    /// The Windows Filtering Platform was busy for too long.
    PlatformTimeout = 0x8032_0012, 5, "FWP_E_TIMEOUT", "";
    /// The Windows Filtering Platform takes no more hooks.
    TooManyCallouts = 0x8032_0018, 5, "FWP_E_TOO_MANY_CALLOUTS", "";
    /// The network stack is not ready.
    TcpipNotReady = 0x8032_0100, 5, "FWP_E_TCPIP_NOT_READY", "";
    /// The driver is about to send nothing more.
    InjectHandleClosing = 0x8032_0101, 5, "FWP_E_INJECT_HANDLE_CLOSING", "";
    /// What the driver sends with is not valid any more.
    InjectHandleStale = 0x8032_0102, 5, "FWP_E_INJECT_HANDLE_STALE", "";
}

impl ErrorCode {
    /// The code with this Windows number.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// The Windows number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// What a handle's operation failed with.
#[derive(Debug)]
pub struct Error {
    code: ErrorCode,
    message: String,
    source: Option<std::io::Error>,
    /// What to do about it.
    advice: &'static str,
}

impl Error {
    /// An error with this account of what happened and where.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), source: None, advice: code.advice() }
    }

    /// An error whose account itself says what to do.
    #[cfg(any(test, all(windows, target_arch = "x86_64")))]
    pub(crate) fn with_advice(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { advice: "", ..Self::new(code, message) }
    }

    /// An error that the operating system gave.
    pub fn from_io(code: ErrorCode, message: impl Into<String>, source: std::io::Error) -> Self {
        Self { code, message: message.into(), source: Some(source), advice: code.advice() }
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
        if !self.advice.is_empty() {
            write!(f, "; {}", self.advice)?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source as &(dyn StdError + 'static))
    }
}
