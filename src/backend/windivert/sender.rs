//! Sending: overlapped calls, each waited for to its end, with memory that is used again.
#![allow(unsafe_code, reason = "calls WinDivert's library")]
use super::account::{Operation, account};
use super::device::{Device, last_error};
use super::event::Event;
use super::ledger::Sent;
use super::parcel::{Parcel, send_all};
use crate::address::ADDRESS_LEN;
use crate::backend::{Error, Mask};
use crate::batch::Batch;
use std::sync::{Mutex, MutexGuard, PoisonError};
use windivert_sys::address::WINDIVERT_ADDRESS;
use windows_sys::Win32::Foundation::ERROR_IO_PENDING;
use windows_sys::Win32::System::IO::{GetOverlappedResult, OVERLAPPED};

/// What one thread sends with.
struct Outbox {
    parcel: Parcel,
    event: Event,
}

/// Sends over a device, from any number of threads at once.
pub(super) struct Sender {
    device: Device,
    idle: Mutex<Vec<Outbox>>,
}

impl Sender {
    pub(super) const fn new(device: Device) -> Self {
        Self { device, idle: Mutex::new(Vec::new()) }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Outbox>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the packets of a batch that `mask` selects.
    pub(super) fn send(&self, batch: &Batch, mask: Mask<'_>) -> (Sent, Option<Error>) {
        let outbox = self.idle().pop();
        let outbox = outbox.or_else(|| Some(Outbox { parcel: Parcel::default(), event: Event::new(false)? }));
        let Some(Outbox { mut parcel, event }) = outbox else {
            return (Sent::default(), Some(account(last_error(), Operation::Send, "")));
        };
        let outcome = send_all(&mut parcel, batch, mask, |parcel| self.send_parcel(parcel, &event));
        self.idle().push(Outbox { parcel, event });
        outcome
    }

    fn send_parcel(&self, parcel: &Parcel, event: &Event) -> Result<(), Error> {
        event.reset();
        let mut overlapped = OVERLAPPED { hEvent: event.handle(), ..OVERLAPPED::default() };
        // SAFETY: bytes, addresses and OVERLAPPED live until the call has ended, which is waited for below.
        let done = unsafe {
            (self.device.functions().send)(
                self.device.handle(),
                parcel.bytes.as_ptr().cast(),
                parcel.bytes.len() as u32,
                std::ptr::null_mut(),
                0,
                parcel.addresses.as_ptr().cast::<WINDIVERT_ADDRESS>(),
                (parcel.addresses.len() * ADDRESS_LEN) as u32,
                (&raw mut overlapped).cast(),
            )
        };
        let mut code = if done == 0 { last_error() } else { 0 };
        if code == ERROR_IO_PENDING {
            let mut len = 0;
            // SAFETY: the call was begun with this OVERLAPPED.
            let done = unsafe { GetOverlappedResult(self.device.handle(), &raw const overlapped, &raw mut len, 1) };
            code = if done == 0 { last_error() } else { 0 };
        }
        if code == 0 { Ok(()) } else { Err(account(code, Operation::Send, "")) }
    }
}
