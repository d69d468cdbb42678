//! The callback loop. The interpreter is attached only while a batch's packets are handed out.
use super::error::{OrRaise, divert_error};
use super::event::item;
use super::packet::PyPacket;
use super::recycle::Recycler;
use crate::backend::{Error, ErrorCode, Handle, Received, SendError, Wait};
use crate::batch::{Batch, Origin, Token};
use pyo3::exceptions::{PyException, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};
use std::time::{Duration, Instant};

/// How long a wait may keep the main thread from noticing a signal.
const SLICE: Duration = Duration::from_millis(50);

/// What becomes of a packet whose callback failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OnError {
    Raise,
    Drop,
    Pass,
}

impl OnError {
    pub(super) fn from_text(text: &str) -> PyResult<Self> {
        match text {
            "raise" => Ok(Self::Raise),
            "drop" => Ok(Self::Drop),
            "pass" => Ok(Self::Pass),
            _ => Err(PyValueError::new_err(format!("on_error is 'raise', 'drop' or 'pass', not {text:?}"))),
        }
    }
}

/// What the callback decided about one packet.
enum Verdict {
    Send,
    SendOriginal,
    Drop,
}

/// A batch in hand and what was decided about its packets.
struct Round {
    batch: Batch,
    mask: Vec<bool>,
    dropped: Vec<Token>,
    /// Packets of the rounds before this one.
    handled: u64,
}

/// Why a round stopped before its end: the index of the packet in hand, and the exception.
struct Stopped {
    index: usize,
    error: PyErr,
}

/// Runs `visit` on every packet of `handle` until it ends; how many packets were handled.
fn drive<'py>(
    py: Python<'py>,
    handle: &Handle,
    limit: usize,
    mut visit: impl FnMut(&mut Round, Python<'py>) -> Result<(), Stopped>,
) -> PyResult<u64> {
    let mut round = Round { batch: Batch::new(), mask: Vec::new(), dropped: Vec::new(), handled: 0 };
    loop {
        let received = py.detach(|| {
            flush(handle, &mut round)?;
            handle.receive(&mut round.batch, limit, Wait::Until(Instant::now() + SLICE)).map_err(SendError::from)
        });
        let received = match received {
            Ok(received) => received,
            Err(failure) if is_end(failure.error.code()) => return Ok(round.handled),
            Err(failure) => return Err(divert_error(py, &failure.error, failure.sent)),
        };
        if let Err(error) = py.check_signals() {
            handle.give_back(&round.batch, 0);
            return Err(error);
        }
        match received {
            Received::Packets => {}
            Received::TimedOut | Received::Woken => continue,
            Received::Ended => return Ok(round.handled),
        }
        let len = round.batch.len() as u64;
        let outcome = visit(&mut round, py);
        handle.set_in_hand(None);
        if let Err(Stopped { index, error }) = outcome {
            handle.give_back(&round.batch, index + 1);
            round.batch.truncate(index + 1);
            round.mask.truncate(index + 1);
            // The callback's exception matters more than a failure to send what was decided before it.
            drop(py.detach(|| flush(handle, &mut round)));
            return Err(error);
        }
        round.handled += len;
    }
}

/// Whether an error means that the handle was closed or shut down while the loop ran.
const fn is_end(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::InvalidHandle | ErrorCode::NoData | ErrorCode::OperationAborted)
}

/// Sends what was decided to be sent, gives up the rest, and empties the round.
fn flush(handle: &Handle, round: &mut Round) -> Result<(), SendError> {
    let mut outcome = Ok(());
    if !round.batch.is_empty() && handle.re_injects() {
        round.dropped.clear();
        for (record, send) in round.batch.records().iter().zip(&round.mask) {
            if let (Origin::Received(token), false) = (record.origin, send) {
                round.dropped.push(token);
            }
        }
        outcome = handle.send(&mut round.batch, Some(&round.mask)).map(|_| ());
        if !round.dropped.is_empty() {
            handle.backend().discard(&round.dropped);
        }
    }
    round.batch.clear();
    round.mask.clear();
    outcome
}

/// The loop with a Python callback.
pub(super) fn run(
    py: Python<'_>,
    handle: &Handle,
    callback: &Bound<'_, PyAny>,
    limit: usize,
    on_error: OnError,
) -> PyResult<u64> {
    if !callback.is_callable() {
        return Err(PyTypeError::new_err("run needs a callable that takes a packet"));
    }
    if !handle.layer().has_packets() {
        return run_events(py, handle, callback, limit, on_error);
    }
    let mut recycler = Recycler::new(py)?;
    drive(py, handle, limit, |round, py| {
        for index in 0..round.batch.len() {
            hand_out(py, handle, callback, &mut recycler, round, index, on_error)
                .map_err(|error| Stopped { index, error })?;
        }
        Ok(())
    })
}

/// The loop on layers that have events, which never sends.
fn run_events(
    py: Python<'_>,
    handle: &Handle,
    callback: &Bound<'_, PyAny>,
    limit: usize,
    on_error: OnError,
) -> PyResult<u64> {
    drive(py, handle, limit, |round, py| {
        for index in 0..round.batch.len() {
            let told = item(py, &round.batch, index).and_then(|event| callback.call1((event,)));
            round.mask.push(false);
            let Err(error) = told.and_then(|answer| judge(&answer)) else { continue };
            note_number(py, &error, round.handled + index as u64 + 1);
            if on_error == OnError::Raise || !error.is_instance_of::<PyException>(py) {
                return Err(Stopped { index, error });
            }
            log(py, error, OnError::Drop).map_err(|error| Stopped { index, error })?;
        }
        Ok(())
    })
}

