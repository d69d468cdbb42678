//! The only place that knows both sides: this crate's errors and the exceptions of `oxidivert._exceptions`.
use crate::backend::{self, ErrorCode};
use crate::filter::ColumnErrorKind;
use crate::{address, batch, filter, packet};
use pyo3::exceptions::PyValueError;
use pyo3::import_exception;
use pyo3::prelude::*;
use pyo3::types::PyDict;

import_exception!(oxidivert._exceptions, DivertError);
import_exception!(oxidivert._exceptions, HandleClosedError);
import_exception!(oxidivert._exceptions, HandleShutdownError);
import_exception!(oxidivert._exceptions, FilterError);
import_exception!(oxidivert._exceptions, FilterWarning);
import_exception!(oxidivert._exceptions, OverloadWarning);
import_exception!(oxidivert._exceptions, PacketError);

/// A backend's error as the exception for its code; `sent` tells how much of a batch went out.
pub(super) fn divert_error(py: Python<'_>, error: &backend::Error, sent: usize) -> PyErr {
    let code = error.code();
    let class = match code {
        ErrorCode::InvalidHandle => py.get_type::<HandleClosedError>(),
        ErrorCode::NoData => py.get_type::<HandleShutdownError>(),
        _ => py.get_type::<DivertError>(),
    };
    let build = || -> PyResult<PyErr> {
        let keywords = PyDict::new(py);
        keywords.set_item("symbol", code.symbol())?;
        keywords.set_item("errno", error.os_error().unwrap_or(code.errno()))?;
        keywords.set_item("sent", sent)?;
        Ok(PyErr::from_value(class.call((code.number(), error.to_string()), Some(&keywords))?))
    };
    build().unwrap_or_else(|error| error)
}

/// Turns a core result into a Python one.
pub(super) trait OrRaise<T> {
    /// The value, or the exception that belongs to the error.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for Result<T, backend::Error> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| divert_error(py, &error, 0))
    }
}

impl<T> OrRaise<T> for Result<T, backend::SendError> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|failure| divert_error(py, &failure.error, failure.sent))
    }
}

impl<T> OrRaise<T> for Result<T, address::OpenError> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| divert_error(py, &backend::Error::new(ErrorCode::InvalidParameter, error.to_string()), 0))
    }
}

/// Errors about a packet's bytes, all of which are `PacketError`s with the core's own account.
macro_rules! packet_errors {
    ($($error:ty),*) => {$(
        impl<T> OrRaise<T> for Result<T, $error> {
            fn or_raise(self, _py: Python<'_>) -> PyResult<T> {
                self.map_err(|error| PacketError::new_err(error.to_string()))
            }
        }
    )*};
}
packet_errors!(packet::ParseError, packet::EditError, packet::BuildError, batch::SlotError);

impl<T> OrRaise<T> for Result<T, address::AddressError> {
    fn or_raise(self, _py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| PyValueError::new_err(error.to_string()))
    }
}

impl<T> OrRaise<T> for Result<T, filter::Error> {
    fn or_raise(self, _py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| {
            FilterError::new_err((
                error.message().to_owned(),
                error.position(),
                error.text().to_owned(),
                error.to_string(),
            ))
        })
    }
}

impl<T> OrRaise<T> for Result<T, filter::ColumnError> {
    fn or_raise(self, _py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| match error.kind() {
            ColumnErrorKind::Packet { .. } => PacketError::new_err(error.to_string()),
            _ => PyValueError::new_err(error.to_string()),
        })
    }
}

/// A `FilterWarning`.
pub(super) fn filter_warning<'py>(py: Python<'py>, warning: &filter::Warning) -> PyResult<Bound<'py, PyAny>> {
    let span = warning.span();
    py.get_type::<FilterWarning>().call1((warning.message(), span.start, span.end, warning.text(), warning.to_string()))
}

/// A `DivertError` that the bindings themselves raise.
pub(super) fn refuse(py: Python<'_>, code: ErrorCode, message: impl Into<String>) -> PyErr {
    divert_error(py, &backend::Error::new(code, message), 0)
}
