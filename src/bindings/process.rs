//! `Process`, which is a class of Python's.
use crate::backend::{HandleId, Process};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// A process in Python, which is looked up while others run.
pub(super) fn process_object(
    py: Python<'_>,
    look_up: impl FnOnce() -> Option<Process> + Send,
) -> PyResult<Option<Bound<'_, PyAny>>> {
    let Some(process) = py.detach(look_up) else { return Ok(None) };
    let class = CLASS.import(py, "oxidivert._process", "Process")?;
    class.call1((process.id, process.name, process.path)).map(Some)
}

/// The process of this number as the handle knows it; `None` for 0.
pub(super) fn described(handle: HandleId, id: u32) -> Option<Process> {
    let describe = || handle.handle().map_or_else(|| Process::from_id(id), |handle| handle.backend().describe(id));
    (id != 0).then(describe)
}
