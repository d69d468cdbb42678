//! The files that the package brings: where they are, and whether they are what was shipped.
#![allow(unsafe_code, reason = "asks Windows for this module's path")]
use crate::backend::{Error, ErrorCode};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use windows_sys::Win32::Foundation::HMODULE;
use windows_sys::Win32::Storage::FileSystem::FILE_SHARE_READ;
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT, GetModuleFileNameW,
    GetModuleHandleExW,
};

/// The library.
pub(super) const LIBRARY: &str = "WinDivert.dll";
/// The driver.
pub(super) const DRIVER: &str = "WinDivert64.sys";
/// The list of sums beside the files: `SHA256  NAME` in each line.
const SUMS: &str = "SHA256SUMS";
/// The longest path that Windows knows, in UTF-16 units.
const PATH_MAX: usize = 32_768;

/// The folder with WinDivert's files: `_windivert` beside this module.
pub(super) fn folder() -> Result<PathBuf, Error> {
    let module = module_path().ok_or_else(|| Error::new(ErrorCode::BadPathname, "this module's own path is unknown"))?;
    Ok(module.parent().unwrap_or(&module).join("_windivert"))
}

fn module_path() -> Option<PathBuf> {
    let mut module: HMODULE = std::ptr::null_mut();
    let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    let address = module_path as fn() -> Option<PathBuf> as *const u16;
    // SAFETY: with this flag the name is any address within the module; `module` is written before it is read.
    let found = unsafe { GetModuleHandleExW(flags, address, &raw mut module) };
    let mut path = vec![0_u16; PATH_MAX];
    // SAFETY: the buffer has the length that is named.
    let len = if found == 0 { 0 } else { unsafe { GetModuleFileNameW(module, path.as_mut_ptr(), PATH_MAX as u32) } };
    let path = path.get(..len as usize).filter(|path| !path.is_empty() && path.len() < PATH_MAX)?;
    Some(PathBuf::from(OsString::from_wide(path)))
}

/// Opens one of the files if it is what was shipped. As long as it is open nobody writes to it.
pub(super) fn open_checked(path: &Path) -> Result<File, Error> {
    read_checked(path).map(|(file, _)| file)
}

/// The same, with its bytes.
pub(super) fn read_checked(path: &Path) -> Result<(File, Vec<u8>), Error> {
    let mut file = OpenOptions::new().read(true).share_mode(FILE_SHARE_READ).open(path).map_err(|error| {
        let message = format!(
            "WinDivert's file {} cannot be read; a security product may have removed it: let it pass and reinstall the package",
            path.display()
        );
        Error::from_io(ErrorCode::FileNotFound, message, error)
    })?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| {
        Error::from_io(ErrorCode::ReadFault, format!("WinDivert's file {} cannot be read", path.display()), error)
    })?;
    let expected = expected_sum(path)?;
    if sum(&bytes) == expected {
        return Ok((file, bytes));
    }
    let message = format!("WinDivert's file {} is not the one that was shipped; reinstall the package", path.display());
    Err(Error::new(ErrorCode::InvalidImageHash, message))
}

/// The sum that the shipped driver has.
pub(super) fn driver_sum() -> Result<String, Error> {
    expected_sum(&folder()?.join(DRIVER))
}

/// The sum of bytes, in hexadecimal.
pub(super) fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn expected_sum(path: &Path) -> Result<String, Error> {
    let list = path.with_file_name(SUMS);
    let text = fs::read_to_string(&list).map_err(|error| {
        let message = format!("the list {} cannot be read; reinstall the package", list.display());
        Error::from_io(ErrorCode::FileNotFound, message, error)
    })?;
    let name = path.file_name().unwrap_or_default();
    let found = text.lines().filter_map(|line| line.split_once("  ")).find(|(_, listed)| *listed == name);
    found.map(|(sum, _)| sum.to_owned()).ok_or_else(|| {
        Error::new(ErrorCode::InvalidData, format!("{} does not list {}", list.display(), path.display()))
    })
}
