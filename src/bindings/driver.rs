//! The WinDivert driver's life, for the command line.
use super::error::OrRaise;
use crate::backend::windivert::driver;
use pyo3::prelude::*;
use std::path::PathBuf;

/// A service: whether it runs, and its file.
type Service = (bool, PathBuf);
/// See `_driver_inventory`.
type Inventory = (bool, Option<Service>, PathBuf, Vec<(PathBuf, String)>);

/// What is there of the WinDivert driver: whether it is loaded, its service, the folder it is run from, the package's files
/// and what is wrong with each.
#[pyfunction]
pub(super) fn _driver_inventory(py: Python<'_>) -> PyResult<Inventory> {
    let found = py.detach(driver::inventory).or_raise(py)?;
    let service = found.service.map(|service| (service.is_running, service.path));
    Ok((found.is_loaded, service, found.folder, found.files))
}

/// A service of Windows by its name: whether it runs, and its file.
#[pyfunction]
pub(super) fn _service(py: Python<'_>, name: &str) -> PyResult<Option<Service>> {
    let found = py.detach(|| driver::service(name)).or_raise(py)?;
    Ok(found.map(|service| (service.is_running, service.path)))
}

/// Installs and starts the WinDivert driver if it is not loaded.
#[pyfunction]
pub(super) fn _driver_start(py: Python<'_>) -> PyResult<()> {
    py.detach(driver::start).or_raise(py)
}

/// Stops the WinDivert driver.
#[pyfunction]
pub(super) fn _driver_stop(py: Python<'_>) -> PyResult<()> {
    py.detach(driver::stop).or_raise(py)
}

/// Removes the WinDivert driver's service.
#[pyfunction]
pub(super) fn _driver_remove(py: Python<'_>) -> PyResult<()> {
    py.detach(driver::remove).or_raise(py)
}
