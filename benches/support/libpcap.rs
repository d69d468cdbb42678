//! libpcap's compiler and interpreter, as a peer to measure against.
//!
//! The library is the one that the environment variable `OXIDIVERT_LIBPCAP` names, or the system's. Without it the peer is
//! left out, and a line on stderr says so.
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_void};

/// Raw IP, without a link header.
const DLT_RAW: c_int = 12;
const SNAP_LEN: c_int = 65535;
const NETMASK_UNKNOWN: u32 = u32::MAX;

type OpenDead = unsafe extern "C" fn(c_int, c_int) -> *mut c_void;
type Compile = unsafe extern "C" fn(*mut c_void, *mut BpfProgram, *const c_char, c_int, u32) -> c_int;
type BpfFilter = unsafe extern "C" fn(*const c_void, *const u8, u32, u32) -> u32;

#[repr(C)]
struct BpfProgram {
    len: u32,
    instructions: *const c_void,
}

/// A program compiled by libpcap with its optimiser on.
pub struct Program {
    instructions: *const c_void,
    bpf_filter: BpfFilter,
    /// How many instructions there are.
    pub len: u32,
    /// Holds the function's code.
    _library: Library,
}

impl Program {
    /// Compiles an expression for raw IP packets, or `None` without libpcap. Handle and program live as long as the process.
    #[expect(clippy::print_stderr, reason = "a peer that is left out must be seen")]
    pub fn compile(expression: &CStr) -> Option<Self> {
        let given = std::env::var_os("OXIDIVERT_LIBPCAP");
        let names = given.into_iter().chain(["libpcap.so.1".into(), "libpcap.so.0.8".into()]);
        // SAFETY: whoever sets the variable vouches for the library and its initialisers; the system does for its own.
        let Some(library) = names.into_iter().find_map(|name| unsafe { Library::new(name) }.ok()) else {
            eprintln!("libpcap left out: neither OXIDIVERT_LIBPCAP nor the system has it");
            return None;
        };
        let mut program = BpfProgram { len: 0, instructions: std::ptr::null() };
        // SAFETY: the type is that of the exported function.
        let open_dead = *unsafe { library.get::<OpenDead>(b"pcap_open_dead\0") }.expect("libpcap's functions");
        // SAFETY: the type is that of the exported function.
        let compile = *unsafe { library.get::<Compile>(b"pcap_compile\0") }.expect("libpcap's functions");
        // SAFETY: the type is that of the exported function.
        let bpf_filter = *unsafe { library.get::<BpfFilter>(b"bpf_filter\0") }.expect("libpcap's functions");
        // SAFETY: both arguments are plain numbers.
        let handle = unsafe { open_dead(DLT_RAW, SNAP_LEN) };
        // SAFETY: the handle is open, the expression ends with a NUL, and the program may be written.
        let outcome = unsafe { compile(handle, &raw mut program, expression.as_ptr(), 1, NETMASK_UNKNOWN) };
        assert_eq!(outcome, 0, "libpcap refuses the expression");
        Some(Self { instructions: program.instructions, bpf_filter, len: program.len, _library: library })
    }

    /// Interprets the program on a packet.
    pub fn matches(&self, packet: &[u8]) -> bool {
        let len = packet.len() as u32;
        // SAFETY: libpcap made the instructions, and the packet is readable memory of that length.
        unsafe { (self.bpf_filter)(self.instructions, packet.as_ptr(), len, len) != 0 }
    }
}
