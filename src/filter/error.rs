//! Why a filter does not compile: WinDivert's own message and position, and beside them our fuller account with a caret.
//!
//! Position and message are a matter of compatibility, and sometimes odd: a position may lie one byte beside the culprit or
//! even before the text. The caret stands where the trouble is.
use super::excerpt::{quoted, spanned, write_excerpt};
use super::field::Field;
use super::names::Macro;
use super::span::Span;
use super::suggest::{Slot, did_you_mean, respell, suggest};
use crate::address::Layer;
use std::fmt;

/// A filter that does not compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    position: u32,
    span: Span,
    /// Number of the layer that it was compiled for.
    layer: u8,
    text: String,
    /// What else helps, as the end of a sentence.
    note: String,
}

/// What is wrong with a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Parentheses and `or`s nest too deep.
    Deep,
    /// Too many tokens or tests.
    Long(Limit),
    /// Something that is no token.
    BadToken(BadToken),
    /// The layer lacks the field.
    BadLayer(Field),
    /// A token where another was expected.
    Parse(Expected),
    /// A macro that other layers have.
    MacroLayer(&'static Macro),
    /// An array index beyond what a packet can hold.
    Index,
    /// A `$name` that no set was given under.
    UnknownSet,
    /// A prefix longer than addresses of its version are, in bits.
    PrefixTooLong(u8),
    /// A prefix of something that is no address.
    PrefixOfNumber,
    /// A range whose end comes before its start.
    RangeOrder,
    /// A compiled object string that is none.
    BadObject(ObjectFault),
    /// The normal form would be far longer than the program, because branches share what follows them.
    FormTooLarge,
}

/// Which limit a filter exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// 1277 tokens.
    Tokens,
    /// 256 tests, the most that WinDivert's compiler handles.
    Tests,
    /// 255 tests, the most that WinDivert's driver and its object format take.
    ObjectTests,
    /// 1048576 tokens, the most that the extended dialect takes.
    ExtendedTokens,
    /// 2048 tests, the most that the extended dialect takes.
    ExtendedTests,
}

/// How text fails to be a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadToken {
    /// A character that means nothing.
    Character,
    /// Half of `&&` or `||`.
    Half,
    /// A word that is no name, number or address.
    Word,
    /// A word of 40 characters or more.
    LongWord,
}

/// What the parser would have accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// A field, `true` or `false`.
    Test,
    /// `[`, after an array field.
    Subscript,
    /// `]`.
    ClosingBracket,
    /// A number, address or macro, after a comparison.
    Value,
    /// A number, after `[`.
    Index,
    /// `)` or `?`, after an expression in parentheses.
    ClosingOrQuestion,
    /// `)`, after a conditional.
    Closing,
    /// `:`, after the second part of a conditional.
    Colon,
    /// A condition before the `?`.
    Condition,
    /// `and`, `or` or the end of the filter.
    End,
    /// A number, address, range or prefix, in a set.
    Member,
    /// A set, range, prefix or `$name`, after `in`.
    Set,
    /// `,` or `}`, after a member of a set.
    ClosingBrace,
    /// The length of a prefix, after `/`.
    PrefixLength,
    /// A field, before `in`, a range or a prefix.
    MemberField,
}

/// What is wrong with an object string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectFault {
    /// It does not begin with `@WinDiv_`.
    Magic,
    /// A number is not terminated, too long or too large.
    Number,
    /// The version is not 0.
    Version,
    /// The number of tests is 0 or too large.
    Count,
    /// No `_` where a test begins.
    Separator,
    /// No field has the number.
    Field,
    /// No operator has the number.
    Operator,
    /// The sign is neither 0 nor 1.
    Sign,
    /// A target is none of `A`, `X` and `L`.
    Target,
    /// A jump does not lead to a later test.
    Jump,
    /// Something follows the last test.
    Trailing,
}

