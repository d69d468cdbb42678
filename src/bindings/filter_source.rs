//! What a filter is compiled from: text or an expression, a dialect, and named sets.
use super::error::OrRaise;
use crate::address::Layer;
use crate::filter::{Filter, Sets};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyInt, PyMapping, PyRange, PyRangeMethods, PyString, PyTuple, PyType};

/// The language that text is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    WinDivert,
    Extended,
}

impl Dialect {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::WinDivert => "windivert",
            Self::Extended => "extended",
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Dialect {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let name: String = object.extract()?;
        [Self::WinDivert, Self::Extended]
            .into_iter()
            .find(|dialect| dialect.name() == name)
            .ok_or_else(|| PyValueError::new_err(format!("dialect is 'windivert' or 'extended', not {name:?}")))
    }
}

/// Text with the dialect that it is in and the sets that it may name.
pub(super) struct Source<'py> {
    text: Bound<'py, PyString>,
    pub(super) dialect: Dialect,
    sets: Sets,
}

static EXPRESSION: PyOnceLock<Py<PyType>> = PyOnceLock::new();

impl<'py> Source<'py> {
    /// Of text or an expression.
    pub(super) fn new(
        filter: &Bound<'py, PyAny>,
        dialect: Dialect,
        sets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        let sets = sets.map_or_else(|| Ok(Sets::new()), sets_from)?;
        if let Ok(text) = filter.cast::<PyString>() {
            if dialect == Dialect::WinDivert && sets.names().next().is_some() {
                return Err(PyValueError::new_err("only the extended dialect can name sets; leave out dialect="));
            }
            return Ok(Self { text: text.clone(), dialect, sets });
        }
        if filter.is_instance(EXPRESSION.import(filter.py(), "oxidivert._expression", "Expression")?)? {
            // What expressions print needs the extended dialect.
            return Ok(Self { text: filter.str()?, dialect: Dialect::Extended, sets });
        }
        Err(PyTypeError::new_err("a filter is text, a compiled object string, an expression of f or a Filter"))
    }

    pub(super) fn compile(&self, layer: Layer) -> PyResult<Filter> {
        let text = self.text.to_str()?;
        let filter = match self.dialect {
            Dialect::WinDivert => Filter::compile(text, layer),
            Dialect::Extended => Filter::compile_extended(text, layer, &self.sets),
        };
        filter.or_raise(self.text.py())
    }
}

/// Sets from a mapping of names to members.
fn sets_from(sets: &Bound<'_, PyAny>) -> PyResult<Sets> {
    let refuse =
        || PyTypeError::new_err("sets is a mapping of names to numbers, addresses, networks, ranges or their text");
    let mut named = Sets::new();
    for item in sets.cast::<PyMapping>().map_err(|_| refuse())?.items()?.iter() {
        let (name, members): (String, Bound<'_, PyAny>) = item.extract()?;
        if members.is_instance_of::<PyString>() {
            let message = format!("the set {name:?} is a collection of members, not one text: [{members:?}]");
            return Err(PyTypeError::new_err(message));
        }
        let mut texts = Vec::new();
        for member in members.try_iter()? {
            texts.extend(member_text(&name, texts.len(), &member?)?);
        }
        named.insert(&name, texts).map_err(|error| PyValueError::new_err(error.to_string()))?;
    }
    Ok(named)
}

/// The text of a member of a set; `None` of an empty range.
fn member_text(name: &str, index: usize, member: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if let Ok(text) = member.cast::<PyString>() {
        return Ok(Some(text.to_str()?.to_owned()));
    }
    if let Ok(range) = member.cast::<PyRange>() {
        let (first, end) = (range.start()?, range.stop()?);
        if range.step()? != 1 {
            let message = format!("member {index} of the set `{name}` is a range with steps other than 1");
            return Err(PyValueError::new_err(message));
        }
        return Ok((first < end).then(|| format!("{first}-{}", end - 1)));
    }
    if let Ok(pair) = member.cast::<PyTuple>() {
        let (low, high): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair.extract()?;
        return Ok(Some(format!("{}-{}", low.str()?, high.str()?)));
    }
    let module: String = member.get_type().module()?.extract()?;
    if member.is_instance_of::<PyInt>() || module == "ipaddress" {
        return Ok(Some(member.str()?.to_str()?.to_owned()));
    }
    let given = member.get_type().name()?;
    Err(PyTypeError::new_err(format!(
        "member {index} of the set `{name}` is a {given}; members are int, str, range, (low, high), and addresses and networks of \
         ipaddress"
    )))
}
