//! WinDivert's own C helpers, as a peer to measure against.
//!
//! They come from a shared library whose path is in the environment variable `OXIDIVERT_WINDIVERT_C`, such as
//! `libebpfdivert.so` of pydivert's wheel. Without it the peer is left out, and a line on stderr says so.
use libloading::{Library, Symbol};
use std::ffi::{CStr, c_char, c_int, c_void};

type CalcChecksums = unsafe extern "C" fn(*mut c_void, u32, *mut c_void, u64) -> c_int;
type HashPacket = unsafe extern "C" fn(*const c_void, u32, u64) -> u64;
type EvalFilter = unsafe extern "C" fn(*const c_char, *const c_void, u32, *const c_void) -> c_int;
type CompileFilter = unsafe extern "C" fn(*const c_char, c_int, *mut *const c_char, *mut u32) -> c_int;

/// The loaded library.
pub struct WindivertC {
    library: Library,
}

impl WindivertC {
    /// The library, or `None` if the variable is unset or names no such library.
    #[expect(clippy::print_stderr, reason = "a peer that is left out must be seen")]
    pub fn load() -> Option<Self> {
        let Some(path) = std::env::var_os("OXIDIVERT_WINDIVERT_C") else {
            eprintln!("WinDivert's C helpers left out: OXIDIVERT_WINDIVERT_C is not set");
            return None;
        };
        // SAFETY: whoever sets the variable vouches for the library and its initialisers.
        match unsafe { Library::new(&path) } {
            Ok(library) => Some(Self { library }),
            Err(error) => {
                eprintln!("WinDivert's C helpers left out: {error}");
                None
            }
        }
    }

    /// `WinDivertHelperCalcChecksums` without an address; this build answers 0 for done.
    pub fn calc_checksums(&self) -> impl Fn(&mut [u8], u64) -> bool + '_ {
        // SAFETY: the type is that of the exported function.
        let function: Symbol<CalcChecksums> = unsafe { self.symbol(b"ebpfdivert_helper_calc_checksums\0") };
        move |packet, flags| {
            // SAFETY: the packet is writable memory of that length, and a null address is allowed.
            unsafe { function(packet.as_mut_ptr().cast(), packet.len() as u32, std::ptr::null_mut(), flags) == 0 }
        }
    }

    /// `WinDivertHelperHashPacket`.
    pub fn hash_packet(&self) -> impl Fn(&[u8], u64) -> u64 + '_ {
        // SAFETY: the type is that of the exported function.
        let function: Symbol<HashPacket> = unsafe { self.symbol(b"ebpfdivert_helper_hash_packet\0") };
        move |packet, seed| {
            // SAFETY: the packet is readable memory of that length.
            unsafe { function(packet.as_ptr().cast(), packet.len() as u32, seed) }
        }
    }

    /// `WinDivertHelperEvalFilter`, which compiles the filter at each call; this build answers 1 for a match.
    pub fn eval_filter(&self) -> impl Fn(&CStr, &[u8], &[u8; 80]) -> bool + '_ {
        // SAFETY: the type is that of the exported function.
        let function: Symbol<EvalFilter> = unsafe { self.symbol(b"ebpfdivert_helper_eval_filter\0") };
        move |filter, packet, address| {
            let (address, len) = (address.as_ptr().cast(), packet.len() as u32);
            // SAFETY: the filter ends with a NUL; packet and address are readable memory of these lengths.
            unsafe { function(filter.as_ptr(), packet.as_ptr().cast(), len, address) == 1 }
        }
    }

    /// `WinDivertHelperCompileFilter` on layer NETWORK, without an object; this build answers 0 for done.
    pub fn compile_filter(&self) -> impl Fn(&CStr) -> bool + '_ {
        // SAFETY: the type is that of the exported function.
        let function: Symbol<CompileFilter> = unsafe { self.symbol(b"ebpfdivert_helper_compile_filter\0") };
        move |filter| {
            let (mut error, mut position) = (std::ptr::null(), 0);
            // SAFETY: the filter ends with a NUL, and both results may be written.
            unsafe { function(filter.as_ptr(), 0, &raw mut error, &raw mut position) == 0 }
        }
    }

    /// # Safety
    ///
    /// `T` must be the type of the function with this name.
    unsafe fn symbol<T>(&self, name: &[u8]) -> Symbol<'_, T> {
        // SAFETY: promised by the caller.
        match unsafe { self.library.get(name) } {
            Ok(symbol) => symbol,
            Err(error) => panic!("the library lacks a helper: {error}"),
        }
    }
}
