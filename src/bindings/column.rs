//! `Column`: a value of each packet of a batch.
#![expect(unsafe_code, reason = "the buffer protocol is a C interface")]
use super::arrow::{array_capsule, schema_capsule, start_of};
use super::buffer::{ArrayShape, export_array};
use super::mask::PyMask;
use super::value::single;
use crate::filter::{Column, ColumnData, ColumnRelation, ColumnSource};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyIndexError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCapsule, PyIterator, PyTuple};
use std::sync::Arc;

/// A value of each packet of a batch, in host byte order: a read-only sequence of int (flags: bool; addresses as numbers), None
/// where the packet has none.
///
/// `==`, `!=`, `<`, `<=`, `>` and `>=` with a number or an address give the Mask of the packets whose value stands so to it;
/// packets that have none are never among them, as with the tests of the filter language.
///
/// Takes part in the buffer protocol, so that `numpy.asarray(column)` is an array without a copy (0 where there is no value,
/// see `valid`; IPv6 and mapped addresses are 16 bytes), and in Arrow's C data interface: `pyarrow.array(column)`,
/// `polars.Series(column)`. Never changes; outlives its batch.
#[pyclass(frozen, module = "oxidivert", name = "Column", sequence)]
pub(super) struct PyColumn {
    source: ColumnSource,
    core: Arc<Column>,
    shape: ArrayShape,
    valid: PyOnceLock<Py<PyMask>>,
}

impl PyColumn {
    pub(super) fn new(source: ColumnSource, core: Column) -> Self {
        let len = core.len();
        let shape = match core.data() {
            ColumnData::Bool(_) => ArrayShape::new::<bool>(len, c"?"),
            ColumnData::U8(_) => ArrayShape::new::<u8>(len, c"B"),
            ColumnData::U16(_) => ArrayShape::new::<u16>(len, c"H"),
            ColumnData::U32(_) => ArrayShape::new::<u32>(len, c"I"),
            ColumnData::I64(_) => ArrayShape::new::<i64>(len, c"q"),
            ColumnData::Octets(_) => ArrayShape::new::<[u8; 16]>(len, c"16s"),
        };
        Self { source, core: Arc::new(core), shape, valid: PyOnceLock::new() }
    }

    pub(super) fn core(&self) -> &Column {
        &self.core
    }

    fn item<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyAny>> {
        if self.core.valid().get(index) != Some(&true) {
            return Ok(py.None().into_bound(py));
        }
        match self.core.data() {
            ColumnData::Bool(values) => values[index].into_bound_py_any(py),
            ColumnData::U8(values) => values[index].into_bound_py_any(py),
            ColumnData::U16(values) => values[index].into_bound_py_any(py),
            ColumnData::U32(values) => values[index].into_bound_py_any(py),
            ColumnData::I64(values) => values[index].into_bound_py_any(py),
            ColumnData::Octets(values) => u128::from_be_bytes(values[index]).into_bound_py_any(py),
        }
    }
}

#[pymethods]
impl PyColumn {
    /// The name that the column was asked for by.
    #[getter]
    pub(super) fn name(&self) -> &str {
        self.source.name()
    }

    /// Which packets have a value.
    #[getter]
    fn valid(&self, py: Python<'_>) -> PyResult<Py<PyMask>> {
        let make = || Py::new(py, PyMask::from(self.core.valid().to_vec()));
        self.valid.get_or_try_init(py, make).map(|mask| mask.clone_ref(py))
    }

    fn __len__(&self) -> usize {
        self.core.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: isize) -> PyResult<Bound<'py, PyAny>> {
        let len = self.core.len();
        let place = if index < 0 { index.checked_add_unsigned(len) } else { Some(index) };
        let place = place.and_then(|place| usize::try_from(place).ok()).filter(|place| *place < len);
        self.item(py, place.ok_or_else(|| PyIndexError::new_err(format!("the column has {len} values")))?)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let items = (0..self.core.len()).map(|index| self.item(py, index)).collect::<PyResult<Vec<_>>>()?;
        PyTuple::new(py, items)?.try_iter()
    }

    fn __repr__(&self) -> String {
        let valid = self.core.valid().iter().filter(|valid| **valid).count();
        format!("<Column {} of {} packets, {valid} of which have it>", self.name(), self.core.len())
    }

    fn __richcmp__(&self, py: Python<'_>, other: &Bound<'_, PyAny>, operator: CompareOp) -> PyResult<Py<PyAny>> {
        let relation = match operator {
            CompareOp::Eq => ColumnRelation::Equal,
            CompareOp::Ne => ColumnRelation::NotEqual,
            CompareOp::Lt => ColumnRelation::Less,
            CompareOp::Le => ColumnRelation::LessOrEqual,
            CompareOp::Gt => ColumnRelation::Greater,
            CompareOp::Ge => ColumnRelation::GreaterOrEqual,
        };
        match single(other)?.and_then(|value| self.core.compare(relation, value)) {
            Some(mask) => Ok(Py::new(py, PyMask::from(mask))?.into_any()),
            None => Ok(py.NotImplemented()),
        }
    }

    fn __hash__(slf: PyRef<'_, Self>) -> usize {
        // By identity, as if there were no comparison: a column is no value.
        slf.as_ptr().addr()
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: std::ffi::c_int) -> PyResult<()> {
        let column = slf.get();
        let items = start_of(column.core.data());
        // SAFETY: the interpreter asks for this object's buffer; a column never changes, and `shape` counts its values.
        unsafe { export_array(slf.as_any(), view, flags, items, &column.shape) }
    }

    /// The column's type, for Arrow's C data interface.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        schema_capsule(py, self.name(), self.core.data())
    }

    /// The column, for Arrow's C data interface, as the type that it has whatever is requested.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        // Consumers compare what they get with what they want and convert it, as the interface allows.
        let _ = requested_schema;
        Ok((self.__arrow_c_schema__(py)?, array_capsule(py, &self.core)?))
    }
}
