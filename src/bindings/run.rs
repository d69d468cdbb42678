//! The callback loop. The interpreter is attached only while a batch's packets are handed out.
use super::callback::{OnError, hand_out, judge, log, note_number};
use super::error::divert_error;
use super::event::item;
use super::receive::warn;
use super::recycle::Recycler;
use crate::backend::{Direct, Handle, HandleId, Received, Round, SendError, Source, is_end};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

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
