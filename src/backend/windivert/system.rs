//! The driver as a system that handles are opened on.
use super::end::End;
use super::{install, library};
use crate::address::Flags;
use crate::backend::{Backend, Error, OpenOptions, System};
use std::sync::Arc;

/// The WinDivert driver of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct WinDivert;

impl System for WinDivert {
    /// Opens a handle; the first one loads the library, and installs and starts the driver if it does not run.
    fn open(&self, options: OpenOptions) -> Result<Arc<dyn Backend>, Error> {
        let functions = library::functions()?;
        if !options.flags.has(Flags::NO_INSTALL) {
            install::ensure_running()?;
        }
        Ok(Arc::new(End::open(functions, options)?))
    }
}
