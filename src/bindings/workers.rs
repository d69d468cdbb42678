//! `run` with several workers: threads that take turns with the interpreter, so that callbacks that wait do not hold the others up.
use super::callback::{OnError, log};
use super::error::divert_error;
use super::receive::warn;
use super::run::{Plan, work};
use crate::backend::{self, Crew, ErrorCode, Handle, LaneSource, SLICE, block_signals};
use pyo3::prelude::*;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// What the workers report together.
#[derive(Default)]
struct Report {
    handled: u64,
    error: Option<PyErr>,
}

/// Why dealing ended.
enum Failure {
    Backend(backend::Error),
    Python(PyErr),
}

impl From<backend::Error> for Failure {
    fn from(error: backend::Error) -> Self {
        Self::Backend(error)
    }
}

/// Deals the packets out to `plan.workers` threads; how many were handled.
pub(super) fn run_workers(py: Python<'_>, handle: &Handle, callback: &Bound<'_, PyAny>, plan: Plan) -> PyResult<u64> {
    let callback = callback.clone().unbind();
    let crew = Crew::new(plan.workers, plan.limit);
    let report = Mutex::new(Report::default());
    let dealt = py.detach(|| {
        let dealt = thread::scope(|scope| {
            for number in 0..plan.workers {
                let (callback, crew, report) = (&callback, &crew, &report);
                let start = move || be_worker(handle, callback, crew.lane(number), plan.on_error, report);
                let spawned = thread::Builder::new().name(format!("oxidivert-{number}")).spawn_scoped(scope, start);
                if let Err(error) = spawned {
                    crew.stop();
                    return Err(backend::Error::from_io(
                        ErrorCode::NoSystemResources,
                        "a worker thread cannot be started",
                        error,
                    )
                    .into());
                }
            }
            let mut noticed = Instant::now();
            crew.deal(handle, || notice(handle, &mut noticed))
        });
        handle.give_back(&crew.into_rest(), 0);
        dealt
    });
    let report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (dealt, report.error) {
        (Err(Failure::Python(error)), _) | (Ok(()), Some(error)) => Err(error),
        (Err(Failure::Backend(error)), _) => Err(divert_error(py, &error, 0)),
        (Ok(()), None) => Ok(report.handled),
    }
}

/// Notices signals and warnings, not more often than is needed.
fn notice(handle: &Handle, noticed: &mut Instant) -> Result<(), Failure> {
    if noticed.elapsed() < SLICE / 2 {
        return Ok(());
    }
    *noticed = Instant::now();
    Python::attach(|py| py.check_signals().and_then(|()| warn(py, handle))).map_err(Failure::Python)
}

fn be_worker(
    handle: &Handle,
    callback: &Py<PyAny>,
    mut lane: LaneSource<'_>,
    on_error: OnError,
    report: &Mutex<Report>,
) {
    block_signals();
    Python::attach(|py| {
        let outcome = work(handle, callback.bind(py), &mut lane, on_error);
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(handled) => report.handled += handled,
            Err(error) if report.error.is_none() => report.error = Some(error),
            Err(error) => {
                drop(report);
                // One exception can be raised; of the others the log tells.
                if let Err(error) = log(py, error, on_error) {
                    error.write_unraisable(py, None);
                }
            }
        }
    });
}
