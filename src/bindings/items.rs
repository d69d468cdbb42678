//! The items of Python's buffers: numbers, addresses, truth values.
use crate::filter::ColumnValue;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

/// The truth values of a buffer of bool or of anything iterable.
pub(super) fn truth_values(object: &Bound<'_, PyAny>) -> PyResult<Vec<bool>> {
    match Items::of(object)? {
        Some(items) if items.format == "?" && items.is_row => {
            Ok(items.bytes.as_bytes().iter().map(|byte| *byte != 0).collect())
        }
        Some(_) => Err(PyTypeError::new_err("a mask holds truth values (an array: of bool), one for each packet")),
        None => object.try_iter()?.map(|value| value?.extract()).collect(),
    }
}

/// The items of a buffer, one behind the other.
pub(super) struct Items<'py> {
    /// How Python's `struct` writes the type.
    format: String,
    item_len: usize,
    /// Whether there is one dimension; else there is none, and one item.
    pub(super) is_row: bool,
    bytes: Bound<'py, PyBytes>,
}

impl<'py> Items<'py> {
    /// The items of an object that is a buffer.
    pub(super) fn of(object: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let Ok(view) = PyMemoryView::from(object) else { return Ok(None) };
        let dimensions: usize = view.getattr("ndim")?.extract()?;
        if dimensions > 1 {
            return Err(PyTypeError::new_err(format!("an array of values has one dimension, not {dimensions}")));
        }
        Ok(Some(Self {
            format: view.getattr("format")?.extract()?,
            item_len: view.getattr("itemsize")?.extract()?,
            is_row: dimensions == 1,
            bytes: view.call_method0("tobytes")?.cast_into()?,
        }))
    }

    /// The items as numbers; those of 16 bytes are addresses in network byte order.
    pub(super) fn values(&self) -> PyResult<Vec<ColumnValue>> {
        let (is_big_endian, code) = match self.format.split_at_checked(1) {
            Some((">" | "!", code)) => (true, code),
            Some(("<", code)) => (false, code),
            Some(("@" | "=", code)) => (cfg!(target_endian = "big"), code),
            _ => (cfg!(target_endian = "big"), self.format.as_str()),
        };
        let (is_big_endian, is_signed) = match code {
            "?" | "B" | "H" | "I" | "L" | "Q" | "N" => (is_big_endian, false),
            "b" | "h" | "i" | "l" | "q" | "n" => (is_big_endian, true),
            "16s" => (true, false),
            _ => {
                let message =
                    format!("values are integers or addresses of 16 bytes, not of the format {:?}", self.format);
                return Err(PyTypeError::new_err(message));
            }
        };
        let items = self.bytes.as_bytes().chunks_exact(self.item_len.max(1));
        Ok(items.map(|item| number(item, is_big_endian, is_signed)).collect())
    }
}

fn number(item: &[u8], is_big_endian: bool, is_signed: bool) -> ColumnValue {
    let join = |number, byte: &u8| number << 8 | u128::from(*byte);
    let number = if is_big_endian { item.iter().fold(0, join) } else { item.iter().rev().fold(0, join) };
    // Signed items have at most 64 bits.
    let unused = 64_usize.saturating_sub(item.len() * 8);
    if is_signed { (((number as u64) << unused) as i64 >> unused).into() } else { ColumnValue::Number(number) }
}
