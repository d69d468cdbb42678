//! Folders that only Administrators and the system write to.
#![allow(unsafe_code, reason = "calls Windows")]
use crate::backend::{Error, ErrorCode};
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};
use windows_sys::Win32::Foundation::{ERROR_ALREADY_EXISTS, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1, SE_FILE_OBJECT, SetNamedSecurityInfoW,
};
use windows_sys::Win32::Security::{
    ACL, DACL_SECURITY_INFORMATION, GetSecurityDescriptorDacl, GetSecurityDescriptorOwner, OWNER_SECURITY_INFORMATION,
    PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID, SECURITY_ATTRIBUTES,
};
use windows_sys::Win32::Storage::FileSystem::CreateDirectoryW;

/// Owned by the Administrators; they and the system do everything, all others read and run; nothing comes from the folder
/// above.
pub(super) const DESCRIPTOR: &str = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FRFX;;;BU)";

/// A path or other text as Windows takes it.
pub(super) fn wide(text: &std::ffi::OsStr) -> Vec<u16> {
    text.encode_wide().chain([0]).collect()
}

/// A security descriptor that Windows made from its text.
struct Descriptor {
    pointer: PSECURITY_DESCRIPTOR,
}

impl Descriptor {
    fn new() -> io::Result<Self> {
        let text = wide(DESCRIPTOR.as_ref());
        let mut pointer = null_mut();
        // SAFETY: the text ends with a NUL; the descriptor is written before the call returns, and the size is not asked for.
        let made = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut pointer,
                null_mut(),
            )
        };
        if made == 0 { Err(io::Error::last_os_error()) } else { Ok(Self { pointer }) }
    }

    fn owner(&self) -> PSID {
        let (mut owner, mut is_default) = (null_mut(), 0);
        // SAFETY: the descriptor is valid as long as `self` lives.
        unsafe { GetSecurityDescriptorOwner(self.pointer, &raw mut owner, &raw mut is_default) };
        owner
    }

    fn access_list(&self) -> *mut ACL {
        let (mut list, mut is_present, mut is_default) = (null_mut(), 0, 0);
        // SAFETY: the descriptor is valid as long as `self` lives.
        unsafe { GetSecurityDescriptorDacl(self.pointer, &raw mut is_present, &raw mut list, &raw mut is_default) };
        list
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: Windows allocated it so, and nobody else has it.
        unsafe { LocalFree(self.pointer) };
    }
}

/// Makes the folder, or takes an existing one over, so that from then on only Administrators and the system write to it.
pub(super) fn make_folder(path: &Path) -> Result<(), Error> {
    make(path).map_err(|error| {
        let code = error.raw_os_error().unwrap_or_default() as u32;
        let message = format!("the folder {} cannot be made or protected", path.display());
        Error::from_io(ErrorCode::from_number(code), message, error)
    })
}

fn make(path: &Path) -> io::Result<()> {
    let descriptor = Descriptor::new()?;
    let attributes = SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
        lpSecurityDescriptor: descriptor.pointer,
        bInheritHandle: 0,
    };
    let path = wide(path.as_os_str());
    // SAFETY: the path ends with a NUL, the attributes and their descriptor live until the call returns.
    if unsafe { CreateDirectoryW(path.as_ptr(), &raw const attributes) } != 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(ERROR_ALREADY_EXISTS as i32) {
        return Err(error);
    }
    // Anybody may have made it before.
    let information =
        OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
    // SAFETY: the path ends with a NUL; owner and list belong to the descriptor, which lives until the call returns.
    let code = unsafe {
        SetNamedSecurityInfoW(
            path.as_ptr(),
            SE_FILE_OBJECT,
            information,
            descriptor.owner(),
            null_mut(),
            descriptor.access_list(),
            null(),
        )
    };
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code as i32)) }
}
