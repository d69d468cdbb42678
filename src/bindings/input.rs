//! Many values at once from Python: masks, and values for a column; from our own classes, buffers, or anything iterable.
use super::column::PyColumn;
use super::items::{Items, truth_values};
use super::mask::PyMask;
use super::value::{not_a_value, single};
use crate::filter::ColumnValue;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Which packets are meant, as users tell: a Mask, a buffer of bool (a numpy array), or anything that gives truth values.
pub(super) enum Selection<'py> {
    Mask(Bound<'py, PyMask>),
    Values(Vec<bool>),
}

impl Selection<'_> {
    /// The truth values, which are as many as there are packets.
    pub(super) fn values(&self, packets: usize) -> PyResult<&[bool]> {
        let values = match self {
            Self::Mask(mask) => mask.get().values(),
            Self::Values(values) => values,
        };
        if values.len() == packets {
            return Ok(values);
        }
        let message = format!("the mask needs {packets} truth values, one for each packet, and has {}", values.len());
        Err(PyValueError::new_err(message))
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Selection<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(mask) = object.cast::<PyMask>() {
            return Ok(Self::Mask(mask.to_owned()));
        }
        truth_values(&object).map(Self::Values)
    }
}

/// Values for the packets of a batch.
pub(super) enum NewValues {
    /// The same for every packet.
    One(ColumnValue),
    Each(Vec<ColumnValue>),
}

impl NewValues {
    /// The value for the packet at a position.
    pub(super) fn at(&self, position: usize) -> ColumnValue {
        match self {
            Self::One(value) => *value,
            Self::Each(values) => values.get(position).copied().unwrap_or(ColumnValue::Absent),
        }
    }

    /// Refuses another number of values than there are packets.
    pub(super) fn verify_len(&self, packets: usize) -> PyResult<()> {
        match self {
            Self::Each(values) if values.len() != packets => Err(PyValueError::new_err(format!(
                "there are {} values for {packets} packets; give one for each packet of the batch, or one for all",
                values.len()
            ))),
            _ => Ok(()),
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for NewValues {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(column) = object.cast::<PyColumn>() {
            let column = column.get().core();
            return Ok(Self::Each((0..column.len()).map(|index| column.value(index)).collect()));
        }
        if let Some(value) = single(&object)? {
            return Ok(Self::One(value));
        }
        if let Some(items) = Items::of(&object)? {
            let mut values = items.values()?;
            return Ok(match values.pop() {
                Some(value) if !items.is_row => Self::One(value),
                last => Self::Each(values.into_iter().chain(last).collect()),
            });
        }
        let Ok(items) = object.try_iter() else { return Err(not_a_value(&object)) };
        let value = |item: Bound<'py, PyAny>| match single(&item)? {
            Some(value) => Ok(value),
            None if item.is_none() => Ok(ColumnValue::Absent),
            None => Err(not_a_value(&item)),
        };
        items.map(|item| value(item?)).collect::<PyResult<_>>().map(Self::Each)
    }
}
