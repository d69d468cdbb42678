//! Text to tokens. The whole text is read before parsing begins, so that the first lexical error wins over any other.
//!
//! Never panics, whatever the bytes; the number of tokens is limited as WinDivert limits it.
use super::error::{BadToken, Error, ErrorKind, Limit};
use super::field::Field;
use super::names::{Macro, Name, lookup};
use super::span::Span;
use super::types::{Operator, words};
use crate::packet::text::{hex_value, ipv4_from_bytes, ipv6_from_bytes};

/// Tokens that fit, the end not counted.
const MAXIMUM_TOKENS: usize = 1277;
/// The same in the extended dialect, whose sets may be written out.
const MAXIMUM_EXTENDED_TOKENS: usize = 1 << 20;
/// A word this long is refused.
const TOO_LONG_WORD: usize = 40;
/// The second word of a mapped IPv4 address.
const MAPPED: u32 = 0xFFFF;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    LeftParenthesis,
    RightParenthesis,
    LeftBracket,
    RightBracket,
    Question,
    Colon,
    Minus,
    Not,
    And,
    Or,
    Relation(Operator),
    Field(Field),
    True,
    False,
    /// Four words, the first one least significant; they take less room than a wide integer, which would be aligned.
    Number([u32; 4]),
    /// The `b` directly behind a number.
    Bytes,
    /// A macro that the layer lacks; it fits nowhere.
    ForeignMacro(&'static Macro),
    /// These exist in the extended dialect only.
    In,
    LeftBrace,
    RightBrace,
    Comma,
    Slash,
    /// `$` and the name of a set, which the span holds.
    SetName,
    End,
}

/// A token and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Span,
}

impl Token {
    /// The position that errors report.
    pub(super) const fn position(&self) -> u32 {
        match self.kind {
            // WinDivert gives this token no position of its own.
            TokenKind::Bytes => 0,
            _ => self.span.start,
        }
    }
}

/// The tokens of a text that ends at its end or first NUL; the last one is the end.
pub(super) fn tokenise(text: &[u8], layer: u8) -> Result<Vec<Token>, Error> {
    let mut lexer = Lexer::new(text, layer, false);
    lexer.scan_all(MAXIMUM_TOKENS, Limit::Tokens)?;
    Ok(lexer.tokens)
}

/// The tokens of a text of the extended dialect, and what is wrong behind them, if anything is.
pub(super) fn tokenise_extended(text: &[u8], layer: u8) -> (Vec<Token>, Option<Error>) {
    let mut lexer = Lexer::new(text, layer, true);
    let error = lexer.scan_all(MAXIMUM_EXTENDED_TOKENS, Limit::ExtendedTokens).err();
    (lexer.tokens, error)
}

struct Lexer<'a> {
    text: &'a [u8],
    layer: u8,
    extended: bool,
    at: usize,
    tokens: Vec<Token>,
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn is_word(byte: u8) -> bool {
    WORD.get(usize::from(byte)) == Some(&true)
}

/// Which bytes words consist of.
#[expect(clippy::indexing_slicing, reason = "evaluated when the crate is built, where a wrong index is an error")]
static WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = matches!(byte as u8, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'.' | b':' | b'_');
        byte += 1;
    }
    table
};

impl<'a> Lexer<'a> {
    fn new(text: &'a [u8], layer: u8, extended: bool) -> Self {
        Self { text, layer, extended, at: 0, tokens: Vec::with_capacity(text.len().min(4096) / 4 + 4) }
    }

