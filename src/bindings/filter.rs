//! `Filter`.
use super::address::PyAddress;
use super::buffer::BytesLike;
use super::error::OrRaise;
use super::packet::PyPacket;
use crate::address::Layer;
use crate::filter::{Field, Filter, Sets};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple, PyType};
use std::sync::Arc;

/// A compiled filter.
///
/// `Filter(text, layer=Layer.NETWORK)` compiles WinDivert's filter language, an expression of `f`, or decodes a compiled object
/// string. FilterError says what is wrong and where.
#[pyclass(frozen, module = "oxidivert", name = "Filter")]
pub(super) struct PyFilter {
    core: Arc<Filter>,
    dialect: &'static str,
}

impl PyFilter {
    pub(super) const fn core(&self) -> &Arc<Filter> {
        &self.core
    }

    /// The filter that an argument is: a `Filter`, or text that is compiled for `layer`.
    pub(super) fn from_argument<'py>(argument: &Bound<'py, PyAny>, layer: Layer) -> PyResult<Bound<'py, Self>> {
        let py = argument.py();
        if let Ok(filter) = argument.cast::<Self>() {
            return Ok(filter.clone());
        }
        let (text, _) = text_of(argument)?;
        Bound::new(py, Self::compile(py, text.to_str()?, layer, "extended")?)
    }
}

static EXPRESSION: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// The text of an argument that is text or an `Expression`, and whether it is an expression.
fn text_of<'py>(argument: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyString>, bool)> {
    if let Ok(text) = argument.cast::<PyString>() {
        return Ok((text.clone(), false));
    }
    if argument.is_instance(EXPRESSION.import(argument.py(), "oxidivert._expression", "Expression")?)? {
        return Ok((argument.str()?, true));
    }
    Err(PyTypeError::new_err("a filter is text, a compiled object string, an expression of f or a Filter"))
}

/// Refuses a dialect that does not exist; the one that it is.
pub(super) fn verify_dialect(dialect: &str) -> PyResult<&'static str> {
    match dialect {
        "windivert" => Ok("windivert"),
        "extended" => Ok("extended"),
        _ => Err(PyValueError::new_err(format!("dialect is 'windivert' or 'extended', not {dialect:?}"))),
    }
}

#[pymethods]
impl PyFilter {
    #[new]
    #[pyo3(signature = (text, layer=0, *, dialect="windivert"))]
    fn py_new(py: Python<'_>, text: &Bound<'_, PyAny>, layer: i64, dialect: &str) -> PyResult<Self> {
        let dialect = verify_dialect(dialect)?;
        let layer = super::enums::layer_from(layer)?;
        let (text, is_expression) = text_of(text)?;
        // What expressions print needs the extended dialect.
        let dialect = if is_expression { "extended" } else { dialect };
        Self::compile(py, text.to_str()?, layer, dialect)
    }

    /// Whether a packet matches; or bytes (None on event layers) together with an address.
    ///
    /// ValueError where bytes and address do not fit each other or the filter's layer.
    #[pyo3(signature = (packet, address=None))]
    fn matches(&self, packet: &Bound<'_, PyAny>, address: Option<&Bound<'_, PyAddress>>) -> PyResult<bool> {
        if let Ok(packet) = packet.cast::<PyPacket>() {
            let slot = packet.get().slot().lock();
            return Ok(slot.packet().is_ok_and(|packet| self.core.matches(packet)));
        }
        let Some(address) = address else {
            return Err(PyTypeError::new_err("bytes need an address: matches(data, Address())"));
        };
        let bytes: Option<BytesLike<'_>> = packet.extract()?;
        self.core
            .evaluate(bytes.as_ref().map(BytesLike::as_slice), &address.get().record())
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// The compiled object string, as WinDivert writes it.
    #[getter]
    fn object(&self) -> String {
        self.core.object()
    }

    /// The filter's layer.
    #[getter]
    fn layer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        super::enums::layer_member(py, self.core.layer())
    }

    /// The text that the filter was compiled from.
    #[getter]
    fn text(&self) -> &str {
        self.core.text()
    }

    fn __str__(&self) -> String {
        self.core.to_string()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let text = PyString::new(py, self.core.text()).repr()?;
        let layer = self.core.layer();
        let layer = if layer == Layer::Network { String::new() } else { format!(", Layer.{}", layer.name()) };
        let dialect = if self.dialect == "windivert" { "" } else { ", dialect='extended'" };
        Ok(format!("Filter({text}{layer}{dialect})"))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| self.key() == other.get().key())
    }

    fn __hash__(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.key().hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (String, u8))> {
        let core = &slf.get().core;
        Ok((slf.get_type().into_any(), (core.text().to_owned(), core.layer().number())))
    }
}

impl PyFilter {
    fn compile(py: Python<'_>, text: &str, layer: Layer, dialect: &'static str) -> PyResult<Self> {
        let core = match dialect {
            "extended" => Filter::compile_extended(text, layer, &Sets::new()),
            _ => Filter::compile(text, layer),
        };
        Ok(Self { core: Arc::new(core.or_raise(py)?), dialect })
    }

    fn key(&self) -> (&str, Layer) {
        (self.core.text(), self.core.layer())
    }
}

/// A field's name, what it is, the needed header, layers, style and length of an element.
type FieldRow<'py> = (&'static str, &'static str, Option<&'static str>, Bound<'py, PyTuple>, &'static str, Option<u8>);

/// The table of fields of the filter language: name, what it is, the header that it needs, the layers that have it, how its
/// values are written, and the length in bytes of an element if it is an array.
#[pyfunction]
pub(super) fn filter_fields(py: Python<'_>) -> PyResult<Vec<FieldRow<'_>>> {
    let row = |field: &Field| {
        let layers = Layer::ALL.iter().filter(|layer| field.exists_on(layer.number()));
        let layers = layers.map(|layer| super::enums::layer_member(py, *layer)).collect::<PyResult<Vec<_>>>()?;
        let needs = field.needs().map(Field::name);
        let layers = PyTuple::new(py, layers)?;
        Ok((field.name(), field.doc(), needs, layers, field.style().name(), field.element_len()))
    };
    Field::ALL.iter().map(row).collect()
}
