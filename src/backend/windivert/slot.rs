//! One overlapped read: buffer, addresses, and what Windows writes to while the read is pending, all in one place that is
//! freed only when nothing is pending.
#![allow(unsafe_code, reason = "the kernel writes to this memory")]
use super::device::{Device, last_error};
use super::event::Event;
use crate::address::{ADDRESS_LEN, Address};
use std::mem::ManuallyDrop;
use windivert_sys::address::WINDIVERT_ADDRESS;
use windows_sys::Win32::Foundation::{ERROR_IO_INCOMPLETE, ERROR_IO_PENDING, STATUS_PENDING};
use windows_sys::Win32::System::IO::{GetOverlappedResult, OVERLAPPED};

/// Room for the largest packet (65 575 bytes), and for a batch of common ones. Each call maps all of it.
pub(super) const PACKETS_LEN: usize = 128 * 1024;
/// The most packets of one read, as the driver has it.
const BATCH_MAX: usize = 255;

/// What the kernel writes to.
struct Shared {
    overlapped: OVERLAPPED,
    addresses_len: u32,
    addresses: Vec<Address>,
    buffer: Vec<u8>,
}

/// How a read ended.
pub(super) enum Completion<'a> {
    /// With these bytes and addresses.
    Filled(&'a [u8], &'a [Address]),
    /// With this number of Windows.
    Failed(u32),
}

/// A read that is posted again and again.
pub(super) struct Slot {
    shared: ManuallyDrop<Box<Shared>>,
    event: Event,
    is_pending: bool,
    /// What posting failed with at once.
    failed: Option<u32>,
}

// SAFETY: the raw pointers within are those of the kernel's bookkeeping; a slot is used by one thread at a time.
unsafe impl Send for Slot {}

impl Slot {
    /// A slot with room for so many bytes; `None` if Windows has no more events.
    pub(super) fn new(buffer_len: usize) -> Option<Self> {
        let shared = Shared {
            overlapped: OVERLAPPED::default(),
            addresses_len: 0,
            addresses: vec![Address::default(); BATCH_MAX],
            buffer: vec![0; buffer_len],
        };
        Some(Self { shared: ManuallyDrop::new(Box::new(shared)), event: Event::new(false)?, is_pending: false, failed: None })
    }

    pub(super) const fn event(&self) -> &Event {
        &self.event
    }

    /// Posts the read. However it ends, [`complete`](Self::complete) tells.
    pub(super) fn post(&mut self, device: &Device) {
        self.event.reset();
        let shared = &mut **self.shared;
        shared.overlapped = OVERLAPPED { hEvent: self.event.handle(), ..OVERLAPPED::default() };
        shared.addresses_len = (BATCH_MAX * ADDRESS_LEN) as u32;
        // SAFETY: all pointers lead into what `shared` owns, which is neither moved nor freed nor looked at while the read is pending;
        // records are laid out as `WINDIVERT_ADDRESS` is.
        let done = unsafe {
            (device.functions().receive)(
                device.handle(),
                shared.buffer.as_mut_ptr().cast(),
                shared.buffer.len() as u32,
                std::ptr::null_mut(),
                0,
                shared.addresses.as_mut_ptr().cast::<WINDIVERT_ADDRESS>(),
                &raw mut shared.addresses_len,
                (&raw mut shared.overlapped).cast(),
            )
        };
        let code = if done == 0 { last_error() } else { ERROR_IO_PENDING };
        self.is_pending = true;
        self.failed = (code != ERROR_IO_PENDING).then_some(code);
        if self.failed.is_some() {
            self.event.set();
        }
    }

    /// Whether the read has ended.
    pub(super) fn is_done(&self) -> bool {
        self.is_pending && self.event.is_set()
    }

    /// Waits until the read has ended, however long that is, and tells how.
    pub(super) fn complete(&mut self, device: &Device) -> Completion<'_> {
        let outcome = self.failed.take().map_or_else(|| self.wait(device), Err);
        self.is_pending = false;
        match outcome {
            Err(code) => Completion::Failed(code),
            Ok(len) => {
                let shared = &**self.shared;
                let count = (shared.addresses_len as usize / ADDRESS_LEN).min(BATCH_MAX);
                Completion::Filled(
                    shared.buffer.get(..len).unwrap_or_default(),
                    shared.addresses.get(..count).unwrap_or_default(),
                )
            }
        }
    }

    fn wait(&mut self, device: &Device) -> Result<usize, u32> {
        let overlapped = &raw mut self.shared.overlapped;
        loop {
            let mut len = 0;
            // SAFETY: the read was posted with this OVERLAPPED, which has not moved since.
            let done = unsafe { GetOverlappedResult(device.handle(), overlapped, &raw mut len, 1) };
            let code = if done == 0 { last_error() } else { 0 };
            let status = &raw const self.shared.overlapped.Internal;
            // SAFETY: a field of our own memory, which the kernel may write to at any time.
            let status = unsafe { std::ptr::read_volatile(status) };
            // Some systems set the event a little before the status: it is over only when both say so.
            if code == ERROR_IO_INCOMPLETE || status == STATUS_PENDING as usize {
                std::thread::yield_now();
                continue;
            }
            return if code == 0 { Ok(len as usize) } else { Err(code) };
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Memory that the kernel may still write to is better lost than given to somebody else.
        if !self.is_pending {
            // SAFETY: never used again, and nothing is pending.
            unsafe { ManuallyDrop::drop(&mut self.shared) };
        }
    }
}
