//! Bytes across the border: what Python gives us is read without a copy where it cannot change, else copied once; what we
//! give is a read-only memoryview that keeps the slot alive.
#![expect(unsafe_code, reason = "the buffer protocol is a C interface")]
use super::shared::SharedSlot;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};
use std::ffi::CStr;
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

/// How a one-dimensional array of numbers is laid out, for as long as its owner lives. Kept in the owner, since views point
/// into it.
pub(super) struct ArrayShape {
    len: [ffi::Py_ssize_t; 1],
    item_len: [ffi::Py_ssize_t; 1],
    format: &'static CStr,
}

impl ArrayShape {
    /// So many items of type `T`, which Python's `struct` writes as `format`.
    pub(super) const fn new<T>(len: usize, format: &'static CStr) -> Self {
        Self { len: [len as ffi::Py_ssize_t], item_len: [size_of::<T>() as ffi::Py_ssize_t], format }
    }
}

/// Fills a buffer request with an array that `owner` holds and never changes or moves.
///
/// # Safety
///
/// `view` is what the interpreter passed to `__getbuffer__` of `owner`. `items` points to as many items as `shape` says. Both
/// live, unchanged, as long as `owner`.
pub(super) unsafe fn export_array(
    owner: &Bound<'_, PyAny>,
    view: *mut ffi::Py_buffer,
    flags: std::ffi::c_int,
    items: *const std::ffi::c_void,
    shape: &ArrayShape,
) -> PyResult<()> {
    if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
        return Err(PyBufferError::new_err("the array is read-only"));
    }
    let wanted = |flag| flags & flag == flag;
    let pointer = |flag, array: &[ffi::Py_ssize_t; 1]| {
        if wanted(flag) { array.as_ptr().cast_mut() } else { std::ptr::null_mut() }
    };
    let format = if wanted(ffi::PyBUF_FORMAT) { shape.format.as_ptr().cast_mut() } else { std::ptr::null_mut() };
    let filled = ffi::Py_buffer {
        buf: items.cast_mut(),
        obj: owner.clone().into_ptr(),
        len: shape.len[0] * shape.item_len[0],
        itemsize: shape.item_len[0],
        readonly: 1,
        ndim: 1,
        format,
        shape: pointer(ffi::PyBUF_ND, &shape.len),
        strides: pointer(ffi::PyBUF_STRIDES, &shape.item_len),
        suboffsets: std::ptr::null_mut(),
        internal: std::ptr::null_mut(),
    };
    // SAFETY: the interpreter passed a place for a request.
    unsafe { view.write(filled) };
    Ok(())
}
