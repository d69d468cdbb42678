//! Sets of numbers and addresses that filters of the extended dialect name: `ip.SrcAddr in $blocked`.
//!
//! ```
//! use oxidivert::address::Layer;
//! use oxidivert::filter::{Filter, Sets};
//!
//! let mut sets = Sets::new();
//! sets.insert("blocked", ["192.0.2.0/24", "198.51.100.7", "203.0.113.1-203.0.113.9", "2001:db8::/32"])?;
//! let filter = Filter::compile_extended("ip.SrcAddr in $blocked", Layer::Network, &sets)?;
//! assert_eq!(filter.to_string(), "ip.SrcAddr in $blocked");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
use super::error::Error;
use super::lexer::tokenise_extended;
use super::members::{Members, Range};
use super::number::Number;
use super::parser::parse_member;
use std::collections::BTreeMap;
use std::fmt;

/// Sets by their names.
#[derive(Clone, Debug, Default)]
pub struct Sets {
    sets: BTreeMap<String, Members>,
}

/// Why a set cannot be named or made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetError {
    /// A name consists of letters, digits and `_`.
    Name(String),
    /// A member is no number, address, range or prefix.
    Member {
        /// The name of the set.
        name: String,
        /// Which member, counted from 0.
        index: usize,
        /// What is wrong with it.
        error: Error,
    },
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "the name of a set consists of letters, digits and `_`, not {name:?}"),
            Self::Member { name, index, error } => write!(f, "member {index} of the set `{name}`: {error}"),
        }
    }
}

impl std::error::Error for SetError {}

impl Sets {
    /// No sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a set of numbers (`80`, `0x50`, `-1`), addresses, ranges (`8000-8080`, `192.0.2.1-192.0.2.9`), prefixes
    /// (`192.0.2.0/24`) and macros (`TCP`), in the place of one with the same name. Bits behind a prefix do not count.
    pub fn insert<I>(&mut self, name: &str, members: I) -> Result<(), SetError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        if name.is_empty() || !name.as_bytes().iter().all(fits) {
            return Err(SetError::Name(name.to_owned()));
        }
        let mut ranges = Vec::new();
        for (index, member) in members.into_iter().enumerate() {
            let text = member.as_ref().as_bytes();
            let (tokens, error) = tokenise_extended(text, 0);
            let range = error.map_or_else(|| parse_member(&tokens, text), Err);
            let fault = |error| SetError::Member { name: name.to_owned(), index, error };
            ranges.push(range.map_err(fault)?);
        }
        self.sets.insert(name.to_owned(), Members::new(Some(name), ranges));
        Ok(())
    }

    /// The names of the sets, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sets.keys().map(String::as_str)
    }

    /// The members of a set as `insert` takes them, merged to ranges in rising order; `None` if there is no such set.
    pub fn members(&self, name: &str) -> Option<Vec<String>> {
        let sign = |number: Number| if number.negative { "-" } else { "" };
        let text = |(low, high): &Range| format!("{}{}-{}{}", sign(*low), low.magnitude, sign(*high), high.magnitude);
        Some(self.sets.get(name)?.ranges().iter().map(text).collect())
    }

    /// The sets by their names.
    pub(super) const fn by_name(&self) -> &BTreeMap<String, Members> {
        &self.sets
    }
}
