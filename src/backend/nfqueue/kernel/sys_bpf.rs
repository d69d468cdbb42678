//! The `bpf` system call, each command behind a safe function, and where its programs are attached.
//!
//! Source: `linux/bpf.h`.
#![allow(unsafe_code, reason = "system calls; each block says why it is sound")]
use super::sys::{Descriptor, check, own};
use std::io::Result;

/// Types of eBPF programs.
pub(crate) const SOCKET_FILTER: u32 = 1;
pub(crate) const SCHEDULER_CLASSIFIER: u32 = 3;
/// The helper function that copies bytes of a packet.
pub(crate) const LOAD_BYTES: u32 = 26;
/// Where programs are attached.
const TCX_EGRESS: u32 = 47;
/// The commands that load one, and that attach one.
const LOAD_PROGRAM: i32 = 5;
const CREATE_LINK: i32 = 28;
const CREATE_MAP: i32 = 0;
const LOOK_UP: i32 = 1;
/// Where among a program's attributes it says where it is to be attached.
const ATTACH_AT: usize = 17;
/// What the kernel is told of the license, which helpers for kernel programs may ask for.
const LICENSE: &std::ffi::CStr = c"GPL";

/// The `bpf` system call with its attributes, as 32-bit words.
///
/// # Safety
///
/// What the attributes point to must be alive, as long as they say, and of the kind that the command takes.
unsafe fn bpf(command: i32, attributes: &[u32]) -> Result<usize> {
    let len = size_of_val(attributes);
    // SAFETY: the attributes are live and as long as said; what they point to, the caller answers for.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), len) })
}

/// A pointer as two words.
fn words<T>(pointer: *const T) -> [u32; 2] {
    let address = pointer as u64;
    if cfg!(target_endian = "little") {
        [address as u32, (address >> 32) as u32]
    } else {
        [(address >> 32) as u32, address as u32]
    }
}

/// Makes a map.
pub(crate) fn make_map(kind: u32, key_len: u32, value_len: u32, entries: u32) -> Result<Descriptor> {
    let mut attributes = [0; 32];
    for (place, value) in attributes.iter_mut().zip([kind, key_len, value_len, entries]) {
        *place = value;
    }
    // SAFETY: the attributes hold no pointer.
    own(unsafe { bpf(CREATE_MAP, &attributes) }? as i64)
}

/// The first value of an array of 64-bit numbers.
pub(crate) fn first_value(map: &Descriptor) -> Result<u64> {
    let (key, mut value) = (0_u32, 0_u64);
    let [key_low, key_high] = words(&raw const key);
    let [value_low, value_high] = words(&raw mut value);
    let attributes = [map.raw() as u32, 0, key_low, key_high, value_low, value_high, 0, 0];
    // SAFETY: the key and the value are alive, and as long as the map's.
    unsafe { bpf(LOOK_UP, &attributes) }?;
    Ok(value)
}

/// Attaches a program to a control group, for as long as the descriptor lives.
pub(crate) fn attach_to_group(program: &Descriptor, group: &Descriptor, attach: u32) -> Result<Descriptor> {
    let mut attributes = [0; 16];
    for (place, value) in attributes.iter_mut().zip([program.raw() as u32, group.raw() as u32, attach]) {
        *place = value;
    }
    // SAFETY: the attributes hold no pointer.
    own(unsafe { bpf(CREATE_LINK, &attributes) }? as i64)
}

/// The root of the second version of control groups, wherever it is mounted; nowhere, it is opened without a mount.
pub(crate) fn root_group() -> Result<Descriptor> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let mounted = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (place, kind) = (words.nth(1)?, words.next()?);
        (kind == "cgroup2").then(|| std::ffi::CString::new(place).ok())?
    });
    if let Some(place) = mounted {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: the path ends with a NUL.
        return own(i64::from(unsafe { libc::open(place.as_ptr(), flags) }));
    }
    // SAFETY: the name ends with a NUL.
    let context = own(unsafe { libc::syscall(libc::SYS_fsopen, c"cgroup2".as_ptr(), 1_u32) })?;
    let (none, create) = (std::ptr::null::<libc::c_char>(), 6_u32);
    // SAFETY: the command takes no pointers.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context.raw(), create, none, none, 0) })?;
    // SAFETY: the arguments are numbers.
    own(unsafe { libc::syscall(libc::SYS_fsmount, context.raw(), 1_u32, 0_u32) })
}

/// Attaches a program to what leaves an interface, for as long as the descriptor lives.
pub(crate) fn attach_to_egress(program: &Descriptor, interface: i32) -> Result<Descriptor> {
    let mut attributes = [0; 16];
    for (place, value) in attributes.iter_mut().zip([program.raw() as u32, interface as u32, TCX_EGRESS]) {
        *place = value;
    }
    // SAFETY: the attributes hold no pointer.
    own(unsafe { bpf(CREATE_LINK, &attributes) }? as i64)
}

/// Has the kernel verify and take an eBPF program.
pub(crate) fn load_program(kind: u32, attach: u32, code: &[u64]) -> Result<Descriptor> {
    let [code_low, code_high] = words(code.as_ptr());
    let [license_low, license_high] = words(LICENSE.as_ptr());
    let mut attributes = [0; 32];
    for (place, value) in
        attributes.iter_mut().zip([kind, code.len() as u32, code_low, code_high, license_low, license_high])
    {
        *place = value;
    }
    if let Some(place) = attributes.get_mut(ATTACH_AT) {
        *place = attach;
    }
    // SAFETY: the program and the license are alive, and of the lengths that the attributes say.
    own(unsafe { bpf(LOAD_PROGRAM, &attributes) }? as i64)
}
