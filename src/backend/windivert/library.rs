//! WinDivert's library: found beside this module, checked, loaded once, and its functions.
#![allow(unsafe_code, reason = "loads a library and looks functions up in it")]
use super::files::{self, LIBRARY};
use crate::backend::{Error, ErrorCode};
use libloading::os::windows::{LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR, LOAD_LIBRARY_SEARCH_SYSTEM32, Library};
use std::ffi::{c_char, c_void};
use std::sync::{Mutex, OnceLock, PoisonError};
use windivert::prelude::{WinDivertFlags, WinDivertLayer, WinDivertParam, WinDivertShutdownMode};
use windivert_sys::BOOL;
use windivert_sys::address::WINDIVERT_ADDRESS;
use windows_sys::Win32::Foundation::HANDLE;

/// Declares the functions: the field, the library's name for it, arguments and result.
macro_rules! functions {
    ($($field:ident = $name:literal: fn($($argument:ty),*) -> $result:ty;)*) => {
        /// The driver functions of the library.
        pub(super) struct Functions {
            $(pub(super) $field: unsafe extern "C" fn($($argument),*) -> $result,)*
            /// Never unloaded: the functions live in it.
            _library: Library,
        }

        impl Functions {
            fn of(library: Library) -> Result<Self, Error> {
                $(
                    // SAFETY: the signature is that of WinDivert 2.2, whose file was checked by its sum.
                    let $field = unsafe { library.get::<unsafe extern "C" fn($($argument),*) -> $result>($name) };
                    let $field = *$field.map_err(|error| unusable(&error))?;
                )*
                Ok(Self { $($field,)* _library: library })
            }
        }
    };
}

functions! {
    open = b"WinDivertOpen\0": fn(*const c_char, WinDivertLayer, i16, WinDivertFlags) -> HANDLE;
    receive = b"WinDivertRecvEx\0": fn(
        HANDLE, *mut c_void, u32, *mut u32, u64, *mut WINDIVERT_ADDRESS, *mut u32, *mut c_void
    ) -> BOOL;
    send = b"WinDivertSendEx\0": fn(
        HANDLE, *const c_void, u32, *mut u32, u64, *const WINDIVERT_ADDRESS, u32, *mut c_void
    ) -> BOOL;
    shutdown = b"WinDivertShutdown\0": fn(HANDLE, WinDivertShutdownMode) -> BOOL;
    close = b"WinDivertClose\0": fn(HANDLE) -> BOOL;
    set_param = b"WinDivertSetParam\0": fn(HANDLE, WinDivertParam, u64) -> BOOL;
    get_param = b"WinDivertGetParam\0": fn(HANDLE, WinDivertParam, *mut u64) -> BOOL;
}

fn unusable(error: &libloading::Error) -> Error {
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    Error::new(
        ErrorCode::FileNotFound,
        format!("{LIBRARY} cannot be loaded: {cause}; a security product may hold it back, or reinstall the package"),
    )
}

/// The functions; the library is loaded by the first call. A failure is told and tried again by the next one.
pub(super) fn functions() -> Result<&'static Functions, Error> {
    static LOADED: OnceLock<Functions> = OnceLock::new();
    static LOADING: Mutex<()> = Mutex::new(());
    if let Some(functions) = LOADED.get() {
        return Ok(functions);
    }
    let _guard = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(functions) = LOADED.get() {
        return Ok(functions);
    }
    let functions = load()?;
    Ok(LOADED.get_or_init(|| functions))
}

fn load() -> Result<Functions, Error> {
    let path = files::folder()?.join(LIBRARY);
    // Held open until the library is loaded, so that nobody puts another in its place meanwhile.
    let _checked = files::open_checked(&path)?;
    let flags = LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32;
    // SAFETY: the file is WinDivert's own, whose start only sets up a thread-local slot.
    let library = unsafe { Library::load_with_flags(&path, flags) };
    Functions::of(library.map_err(|error| unusable(&error))?)
}
