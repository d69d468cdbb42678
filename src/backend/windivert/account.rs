//! What the driver's and Windows' error numbers mean and what to do about them: one table.
use crate::backend::{Error, ErrorCode};

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Open,
    Receive,
    Send,
    Shutdown,
    Parameter,
    Close,
    Service,
}

impl Operation {
    const fn phrase(self) -> &'static str {
        match self {
            Self::Open => "the WinDivert driver cannot be opened",
            Self::Receive => "receiving failed",
            Self::Send => "sending failed",
            Self::Shutdown => "the shutdown failed",
            Self::Parameter => "the parameter was refused",
            Self::Close => "the handle was not closed in order",
            Self::Service => "the service manager refuses",
        }
    }
}

/// What happened, by number: while opening, and on an open handle. Empty where the number cannot come or needs no words.
const ACCOUNTS: &[(u32, &str, &str)] = &[
    (2, STALE, "the driver is gone; open a new handle"),
    (3, STALE, "the driver is gone; open a new handle"),
    (
        5,
        "Administrator rights are missing; start an elevated prompt. If it is one, a security product or a damaged service \
         entry refuses: see `oxidivert doctor`",
        "access was refused",
    ),
    (6, "the handle is not valid", "the handle is closed"),
    (8, "memory ran out", "memory ran out"),
    (14, "memory ran out", "memory ran out"),
    (22, "the driver is in the wrong state", "the handle is being closed"),
    (
        87,
        "the driver refuses the filter, layer, priority or flags; an older WinDivert driver may be loaded, see `oxidivert \
         driver status`",
        "the driver or the network stack refuses the packet, its interface or an argument",
    ),
    (110, "the driver could not be installed, for an unknown reason", ""),
    (122, "", "a buffer is shorter than the packet's IP header says, or a packet was longer than the buffer"),
    (161, "the path of WinDivert.dll is too long; install the package in a folder with a shorter path", ""),
    (193, "a file of WinDivert is for another processor; reinstall the package", ""),
    (232, "", "this direction was shut down on the handle"),
    (
        577,
        "Windows refuses the driver's signature; reinstall the package, and see `oxidivert doctor` about Secure Boot and \
         memory integrity",
        "",
    ),
    (592, "", "Windows does not accept the packet: it is malformed, or not allowed in this direction"),
    (
        654,
        "another, incompatible WinDivert driver is loaded; close the programs that use it, then run `oxidivert driver stop` \
         or restart Windows",
        "",
    ),
    (995, "the operation was cancelled", "the operation was cancelled"),
    (996, "", "the operation is not complete"),
    (997, "", "the operation is under way"),
    (998, "memory that was named cannot be used", "memory that was named cannot be used"),
    (1056, "the driver's service runs already", ""),
    (
        1058,
        "the driver's service was stopped while handles were open and is half gone; run `oxidivert driver stop` once more, or \
         restart Windows",
        "",
    ),
    (1060, "the driver is not running, and NO_INSTALL forbids to start it; open once without", ""),
    (1062, "the driver's service is stopped", ""),
    (1072, "the driver's service is being removed; close all programs that use WinDivert, or restart Windows", ""),
    (
        1114,
        "the driver's file cannot be loaded by this Windows; it may be Wine, or a system without support for drivers",
        "",
    ),
    (1232, "", "the time to live of a packet marked impostor ran out"),
    (1233, "", "the network stack cannot reach the packet's protocol"),
    (
        1275,
        "something keeps the driver from being loaded: a security product, or a virtual environment without support for \
         drivers",
        "",
    ),
    (1450, "the kernel's memory ran out", "the kernel's memory ran out"),
    (
        1753,
        "the Base Filtering Engine does not run; enable and start the service BFE (`sc config BFE start= auto`, `sc start \
         BFE`)",
        "the Base Filtering Engine does not run; enable and start the service BFE",
    ),
    (
        1808,
        "an old WinDivert driver that does not fit is still registered; run `oxidivert driver uninstall` or restart Windows",
        "",
    ),
];

const STALE: &str = "the driver's file WinDivert64.sys is not where its service expects it; `oxidivert doctor` shows where, \
                     `oxidivert doctor --repair` mends it";

/// What the service manager's own numbers mean where nothing was being opened.
const SERVICE_ACCOUNTS: &[(u32, &str)] = &[(1060, "there is no such service"), (1062, "the service does not run")];

/// The error for a number that the driver or Windows gave. `detail`, if not empty, says more of what it is about.
pub(super) fn account(number: u32, operation: Operation, detail: &str) -> Error {
    let code = ErrorCode::from_number(number);
    let entry = ACCOUNTS.iter().find(|(listed, ..)| *listed == number);
    let of_service = SERVICE_ACCOUNTS.iter().find(|(listed, _)| *listed == number);
    let words = match (operation, of_service, entry) {
        (Operation::Service, Some((_, words)), _) => words,
        (Operation::Open | Operation::Service, _, Some((_, open, _))) => open,
        (_, _, Some((.., open_handle))) => open_handle,
        (_, _, None) => "",
    };
    let words = match words {
        // The Windows Filtering Platform's own numbers are looked up in hexadecimal.
        "" if number >> 16 == 0x8032 && operation == Operation::Open => format!(
            "the Windows Filtering Platform refuses the driver's hooks with {number:#010x}; stop other programs that filter \
             its traffic, or restart Windows"
        ),
        "" if number >> 16 == 0x8032 => format!("the Windows Filtering Platform answers {number:#010x}"),
        "" => format!("Windows error {number}"),
        words => words.to_owned(),
    };
    let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
    let message = format!("{}: {words}{detail}", operation.phrase());
    // What is told of an open says what to do; on an open handle the number's own advice is right.
    let says_all = matches!(operation, Operation::Open | Operation::Service);
    if says_all && entry.is_some() { Error::with_advice(code, message) } else { Error::new(code, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_the_table_has_a_name_and_words_for_something() {
        for (number, open, open_handle) in ACCOUNTS {
            assert!(!ErrorCode::from_number(*number).symbol().is_empty(), "{number}");
            assert!(!open.is_empty() || !open_handle.is_empty(), "{number}");
        }
        assert!(ACCOUNTS.is_sorted_by_key(|(number, ..)| number));
    }

    #[test]
    fn an_account_says_what_where_and_what_to_do() {
        let error = account(1275, Operation::Open, "");
        assert_eq!((error.code(), error.code().symbol()), (ErrorCode::DriverBlocked, "ERROR_DRIVER_BLOCKED"));
        assert!(error.to_string().starts_with("the WinDivert driver cannot be opened: something keeps the driver"));
        let error = account(592, Operation::Send, "packet 3");
        assert!(error.to_string().ends_with("not allowed in this direction (packet 3)"), "{error}");
        let error = account(0x8032_0009, Operation::Open, "");
        assert_eq!(error.code().number(), 0x8032_0009);
        assert!(error.to_string().contains("0x80320009"));
        assert_eq!(account(4711, Operation::Send, "").to_string(), "sending failed: Windows error 4711");
    }
}
