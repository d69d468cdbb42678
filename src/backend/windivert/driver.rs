//! The driver's life, apart from any handle: what is there, and starting, stopping and removing it. Elsewhere than on
//! Windows on x86-64 everything fails with 50.
use crate::backend::Error;
use std::path::PathBuf;

/// A service of Windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Whether it runs.
    pub is_running: bool,
    /// The file that it runs.
    pub path: PathBuf,
}

/// What is there of the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// Whether the driver is loaded.
    pub is_loaded: bool,
    /// Its service, if there is one.
    pub service: Option<Service>,
    /// The folder that this package runs the driver from.
    pub folder: PathBuf,
    /// The files that the package brings, and what is wrong with each; empty if nothing is.
    pub files: Vec<(PathBuf, String)>,
}

#[cfg(all(windows, target_arch = "x86_64"))]
mod system {
    use super::super::account::{Operation, account};
    use super::super::files::{self, DRIVER, LIBRARY};
    use super::super::{install, service};
    use super::{Error, Inventory, Service};

    fn known(name: &str) -> Result<Option<Service>, Error> {
        let state = service::state(name).map_err(|code| account(code, Operation::Service, name))?;
        Ok(state.map(|state| Service { is_running: state.is_running, path: state.path }))
    }

    pub(super) fn inventory() -> Result<Inventory, Error> {
        let folder = files::folder()?;
        let check = |name| {
            let path = folder.join(name);
            let problem = files::open_checked(&path).err().map_or_else(String::new, |error| error.to_string());
            (path, problem)
        };
        Ok(Inventory {
            is_loaded: service::has_device(),
            service: known(service::NAME)?,
            folder: install::folder().unwrap_or_else(|_| folder.clone()),
            files: [LIBRARY, DRIVER].map(check).to_vec(),
        })
    }

    pub(super) fn service_named(name: &str) -> Result<Option<Service>, Error> {
        known(name)
    }

    pub(super) fn start() -> Result<(), Error> {
        install::ensure_running()
    }

    pub(super) fn stop() -> Result<(), Error> {
        service::stop().map_err(|code| account(code, Operation::Service, service::NAME))
    }

    pub(super) fn remove() -> Result<(), Error> {
        service::remove().map_err(|code| account(code, Operation::Service, service::NAME))
    }
}

#[cfg(not(all(windows, target_arch = "x86_64")))]
mod system {
    use super::{Error, Inventory, Service};
    use crate::backend::ErrorCode;

    fn missing<T>() -> Result<T, Error> {
        Err(Error::new(ErrorCode::NotSupported, super::MISSING))
    }

    pub(super) fn inventory() -> Result<Inventory, Error> {
        missing()
    }

    pub(super) fn service_named(_name: &str) -> Result<Option<Service>, Error> {
        missing()
    }

    pub(super) fn start() -> Result<(), Error> {
        missing()
    }

    pub(super) fn stop() -> Result<(), Error> {
        missing()
    }

    pub(super) fn remove() -> Result<(), Error> {
        missing()
    }
}

/// Why there is no driver here.
pub const MISSING: &str = why_missing(cfg!(windows));

/// Why there is no driver where this crate was built without it.
const fn why_missing(is_windows: bool) -> &'static str {
    if is_windows {
        "WinDivert's signed driver exists for Windows on x86-64 only, and this Python is for another processor"
    } else {
        "the WinDivert driver exists on Windows only"
    }
}

/// What is there of the driver.
pub fn inventory() -> Result<Inventory, Error> {
    system::inventory()
}

/// A service by its name; `None` if there is none.
pub fn service(name: &str) -> Result<Option<Service>, Error> {
    system::service_named(name)
}

/// Installs and starts the driver if it is not loaded.
pub fn start() -> Result<(), Error> {
    system::start()
}

/// Stops the driver; 1060 if it has no service, 1062 if it does not run. Windows waits with it until the last handle of the
/// driver is closed, whoever has it.
pub fn stop() -> Result<(), Error> {
    system::stop()
}

/// Removes the driver's service; 1060 if there is none. A driver that runs goes on until it is stopped.
pub fn remove() -> Result<(), Error> {
    system::remove()
}

#[cfg(all(test, not(windows)))]
mod tests {
    use super::*;
    use crate::backend::ErrorCode;

    #[test]
    fn it_is_told_whether_the_system_or_the_processor_is_the_wrong_one() {
        assert_eq!(why_missing(true).split_once(" only").unwrap().1, ", and this Python is for another processor");
        assert_eq!(MISSING, "the WinDivert driver exists on Windows only");
    }

    #[test]
    fn elsewhere_everything_says_that_there_is_no_driver() {
        let errors = [start(), stop(), remove(), inventory().map(|_| ()), service("BFE").map(|_| ())];
        assert!(
            errors.iter().all(|outcome| outcome.as_ref().is_err_and(|error| error.code() == ErrorCode::NotSupported))
        );
    }
}
