//! Reference counts: whether somebody else holds an object.
#![expect(unsafe_code, reason = "reference counts are read through the interpreter's C interface")]
use pyo3::ffi;
use pyo3::prelude::*;

/// How many references to an object exist.
#[inline]
pub(super) fn reference_count<T>(object: &Bound<'_, T>) -> isize {
    // SAFETY: the object is alive, since we hold it, and the interpreter is attached.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}