impl Error {
    pub(super) fn new(kind: ErrorKind, position: u32, span: Span, text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text).into_owned();
        Self { kind, position, span, layer: 0, text, note: String::new() }
    }

    /// The error with something else that helps.
    pub(super) fn with_note(self, note: String) -> Self {
        Self { note, ..self }
    }

    /// The error, of a filter for this layer, whose names it may suggest.
    pub(super) fn on_layer(self, layer: u8) -> Self {
        Self { layer, ..self }
    }

    /// What is wrong.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// WinDivert's message.
    pub const fn message(&self) -> &'static str {
        match self.kind {
            ErrorKind::Deep => "Filter expression too deep",
            ErrorKind::Long(_) => "Filter expression too long",
            ErrorKind::BadToken(_) | ErrorKind::UnknownSet => "Filter expression contains a bad token",
            ErrorKind::BadLayer(_) => "Filter expression contains a bad token for layer",
            ErrorKind::Parse(_)
            | ErrorKind::MacroLayer(_)
            | ErrorKind::PrefixTooLong(_)
            | ErrorKind::PrefixOfNumber
            | ErrorKind::RangeOrder => "Filter expression parse error",
            ErrorKind::Index => "Filter expression array index is out-of-bounds",
            ErrorKind::BadObject(_) => "Filter object is invalid",
            ErrorKind::FormTooLarge => "Out of memory",
        }
    }

    /// WinDivert's position, in bytes. It may lie a byte beside the [`span`](Self::span), be 0 where there is no position,
    /// or 4294967295, which is one before the text.
    pub const fn position(&self) -> u32 {
        self.position
    }

    /// The stretch of text that is wrong.
    pub const fn span(&self) -> Span {
        self.span
    }

    /// The filter.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text of the span, shortened, or what stands for it.
    fn culprit(&self) -> String {
        quoted(&self.text, self.span)
    }

    /// What may have been meant, as the end of a sentence; empty if nothing is close.
    fn hint(&self) -> String {
        if !self.note.is_empty() {
            return String::new();
        }
        let word = spanned(&self.text, self.span);
        let names = match self.kind {
            ErrorKind::BadToken(BadToken::Word) => suggest(word, self.slot(), self.layer),
            ErrorKind::Parse(Expected::Test) => respell(word, Slot::Test, self.layer),
            ErrorKind::Parse(Expected::Value) => respell(word, Slot::Value, self.layer),
            _ => return String::new(),
        };
        did_you_mean(&names)
    }

    /// What the place of the span asks for, going by the character before it.
    fn slot(&self) -> Slot {
        let before = self.text.get(..self.span.start as usize).unwrap_or_default().trim_end();
        if before.ends_with(['=', '<', '>', '-', '[', '{', ',']) { Slot::Value } else { Slot::Test }
    }

    fn sentence(&self) -> String {
        match self.kind {
            ErrorKind::Deep => "parentheses and `or` nest too deep".to_owned(),
            ErrorKind::Long(Limit::Tokens) => "the filter has more than 1277 tokens".to_owned(),
            ErrorKind::Long(Limit::Tests) => "the filter has more than 256 tests".to_owned(),
            ErrorKind::Long(Limit::ObjectTests) => "the filter has more than 255 tests".to_owned(),
            ErrorKind::Long(Limit::ExtendedTokens) => "the filter has more than 1048576 tokens".to_owned(),
            ErrorKind::Long(Limit::ExtendedTests) => "the filter has more than 2048 tests".to_owned(),
            ErrorKind::BadToken(fault) => self.token_sentence(fault),
            ErrorKind::BadLayer(field) => layer_sentence(field.name(), |layer| field.exists_on(layer)),
            ErrorKind::MacroLayer(name) => layer_sentence(name.name(), |layer| name.value(layer).is_some()),
            ErrorKind::Parse(expected) => {
                format!("expected {}, found {}{}", expected.describe(), self.culprit(), self.hint())
            }
            ErrorKind::Index => "the index leaves the largest packet that there can be".to_owned(),
            ErrorKind::UnknownSet => format!("no set was given under the name {}", self.culprit()),
            ErrorKind::PrefixTooLong(bits) => format!("the prefix length {} is more than {bits}", self.culprit()),
            ErrorKind::PrefixOfNumber => format!("{} is no address, and only addresses have prefixes", self.culprit()),
            ErrorKind::RangeOrder => format!("the range {} ends before it starts", self.culprit()),
            ErrorKind::BadObject(fault) => format!("the object string is invalid: {}", fault.describe()),
            ErrorKind::FormTooLarge => "the normal form is too long to be written".to_owned(),
        }
    }

    fn token_sentence(&self, fault: BadToken) -> String {
        let culprit = self.culprit();
        match fault {
            BadToken::Character => format!("{culprit} means nothing in a filter"),
            BadToken::Half => format!("{culprit} is written twice, or as a word"),
            BadToken::Word => format!("{culprit} is no field, macro, number or address{}", self.hint()),
            BadToken::LongWord => "a word has at most 39 characters".to_owned(),
        }
    }
}

/// Tells on which layers a name exists.
fn layer_sentence(name: &str, exists_on: impl Fn(u8) -> bool) -> String {
    let on: Vec<_> = Layer::ALL.iter().filter(|layer| exists_on(layer.number())).map(|layer| layer.name()).collect();
    let (last, others) = on.split_last().unwrap_or((&"no", &[]));
    if others.is_empty() {
        return format!("`{name}` exists only on layer {last}");
    }
    format!("`{name}` exists only on layers {} and {last}", others.join(", "))
}

impl Expected {
    const fn describe(self) -> &'static str {
        match self {
            Self::Test => "a field, `true` or `false`",
            Self::Subscript => "`[` and an index",
            Self::ClosingBracket => "`]`",
            Self::Value => "a number, address or macro",
            Self::Index => "an index",
            Self::ClosingOrQuestion => "`and`, `or`, `)` or `?`",
            Self::Closing => "`and`, `or` or `)`",
            Self::Colon => "`and`, `or` or `:`",
            Self::Condition => "a condition",
            Self::End => "`and`, `or` or the end of the filter",
            Self::Member => "a number, address, range or prefix",
            Self::Set => "`{`, `$` and the name of a set, a range or a prefix",
            Self::ClosingBrace => "`,` or `}`",
            Self::PrefixLength => "the length of a prefix",
            Self::MemberField => "a field that can be in a set, not `true` or `false`",
        }
    }
}

impl ObjectFault {
    const fn describe(self) -> &'static str {
        match self {
            Self::Magic => "it does not begin with `@WinDiv_`",
            Self::Number => "a number is not complete, too long or too large",
            Self::Version => "its version is not 0",
            Self::Count => "it has no tests or too many",
            Self::Separator => "a test begins with `_`",
            Self::Field => "no field has this number",
            Self::Operator => "no operator has this number",
            Self::Sign => "a sign is 0 or 1",
            Self::Target => "a target begins with `A`, `X` or `L`",
            Self::Jump => "a jump leads to a later test",
            Self::Trailing => "something follows the last test",
        }
    }
}

impl fmt::Display for Error {
    /// Our account: a sentence, the line with the trouble in it, and a caret below.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence())?;
        f.write_str(&self.note)?;
        if matches!(
            self.kind,
            ErrorKind::FormTooLarge | ErrorKind::Long(Limit::Tests | Limit::ObjectTests | Limit::ExtendedTests)
        ) {
            return Ok(());
        }
        write_excerpt(f, &self.text, self.span)
    }
}

impl std::error::Error for Error {}
