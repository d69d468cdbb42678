//! Bytes across the border: what Python gives us is read without a copy where it cannot change, else copied once; what we
//! give is a read-only memoryview that keeps the slot alive.
#![expect(unsafe_code, reason = "the buffer protocol is a C interface")]
use super::shared::SharedSlot;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};
use std::ops::Range;
use std::sync::Arc;

/// The bytes of a Python object: borrowed from `bytes`, copied from anything mutable.
pub(super) struct BytesLike<'py>(Source<'py>);

enum Source<'py> {
    Borrowed(Bound<'py, PyBytes>),
    Copied(Vec<u8>),
}

impl BytesLike<'_> {
    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Source::Borrowed(bytes) => bytes.as_bytes(),
            Source::Copied(bytes) => bytes,
        }
    }

    pub(super) fn into_vec(self) -> Vec<u8> {
        match self.0 {
            Source::Borrowed(bytes) => bytes.as_bytes().to_vec(),
            Source::Copied(bytes) => bytes,
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for BytesLike<'py> {
    type Error = PyErr;

    #[inline]
    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self(Source::Borrowed(bytes.to_owned())));
        }
        if let Ok(bytes) = object.cast::<PyByteArray>() {
            return Ok(Self(Source::Copied(bytes.to_vec())));
        }
        let buffer = pyo3::buffer::PyBuffer::<u8>::get(&object)?;
        Ok(Self(Source::Copied(buffer.to_vec(object.py())?)))
    }
}

/// A copy of the bytes of a Python object.
#[inline]
pub(super) fn copied(object: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    match object.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes().to_vec()),
        Err(_) => object.extract().map(BytesLike::into_vec),
    }
}

/// Writes `bytes` over the start of a byte array.
pub(super) fn overwrite(array: &Bound<'_, PyByteArray>, bytes: &[u8]) {
    // SAFETY: the interpreter is attached and runs no Python code before the copy is done, so that nobody resizes the array.
    let place = unsafe { array.as_bytes_mut() };
    let len = place.len().min(bytes.len());
    place[..len].copy_from_slice(&bytes[..len]);
}

/// What a memoryview of a packet looks at. Holds the slot, not the packet.
#[pyclass(frozen, module = "oxidivert._native", name = "_PacketBuffer")]
pub(super) struct PacketBuffer {
    slot: Arc<SharedSlot>,
    range: Range<usize>,
}

impl PacketBuffer {
    /// A read-only memoryview of part of a slot's bytes.
    pub(super) fn view(
        py: Python<'_>,
        slot: Arc<SharedSlot>,
        range: Range<usize>,
    ) -> PyResult<Bound<'_, PyMemoryView>> {
        PyMemoryView::from(Bound::new(py, Self { slot, range })?.as_any())
    }
}

#[pymethods]
impl PacketBuffer {
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: std::ffi::c_int) -> PyResult<()> {
        let buffer = slf.get();
        let slot = buffer.slot.lock();
        let bytes = slot.bytes().get(buffer.range.clone()).ok_or_else(|| {
            PyBufferError::new_err("the packet has become shorter than this memoryview; take a new one")
        })?;
        let start = bytes.as_ptr().cast_mut().cast::<std::ffi::c_void>();
        let len = bytes.len() as ffi::Py_ssize_t;
        // SAFETY: `view` comes from the interpreter; the bytes stay where they are while `exports` counts this view, since
        // every change of size asks `verify_resizable` first, and the slot lives as long as `slf`, which `view` holds.
        let answer = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, len, 1, flags) };
        if answer != 0 {
            return Err(PyErr::fetch(slf.py()));
        }
        buffer.slot.add_export();
        Ok(())
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.slot.remove_export();
    }
}
