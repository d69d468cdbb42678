//! Two further handles of the driver, on the layers SOCKET and FLOW, which only look: a thread reads their events, so that it is
//! known whose packets are.
//!
//! Neither layer tells of everything: sockets that are bound come from SOCKET, and that a flow is over from FLOW. Which of them is
//! faster is left open by the driver.
#![allow(unsafe_code, reason = "cancels reads")]
use super::connections::{TCP, UDP};
use super::device::Device;
use super::event::{self, Event};
use super::hold::{Shared, lock};
use super::library::Functions;
use super::line::Line;
use super::owner;
use super::slot::{Completion, Slot};
use super::sockets::Sockets;
use crate::address::{Flags, Layer, Parameter};
use crate::backend::{Error, ErrorCode};
use crate::filter::Filter;
use std::collections::VecDeque;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use windows_sys::Win32::System::IO::CancelIoEx;

/// The layers whose events are read.
const LAYERS: [Layer; 2] = [Layer::Socket, Layer::Flow];
/// Reads that are pending on each of them.
const SLOTS: usize = 2;
/// Events bring no bytes.
const BUFFER_LEN: usize = 64;

/// What the thread shares with everybody else.
struct Common {
    sockets: Shared,
    /// Whose packets may wait for what is read here.
    lines: Mutex<Vec<Weak<Line>>>,
    bell: Event,
    is_closing: AtomicBool,
}

/// The handles and their thread; closed when it is dropped.
pub(super) struct Observer {
    common: Arc<Common>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Opens both handles, and asks the system's tables for what was there before.
    pub(super) fn open(functions: &'static Functions) -> Result<Self, Error> {
        let mut sockets = Sockets::new(event::timebase().ticks_per_millisecond());
        let readers = LAYERS.iter().map(|layer| Reader::open(functions, *layer)).collect::<Result<Vec<_>, _>>()?;
        // What has ended since is told by an event, which is read after them.
        for (protocol, is_ipv6) in [(TCP, false), (TCP, true), (UDP, false), (UDP, true)] {
            sockets.note_table(protocol, &owner::listed(protocol, is_ipv6).unwrap_or_default());
        }
        let common = Arc::new(Common {
            sockets: Arc::new(Mutex::new(sockets)),
            lines: Mutex::default(),
            bell: Event::new(true).ok_or_else(exhausted)?,
            is_closing: false.into(),
        });
        let shared = Arc::clone(&common);
        let thread = thread::Builder::new().name(String::from("oxidivert-events")).spawn(move || shared.read(readers));
        Ok(Self { common, thread: Some(thread.map_err(|_| exhausted())?) })
    }

    /// What is known of sockets.
    pub(super) fn sockets(&self) -> Shared {
        Arc::clone(&self.common.sockets)
    }

    /// Tells this line from now on when more is known.
    pub(super) fn tell(&self, line: &Arc<Line>) {
        let mut lines = self.common.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(line));
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.common.is_closing.store(true, Ordering::Release);
        self.common.bell.set();
        if let Some(thread) = self.thread.take() {
            // A panic there was told by Rust itself.
            drop(thread.join());
        }
    }
}

impl Common {
    /// The thread: reads events until it is to end.
    fn read(&self, mut readers: Vec<Reader>) {
        while !self.is_closing.load(Ordering::Acquire) {
            let mut has_read = false;
            for reader in &mut readers {
                has_read |= reader.read(&self.sockets);
            }
            if has_read {
                let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.iter().filter_map(Weak::upgrade).for_each(|line| line.look_at_held());
                continue;
            }
            let mut events = vec![self.bell.handle()];
            events.extend(readers.iter().filter_map(|reader| Some(reader.pending.front()?.event().handle())));
            event::wait_any(&events);
        }
    }
}

/// One handle with its reads.
struct Reader {
    device: Device,
    idle: Vec<Slot>,
    pending: VecDeque<Slot>,
}

impl Reader {
    fn open(functions: &'static Functions, layer: Layer) -> Result<Self, Error> {
        let refused = |message: String| Error::new(ErrorCode::InvalidParameter, message);
        let filter = Filter::compile("tcp or udp", layer).map_err(|error| refused(error.to_string()))?;
        let object = CString::new(filter.object()).map_err(|error| refused(error.to_string()))?;
        // The driver runs: a handle is being opened.
        let flags = Flags::SNIFF.with(Flags::RECV_ONLY).with(Flags::NO_INSTALL);
        let device = Device::open(functions, &object, layer, 0, flags)?;
        let mut reader = Self { device, idle: Vec::new(), pending: VecDeque::new() };
        for parameter in [Parameter::QueueLength, Parameter::QueueTime, Parameter::QueueSize] {
            if let Some((.., most)) = parameter.bounds() {
                device.set_parameter(parameter, most)?;
            }
        }
        for _ in 0..SLOTS {
            reader.idle.push(Slot::new(BUFFER_LEN).ok_or_else(exhausted)?);
        }
        Ok(reader)
    }

    /// Takes over the events that have come; whether there were any. A read that fails is not posted again: from then on
    /// packets wait for as long as they may.
    fn read(&mut self, sockets: &Mutex<Sockets>) -> bool {
        let mut has_read = false;
        for mut slot in self.idle.drain(..) {
            slot.post(&self.device);
            self.pending.push_back(slot);
        }
        while self.pending.front().is_some_and(Slot::is_done) {
            let Some(mut slot) = self.pending.pop_front() else { break };
            if let Completion::Filled(_, addresses) = slot.complete(&self.device) {
                let mut sockets = lock(sockets);
                for address in addresses {
                    sockets.note_event(address, event::now());
                }
                has_read = true;
                drop(sockets);
                self.idle.push(slot);
            }
        }
        has_read
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.pending.is_empty() {
            // SAFETY: takes a handle and NULL for all reads on it. Its answer tells nothing: each read is asked below.
            unsafe { CancelIoEx(self.device.handle(), std::ptr::null()) };
        }
        for slot in &mut self.pending {
            slot.complete(&self.device);
        }
        // Nobody can be told, and the next open tells what is wrong with the driver.
        drop(self.device.close());
    }
}

fn exhausted() -> Error {
    Error::new(ErrorCode::NoSystemResources, "Windows has no more events or threads")
}
