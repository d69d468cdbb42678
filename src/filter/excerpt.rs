//! The spot in a filter that a message is about: its text, and its line with a caret below. Never panics; any text and span
//! do.
use super::span::Span;
use std::fmt::{self, Write};

/// The text of a span.
pub(super) fn spanned(text: &str, span: Span) -> &str {
    text.get(span.start as usize..span.end as usize).unwrap_or_default()
}

/// The text of a span as it is quoted in a sentence: shortened, and its control characters escaped.
pub(super) fn quoted(text: &str, span: Span) -> String {
    const LONGEST: usize = 40;
    let text = spanned(text, span);
    let shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if shown.is_empty() { "the end of the filter".to_owned() } else { format!("`{shown}`") }
}

/// The line with the trouble in it and a line with the caret, cut to a readable width. Tabs and control characters become
/// single characters, so that the caret stands below the right one.
pub(super) fn write_excerpt(f: &mut fmt::Formatter<'_>, text: &str, span: Span) -> fmt::Result {
    const BEFORE: usize = 60;
    const WIDTH: usize = 100;
    let start = floor_boundary(text, span.start as usize);
    let end = floor_boundary(text, span.end as usize).max(start);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    let before = text[line_start..start].chars().count();
    let skipped = before.saturating_sub(BEFORE);
    let line: Vec<char> = text[line_start..line_end].chars().skip(skipped).take(WIDTH).map(printable).collect();
    let marked = text[start..end.min(line_end).max(start)].chars().count();
    let indent = before - skipped;
    let marked = marked.min(line.len().saturating_sub(indent)).max(1);
    let ellipsis = if skipped > 0 { "..." } else { "" };
    f.write_str("\n  ")?;
    f.write_str(ellipsis)?;
    line.iter().try_for_each(|character| f.write_char(*character))?;
    if skipped + line.len() < text[line_start..line_end].chars().count() {
        f.write_str("...")?;
    }
    write!(f, "\n  {:width$}{:^<marked$}", "", "", width = ellipsis.len() + indent)
}

fn floor_boundary(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|offset| text.is_char_boundary(*offset)).unwrap_or(0)
}

/// Invisible characters as their pictures.
fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        '\0'..='\x1F' => char::from_u32(0x2400 + character as u32).unwrap_or(' '),
        _ if character.is_control() => '\u{FFFD}',
        _ => character,
    }
}
