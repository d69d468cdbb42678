//! WinDivert 2.2's filter language: compiled, evaluated, written as object string and in normal form, with its own errors.
//!
//! A [`Filter`] is made once and matches packets without allocating. The stages, each a module with one input and one
//! output: text, tokens with their places, expression tree, WinDivert's program (a list of tests with forward jumps), and
//! the optimised program that runs. Object strings enter at WinDivert's program; object strings and normal form are written
//! from it. Beside them a [`ColumnSource`] reads one of the language's fields from all packets of a batch, or writes it.
//!
//! | rooms | what they hold |
//! | --- | --- |
//! | `field`, `names`, `number`, `span` | the tables and plain data that all others read |
//! | `lexer`, `parser`, `ast` | text to expression tree |
//! | `types`, `lower` | expression tree to WinDivert's program |
//! | `object`, `format` | WinDivert's program to and from text |
//! | `bind`, `ranges`, `optimise`, `program`, `table`, `eval`, `evaluate` | WinDivert's program to the one that runs, and running it |
//! | `extended`, `sets`, `members`, `superset` | the extended dialect: what it adds, and what a driver runs in its place |
//! | `error`, `excerpt`, `suggest` | what is wrong with a filter |
//! | `analyse`, `facts`, `remark`, `warning` | what is odd about a filter |
//! | `ebpf` | the program that a kernel runs in front of it |
//! | `explain`, `trace` | what a filter compiles to, and which test decided |
//!
//! No text, object, packet or address record makes a function here panic or run without end: nesting, tokens and tests are
//! limited, jumps lead forwards, and reads are checked.
//!
//! ```
//! use oxidivert::address::{Address, Layer};
//! use oxidivert::filter::Filter;
//!
//! let filter = Filter::compile("outbound and (udp.DstPort == 53 or udp.DstPort == 853)", Layer::Network)?;
//! let packet = b"\x45\0\0\x20\x12\x34\0\0\x40\x11\0\0\xc0\0\x02\x01\xc6\x33\x64\x02\
//!                \x30\x39\0\x35\0\x0c\0\0abcd";
//! assert_eq!(filter.evaluate(Some(packet), &Address::default()), Ok(true));
//! assert_eq!(filter.to_string(), "outbound and (udp.DstPort = 53 or udp.DstPort = 853)");
//!
//! let error = Filter::compile("udp.DstPort == 53 nor tcp", Layer::Network).unwrap_err();
//! assert_eq!(error.to_string(), "\
//! `nor` is no field, macro, number or address; did you mean `or` or `not`?
//!   udp.DstPort == 53 nor tcp
//!                     ^^^");
//! # Ok::<(), oxidivert::filter::Error>(())
//! ```
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod analyse;
mod ast;
mod bind;
mod column;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports, reason = "only Linux runs such programs"))]
mod ebpf;
mod error;
mod eval;
mod evaluate;
mod excerpt;
mod explain;
mod extended;
mod facts;
mod field;
mod format;
mod lexer;
mod lower;
mod members;
mod names;
mod number;
mod object;
mod optimise;
mod parser;
mod program;
mod ranges;
mod remark;
mod sets;
mod span;
mod suggest;
mod superset;
mod table;
mod trace;
mod types;
mod warning;

pub use column::{
    Column, ColumnData, ColumnError, ColumnErrorKind, ColumnRelation, ColumnSource, ColumnValue, WriteFault,
};
#[cfg(target_os = "linux")]
pub(crate) use ebpf::{Arithmetic, Assembler, CodeLabel, Deed, EventPlaces, Matched, Relation};
pub use ebpf::{Ebpf, Extent, OfInterface, Vantage};
pub use error::{BadToken, Error, ErrorKind, Expected, Limit, ObjectFault};
pub use evaluate::{EvaluateError, EvaluateErrorKind};
pub use explain::Explanation;
pub use field::{Field, Style};
pub use names::{MACROS, Macro};
pub use sets::{SetError, Sets};
pub use span::Span;
pub use trace::{Step, Value};
pub use warning::{Claim, Warning};

use crate::address::{Address, Layer};
use crate::batch::{Batch, PacketRef};
use ast::Ast;
use eval::View;
use evaluate::Checked;
use members::Members;
use program::{Program, end};
use std::fmt;
use std::sync::Arc;
use superset::Superset;
use types::Test;

/// A compiled filter. Clones share the program.
#[derive(Clone, Debug)]
pub struct Filter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    program: Program,
    tests: Vec<Test>,
    /// The sets that the tests ask about.
    sets: Vec<Members>,
    /// Of a filter that WinDivert's language cannot say.
    extension: Option<Extension>,
    text: String,
    layer: u8,
}

