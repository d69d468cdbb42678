//! The callback loop. The interpreter is attached only while a batch's packets are handed out.
use super::callback::{OnError, hand_out, judge, log, note_number};
use super::error::{OrRaise, divert_error};
use super::event::item;
use super::handle::warn;
use super::recycle::Recycler;
use super::workers::run_workers;
use crate::backend::{
    Direct, Error, ErrorCode, Handle, HandleId, Received, Round, SLICE, SendError, Source, Wait, is_end,
};
use crate::batch::Batch;
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use std::time::Instant;

/// What `run` was asked for.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) limit: usize,
    pub(super) workers: usize,
    pub(super) on_error: OnError,
}

/// Runs `visit` on every packet of a source until it ends; how many packets were handled. `visit` decides about the packet at an
/// index of the round, and is told the packet's number.
fn drive(
    py: Python<'_>,
    handle: &Handle,
    source: &mut (impl Source + Send),
    mut visit: impl FnMut(&mut Round, usize, u64) -> PyResult<()>,
) -> PyResult<u64> {
    let mut round = Round::default();
    let mut handled = 0;
    loop {
        let received = py.detach(|| {
            round.flush(handle)?;
            source.next(&mut round.batch).map_err(SendError::from)
        });
        let received = match received {
            Ok(received) => received,
            Err(failure) if is_end(failure.error.code()) => return Ok(handled),
            Err(failure) => return Err(divert_error(py, &failure.error, failure.sent)),
        };
        if let Err(error) = py.check_signals().and_then(|()| warn(py, handle)) {
            source.take_back(&round.batch, 0);
            return Err(error);
        }
        match received {
            Received::Packets => {}
            Received::TimedOut | Received::Woken => continue,
            Received::Ended => return Ok(handled),
        }
        for index in 0..round.batch.len() {
            if source.is_stopped() {
                py.detach(|| round.stop(handle, source, index));
                return Ok(handled);
            }
            handled += 1;
            if let Err(error) = visit(&mut round, index, source.number(index, handled)) {
                py.detach(|| round.stop(handle, source, index + 1));
                return Err(error);
            }
        }
    }
}

/// The loop with a Python callback.
pub(super) fn run(py: Python<'_>, handle: &Handle, callback: &Bound<'_, PyAny>, plan: Plan) -> PyResult<u64> {
    if !callback.is_callable() {
        return Err(PyTypeError::new_err("run needs a callable that takes a packet"));
    }
    if plan.workers > 1 {
        return run_workers(py, handle, callback, plan);
    }
    work(handle, callback, &mut Direct::new(handle, plan.limit), plan.on_error)
}

/// One worker's loop over its source.
pub(super) fn work(
    handle: &Handle,
    callback: &Bound<'_, PyAny>,
    source: &mut (impl Source + Send),
    on_error: OnError,
) -> PyResult<u64> {
    let py = callback.py();
    if !handle.layer().has_packets() {
        return drive(py, handle, source, |round, index, number| tell(callback, round, index, number, on_error));
    }
    let mut recycler = Recycler::new(py, handle.id())?;
    let hand = handle.hand();
    drive(py, handle, source, |round, index, number| {
        hand_out(callback, &mut recycler, &hand, round, index, number, on_error)
    })
}

/// Tells the callback of the event at `index`; nothing is ever sent.
fn tell(callback: &Bound<'_, PyAny>, round: &mut Round, index: usize, number: u64, on_error: OnError) -> PyResult<()> {
    let py = callback.py();
    let told = item(py, &round.batch, index, HandleId::default()).and_then(|event| callback.call1((event,)));
    round.decide(false);
    let Err(error) = told.and_then(|answer| judge(&answer)) else { return Ok(()) };
    note_number(py, &error, number);
    if on_error == OnError::Raise || !error.is_instance_of::<PyException>(py) {
        return Err(error);
    }
    log(py, error, OnError::Drop)
}

/// The same loop with a callback in Rust that does nothing, to be measured against.
pub(super) fn run_passthrough(py: Python<'_>, handle: &Handle, limit: usize) -> PyResult<u64> {
    drive(py, handle, &mut Direct::new(handle, limit), |round, _, _| {
        round.decide(std::hint::black_box(true));
        Ok(())
    })
}

/// Receives with waits short enough for signals; false when `deadline` is over.
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
        if receive_slice(py, handle, batch, limit, until)? {
            return Ok(true);
        }
        py.check_signals()?;
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(false);
        }
    }
}

/// Receives once; false when the time is out or the waiters were woken.
pub(super) fn receive_slice(
    py: Python<'_>,
    handle: &Handle,
    batch: &mut Batch,
    limit: usize,
    until: Instant,
) -> PyResult<bool> {
    match py.detach(|| handle.receive(batch, limit, Wait::Until(until))).or_raise(py)? {
        Received::TimedOut | Received::Woken => Ok(false),
        Received::Ended => {
            let message = "no packet will come any more: the source ended or receiving was shut down";
            Err(divert_error(py, &Error::new(ErrorCode::NoData, message), 0))
        }
        Received::Packets => {
            // Where warnings are errors, the packets go back to the head of the queue.
            warn(py, handle).inspect_err(|_| handle.give_back(batch, 0))?;
            Ok(true)
        }
    }
}