    /// Reads to the end, or to the first thing that is wrong.
    fn scan_all(&mut self, maximum: usize, limit: Limit) -> Result<(), Error> {
        loop {
            if self.tokens.len() > maximum {
                let span = Span::new(self.at, self.at);
                return Err(Error::new(ErrorKind::Long(limit), self.at as u32, span, self.text));
            }
            if self.scan()? {
                return Ok(());
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    /// Reads a token, or a word that yields none or two; true at the end.
    fn scan(&mut self) -> Result<bool, Error> {
        while self.peek(0).is_some_and(is_space) {
            self.at += 1;
        }
        let Some(byte) = self.peek(0).filter(|byte| *byte != 0) else {
            self.push(TokenKind::End, 0);
            return Ok(true);
        };
        let doubled = self.peek(1) == Some(byte);
        let equals = self.peek(1) == Some(b'=');
        let (kind, len) = match byte {
            b'(' => (TokenKind::LeftParenthesis, 1),
            b')' => (TokenKind::RightParenthesis, 1),
            b'[' => (TokenKind::LeftBracket, 1),
            b']' => (TokenKind::RightBracket, 1),
            b'?' => (TokenKind::Question, 1),
            b'-' => (TokenKind::Minus, 1),
            b'!' if equals => (TokenKind::Relation(Operator::NotEqual), 2),
            b'!' => (TokenKind::Not, 1),
            b'=' => (TokenKind::Relation(Operator::Equal), 1 + usize::from(equals)),
            b'<' if equals => (TokenKind::Relation(Operator::LessOrEqual), 2),
            b'<' => (TokenKind::Relation(Operator::Less), 1),
            b'>' if equals => (TokenKind::Relation(Operator::GreaterOrEqual), 2),
            b'>' => (TokenKind::Relation(Operator::Greater), 1),
            b'&' if doubled => (TokenKind::And, 2),
            b'|' if doubled => (TokenKind::Or, 2),
            b':' if !doubled => (TokenKind::Colon, 1),
            b'{' | b'}' | b',' | b'/' | b'$' if self.extended => self.extended_token(byte),
            _ if is_word(byte) => return self.scan_word().map(|()| false),
            _ => {
                let fault = if matches!(byte, b'&' | b'|') { BadToken::Half } else { BadToken::Character };
                return Err(self.bad_token(fault, self.at as u32 + 1, character_len(byte)));
            }
        };
        self.push(kind, len);
        Ok(false)
    }

    /// A token that begins with one of the characters that only the extended dialect has.
    fn extended_token(&self, byte: u8) -> (TokenKind, usize) {
        match byte {
            b'{' => (TokenKind::LeftBrace, 1),
            b'}' => (TokenKind::RightBrace, 1),
            b',' => (TokenKind::Comma, 1),
            b'/' => (TokenKind::Slash, 1),
            _ => {
                let rest = self.text.get(self.at + 1..).unwrap_or_default();
                let name = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
                (TokenKind::SetName, 1 + name)
            }
        }
    }

    fn push(&mut self, kind: TokenKind, len: usize) {
        self.tokens.push(Token { kind, span: Span::new(self.at, self.at + len) });
        self.at += len;
    }

    #[cold]
    fn bad_token(&self, fault: BadToken, position: u32, len: usize) -> Error {
        let span = Span::new(self.at, (self.at + len).min(self.text.len()));
        Error::new(ErrorKind::BadToken(fault), position, span, self.text)
    }

    fn scan_word(&mut self) -> Result<(), Error> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let run = rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
        let word = rest.get(..run).unwrap_or_default();
        if run >= TOO_LONG_WORD {
            return Err(self.bad_token(BadToken::LongWord, self.at as u32, run));
        }
        let (word, detached) = match word {
            [.., b':', b':'] => (word, false),
            [name @ .., b':'] => (name, true),
            _ => (word, false),
        };
        // The colon is given back before the word is looked at, and WinDivert's position then is one short.
        let position = (self.at as u32).wrapping_sub(u32::from(detached));
        let kind = match lookup(word) {
            Some(Name::And) => TokenKind::And,
            Some(Name::Or) => TokenKind::Or,
            Some(Name::Not) => TokenKind::Not,
            Some(Name::True) => TokenKind::True,
            Some(Name::False) => TokenKind::False,
            Some(Name::Field(field)) if field.exists_on(self.layer) => TokenKind::Field(field),
            Some(Name::Field(field)) => {
                let span = Span::new(self.at, self.at + word.len());
                return Err(Error::new(ErrorKind::BadLayer(field), position, span, self.text));
            }
            Some(Name::Macro(name)) => match name.value(self.layer) {
                Some(value) => TokenKind::Number([value.into(), 0, 0, 0]),
                None => TokenKind::ForeignMacro(name),
            },
            None if self.extended && word == b"in" => TokenKind::In,
            None => return self.scan_value(word, position),
        };
        self.push(kind, word.len());
        Ok(())
    }

    /// A word that is no name: a number or an address.
    fn scan_value(&mut self, word: &[u8], position: u32) -> Result<(), Error> {
        if word == b"b" {
            // WinDivert reads this as the mark of a byte index and forgets it where no number stands directly before.
            self.at += 1;
            return Ok(());
        }
        if let Some(number) = decimal(word).or_else(|| hexadecimal(word)) {
            self.push(TokenKind::Number(words(number)), word.len());
        } else if let Some(number) = word.strip_suffix(b"b").and_then(decimal) {
            self.push(TokenKind::Number(words(number)), word.len() - 1);
            self.push(TokenKind::Bytes, 1);
        } else if let Some(address) = address(word) {
            self.push(TokenKind::Number(address), word.len());
        } else {
            return Err(self.bad_token(BadToken::Word, position, word.len()));
        }
        Ok(())
    }
}

/// Length of the UTF-8 character that begins with this byte, so that the caret marks all of it.
const fn character_len(byte: u8) -> usize {
    match byte {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xFF => 4,
        _ => 1,
    }
}

fn decimal(word: &[u8]) -> Option<u128> {
    // Nearly all numbers fit a word of the machine, in which digits are cheaper.
    if word.len() < 19 {
        let digits = |value: u64, digit: &u8| digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0'));
        return if word.is_empty() { None } else { word.iter().try_fold(0, digits).map(u128::from) };
    }
    word.iter().try_fold(0_u128, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u128::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

fn hexadecimal(word: &[u8]) -> Option<u128> {
    word.strip_prefix(b"0x")?.iter().try_fold(0_u128, |value, digit| {
        (digit.is_ascii_hexdigit() && value >> 124 == 0).then(|| value << 4 | u128::from(hex_value(*digit)))
    })
}

/// An address as a 128-bit number; IPv4 is mapped.
fn address(word: &[u8]) -> Option<[u32; 4]> {
    match ipv4_from_bytes(word) {
        Some(address) => Some([address, MAPPED, 0, 0]),
        None => ipv6_from_bytes(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind> {
        tokenise(text.as_bytes(), 0).unwrap().iter().map(|token| token.kind).collect()
    }

    fn position(text: &str) -> u32 {
        tokenise(text.as_bytes(), 0).unwrap_err().position()
    }

    #[test]
    fn a_separate_b_vanishes_and_an_attached_one_is_a_token() {
        assert_eq!(kinds("10 b"), [TokenKind::Number([10, 0, 0, 0]), TokenKind::End]);
        assert_eq!(kinds("10b"), [TokenKind::Number([10, 0, 0, 0]), TokenKind::Bytes, TokenKind::End]);
        assert_eq!(kinds("0x10b"), [TokenKind::Number([0x10B, 0, 0, 0]), TokenKind::End]);
        assert_eq!(kinds("0x"), [TokenKind::Number([0; 4]), TokenKind::End]);
    }

    #[test]
    fn a_colon_is_detached_from_the_word_on_its_left_only() {
        assert_eq!(kinds("true: false"), [TokenKind::True, TokenKind::Colon, TokenKind::False, TokenKind::End]);
        assert_eq!(position("(tcp?udp:ip)"), 5);
    }

    #[test]
    fn positions_of_bad_tokens_are_those_of_windivert() {
        for (text, expected) in [
            ("#", 1),
            ("foo", 0),
            ("foo:", u32::MAX),
            ("  foo:", 1),
            ("tcp &&& udp", 7),
            ("tcp|", 4),
            ("processId:", u32::MAX),
        ] {
            assert_eq!(position(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_have_128_bits() {
        assert_eq!(kinds("340282366920938463463374607431768211455")[0], TokenKind::Number([u32::MAX; 4]));
        assert_eq!(position("340282366920938463463374607431768211456"), 0);
        assert_eq!(kinds("0xffffffffffffffffffffffffffffffff")[0], TokenKind::Number([u32::MAX; 4]));
        assert_eq!(position("0x1ffffffffffffffffffffffffffffffff"), 0);
    }

    #[test]
    fn words_of_40_characters_and_1278_tokens_are_too_many() {
        assert_eq!(position(&"1".repeat(40)), 0);
        assert_eq!(kinds(&"0".repeat(39))[0], TokenKind::Number([0; 4]));
        assert_eq!(kinds(&"!".repeat(1277)).len(), 1278);
        assert_eq!(position(&("!".repeat(1277) + "tcp")), 1280);
    }
}
