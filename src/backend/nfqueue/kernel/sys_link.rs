//! Network interfaces by `ioctl`: making a TAP device, turning one on, asking for numbers and addresses.
//!
//! Source: `linux/if.h`, `linux/if_tun.h`.
#![allow(unsafe_code, reason = "system calls; each block says why it is sound")]
use super::sys::{Descriptor, check, own};
use std::io::{ErrorKind, Result};

/// Makes a TAP device with a name that the kernel completes, which goes with its descriptor.
pub(crate) fn tap_device(name: &[u8]) -> Result<(Descriptor, Vec<u8>)> {
    // SAFETY: the path ends with a NUL.
    let device = own(i64::from(unsafe { libc::open(c"/dev/net/tun".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) }))?;
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
    control(&device, libc::TUNSETIFF, &mut request)?;
    let name = request.ifr_name.iter().take_while(|byte| **byte != 0).map(|byte| *byte as u8);
    Ok((device, name.collect()))
}

/// A request about the interface of this name.
fn interface_request(name: &[u8]) -> Result<libc::ifreq> {
    // SAFETY: all zeroes are a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name) {
        *place = *byte as libc::c_char;
    }
    Ok(request)
}

fn control(fd: &Descriptor, command: u64, request: &mut libc::ifreq) -> Result<()> {
    // SAFETY: every command that is used here takes a pointer to such a request.
    check(i64::from(unsafe { libc::ioctl(fd.raw(), command as _, std::ptr::from_mut(request)) })).map(|_| ())
}

/// The number of the interface of this name.
pub(crate) fn interface_index(socket: &Descriptor, name: &[u8]) -> Result<i32> {
    let mut request = interface_request(name)?;
    control(socket, libc::SIOCGIFINDEX, &mut request)?;
    // SAFETY: the command filled this member in.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex })
}

/// Turns the interface of this name on.
pub(crate) fn set_interface_up(socket: &Descriptor, name: &[u8]) -> Result<()> {
    let mut request = interface_request(name)?;
    control(socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the command filled this member in.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as i16;
    control(socket, libc::SIOCSIFFLAGS, &mut request)
}

/// The hardware address of the interface with this number; zeroes where it has none.
pub(crate) fn hardware_address(socket: &Descriptor, interface: u32) -> Result<[u8; 6]> {
    let mut request = interface_request(&[])?;
    request.ifr_ifru.ifru_ifindex = interface as i32;
    control(socket, libc::SIOCGIFNAME, &mut request)?;
    control(socket, libc::SIOCGIFHWADDR, &mut request)?;
    // SAFETY: the command filled this member in.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    let mut bytes = [0; 6];
    for (place, byte) in bytes.iter_mut().zip(address.sa_data) {
        *place = byte as u8;
    }
    Ok(bytes)
}
