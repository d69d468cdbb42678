//! Windows' events, the clocks, and the one place that waits for them.
#![allow(unsafe_code, reason = "calls Windows")]
use super::timebase::Timebase;
use std::time::Duration;
use windows_sys::Win32::Foundation::{CloseHandle, FILETIME, HANDLE, WAIT_OBJECT_0};
use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};
use windows_sys::Win32::System::SystemInformation::GetSystemTimePreciseAsFileTime;
use windows_sys::Win32::System::Threading::{
    CreateEventW, INFINITE, ResetEvent, SetEvent, WaitForMultipleObjects, WaitForSingleObject,
};

/// The Unix epoch in units of 100 ns since 1601.
const UNIX_EPOCH: i64 = 116_444_736_000_000_000;

/// An event that is closed when it is dropped.
pub(super) struct Event {
    handle: HANDLE,
}

// SAFETY: a handle of the kernel is a number that any thread may use.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// An event that is not set; `None` if Windows has no more. Waiting for one with `resets_itself` takes it back.
    pub(super) fn new(resets_itself: bool) -> Option<Self> {
        // SAFETY: takes no pointers but NULL.
        let handle = unsafe { CreateEventW(std::ptr::null(), i32::from(!resets_itself), 0, std::ptr::null()) };
        (!handle.is_null()).then_some(Self { handle })
    }

    pub(super) const fn handle(&self) -> HANDLE {
        self.handle
    }

    pub(super) fn set(&self) {
        // SAFETY: the handle is open as long as `self` lives.
        unsafe { SetEvent(self.handle) };
    }

    pub(super) fn reset(&self) {
        // SAFETY: the handle is open as long as `self` lives.
        unsafe { ResetEvent(self.handle) };
    }

    /// Waits until the event is set, but not longer than this.
    pub(super) fn wait_for(&self, time: Duration) {
        // SAFETY: the handle is open as long as `self` lives.
        unsafe { WaitForSingleObject(self.handle, time.as_millis() as u32) };
    }

    pub(super) fn is_set(&self) -> bool {
        // SAFETY: the handle is open as long as `self` lives.
        unsafe { WaitForSingleObject(self.handle, 0) == WAIT_OBJECT_0 }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the handle is open and nobody else has it.
        unsafe { CloseHandle(self.handle) };
    }
}

/// Waits until one of the events is set.
pub(super) fn wait_any(events: &[HANDLE]) {
    // SAFETY: the handles are open and as many as is said.
    unsafe { WaitForMultipleObjects(events.len() as u32, events.as_ptr(), 0, INFINITE) };
}

/// The performance counter, which stamps what the driver hands over.
pub(super) fn now() -> i64 {
    let mut ticks = 0;
    // SAFETY: the value is written before the call returns, and it never fails.
    unsafe { QueryPerformanceCounter(&raw mut ticks) };
    ticks
}

/// Reads both clocks.
pub(super) fn timebase() -> Timebase {
    let mut frequency = 0;
    // SAFETY: the value is written before the call returns, and it never fails.
    unsafe { QueryPerformanceFrequency(&raw mut frequency) };
    let mut time = FILETIME { dwLowDateTime: 0, dwHighDateTime: 0 };
    // SAFETY: the value is written before the call returns.
    unsafe { GetSystemTimePreciseAsFileTime(&raw mut time) };
    let hundred_ns = i64::from(time.dwHighDateTime) << 32 | i64::from(time.dwLowDateTime);
    Timebase::new(now(), (hundred_ns - UNIX_EPOCH).saturating_mul(100), frequency)
}
