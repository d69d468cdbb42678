//! `Filter`.
use super::address::PyAddress;
use super::buffer::BytesLike;
use super::error::filter_warning;
use super::filter_source::{Dialect, Source};
use super::packet::PyPacket;
use crate::address::Layer;
use crate::filter::{Field, Filter, Sets, Step};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use std::sync::Arc;

/// A compiled filter.
///
/// `Filter(text, layer=Layer.NETWORK)` compiles WinDivert's filter language, an expression of `f`, or decodes a compiled object
/// string. With `dialect="extended"`, or with `sets`, the text may also ask about sets, ranges, prefixes and negated groups:
/// `tcp.DstPort in {80, 8000-8080}`, `ip.SrcAddr in 10.0.0.0/8`, `!(udp or icmp)`, and name `sets`: `ip.SrcAddr in $blocked`
/// with `sets={"blocked": ["192.0.2.0/24", ...]}`, whose members are int, str, range, (low, high), or of ipaddress.
///
/// FilterError says what is wrong and where. A FilterWarning tells of a part that can never hold, or always does.
#[pyclass(frozen, module = "oxidivert", name = "Filter")]
pub(super) struct PyFilter {
    core: Arc<Filter>,
    dialect: Dialect,
}

impl PyFilter {
    pub(super) const fn core(&self) -> &Arc<Filter> {
        &self.core
    }

    /// The filter that an argument is: a `Filter`, or what is compiled for `layer`.
    pub(super) fn from_argument<'py>(
        argument: &Bound<'py, PyAny>,
        layer: Layer,
        dialect: Dialect,
        sets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        if let Ok(filter) = argument.cast::<Self>() {
            return Ok(filter.clone());
        }
        Bound::new(argument.py(), Self::compile(&Source::new(argument, dialect, sets)?, layer, argument.py())?)
    }

    /// The filter of an object's bytes, with or without a NUL behind them; `None` if they are none.
    pub(super) fn from_object(py: Python<'_>, object: &[u8], layer: Layer) -> PyResult<Option<Py<Self>>> {
        let text = object.split(|byte| *byte == 0).next().and_then(|object| std::str::from_utf8(object).ok());
        let filter = text.and_then(|text| Filter::compile(text, layer).ok());
        let filter = filter.map(|filter| Self { core: Arc::new(filter), dialect: Dialect::WinDivert });
        filter.map(|filter| Py::new(py, filter)).transpose()
    }

    fn compile(source: &Source<'_>, layer: Layer, py: Python<'_>) -> PyResult<Self> {
        let filter = Self { core: Arc::new(source.compile(layer)?), dialect: source.dialect };
        let warnings = filter.core.warnings();
        if !warnings.is_empty() {
            let warn = py.import("warnings")?.getattr("warn")?;
            for warning in &warnings {
                warn.call1((filter_warning(py, warning)?,))?;
            }
        }
        Ok(filter)
    }

    fn key(&self) -> (&str, Layer, Vec<(&str, Vec<String>)>) {
        (self.core.text(), self.core.layer(), sets_of(&self.core))
    }
}

/// The sets that a filter was given, with their members.
fn sets_of(filter: &Filter) -> Vec<(&str, Vec<String>)> {
    let Some(sets) = filter.sets() else { return Vec::new() };
    sets.names().map(|name| (name, sets.members(name).unwrap_or_default())).collect()
}

#[pymethods]
impl PyFilter {
    #[new]
    #[pyo3(signature = (text, layer=0, *, dialect=None, sets=None), text_signature = "(text, layer=0, *, dialect='windivert', sets=None)")]
    fn py_new<'py>(
        text: &Bound<'py, PyAny>,
        layer: i64,
        dialect: Option<Dialect>,
        sets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        // Only the extended dialect can name sets.
        let dialect = dialect.unwrap_or(if sets.is_some() { Dialect::Extended } else { Dialect::WinDivert });
        Self::compile(&Source::new(text, dialect, sets)?, super::enums::layer_from(layer)?, text.py())
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

