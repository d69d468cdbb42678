//! One value from Python: a number or an address.
use super::ip::IpAddress;
use crate::filter::ColumnValue;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString};

pub(super) fn not_a_value(object: &Bound<'_, PyAny>) -> PyErr {
    let class = object.get_type().name().map_or_else(|_| String::from("this"), |name| name.to_string());
    PyTypeError::new_err(format!("values are integers, addresses (text or `ipaddress`), or many of them; not {class}"))
}

/// A number or an address; `None` if it is neither.
pub(super) fn single(object: &Bound<'_, PyAny>) -> PyResult<Option<ColumnValue>> {
    let address = || object.extract().map(|IpAddress(address)| Some(ColumnValue::Address(address)));
    if object.is_instance_of::<PyString>() {
        return address();
    }
    if let Ok(number) = object.extract::<i64>() {
        return Ok(Some(number.into()));
    }
    match object.extract::<u128>() {
        Ok(number) => Ok(Some(ColumnValue::Number(number))),
        Err(_) if object.is_instance_of::<PyInt>() => {
            Err(PyValueError::new_err(format!("{object} does not fit any field; values are from 0 to 2**128 - 1")))
        }
        Err(_) if object.hasattr("packed")? => address(),
        Err(_) => Ok(None),
    }
}
