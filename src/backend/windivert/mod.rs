//! Windows: the WinDivert driver, over its own signed library, which is loaded at the first open.
//!
//! Each handle has a thread that reads ahead, several overlapped reads at a time, as long as somebody receives: what it has
//! read waits in a queue of the same limits as the driver's, grows too old there by its own stamp, and is given back when the
//! handle is closed, so that reading ahead changes nothing but speed. A time-out ends a wait and never a read.
//!
//! The driver gets the filter's compiled object. Where the filter says more than the driver's language can, the driver gets a
//! superset, and what only that matches goes on at once; a handle with SEND_ONLY captures nothing, as documented.

pub mod driver;

/// Modules that know no Windows, and so are tested everywhere.
macro_rules! portable {
    ($($module:ident)*) => {$(
        #[cfg(any(test, all(windows, target_arch = "x86_64")))]
        #[cfg_attr(not(windows), allow(dead_code, reason = "tested everywhere, used on Windows"))]
        mod $module;
    )*};
}

/// Modules that talk to Windows or to the driver.
macro_rules! windows {
    ($($module:ident)*) => {$(
        #[cfg(all(windows, target_arch = "x86_64"))]
        mod $module;
    )*};
}

portable! { account connections cut hold intake ledger loss parcel plan sockets timebase }
windows! { convert device end event files install library line observer owner security sender service slot system }

#[cfg(all(windows, target_arch = "x86_64"))]
pub use system::WinDivert;