    /// The tests that were asked of a packet, or of bytes with their address, in order: the last one decided. Tests whose outcome
    /// makes no difference are left out.
    ///
    /// ValueError as from `matches`, and for a packet whose bytes are none.
    #[pyo3(signature = (packet, address=None))]
    fn trace(&self, packet: &Bound<'_, PyAny>, address: Option<&Bound<'_, PyAddress>>) -> PyResult<Vec<PyTraceStep>> {
        let refuse = |message: String| PyValueError::new_err(message);
        let (steps, _) = if let Ok(packet) = packet.cast::<PyPacket>() {
            let slot = packet.get().slot().lock();
            self.core.trace(slot.packet().map_err(|error| refuse(error.to_string()))?)
        } else {
            let address =
                address.ok_or_else(|| PyTypeError::new_err("bytes need an address: trace(data, Address())"))?;
            let bytes: Option<BytesLike<'_>> = packet.extract()?;
            let bytes = bytes.as_ref().map(BytesLike::as_slice);
            let steps = self.core.trace_bytes(bytes, &address.get().record());
            steps.map_err(|error| refuse(error.to_string()))?
        };
        Ok(steps.into_iter().map(|step| PyTraceStep { step }).collect())
    }

    /// What the filter compiles to, for people: its tests, what a driver runs in front of it, and the program that runs here
    /// for each class of packets. With `json=True` the same as JSON text, for tools; with `ebpf=True` the programs that a Linux
    /// kernel is asked instead, one instruction a line.
    #[pyo3(signature = (*, json=false, ebpf=false))]
    fn explain(&self, json: bool, ebpf: bool) -> String {
        let explanation = self.core.explain();
        if ebpf {
            return explanation.ebpf();
        }
        if json { explanation.to_json() } else { explanation.to_string() }
    }

    /// The parts of the filter that can never hold or always do, as FilterWarnings.
    #[getter]
    fn warnings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let warnings = self.core.warnings();
        let warnings = warnings.iter().map(|warning| filter_warning(py, warning)).collect::<PyResult<Vec<_>>>()?;
        PyTuple::new(py, warnings)
    }

    /// The filter of WinDivert's language that matches at least the same packets and fits a driver's limits; the filter itself
    /// where that language can say it.
    #[getter]
    fn superset(slf: &Bound<'_, Self>) -> PyResult<Py<Self>> {
        let filter = slf.get();
        if filter.core.is_plain() {
            return Ok(slf.clone().unbind());
        }
        Py::new(slf.py(), Self { core: Arc::new(filter.core.superset()), dialect: Dialect::WinDivert })
    }

    /// Whether the superset matches no other packets than the filter.
    #[getter]
    fn superset_is_exact(&self) -> bool {
        self.core.superset_is_exact()
    }

    /// The compiled object string, as WinDivert writes it; that of the superset where only the extended dialect can say the
    /// filter.
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
        let dialect = if self.dialect == Dialect::WinDivert { "" } else { ", dialect='extended'" };
        let sets: Vec<_> = self.core.sets().into_iter().flat_map(Sets::names).collect();
        let sets = if sets.is_empty() { String::new() } else { format!(", sets=<{}>", sets.join(", ")) };
        Ok(format!("Filter({text}{layer}{dialect}{sets})"))
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

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let (py, core) = (slf.py(), &slf.get().core);
        let keywords = PyDict::new(py);
        keywords.set_item("dialect", slf.get().dialect.name())?;
        for (name, members) in sets_of(core) {
            let sets = keywords.as_any().call_method1("setdefault", ("sets", PyDict::new(py)))?;
            sets.set_item(name, members)?;
        }
        let again = py.import("functools")?.getattr("partial")?.call((slf.get_type(),), Some(&keywords))?;
        let arguments = (core.text(), core.layer().number()).into_pyobject(py)?;
        Ok((again, arguments))
    }
}

/// A test that was asked on the way to a filter's answer.
#[pyclass(frozen, module = "oxidivert", name = "TraceStep")]
pub(super) struct PyTraceStep {
    step: Step,
}

#[pymethods]
impl PyTraceStep {
    /// The test, as the normal form writes it.
    #[getter]
    fn text(&self) -> &str {
        &self.step.text
    }

    /// The value of the field; None if it is not there, which fails every test. An IPv4 address counts as the IPv6 address that
    /// it is mapped to.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(value) = &self.step.value else { return Ok(None) };
        let number = value.magnitude.into_pyobject(py)?.into_any();
        if value.is_negative { number.neg().map(Some) } else { Ok(Some(number)) }
    }

    /// The value as filters write it; None if the field is not there.
    #[getter]
    fn shown(&self) -> Option<&str> {
        Some(&self.step.value.as_ref()?.shown)
    }

    /// Whether the test passed.
    #[getter]
    const fn passed(&self) -> bool {
        self.step.passed
    }

    fn __repr__(&self) -> String {
        let shown = self.shown().unwrap_or("absent");
        format!("<TraceStep {}: {}, {shown}>", self.step.text, if self.step.passed { "passed" } else { "failed" })
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
