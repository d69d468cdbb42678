//! Starting the driver: from a copy of its file in a folder that only Administrators write to, so that a loaded driver locks
//! no file of the package. A service that is there already is used as it is: all programs share one driver.
use super::account::{Operation, account};
use super::files::{self, DRIVER};
use super::{security, service};
use crate::backend::{Error, ErrorCode};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::env;

/// The version of WinDivert that is shipped.
pub(super) const VERSION: &str = "2.2.2";

/// Starts the driver if it is not loaded.
pub(super) fn ensure_running() -> Result<(), Error> {
    if service::has_device() {
        return Ok(());
    }
    let refused = |code: u32, detail: &str| account(code, Operation::Open, detail);
    let known = service::state(service::NAME).map_err(|code| refused(code, ""))?;
    let driver = match known {
        Some(known) if !known.is_running && !known.path.exists() => {
            let number = ErrorCode::FileNotFound.number();
            return Err(refused(number, &format!("its service names {}", known.path.display())));
        }
        Some(known) => known.path,
        None => install()?,
    };
    service::start(&driver).map_err(|code| refused(code, &driver.display().to_string()))
}

/// The folder that the driver is run from, of this version and these files.
pub(super) fn folder() -> Result<PathBuf, Error> {
    let sum = files::driver_sum()?;
    let data = env::var_os("ProgramData").map_or_else(|| PathBuf::from(r"C:\ProgramData"), PathBuf::from);
    Ok(data.join("oxidivert").join(format!("WinDivert-{VERSION}-{}", sum.get(..8).unwrap_or_default())))
}

/// Copies the driver where it is run from; the copy's path.
fn install() -> Result<PathBuf, Error> {
    let (_shipped, bytes) = files::read_checked(&files::folder()?.join(DRIVER))?;
    let folder = folder()?;
    if let Some(parent) = folder.parent() {
        security::make_folder(parent)?;
    }
    security::make_folder(&folder)?;
    let copy = folder.join(DRIVER);
    // Nobody else writes to the folder any more, but a file that was there before may be somebody's: it is made anew.
    let written = remove(&copy).and_then(|()| File::create_new(&copy)?.write_all(&bytes));
    written.map_err(|error| {
        let message = format!("the driver cannot be copied to {}", copy.display());
        Error::from_io(ErrorCode::WriteFault, message, error)
    })?;
    Ok(copy)
}

/// Removes a file that may be missing.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
