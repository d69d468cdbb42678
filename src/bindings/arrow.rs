//! Arrow's C data interface: a column as the two C structs of its specification, within the capsules of its Python protocol.
//!
//! Nothing is copied but the bits of validity and of flags. Whoever takes a struct out of its capsule releases it; what
//! nobody took is released with the capsule. The array holds the column, so that it outlives everything else.
#![expect(unsafe_code, reason = "the interface is C structs with callbacks")]
use crate::filter::{Column, ColumnData};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::Arc;

/// The flag of a field that may have no value.
const NULLABLE: i64 = 2;

/// `struct ArrowSchema`.
#[repr(C)]
struct Schema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut Self,
    dictionary: *mut Self,
    release: Option<unsafe extern "C" fn(*mut Self)>,
    private_data: *mut c_void,
}

/// `struct ArrowArray`.
#[repr(C)]
struct Array {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *const *const c_void,
    children: *mut *mut Self,
    dictionary: *mut Self,
    release: Option<unsafe extern "C" fn(*mut Self)>,
    private_data: *mut c_void,
}

/// What an array's pointers point to.
struct Held {
    /// Holds the values.
    column: Arc<Column>,
    /// Packed, the first bit least significant.
    validity: Vec<u8>,
    flags: Vec<u8>,
    buffers: [*const c_void; 2],
}

// SAFETY: the pointers are to what the struct itself owns, and to static text.
unsafe impl Send for Schema {}
// SAFETY: the pointers are to what the struct itself owns, which never changes.
unsafe impl Send for Array {}

/// Frees what a schema owns.
///
/// # Safety
///
/// `schema` is one that `schema_capsule` made, perhaps moved since, and was not released.
unsafe extern "C" fn release_schema(schema: *mut Schema) {
    // SAFETY: the caller gives a valid struct of its own.
    let schema = unsafe { &mut *schema };
    // SAFETY: `schema_capsule` put a box of this type there, and nobody has freed it.
    drop(unsafe { Box::from_raw(schema.private_data.cast::<CString>()) });
    schema.private_data = ptr::null_mut();
    schema.release = None;
}

/// Frees what an array owns.
///
/// # Safety
///
/// `array` is one that `array_capsule` made, perhaps moved since, and was not released.
unsafe extern "C" fn release_array(array: *mut Array) {
    // SAFETY: the caller gives a valid struct of its own.
    let array = unsafe { &mut *array };
    // SAFETY: `array_capsule` put a box of this type there, and nobody has freed it.
    drop(unsafe { Box::from_raw(array.private_data.cast::<Held>()) });
    array.private_data = ptr::null_mut();
    array.release = None;
}

impl Drop for Schema {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: nobody took the struct out of its capsule, or its callback would be gone.
            unsafe { release(self) };
        }
    }
}

impl Drop for Array {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: nobody took the struct out of its capsule, or its callback would be gone.
            unsafe { release(self) };
        }
    }
}

/// The interface's name of a type.
const fn format_of(data: &ColumnData) -> &'static CStr {
    match data {
        ColumnData::Bool(_) => c"b",
        ColumnData::U8(_) => c"C",
        ColumnData::U16(_) => c"S",
        ColumnData::U32(_) => c"I",
        ColumnData::I64(_) => c"l",
        ColumnData::Octets(_) => c"w:16",
    }
}

fn pack(values: &[bool]) -> Vec<u8> {
    let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    values.chunks(8).map(byte).collect()
}

/// The type of a column, in a capsule.
pub(super) fn schema_capsule<'py>(py: Python<'py>, name: &str, data: &ColumnData) -> PyResult<Bound<'py, PyCapsule>> {
    let name = Box::new(CString::new(name)?);
    let schema = Schema {
        format: format_of(data).as_ptr(),
        name: name.as_ptr(),
        metadata: ptr::null(),
        flags: NULLABLE,
        n_children: 0,
        children: ptr::null_mut(),
        dictionary: ptr::null_mut(),
        release: Some(release_schema),
        private_data: Box::into_raw(name).cast(),
    };
    PyCapsule::new_with_value(py, schema, c"arrow_schema")
}

/// A column's values, in a capsule.
pub(super) fn array_capsule<'py>(py: Python<'py>, column: &Arc<Column>) -> PyResult<Bound<'py, PyCapsule>> {
    let flags = if let ColumnData::Bool(values) = column.data() { pack(values) } else { Vec::new() };
    let nulls = column.valid().iter().filter(|valid| !**valid).count();
    let mut held =
        Box::new(Held { column: Arc::clone(column), validity: pack(column.valid()), flags, buffers: [ptr::null(); 2] });
    let data = held.column.data();
    let values = if matches!(data, ColumnData::Bool(_)) { held.flags.as_ptr().cast() } else { start_of(data) };
    held.buffers = [held.validity.as_ptr().cast(), values];
    let array = Array {
        length: column.len() as i64,
        null_count: nulls as i64,
        offset: 0,
        n_buffers: 2,
        n_children: 0,
        buffers: held.buffers.as_ptr(),
        children: ptr::null_mut(),
        dictionary: ptr::null_mut(),
        release: Some(release_array),
        private_data: Box::into_raw(held).cast(),
    };
    PyCapsule::new_with_value(py, array, c"arrow_array")
}

/// Where the values lie, one behind the other.
pub(super) fn start_of(data: &ColumnData) -> *const c_void {
    match data {
        ColumnData::Bool(values) => values.as_ptr().cast(),
        ColumnData::U8(values) => values.as_ptr().cast(),
        ColumnData::U16(values) => values.as_ptr().cast(),
        ColumnData::U32(values) => values.as_ptr().cast(),
        ColumnData::I64(values) => values.as_ptr().cast(),
        ColumnData::Octets(values) => values.as_ptr().cast(),
    }
}
