//! A handle of the driver as a backend.
use super::device::Device;
use super::event;
use super::intake::Intake;
use super::ledger::Ledger;
use super::library::Functions;
use super::line::Line;
use super::observer::Observer;
use super::owner;
use super::plan::{self, Plan};
use crate::address::{Flags, Parameter, Shutdown};
use crate::backend::{Backend, Capabilities, Ending, Error, ErrorCode, Mask, OpenOptions, Process, Received, SendError, Wait, Warning};
use crate::batch::{Batch, PacketRef, Token};
use crate::engine::{Statistics, verify_sending};
use crate::filter::Filter;
use crate::packet::FlowKey;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

/// The version that is told when the driver is not asked.
const VERSION: (u64, u64) = (2, 2);

/// The handles of the driver behind one handle: more than one only while a filter is swapped.
struct Lines {
    /// Received from until their last packet.
    draining: Vec<Arc<Line>>,
    current: Arc<Line>,
    is_closed: bool,
}

impl Lines {
    fn all(&self) -> impl Iterator<Item = &Arc<Line>> {
        self.draining.iter().chain([&self.current])
    }
}

/// A handle of the driver. Sends, parameters and shutdowns hold the lock for reading; a close waits for them.
pub(super) struct End {
    functions: &'static Functions,
    options: OpenOptions,
    /// If processes are tracked, until the handle is closed.
    observer: Mutex<Option<Observer>>,
    lines: RwLock<Lines>,
    ledger: Mutex<Ledger>,
    has_ended_sending: AtomicBool,
    has_ended_receiving: AtomicBool,
    swapping: Mutex<()>,
}

impl End {
    /// Opens a handle of the driver, which runs.
    pub(super) fn open(functions: &'static Functions, options: OpenOptions) -> Result<Self, Error> {
        let plan = Plan::new(&options)?;
        // First, so that whatever begins once packets are taken is seen to begin.
        let observer = plan.observes.then(|| Observer::open(functions)).transpose()?;
        let current = start(functions, &options, &plan, observer.as_ref(), None)?;
        let lines = Lines { draining: Vec::new(), current, is_closed: false };
        Ok(Self {
            functions,
            options,
            observer: Mutex::new(observer),
            lines: RwLock::new(lines),
            ledger: Mutex::default(),
            has_ended_sending: false.into(),
            has_ended_receiving: false.into(),
            swapping: Mutex::new(()),
        })
    }

    fn lines(&self) -> RwLockReadGuard<'_, Lines> {
        self.lines.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observer(&self) -> MutexGuard<'_, Option<Observer>> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended_sending(&self) -> bool {
        self.has_ended_sending.load(Ordering::Acquire)
    }

    /// The line that is received from.
    fn source(&self) -> Arc<Line> {
        let lines = self.lines();
        Arc::clone(lines.draining.first().unwrap_or(&lines.current))
    }

    /// Closes a line that has no packet left and never gets one, so that the next one is received from.
    fn retire(&self, line: &Arc<Line>) -> Result<bool, Error> {
        let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
        let first = lines.draining.first();
        if lines.is_closed || first.is_none_or(|first| !Arc::ptr_eq(first, line)) {
            // Somebody else was faster, or there is no other.
            return Ok(!lines.is_closed && !Arc::ptr_eq(line, &lines.current));
        }
        lines.draining.remove(0);
        drop(lines);
        line.stop();
        self.ledger().retire(&line.with_intake(|intake| intake.statistics()));
        line.device().close().map(|()| true)
    }

    /// Sends what nobody has received, so that it goes on; how many there were.
    fn give_back(&self, line: &Line) -> usize {
        let batch = line.with_intake(|intake| intake.give_back(event::now()));
        if batch.is_empty() {
            return 0;
        }
        let (sent, failure) = line.sender().send(&batch, None);
        if failure.is_none() {
            return sent.gone;
        }
        // A handle that no longer sends, or never did: another one of the same priority does it in its place.
        let remaining = batch.len() - sent.gone;
        let mask: Vec<bool> = (0..batch.len()).map(|index| index >= batch.len() - remaining).collect();
        let Ok(object) = plan::nothing(self.options.layer).map(|object| CString::new(object).unwrap_or_default()) else {
            return sent.gone;
        };
        let flags = Flags::NO_INSTALL;
        let Ok(device) = Device::open(self.functions, &object, self.options.layer, self.options.priority, flags) else {
            return sent.gone;
        };
        let (more, _) = super::sender::Sender::new(device).send(&batch, Some(&mask));
        // Nothing was read or is pending on it.
        drop(device.close());
        sent.gone + more.gone
    }

    /// Sets a new line to what this handle was set to.
    fn take_over(&self, line: &Line) -> Result<(), Error> {
        for parameter in [Parameter::QueueLength, Parameter::QueueTime, Parameter::QueueSize] {
            let value = self.parameter(parameter);
            line.device().set_parameter(parameter, value)?;
            line.with_intake(|intake| intake.set_parameter(parameter, value));
        }
        if self.has_ended_receiving.load(Ordering::Acquire) {
            line.device().shutdown(Shutdown::Receive)?;
        }
        Ok(())
    }

    /// Puts a new line in the current one's place. Both take packets for a moment; from here on only the new one does, and it is
    /// what sends: the old one, which comes below it, no longer sees that.
    fn replace(&self, before: &Arc<Line>, line: &Arc<Line>) -> Result<(), Error> {
        let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
        if lines.is_closed {
            return Err(Error::closed());
        }
        before.device().shutdown(Shutdown::Receive)?;
        lines.current = Arc::clone(line);
        lines.draining.push(Arc::clone(before));
        Ok(())
    }

    fn end(&self) -> Result<(), Error> {
        {
            let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
            if std::mem::replace(&mut lines.is_closed, true) {
                return Ok(());
            }
        }
        // Nobody sends from here on, and nobody takes the lock for longer than a moment.
        let lines: Vec<Arc<Line>> = self.lines().all().map(Arc::clone).collect();
        let mut outcome = Ok(());
        for line in lines {
            line.stop();
            let given_back = self.give_back(&line);
            outcome = outcome.and(line.device().close());
            self.ledger().note_closed(given_back);
        }
        drop(self.observer().take());
        outcome
    }
}

