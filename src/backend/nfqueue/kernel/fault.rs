//! What the kernel refuses, as errors that say what to do.
use crate::engine::{Error, ErrorCode};
use std::io;

/// The error for a call that failed while `what` was done.
pub(crate) fn fault(what: &str, error: io::Error) -> Error {
    fault_for(what, "CAP_NET_ADMIN and CAP_NET_RAW are needed in this network namespace", error)
}

/// The same where a program in the kernel is a part of it.
pub(crate) fn program_fault(what: &str, error: io::Error) -> Error {
    fault_for(what, "CAP_BPF and CAP_NET_ADMIN are needed, outside of user namespaces", error)
}

fn fault_for(what: &str, rights: &str, error: io::Error) -> Error {
    let (code, advice) = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => (ErrorCode::AccessDenied, rights),
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => (
            ErrorCode::NotSupported,
            "the kernel lacks a part: nf_tables, nfnetlink_queue, and nft_queue or xt_NFQUEUE with nft_compat are needed",
        ),
        // What comes first of what socket programs need.
        Some(libc::ENOPROTOOPT) => (
            ErrorCode::NotSupported,
            "the kernel does not tell network namespaces apart: Linux 5.15 or newer is needed",
        ),
        Some(libc::ENOMEM | libc::ENOBUFS | libc::EMFILE | libc::ENFILE) => (ErrorCode::NoSystemResources, ""),
        _ => (ErrorCode::NotSupported, ""),
    };
    let message = if advice.is_empty() { what.to_owned() } else { format!("{what} failed ({advice})") };
    Error::from_io(code, message, error)
}
