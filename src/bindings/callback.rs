//! One call of the callback: a packet is handed out, the answer judged, and the packet as it then is taken over.
use super::error::OrRaise;
use super::packet::PyPacket;
use super::recycle::Recycler;
use crate::backend::{Hand, Round};
use crate::batch::{Origin, Token};
use pyo3::exceptions::{PyException, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};

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
pub(super) enum Verdict {
    Send,
    SendOriginal,
    Drop,
}

/// Hands the packet at `index` of a round to the callback and decides about it. `number` is the packet's, from 1.
#[inline]
pub(super) fn hand_out<'py>(
    callback: &Bound<'py, PyAny>,
    recycler: &mut Recycler<'py>,
    hand: &Hand,
    round: &mut Round,
    index: usize,
    number: u64,
    on_error: OnError,
) -> PyResult<()> {
    let py = callback.py();
    let (packet, arguments) = match recycler.load(&round.batch, index) {
        Ok(parcel) => parcel,
        Err(error) => {
            round.decide(false);
            return Err(error);
        }
    };
    let token = round.batch.records().get(index).and_then(|record| record.origin.received());
    hand.hold(token);
    let judged = callback
        .call1(arguments)
        .and_then(|answer| judge(&answer))
        .and_then(|verdict| settle(py, packet, round, index, &verdict, token));
    match judged {
        Ok(send) => {
            round.decide(send);
            Ok(())
        }
        Err(error) => {
            note_number(py, &error, number);
            let raise = on_error == OnError::Raise || !error.is_instance_of::<PyException>(py);
            let pass = on_error == OnError::Pass && !raise;
            let verdict = if pass { Verdict::SendOriginal } else { Verdict::Drop };
            let send = settle(py, packet, round, index, &verdict, token)?;
            round.decide(send);
            if raise { Err(error) } else { log(py, error, on_error) }
        }
    }
}

#[inline]
pub(super) fn judge(answer: &Bound<'_, PyAny>) -> PyResult<Verdict> {
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
pub(super) fn note_number(py: Python<'_>, error: &PyErr, number: u64) {
    // An exception that takes no note is raised without one.
    drop(error.value(py).call_method1("add_note", (format!("on packet {number} of this run"),)));
}

pub(super) fn log(py: Python<'_>, error: PyErr, on_error: OnError) -> PyResult<()> {
    let what = if on_error == OnError::Pass { "passed on as it came" } else { "dropped" };
    let keywords = PyDict::new(py);
    keywords.set_item("exc_info", error.into_value(py))?;
    let logger = py.import("logging")?.call_method1("getLogger", ("oxidivert",))?;
    logger.call_method("error", ("the callback failed; the packet is %s", what), Some(&keywords))?;
    Ok(())
}