/// What a filter of the extended dialect has beside its program.
#[derive(Debug)]
struct Extension {
    /// What a driver runs in its place.
    superset: Superset,
    /// The sets that its text may name.
    named: Sets,
}

impl Filter {
    /// Compiles filter text, or decodes an object string. A filter of 256 tests, which WinDivert compiles to an object that
    /// it then refuses itself, is too long.
    pub fn compile(text: &str, layer: Layer) -> Result<Self, Error> {
        Self::compile_plain(text, layer).map_err(|error| extended::point_out(error, layer.number()))
    }

    fn compile_plain(text: &str, layer: Layer) -> Result<Self, Error> {
        let tests = compile_tests(text.as_bytes(), layer.number())?;
        verify_fits_object(&tests, text.as_bytes())?;
        Ok(Self::from_tests(tests, text.to_owned(), layer.number()))
    }

    /// Compiles as WinDivert's helper functions do: on a layer by its number, which need not exist, and with up to 256
    /// tests. The text ends at its first NUL.
    pub fn compile_bytes(text: &[u8], layer: u8) -> Result<Self, Error> {
        let tests = compile_tests(text, layer)?;
        Ok(Self::from_tests(tests, String::from_utf8_lossy(text).into_owned(), layer))
    }

    /// Compiles text of the extended dialect. Text that is valid in the plain dialect means the same; text without anything
    /// that only the extended one has is refused as the plain one refuses it.
    pub fn compile_extended(text: &str, layer: Layer, sets: &Sets) -> Result<Self, Error> {
        extended::compile(text, layer, sets)
    }

    fn from_tests(tests: Vec<Test>, text: String, layer: u8) -> Self {
        let program = optimise::optimise(&tests, &[], layer);
        Self { shared: Arc::new(Shared { program, tests, sets: Vec::new(), extension: None, text, layer }) }
    }

    /// Whether a packet matches. Of the address record only what the filter asks for is read; its layer is taken to be the
    /// filter's. An object that tests a field which the layer lacks does not match.
    #[inline]
    pub fn matches(&self, packet: PacketRef<'_>) -> bool {
        self.shared.program.run(View::of(packet)) == end::ACCEPT
    }

    /// For each packet of a batch whether it matches, in order, in the place of what `mask` held.
    pub fn matches_batch(&self, batch: &Batch, mask: &mut Vec<bool>) {
        mask.clear();
        mask.extend(batch.iter().map(|packet| self.matches(packet)));
    }

    /// Whether bytes with their address record match, as `WinDivertHelperEvalFilter` answers, with all its checks: the bytes
    /// must be a packet exactly on layers that have packets, and of the IP version that the record says.
    pub fn evaluate(&self, packet: Option<&[u8]>, address: &Address) -> Result<bool, EvaluateError> {
        let checked = Checked::on_layer(packet, address, self.shared.layer)?;
        checked.run(&self.shared.program)
    }

    /// Whether WinDivert's language can say the filter, so that there is nothing that only this crate can run.
    pub fn is_plain(&self) -> bool {
        self.shared.extension.is_none()
    }

    /// The filter in WinDivert's language that matches at least the same packets: the filter itself if it is plain.
    #[must_use]
    pub fn superset(&self) -> Self {
        match &self.shared.extension {
            None => self.clone(),
            Some(Extension { superset, .. }) => {
                let tests = superset.tests.clone();
                let text = format::format(&tests, self.shared.layer);
                let text = text.unwrap_or_else(|format::TooLarge| object::encode(&tests));
                Self::from_tests(tests, text, self.shared.layer)
            }
        }
    }

    /// Whether the [`superset`](Self::superset) matches nothing more than the filter.
    pub fn superset_is_exact(&self) -> bool {
        self.shared.extension.as_ref().is_none_or(|extension| extension.superset.is_exact)
    }

