//! The process that a packet belongs to, looked up in the system's connection tables.
#![allow(unsafe_code, reason = "calls Windows")]
use super::connections::{Owned, TCP, UDP, owner, parse};
use crate::backend::Process;
use crate::batch::PacketRef;
use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt;
use windows_sys::Win32::Foundation::{CloseHandle, ERROR_INSUFFICIENT_BUFFER};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GetExtendedTcpTable, GetExtendedUdpTable, TCP_TABLE_OWNER_PID_ALL, UDP_TABLE_OWNER_PID,
};
use windows_sys::Win32::Networking::WinSock::{AF_INET, AF_INET6};
use windows_sys::Win32::System::Threading::{
    OpenProcess, PROCESS_NAME_WIN32, PROCESS_QUERY_LIMITED_INFORMATION, QueryFullProcessImageNameW,
};

/// Tables grow while they are asked for, so that one more try may be needed; not many.
const TRIES: usize = 5;
/// The longest path of a program, in UTF-16 units.
const PATH_MAX: usize = 32_768;

/// The process that a packet belongs to.
pub(super) fn of_packet(packet: PacketRef<'_>) -> Option<u32> {
    let layout = packet.layout;
    let protocol = layout.protocol();
    let (local, remote) = packet.ends()?;
    owner(&listed(protocol, layout.is_ipv6())?, local, remote)
}

/// What one of the system's tables lists.
pub(super) fn listed(protocol: u8, is_ipv6: bool) -> Option<Vec<Owned>> {
    table(protocol, is_ipv6).map(|table| parse(&table, protocol, is_ipv6))
}

/// One of the system's tables.
fn table(protocol: u8, is_ipv6: bool) -> Option<Vec<u8>> {
    let family = u32::from(if is_ipv6 { AF_INET6 } else { AF_INET });
    let mut buffer = vec![0_u8; 16 * 1024];
    for _ in 0..TRIES {
        let mut size = buffer.len() as u32;
        let place = buffer.as_mut_ptr().cast();
        let code = match protocol {
            // SAFETY: the buffer has the size that is named.
            TCP => unsafe { GetExtendedTcpTable(place, &raw mut size, 0, family, TCP_TABLE_OWNER_PID_ALL, 0) },
            // SAFETY: as above.
            UDP => unsafe { GetExtendedUdpTable(place, &raw mut size, 0, family, UDP_TABLE_OWNER_PID, 0) },
            _ => return None,
        };
        match code {
            0 => return Some(buffer),
            ERROR_INSUFFICIENT_BUFFER => buffer.resize(size as usize + 4096, 0),
            _ => return None,
        }
    }
    None
}

/// The process's name and path, as far as Windows tells.
pub(super) fn describe(id: u32) -> Process {
    let path = path(id);
    let name = path.as_ref().map(|path| path.rsplit('\\').next().unwrap_or(path).to_owned());
    Process { id, name, path }
}

fn path(id: u32) -> Option<String> {
    // SAFETY: takes numbers.
    let process = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, id) };
    if process.is_null() {
        return None;
    }
    let mut path = vec![0_u16; PATH_MAX];
    let mut len = PATH_MAX as u32;
    // SAFETY: the process is open, and the buffer has the length that is named.
    let found = unsafe { QueryFullProcessImageNameW(process, PROCESS_NAME_WIN32, path.as_mut_ptr(), &raw mut len) };
    // SAFETY: the handle is open and nobody else has it.
    unsafe { CloseHandle(process) };
    let path = path.get(..len as usize).filter(|_| found != 0)?;
    Some(OsString::from_wide(path).to_string_lossy().into_owned())
}
