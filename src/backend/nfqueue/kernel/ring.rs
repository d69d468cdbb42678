//! A ring buffer that eBPF programs write records to, mapped into this process.
//!
//! Source: `linux/bpf.h` and the kernel's ring buffer: one page with the reader's position, one with the writer's, and the data
//! twice in a row, so that no record is cut in two. A record begins with its length, whose upper two bits say that it is
//! still written or given up.
#![allow(unsafe_code, reason = "memory that the kernel shares; each block says why it is sound")]
use super::sys::Descriptor;
use super::sys_bpf;
use std::io::{Error, Result};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const BUSY: u32 = 1 << 31;
const GIVEN_UP: u32 = 1 << 30;
const HEADER_LEN: usize = 8;

/// The type of map.
const RING: u32 = 27;

/// A ring buffer.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) descriptor: Arc<Descriptor>,
    reader: Mapping,
    writer: Mapping,
    page: usize,
    len: usize,
}

/// Memory that is mapped as long as this lives.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory belongs to the process, not to a thread, and is read and written by atomics or copied.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(descriptor: &Descriptor, len: usize, protection: i32, offset: usize) -> Result<Self> {
        let (shared, offset) = (libc::MAP_SHARED, offset as libc::off_t);
        // SAFETY: a new mapping, which takes the place of none.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, shared, descriptor.raw(), offset) };
        if start == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        NonNull::new(start.cast()).map(|start| Self { start, len }).ok_or_else(Error::last_os_error)
    }

    /// A position: 64 bits at the mapping's start.
    fn position(&self) -> &AtomicU64 {
        // SAFETY: the mapping is at least a page, aligned to one, and lives as long as the reference.
        unsafe { self.start.cast::<AtomicU64>().as_ref() }
    }

    /// The 32 bits at an offset that is a multiple of 8.
    fn word(&self, offset: usize) -> Option<&AtomicU32> {
        if offset + 4 > self.len || !offset.is_multiple_of(8) {
            return None;
        }
        // SAFETY: the offset lies within the mapping.
        let place = unsafe { self.start.add(offset) };
        // SAFETY: the place is aligned and lives as long as the reference.
        Some(unsafe { place.cast::<AtomicU32>().as_ref() })
    }

    /// So many bytes at an offset.
    fn bytes(&self, offset: usize, len: usize) -> Option<&[u8]> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return None;
        }
        // SAFETY: the offset lies within the mapping.
        let place = unsafe { self.start.add(offset) };
        // SAFETY: so does the end; the kernel writes no record again that the reader's position has not passed, and positions
        // are only told by whoever no longer looks at the bytes.
        Some(unsafe { std::slice::from_raw_parts(place.as_ptr(), len) })
    }

    fn copy(&self, offset: usize, into: &mut [u8]) {
        if offset + into.len() > self.len {
            return;
        }
        // SAFETY: the offset lies within the mapping.
        let place = unsafe { self.start.add(offset) };
        // SAFETY: so does the end; the kernel writes no record again that the reader's position has not passed.
        unsafe { std::ptr::copy_nonoverlapping(place.as_ptr(), into.as_mut_ptr(), into.len()) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's own, and no reference into it outlives it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Behind so many bytes that were read the kernel is told, so that it has room again.
const TELL_AFTER: u64 = 1 << 16;

impl Ring {
    /// A ring of so many bytes, a power of two.
    pub(crate) fn new(len: usize) -> Result<Self> {
        let descriptor = Arc::new(sys_bpf::make_map(RING, 0, 0, len as u32)?);
        // SAFETY: the argument is a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let reader = Mapping::new(&descriptor, page, libc::PROT_READ | libc::PROT_WRITE, 0)?;
        let writer = Mapping::new(&descriptor, page + 2 * len, libc::PROT_READ, page)?;
        Ok(Self { descriptor, reader, writer, page, len })
    }

    /// Has every record visited that is there; of each as many bytes as fit.
    pub(crate) fn drain<const N: usize>(&self, mut visit: impl FnMut(&[u8; N])) {
        let mut position = self.reader.position().load(Ordering::Relaxed);
        while position < self.writer.position().load(Ordering::Acquire) {
            let start = self.page + (position as usize & (self.len - 1));
            let Some(header) = self.writer.word(start).map(|word| word.load(Ordering::Acquire)) else { return };
            if header & BUSY != 0 {
                return;
            }
            let len = (header & !GIVEN_UP) as usize;
            if header & GIVEN_UP == 0 && len >= N {
                let mut record = [0; N];
                self.writer.copy(start + HEADER_LEN, &mut record);
                visit(&record);
            }
            position += ((len + HEADER_LEN + 7) & !7) as u64;
            self.reader.position().store(position, Ordering::Release);
        }
    }

    /// Has the records visited that are there now, each as it lies in the ring, until `visit` says that it is enough. The
    /// kernel is told seldom, since it wakes whoever waits for the record at the position that it was told last.
    pub(crate) fn visit(&mut self, mut visit: impl FnMut(&[u8]) -> bool) {
        let mut position = self.reader.position().load(Ordering::Relaxed);
        let end = self.writer.position().load(Ordering::Acquire);
        let mut told = position;
        let mut wants_more = true;
        while wants_more && position < end {
            let start = self.page + (position as usize & (self.len - 1));
            let Some(header) = self.writer.word(start).map(|word| word.load(Ordering::Acquire)) else { break };
            if header & BUSY != 0 {
                break;
            }
            let len = (header & !GIVEN_UP) as usize;
            if header & GIVEN_UP == 0
                && let Some(record) = self.writer.bytes(start + HEADER_LEN, len)
            {
                wants_more = visit(record);
            }
            position += ((len + HEADER_LEN + 7) & !7) as u64;
            if position - told >= TELL_AFTER {
                self.reader.position().store(position, Ordering::Release);
                told = position;
            }
        }
        if position != told {
            // In one order with the next look at the writer's position, so that no record is missed by both sides.
            self.reader.position().store(position, Ordering::SeqCst);
        }
    }
}
