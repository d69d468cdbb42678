//! The driver's service: whether it is there, what it runs, and starting, stopping and removing it.
#![allow(unsafe_code, reason = "calls Windows")]
use super::device::last_error;
use super::security::wide;
use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::thread;
use std::time::{Duration, Instant};
use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_SERVICE_ALREADY_RUNNING, ERROR_SERVICE_DOES_NOT_EXIST, ERROR_SERVICE_EXISTS, HANDLE,
};
use windows_sys::Win32::Storage::FileSystem::{DELETE, QueryDosDeviceW};
use windows_sys::Win32::System::Services::{
    CloseServiceHandle, ControlService, CreateServiceW, DeleteService, OpenSCManagerW, OpenServiceW, QUERY_SERVICE_CONFIGW,
    QueryServiceConfigW, QueryServiceStatus, SC_HANDLE, SC_MANAGER_CONNECT, SC_MANAGER_CREATE_SERVICE,
    SERVICE_CONTROL_STOP, SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, SERVICE_KERNEL_DRIVER, SERVICE_QUERY_CONFIG,
    SERVICE_QUERY_STATUS, SERVICE_START, SERVICE_STATUS, SERVICE_STOP, SERVICE_STOPPED, StartServiceW,
};
use windows_sys::Win32::System::Threading::{CreateMutexW, INFINITE, ReleaseMutex, WaitForSingleObject};

/// The service's and the device's name, which all programs share.
pub(super) const NAME: &str = "WinDivert";
/// The name of the lock under which WinDivert's own library installs, too.
const LOCK: &str = "WinDivertDriverInstallMutex";
/// The most bytes that a service's configuration takes.
const CONFIG_MAX: usize = 8192;

/// What is known of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) is_running: bool,
    /// The driver's file.
    pub(super) path: PathBuf,
}

/// Whether the driver is loaded: its device is there.
pub(super) fn has_device() -> bool {
    let name = wide(NAME.as_ref());
    let mut target = [0; 512];
    // SAFETY: the name ends with a NUL, and the buffer has the length that is named.
    unsafe { QueryDosDeviceW(name.as_ptr(), target.as_mut_ptr(), target.len() as u32) != 0 }
}

/// A handle of the service manager.
struct Handle {
    handle: SC_HANDLE,
}

