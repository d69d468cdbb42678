//! The enumerations of `oxidivert._enums`, looked up once.
use crate::address::{Event, Layer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

/// The members of one enumeration, by number.
struct Members(PyOnceLock<Py<PyTuple>>);

impl Members {
    const fn new() -> Self {
        Self(PyOnceLock::new())
    }

    fn member<'py>(&self, py: Python<'py>, class: &str, index: usize) -> PyResult<Bound<'py, PyAny>> {
        let members = self.0.get_or_try_init(py, || {
            let class = py.import("oxidivert._enums")?.getattr(class)?;
            let members = class.try_iter()?.collect::<PyResult<Vec<_>>>()?;
            PyTuple::new(py, members).map(Bound::unbind)
        })?;
        members.bind(py).get_item(index)
    }
}

static LAYERS: Members = Members::new();
static EVENTS: Members = Members::new();
static DIRECTIONS: Members = Members::new();

/// The member of `Layer`.
pub(super) fn layer_member(py: Python<'_>, layer: Layer) -> PyResult<Bound<'_, PyAny>> {
    LAYERS.member(py, "Layer", usize::from(layer.number()))
}

/// The member of `Event`.
pub(super) fn event_member(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyAny>> {
    EVENTS.member(py, "Event", usize::from(event.number()))
}

/// The member of `Direction`.
pub(super) fn direction_member(py: Python<'_>, outbound: bool) -> PyResult<Bound<'_, PyAny>> {
    DIRECTIONS.member(py, "Direction", usize::from(!outbound))
}

/// The flag enumeration's member for these bits.
pub(super) fn flag_member(py: Python<'_>, bits: u64) -> PyResult<Bound<'_, PyAny>> {
    py.import("oxidivert._enums")?.getattr("Flag")?.call1((bits,))
}

/// A layer's number, given as a member of `Layer` or a plain number.
pub(super) fn layer_from(number: i64) -> PyResult<Layer> {
    u8::try_from(number).ok().and_then(Layer::from_number).ok_or_else(|| {
        PyValueError::new_err(format!("there is no layer {number}; the layers are those of the enum Layer"))
    })
}

/// An event's number, given as a member of `Event` or a plain number.
pub(super) fn event_from(number: i64) -> PyResult<Event> {
    u8::try_from(number).ok().and_then(Event::from_number).ok_or_else(|| {
        PyValueError::new_err(format!("there is no event {number}; the events are those of the enum Event"))
    })
}

/// A direction as outbound or not.
pub(super) fn is_outbound(direction: &Bound<'_, PyAny>) -> PyResult<bool> {
    for outbound in [true, false] {
        if direction.is(direction_member(direction.py(), outbound)?) {
            return Ok(outbound);
        }
    }
    Err(PyValueError::new_err("a direction is Direction.OUTBOUND or Direction.INBOUND"))
}
