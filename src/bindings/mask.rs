//! `Mask`: which packets of a batch are meant.
#![expect(unsafe_code, reason = "the buffer protocol is a C interface")]
use super::buffer::{ArrayShape, export_array};
use super::items::truth_values;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyTuple};

/// Which packets of a batch are meant: a read-only sequence of truth values, one for each packet.
///
/// `&`, `|`, `^` and `~` combine masks of one length. Takes part in the buffer protocol (format `?`), so that
/// `numpy.asarray(mask)` is an array of bool without a copy.
#[pyclass(frozen, module = "oxidivert", name = "Mask", sequence)]
pub(super) struct PyMask {
    values: Box<[bool]>,
    shape: ArrayShape,
}

impl From<Vec<bool>> for PyMask {
    fn from(values: Vec<bool>) -> Self {
        Self { shape: ArrayShape::new::<bool>(values.len(), c"?"), values: values.into() }
    }
}

impl PyMask {
    pub(super) fn values(&self) -> &[bool] {
        &self.values
    }

    fn combine(&self, other: &Self, operator: impl Fn(bool, bool) -> bool) -> PyResult<Self> {
        let (ours, theirs) = (self.values.len(), other.values.len());
        if ours != theirs {
            return Err(PyValueError::new_err(format!("the masks are for {ours} and {theirs} packets")));
        }
        let values = self.values.iter().zip(&other.values).map(|(ours, theirs)| operator(*ours, *theirs));
        Ok(values.collect::<Vec<_>>().into())
    }
}

#[pymethods]
impl PyMask {
    #[new]
    fn py_new(values: &Bound<'_, PyAny>) -> PyResult<Self> {
        truth_values(values).map(Self::from)
    }

    /// How many packets are meant.
    fn count(&self) -> usize {
        self.values.iter().filter(|value| **value).count()
    }

    fn __len__(&self) -> usize {
        self.values.len()
    }

    fn __getitem__(&self, index: isize) -> PyResult<bool> {
        let len = self.values.len();
        let place = if index < 0 { index.checked_add_unsigned(len) } else { Some(index) };
        let value = place.and_then(|place| self.values.get(usize::try_from(place).ok()?));
        value.copied().ok_or_else(|| PyIndexError::new_err(format!("the mask has {len} truth values")))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        PyTuple::new(py, self.values.iter().copied())?.try_iter()
    }

    fn __and__(&self, other: &Bound<'_, Self>) -> PyResult<Self> {
        self.combine(other.get(), |ours, theirs| ours && theirs)
    }

    fn __or__(&self, other: &Bound<'_, Self>) -> PyResult<Self> {
        self.combine(other.get(), |ours, theirs| ours || theirs)
    }

    fn __xor__(&self, other: &Bound<'_, Self>) -> PyResult<Self> {
        self.combine(other.get(), |ours, theirs| ours != theirs)
    }

    fn __invert__(&self) -> Self {
        self.values.iter().map(|value| !value).collect::<Vec<_>>().into()
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| self.values == other.get().values)
    }

    fn __hash__(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.values.hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        format!("<Mask of {} of {} packets>", self.count(), self.values.len())
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: std::ffi::c_int) -> PyResult<()> {
        let mask = slf.get();
        let items = mask.values.as_ptr().cast();
        // SAFETY: the interpreter asks for this object's buffer; a mask never changes, and `shape` counts its values.
        unsafe { export_array(slf.as_any(), view, flags, items, &mask.shape) }
    }
}
