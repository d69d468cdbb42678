//! Waiting for packets in slices, between which signals and warnings are noticed.
use super::error::{OrRaise, OverloadWarning, divert_error};
use crate::backend::{Error, ErrorCode, Handle, Received, SLICE, Wait, WarningKind};
use crate::batch::Batch;
use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;
use std::ffi::CString;
use std::time::Instant;

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

/// Passes on what the backend warns of.
pub(super) fn warn(py: Python<'_>, core: &Handle) -> PyResult<()> {
    for warning in core.backend().take_warnings() {
        let class = match warning.kind() {
            WarningKind::Overload => py.get_type::<OverloadWarning>().into_any(),
            WarningKind::Environment => py.get_type::<PyUserWarning>().into_any(),
        };
        let text = CString::new(warning.message().replace('\0', " "))?;
        PyErr::warn(py, &class, &text, 1)?;
    }
    Ok(())
}