/// Opens a handle of the driver and starts reading on it.
fn start(
    functions: &'static Functions,
    options: &OpenOptions,
    plan: &Plan,
    observer: Option<&Observer>,
    before: Option<&Line>,
) -> Result<Arc<Line>, Error> {
    let object = CString::new(plan.object.as_str())
        .map_err(|_| Error::new(ErrorCode::InvalidParameter, "the filter has a NUL"))?;
    let device = Device::open(functions, &object, options.layer, options.priority, plan.flags)?;
    let mut intake = Intake::new(options.layer, options.flags, &options.filter, event::timebase());
    if let Some(before) = before {
        before.with_intake(|before| intake.succeed(before));
    }
    if let Some(observer) = observer {
        intake.track(observer.sockets());
    }
    let line = Line::start(device, intake).ok_or_else(|| {
        drop(device.close());
        Error::new(ErrorCode::NoSystemResources, "Windows has no more events or threads")
    })?;
    if let Some(observer) = observer {
        observer.tell(&line);
    }
    Ok(line)
}

impl Backend for End {
    fn name(&self) -> &'static str {
        "windivert"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            has_queue: true,
            can_pass_on_overload: false,
            can_swap_filter: true,
            is_finite: false,
            waits_to_send: false,
        }
    }

    fn receive(&self, batch: &mut Batch, limit: usize, wait: Wait) -> Result<Received, Error> {
        if self.options.flags.has(Flags::SEND_ONLY) {
            return Err(Error::send_only());
        }
        loop {
            let line = self.source();
            let before = batch.len();
            match line.receive(batch, limit.max(1), wait)? {
                Received::Ended if self.retire(&line)? => {}
                Received::Packets => {
                    if line.with_intake(|intake| intake.takes_originals()) {
                        self.ledger().note_handed_out(batch.len() - before);
                    }
                    return Ok(Received::Packets);
                }
                received => return Ok(received),
            }
        }
    }

    fn send(&self, batch: &Batch, mask: Mask<'_>) -> Result<usize, SendError> {
        let lines = self.lines();
        if lines.is_closed {
            return Err(Error::closed().into());
        }
        let may_send = verify_sending(self.has_ended_sending(), self.options.flags, self.options.layer);
        let (sent, failure) = match may_send {
            Ok(()) => lines.current.sender().send(batch, mask),
            Err(error) => {
                let selected = mask.map_or(batch.len(), |mask| mask.iter().take(batch.len()).filter(|is| **is).count());
                let refused = super::ledger::Sent { failed: selected as u64, ..Default::default() };
                (refused, Some(error))
            }
        };
        drop(lines);
        self.ledger().note_sent(&sent);
        match failure {
            None => Ok(sent.gone),
            Some(error) => Err(SendError { sent: sent.gone, error }),
        }
    }

    fn discard(&self, tokens: &[Token]) {
        self.ledger().note_discarded(tokens.len());
    }

    fn wake(&self) {
        self.source().wake();
    }

    fn shutdown(&self, how: Shutdown) {
        let lines = self.lines();
        if lines.is_closed {
            return;
        }
        if how.ends_receiving() {
            self.has_ended_receiving.store(true, Ordering::Release);
        }
        if how.ends_sending() {
            self.has_ended_sending.store(true, Ordering::Release);
        }
        for line in lines.all() {
            let selects = line.with_intake(|intake| intake.is_selective());
            // What a selective handle reads and must go on is sent over it, so that only its user's sending ends.
            let how = if selects && how.ends_sending() { how.ends_receiving().then_some(Shutdown::Receive) } else { Some(how) };
            if let Some(how) = how {
                // A handle that cannot be shut down has failed already, which the next receive or send tells.
                drop(line.device().shutdown(how));
            }
        }
    }

    fn close(&self, _ending: Ending) -> Result<(), Error> {
        self.end()
    }

    fn parameter(&self, parameter: Parameter) -> u64 {
        let lines = self.lines();
        let fallback = || match parameter {
            Parameter::VersionMajor => VERSION.0,
            Parameter::VersionMinor => VERSION.1,
            _ => lines.current.with_intake(|intake| intake.parameter(parameter)).unwrap_or_default(),
        };
        if lines.is_closed {
            return fallback();
        }
        lines.current.device().parameter(parameter).unwrap_or_else(|_| fallback())
    }

    fn set_parameter(&self, parameter: Parameter, value: u64) -> Result<(), Error> {
        let lines = self.lines();
        if lines.is_closed {
            return Err(Error::closed());
        }
        parameter.verify(value).map_err(|message| Error::new(ErrorCode::InvalidParameter, message))?;
        for line in lines.all() {
            line.device().set_parameter(parameter, value)?;
            line.with_intake(|intake| intake.set_parameter(parameter, value));
        }
        Ok(())
    }

    fn set_filter(&self, filter: Arc<Filter>) -> Result<(), Error> {
        let _guard = self.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        let options = OpenOptions { filter, ..self.options.clone() };
        let plan = Plan::new(&options)?;
        let before = {
            let lines = self.lines();
            if lines.is_closed {
                return Err(Error::closed());
            }
            Arc::clone(&lines.current)
        };
        let line = start(self.functions, &options, &plan, self.observer().as_ref(), Some(&before))?;
        let outcome = self.take_over(&line).and_then(|()| self.replace(&before, &line));
        if outcome.is_err() {
            line.stop();
            // What it has read meanwhile goes on; why it is not used is told.
            self.give_back(&line);
            drop(line.device().close());
        }
        outcome
    }

    fn bypass(&self, flow: FlowKey) -> Result<bool, Error> {
        let lines = self.lines();
        if lines.is_closed {
            return Err(Error::closed());
        }
        let mut is_taken = false;
        for line in lines.all() {
            let mut passed = Batch::new();
            is_taken = line.with_intake(|intake| intake.bypass(flow, event::now(), &mut passed));
            if !passed.is_empty() {
                let (_, failure) = line.sender().send(&passed, None);
                failure.map_or(Ok(()), Err)?;
            }
        }
        Ok(is_taken)
    }

    fn process(&self, packet: PacketRef<'_>, known_id: u32) -> Option<Process> {
        let id = if known_id == 0 { owner::of_packet(packet)? } else { known_id };
        Some(self.describe(id))
    }

    fn describe(&self, id: u32) -> Process {
        owner::describe(id)
    }

    fn statistics(&self) -> Statistics {
        let lines = self.lines();
        self.ledger().with(lines.all().map(|line| line.with_intake(|intake| intake.statistics())))
    }

    fn take_warnings(&self) -> Vec<Warning> {
        self.lines().all().filter_map(|line| line.with_intake(Intake::take_warning)).collect()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        drop(self.end());
    }
}
