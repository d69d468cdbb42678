//! `Replay`: a capture as a backend.
use super::buffer::BytesLike;
use super::error::OrRaise;
use crate::backend::System;
use crate::backend::replay::{Network, Output, Replay, SharedBytes, Source};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes};
use std::path::PathBuf;
use std::sync::Arc;

/// A capture (pcap or pcapng, plain or gzip'd) as a backend for `open`: its packets are received, and what is sent is
/// written to `out`.
///
/// `source`: a path, or the bytes of a capture. `out`: a path that appears, whole, when the last handle closes, and not at all
/// after an exception; None discards. `local`: the networks ("10.0.0.0/8") of this side, for captures that do not tell
/// directions; default the private ranges.
#[pyclass(frozen, module = "oxidivert", name = "Replay")]
pub(super) struct PyReplay {
    core: Arc<Replay>,
}

impl PyReplay {
    /// The system to open handles on.
    pub(super) fn system(&self) -> Arc<dyn System> {
        Arc::clone(&self.core) as Arc<dyn System>
    }
}

fn source_from(source: &Bound<'_, PyAny>) -> PyResult<Source> {
    if let Ok(bytes) = source.cast::<PyBytes>() {
        return Ok(Source::Bytes(SharedBytes::new(PyBackedBytes::from(bytes.clone()))));
    }
    if source.is_instance_of::<PyByteArray>() {
        let bytes: BytesLike<'_> = source.extract()?;
        return Ok(Source::Bytes(SharedBytes::new(bytes.into_vec())));
    }
    source
        .extract::<PathBuf>()
        .map(Source::Path)
        .map_err(|_| PyTypeError::new_err("a replay's source is a path or the bytes of a capture"))
}

fn networks_from(local: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Vec<Network>>> {
    let Some(local) = local else { return Ok(None) };
    if local.is_instance_of::<pyo3::types::PyString>() {
        return Err(PyTypeError::new_err("local is a list of networks, such as [\"10.0.0.0/8\"]"));
    }
    let mut networks = Vec::new();
    for network in local.try_iter()? {
        let text = network?.str()?.to_string();
        networks.push(text.parse().map_err(|error| PyValueError::new_err(format!("{text:?} is no network: {error}")))?);
    }
    Ok(Some(networks))
}

#[pymethods]
impl PyReplay {
    #[new]
    #[pyo3(signature = (source, out=None, *, local=None))]
    fn py_new(
        py: Python<'_>,
        source: &Bound<'_, PyAny>,
        out: Option<PathBuf>,
        local: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let source = source_from(source)?;
        let networks = networks_from(local)?;
        let output = out.map(Output::Path);
        let core = py.detach(|| Replay::new(&source, output, networks)).or_raise(py)?;
        Ok(Self { core: Arc::new(core) })
    }

    /// How much of the source was read: bytes, and how many there are.
    #[getter]
    fn progress(&self) -> (u64, u64) {
        self.core.progress()
    }

    fn __repr__(&self) -> String {
        format!("<Replay of {}>", self.core.source_name())
    }
}