    /// What is odd about the filter: parts that can never hold or always do, in the order of the text, each with the reason.
    /// Of an object string nothing is said, nor of the literals `true` and `false`. The text is read anew for this.
    ///
    /// ```
    /// use oxidivert::address::Layer;
    /// use oxidivert::filter::Filter;
    ///
    /// let filter = Filter::compile("outbound and tcp and udp", Layer::Network)?;
    /// assert_eq!(filter.warnings()[0].to_string(), "\
    /// no packet passes both `tcp` and `udp`; the whole filter matches nothing
    ///   outbound and tcp and udp
    ///   ^^^^^^^^^^^^^^^^^^^^^^^^");
    /// # Ok::<(), oxidivert::filter::Error>(())
    /// ```
    pub fn warnings(&self) -> Vec<Warning> {
        let Shared { program, text, layer, .. } = &*self.shared;
        if text.starts_with('@') {
            return Vec::new();
        }
        let all = |outcome| program.entries.iter().all(|entry| *entry == outcome);
        let matches = if all(end::ACCEPT) { Some(true) } else { all(end::REJECT).then_some(false) };
        let ast = match &self.shared.extension {
            None => parse(text.as_bytes(), *layer),
            Some(extension) => extended::parse(text, *layer, &extension.named),
        };
        ast.map_or(Vec::new(), |ast| analyse::analyse(&ast, matches, text, *layer))
    }

    /// The compiled object string; that of the [`superset`](Self::superset) if the filter is not plain.
    pub fn object(&self) -> String {
        object::encode(self.driver_tests())
    }

    /// The tests that a driver runs.
    fn driver_tests(&self) -> &[Test] {
        self.shared.extension.as_ref().map_or(&self.shared.tests, |extension| &extension.superset.tests)
    }

    /// The layer; NETWORK if the filter was compiled for a number that names none.
    pub fn layer(&self) -> Layer {
        Layer::from_number(self.shared.layer).unwrap_or_default()
    }

    /// The sets that the text may name.
    pub fn sets(&self) -> Option<&Sets> {
        self.shared.extension.as_ref().map(|extension| &extension.named)
    }

    /// The text that the filter was compiled from.
    pub fn text(&self) -> &str {
        &self.shared.text
    }
}

impl fmt::Display for Filter {
    /// The normal form, of the same dialect; the object string where the normal form would be too large.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { tests, sets, layer, .. } = &*self.shared;
        let form =
            if self.is_plain() { format::format(tests, *layer) } else { format::format_extended(tests, sets, *layer) };
        f.write_str(&form.unwrap_or_else(|format::TooLarge| self.object()))
    }
}

/// `WinDivertHelperEvalFilter`: whether bytes with their address record match a filter, which is compiled for the record's
/// layer. What is wrong with the bytes is found before what is wrong with the filter.
pub fn evaluate_text(text: &[u8], packet: Option<&[u8]>, address: &Address) -> Result<bool, EvaluateError> {
    let checked = Checked::new(packet, address)?;
    let tests = compile_tests(text, address.raw_layer())
        .map_err(|error| EvaluateError::new(EvaluateErrorKind::Filter(error)))?;
    checked.run(&optimise::optimise(&tests, &[], address.raw_layer()))
}

/// `WinDivertHelperCompileFilter`: the object string of a filter text, or an object in its canonical spelling.
pub fn compile_object(text: &[u8], layer: u8) -> Result<String, Error> {
    let tests = compile_tests(text, layer)?;
    verify_fits_object(&tests, text)?;
    Ok(object::encode(&tests))
}

/// `WinDivertHelperFormatFilter`: the normal form of a filter text or an object.
pub fn format(text: &[u8], layer: u8) -> Result<String, Error> {
    let tests = compile_tests(text, layer)?;
    format::format(&tests, layer)
        .map_err(|format::TooLarge| Error::new(ErrorKind::FormTooLarge, 0, Span::default(), text))
}

/// WinDivert's program of a filter text or an object.
fn compile_tests(text: &[u8], layer: u8) -> Result<Vec<Test>, Error> {
    if text.first() == Some(&b'@') {
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        return object::decode(text).map_err(|(fault, at)| {
            let last = text.len().saturating_sub(1);
            let span = Span::new(at.saturating_sub(1).min(last), at.clamp(1, text.len()));
            Error::new(ErrorKind::BadObject(fault), 0, span, text)
        });
    }
    let ast = parse(text, layer)?;
    lower::lower(&ast).map_err(|lower::TooManyTests| too_long(Limit::Tests, text))
}

fn parse(text: &[u8], layer: u8) -> Result<Ast, Error> {
    let tree = lexer::tokenise(text, layer).and_then(|tokens| parser::parse(&tokens, text));
    tree.map_err(|error| error.on_layer(layer))
}

fn verify_fits_object(tests: &[Test], text: &[u8]) -> Result<(), Error> {
    if tests.len() < Test::MAXIMUM { Ok(()) } else { Err(too_long(Limit::ObjectTests, text)) }
}

#[cold]
fn too_long(limit: Limit, text: &[u8]) -> Error {
    Error::new(ErrorKind::Long(limit), 0, Span::new(0, text.len()), text)
}
