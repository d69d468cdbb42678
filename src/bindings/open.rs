//! `open`: its arguments, and the systems that a backend's name stands for.
use super::engine::PyEngine;
use super::error::{OrRaise, refuse};
use super::filter::PyFilter;
use super::filter_source::Dialect;
use super::handle::PyHandle;
use super::replay::PyReplay;
use crate::address::{Flags, Layer, verify_open};
use crate::backend::{ErrorCode, Handle, OpenOptions, Overload, System};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::sync::Arc;

/// Opens a handle, like the builtin `open`: use it in a `with` block.
///
/// `filter`: text, compiled object text, an expression of `f` or a `Filter`. `backend`: a `Replay`, or the name of a live
/// backend ("auto" takes this platform's). Wrong arguments and filters are told in the driver's order: layer, flags, priority
/// (DivertError 87), filter (FilterError), backend.
///
/// `on_overload`: "drop" drops what does not fit into the queue, "pass" lets it go on unseen; either is counted in `stats`.
/// `processes`: the first packet of a new flow waits, 50 ms at most, until `packet.process` is known.
#[pyfunction]
#[pyo3(signature = (filter=None, *, layer=0, priority=0, flags=0, backend=None, dialect=Dialect::Extended, sets=None, on_overload="drop", processes=false))]
#[pyo3(
    text_signature = "(filter='true', *, layer=0, priority=0, flags=0, backend='auto', dialect='extended', sets=None, on_overload='drop', processes=False)"
)]
#[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
pub(super) fn open(
    py: Python<'_>,
    filter: Option<&Bound<'_, PyAny>>,
    layer: i64,
    priority: i64,
    flags: u64,
    backend: Option<&Bound<'_, PyAny>>,
    dialect: Dialect,
    sets: Option<&Bound<'_, PyAny>>,
    on_overload: &str,
    processes: bool,
) -> PyResult<PyHandle> {
    let layer = u8::try_from(layer).ok().and_then(Layer::from_number).ok_or_else(|| {
        refuse(
            py,
            ErrorCode::InvalidParameter,
            format!("there is no layer {layer}; the layers are those of the enum Layer"),
        )
    })?;
    let flags = Flags(flags);
    let priority = verify_open(layer, flags, priority).or_raise(py)?;
    let on_overload = match on_overload {
        "drop" => Overload::Drop,
        "pass" => Overload::Pass,
        _ => return Err(PyValueError::new_err(format!("on_overload is 'drop' or 'pass', not {on_overload:?}"))),
    };
    let filter = match filter {
        Some(filter) => PyFilter::from_argument(filter, layer, dialect, sets)?,
        None => PyFilter::from_argument(PyString::intern(py, "true").as_any(), layer, dialect, None)?,
    };
    let system = system_from(py, backend, flags)?;
    let options = OpenOptions {
        filter: Arc::clone(filter.get().core()),
        layer,
        priority,
        flags,
        on_overload,
        track_processes: processes,
    };
    let end = py.detach(|| system.open(options)).or_raise(py)?;
    Ok(PyHandle::new(Handle::new(end, layer, priority, flags), filter))
}

/// The system that `backend` names or is.
fn system_from(py: Python<'_>, backend: Option<&Bound<'_, PyAny>>, flags: Flags) -> PyResult<Arc<dyn System>> {
    if let Some(replay) = backend.and_then(|backend| backend.cast::<PyReplay>().ok()) {
        return Ok(replay.get().system());
    }
    if let Some(engine) = backend.and_then(|backend| backend.cast::<PyEngine>().ok()) {
        return Ok(engine.get().system());
    }
    let name = match backend {
        Some(backend) => backend.extract::<String>().map_err(|_| {
            PyTypeError::new_err(
                "backend is 'auto', 'windivert', 'nfqueue' or an object such as Replay(...) or Engine()",
            )
        })?,
        None => String::from("auto"),
    };
    match name.as_str() {
        "auto" | "windivert" | "nfqueue" => {}
        _ => {
            let message = format!(
                "backend is 'auto', 'windivert', 'nfqueue' or an object such as Replay(...) or Engine(), not {name:?}"
            );
            return Err(PyValueError::new_err(message));
        }
    }
    #[cfg(all(windows, target_arch = "x86_64"))]
    if name != "nfqueue" {
        return Ok(Arc::new(crate::backend::windivert::WinDivert));
    }
    #[cfg(target_os = "linux")]
    if name != "windivert" {
        return Ok(Arc::new(crate::backend::nfqueue::Nfqueue));
    }
    if flags.has(Flags::NO_INSTALL) {
        return Err(refuse(py, ErrorCode::ServiceDoesNotExist, "no live backend is running"));
    }
    let why = match name.as_str() {
        "nfqueue" => "netfilter queues exist on Linux only",
        // Where the driver exists, nobody comes here.
        "windivert" => crate::backend::windivert::driver::MISSING,
        _ if cfg!(windows) => crate::backend::windivert::driver::MISSING,
        _ => "there is no live backend for this system",
    };
    let message = format!(
        "{why}; work on a capture with backend=Replay(\"in.pcapng\", out=\"out.pcapng\"), or in process with backend=Engine()"
    );
    Err(refuse(py, ErrorCode::NotSupported, message))
}