impl Handle {
    fn of(handle: SC_HANDLE) -> Result<Self, u32> {
        if handle.is_null() { Err(last_error()) } else { Ok(Self { handle }) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is open and nobody else has it.
        unsafe { CloseServiceHandle(self.handle) };
    }
}

fn manager(access: u32) -> Result<Handle, u32> {
    // SAFETY: NULL stands for this machine's own database.
    Handle::of(unsafe { OpenSCManagerW(null(), null(), access) })
}

/// Opens a service; `None` if there is none.
fn open(name: &str, access: u32) -> Result<Option<Handle>, u32> {
    let manager = manager(SC_MANAGER_CONNECT)?;
    let name = wide(name.as_ref());
    // SAFETY: the manager is open and the name ends with a NUL.
    match Handle::of(unsafe { OpenServiceW(manager.handle, name.as_ptr(), access) }) {
        Ok(service) => Ok(Some(service)),
        Err(ERROR_SERVICE_DOES_NOT_EXIST) => Ok(None),
        Err(code) => Err(code),
    }
}

/// What is known of a service; `None` if there is none.
pub(super) fn state(name: &str) -> Result<Option<State>, u32> {
    let Some(service) = open(name, SERVICE_QUERY_CONFIG | SERVICE_QUERY_STATUS)? else { return Ok(None) };
    let status = status(&service)?;
    Ok(Some(State { is_running: status.dwCurrentState != SERVICE_STOPPED, path: path(&service)? }))
}

fn status(service: &Handle) -> Result<SERVICE_STATUS, u32> {
    let mut status = SERVICE_STATUS::default();
    // SAFETY: the service is open; the status is written before the call returns.
    let done = unsafe { QueryServiceStatus(service.handle, &raw mut status) };
    if done == 0 { Err(last_error()) } else { Ok(status) }
}

fn path(service: &Handle) -> Result<PathBuf, u32> {
    // Of machine words, for the structure begins with pointers.
    let mut buffer = [0_u64; CONFIG_MAX / 8];
    let mut needed = 0;
    let config = buffer.as_mut_ptr().cast::<QUERY_SERVICE_CONFIGW>();
    // SAFETY: the service is open, and the buffer has the size that is named.
    if unsafe { QueryServiceConfigW(service.handle, config, CONFIG_MAX as u32, &raw mut needed) } == 0 {
        return Err(last_error());
    }
    // SAFETY: Windows has filled the structure in.
    let text = unsafe { *config }.lpBinaryPathName;
    Ok(plain_path(&wide_text(text)))
}

/// Text that ends with a NUL.
fn wide_text(text: *const u16) -> OsString {
    let mut units = Vec::new();
    for index in 0..CONFIG_MAX / 2 {
        // SAFETY: the text ends with a NUL, behind which nothing is read, and lies in the caller's buffer.
        let unit = unsafe { *text.wrapping_add(index) };
        if unit == 0 {
            break;
        }
        units.push(unit);
    }
    OsString::from_wide(&units)
}

/// The path without what the service manager puts before it.
fn plain_path(text: &OsString) -> PathBuf {
    let text = text.to_string_lossy();
    let text = text.trim_matches('"');
    PathBuf::from(text.strip_prefix(r"\??\").unwrap_or(text))
}

/// The lock under which the driver is installed; given back when it is dropped.
struct Lock {
    mutex: HANDLE,
}

impl Lock {
    fn take() -> Self {
        let name = wide(LOCK.as_ref());
        // SAFETY: the name ends with a NUL.
        let mutex = unsafe { CreateMutexW(null(), 0, name.as_ptr()) };
        // SAFETY: of an abandoned lock one becomes the owner, too; without one, there is nothing to wait for.
        unsafe { WaitForSingleObject(mutex, INFINITE) };
        Self { mutex }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // SAFETY: this thread has the lock.
        unsafe { ReleaseMutex(self.mutex) };
        // SAFETY: the handle is open and nobody else has it.
        unsafe { CloseHandle(self.mutex) };
    }
}

/// Starts the driver from this file, unless it runs or its service runs another one. As WinDivert's own library does, the
/// service is marked to be removed at once, so that it is gone after the driver was stopped.
pub(super) fn start(driver: &Path) -> Result<(), u32> {
    let _lock = Lock::take();
    let service = match open(NAME, SERVICE_START | DELETE)? {
        Some(service) => service,
        None => create(driver)?,
    };
    // SAFETY: the service is open; it takes no arguments.
    let started = unsafe { StartServiceW(service.handle, 0, null()) };
    let code = if started == 0 { last_error() } else { 0 };
    match code {
        0 => {
            // SAFETY: the service is open.
            unsafe { DeleteService(service.handle) };
            Ok(())
        }
        ERROR_SERVICE_ALREADY_RUNNING => Ok(()),
        code => Err(code),
    }
}

fn create(driver: &Path) -> Result<Handle, u32> {
    let manager = manager(SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE)?;
    let (name, path) = (wide(NAME.as_ref()), wide(driver.as_os_str()));
    // SAFETY: the manager is open, and the texts end with a NUL.
    let service = Handle::of(unsafe {
        CreateServiceW(
            manager.handle,
            name.as_ptr(),
            name.as_ptr(),
            SERVICE_START | DELETE,
            SERVICE_KERNEL_DRIVER,
            SERVICE_DEMAND_START,
            SERVICE_ERROR_NORMAL,
            path.as_ptr(),
            null(),
            null_mut(),
            null(),
            null(),
            null(),
        )
    });
    match service {
        Err(ERROR_SERVICE_EXISTS) => open(NAME, SERVICE_START | DELETE)?.ok_or(ERROR_SERVICE_DOES_NOT_EXIST),
        service => service,
    }
}

/// Stops the driver; 1060 if there is no service, 1062 if it does not run.
pub(super) fn stop() -> Result<(), u32> {
    let service = open(NAME, SERVICE_STOP | SERVICE_QUERY_STATUS)?.ok_or(ERROR_SERVICE_DOES_NOT_EXIST)?;
    let mut status = SERVICE_STATUS::default();
    // SAFETY: the service is open; the status is written before the call returns.
    if unsafe { ControlService(service.handle, SERVICE_CONTROL_STOP, &raw mut status) } == 0 {
        return Err(last_error());
    }
    let end = Instant::now() + Duration::from_secs(5);
    while self::status(&service)?.dwCurrentState != SERVICE_STOPPED && Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Removes the service; a driver that runs goes on until it is stopped. 1060 if there is none.
pub(super) fn remove() -> Result<(), u32> {
    let service = open(NAME, DELETE)?.ok_or(ERROR_SERVICE_DOES_NOT_EXIST)?;
    // SAFETY: the service is open.
    if unsafe { DeleteService(service.handle) } == 0 { Err(last_error()) } else { Ok(()) }
}
