//! An open handle of the driver: the library's functions on it, with their errors.
#![allow(unsafe_code, reason = "calls WinDivert's library")]
use super::account::{Operation, account};
use super::convert;
use super::library::Functions;
use crate::address::{Flags, Layer, Parameter, Shutdown};
use crate::backend::Error;
use std::ffi::CStr;
use windows_sys::Win32::Foundation::{GetLastError, HANDLE, INVALID_HANDLE_VALUE};

/// An open handle of the driver. Whoever has it closes it; the functions fail with 6 from then on.
#[derive(Clone, Copy)]
pub(super) struct Device {
    functions: &'static Functions,
    handle: HANDLE,
}

// SAFETY: a handle of the kernel is a number that any thread may use; the library's functions are made for that.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

/// Windows' number for what failed last in this thread.
pub(super) fn last_error() -> u32 {
    // SAFETY: reads a number of this thread.
    unsafe { GetLastError() }
}

impl Device {
    /// Opens a handle. The arguments were verified; what the driver still refuses is told by number.
    pub(super) fn open(
        functions: &'static Functions,
        object: &CStr,
        layer: Layer,
        priority: i16,
        flags: Flags,
    ) -> Result<Self, Error> {
        let (layer, flags) = (convert::layer(layer), convert::flags(flags));
        // SAFETY: the object is text with a NUL at its end.
        let handle = unsafe { (functions.open)(object.as_ptr(), layer, priority, flags) };
        // The library returns NULL instead of an invalid handle when its memory runs out.
        if handle == INVALID_HANDLE_VALUE || handle.is_null() {
            return Err(account(last_error(), Operation::Open, ""));
        }
        Ok(Self { functions, handle })
    }

    pub(super) const fn functions(&self) -> &'static Functions {
        self.functions
    }

    pub(super) const fn handle(&self) -> HANDLE {
        self.handle
    }

    /// Ends receiving, sending or both.
    pub(super) fn shutdown(&self, how: Shutdown) -> Result<(), Error> {
        // SAFETY: takes a handle and a number.
        let done = unsafe { (self.functions.shutdown)(self.handle, convert::shutdown(how)) };
        check(done, Operation::Shutdown)
    }

    /// A parameter's value.
    pub(super) fn parameter(&self, parameter: Parameter) -> Result<u64, Error> {
        let mut value = 0;
        // SAFETY: the value is written before the call returns.
        let done = unsafe { (self.functions.get_param)(self.handle, convert::parameter(parameter), &raw mut value) };
        check(done, Operation::Parameter).map(|()| value)
    }

    /// Sets a parameter.
    pub(super) fn set_parameter(&self, parameter: Parameter, value: u64) -> Result<(), Error> {
        // SAFETY: takes a handle and numbers.
        let done = unsafe { (self.functions.set_param)(self.handle, convert::parameter(parameter), value) };
        check(done, Operation::Parameter)
    }

    /// Closes the handle. No read is pending and nobody uses it any more.
    pub(super) fn close(&self) -> Result<(), Error> {
        // SAFETY: takes a handle.
        let done = unsafe { (self.functions.close)(self.handle) };
        check(done, Operation::Close)
    }
}

fn check(done: i32, operation: Operation) -> Result<(), Error> {
    if done != 0 { Ok(()) } else { Err(account(last_error(), operation, "")) }
}
