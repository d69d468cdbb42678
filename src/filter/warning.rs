//! Remarks on filters that compile and hardly mean what they say. Plain data; shown as errors are, with a caret.
use super::excerpt::write_excerpt;
use super::field::Field;
use super::span::Span;
use std::fmt;

/// A part of a filter that is the same for every packet, or for every packet with a header, though it does not look like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub(super) claim: Claim,
    pub(super) span: Span,
    pub(super) filter: Option<bool>,
    pub(super) message: String,
    pub(super) text: String,
}

/// What is said of a part of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claim {
    /// It never holds.
    Never,
    /// It always holds.
    Always,
    /// As in WinDivert, it holds exactly where the header is missing, which it seems to ask something of.
    Without(Field),
    /// It holds exactly where the header is there.
    With(Field),
    /// It asks about a set some of whose members no value ever equals.
    Partly,
}

impl Claim {
    /// The outcome of the part, if it is always the same.
    pub(super) const fn outcome(self) -> Option<bool> {
        match self {
            Self::Never => Some(false),
            Self::Always => Some(true),
            Self::With(_) | Self::Without(_) | Self::Partly => None,
        }
    }
}

impl Warning {
    /// What is said of the part.
    pub const fn claim(&self) -> Claim {
        self.claim
    }

    /// The part of the text that it is about.
    pub const fn span(&self) -> Span {
        self.span
    }

    /// What follows for the filter as a whole: that it matches everything or nothing; `None` if neither.
    pub const fn filter(&self) -> Option<bool> {
        self.filter
    }

    /// What is odd and why, in a sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The filter's text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Warning {
    /// The sentence, the line of text, and a caret below.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        write_excerpt(f, &self.text, self.span)
    }
}