/// The same loop with a callback in Rust that does nothing, to be measured against.
pub(super) fn run_passthrough(py: Python<'_>, handle: &Handle, limit: usize) -> PyResult<u64> {
    drive(py, handle, limit, |round, _| {
        for _ in 0..round.batch.len() {
            round.mask.push(std::hint::black_box(true));
        }
        Ok(())
    })
}

#[inline]
fn hand_out<'py>(
    py: Python<'py>,
    handle: &Handle,
    callback: &Bound<'_, PyAny>,
    recycler: &mut Recycler<'py>,
    round: &mut Round,
    index: usize,
    on_error: OnError,
) -> PyResult<()> {
    let (packet, arguments) = match recycler.load(&round.batch, index) {
        Ok(parcel) => parcel,
        Err(error) => {
            round.mask.push(false);
            return Err(error);
        }
    };
    let token = match round.batch.records().get(index).map(|record| record.origin) {
        Some(Origin::Received(token)) => Some(token),
        _ => None,
    };
    handle.set_in_hand(token);
    let judged = callback
        .call1(arguments)
        .and_then(|answer| judge(&answer))
        .and_then(|verdict| settle(py, packet, round, index, &verdict, token));
    match judged {
        Ok(send) => {
            round.mask.push(send);
            Ok(())
        }
        Err(error) => {
            note_number(py, &error, round.handled + index as u64 + 1);
            let raise = on_error == OnError::Raise || !error.is_instance_of::<PyException>(py);
            let pass = on_error == OnError::Pass && !raise;
            let verdict = if pass { Verdict::SendOriginal } else { Verdict::Drop };
            let send = settle(py, packet, round, index, &verdict, token)?;
            round.mask.push(send);
            if raise { Err(error) } else { log(py, error, on_error) }
        }
    }
}

#[inline]
fn judge(answer: &Bound<'_, PyAny>) -> PyResult<Verdict> {
    if answer.is_none() {
        return Ok(Verdict::Send);
    }
    match answer.cast::<PyBool>() {
        Ok(answer) => Ok(if answer.is_true() { Verdict::Send } else { Verdict::Drop }),
        Err(_) => Err(PyTypeError::new_err(format!(
            "the callback returned {}; it returns None or True to send the packet on, False to drop it",
            answer.get_type().name()?
        ))),
    }
}

/// Takes the packet's state over into the batch, as it now is, and parts the packet from its original. Whether it is still to
/// be sent: not if it is to be dropped or the callback has sent it itself.
#[inline]
fn settle(
    py: Python<'_>,
    packet: &Bound<'_, PyPacket>,
    round: &mut Round,
    index: usize,
    verdict: &Verdict,
    token: Option<Token>,
) -> PyResult<bool> {
    let mut slot = packet.get().slot().lock();
    let was_sent = !matches!(slot.origin(), Origin::Received(_));
    if was_sent {
        if let Some(record) = round.batch.records_mut().get_mut(index) {
            record.origin = Origin::Injected(token);
        }
    } else if matches!(verdict, Verdict::Send) && slot.is_changed() {
        slot.store(&mut round.batch, index).or_raise(py)?;
    }
    slot.set_origin(Origin::Injected(token));
    Ok(!was_sent && !matches!(verdict, Verdict::Drop))
}

/// Says in the exception which packet it is about; a traceback shows it.
fn note_number(py: Python<'_>, error: &PyErr, number: u64) {
    // An exception that takes no note is raised without one.
    drop(error.value(py).call_method1("add_note", (format!("on packet {number} of this run"),)));
}

fn log(py: Python<'_>, error: PyErr, on_error: OnError) -> PyResult<()> {
    let what = if on_error == OnError::Pass { "passed on as it came" } else { "dropped" };
    let keywords = PyDict::new(py);
    keywords.set_item("exc_info", error.into_value(py))?;
    let logger = py.import("logging")?.call_method1("getLogger", ("oxidivert",))?;
    logger.call_method("error", ("the callback failed; the packet is %s", what), Some(&keywords))?;
    Ok(())
}

/// Receives with waits short enough for signals; `None` when `deadline` is over.
pub(super) fn receive(
    py: Python<'_>,
    handle: &Handle,
    batch: &mut Batch,
    limit: usize,
    deadline: Option<Instant>,
) -> PyResult<bool> {
    loop {
        let slice = Instant::now() + SLICE;
        let until = deadline.map_or(slice, |deadline| deadline.min(slice));
        let received = py.detach(|| handle.receive(batch, limit, Wait::Until(until))).or_raise(py)?;
        match received {
            Received::Packets => return Ok(true),
            Received::Ended => {
                let error = Error::new(
                    ErrorCode::NoData,
                    "no packet will come any more: the source ended or receiving was shut down",
                );
                return Err(divert_error(py, &error, 0));
            }
            Received::TimedOut | Received::Woken => {}
        }
        py.check_signals()?;
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(false);
        }
    }
}
