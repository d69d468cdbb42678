//! IPv4 and IPv6 addresses as text, as WinDivert 2.2's helpers and its filter language read and write them.
//!
//! The rules are looser than RFC 4291 in some places and stricter in others: an octet counts modulo 2^32, text behind
//! eight groups is ignored, a dotted tail follows only `::` or `::ffff:`. Nothing panics on any text.
use std::fmt::Write;

const GROUPS: usize = 8;
/// A dotted tail is looked for only while fewer groups than this stand before a `::`.
const GROUPS_BEFORE_TAIL: usize = 6;
const MAPPED_PREFIX: u32 = 0xFFFF;

/// Four decimal numbers with dots between, as a number: `1.2.3.4` is `0x0102_0304`.
///
/// ```
/// use oxidivert::packet::parse_ipv4_address;
/// assert_eq!(parse_ipv4_address("010.0.0.1"), Some(0x0A00_0001));
/// assert_eq!(parse_ipv4_address("1.2.3.256"), None);
/// ```
pub fn parse_ipv4_address(text: &str) -> Option<u32> {
    ipv4_from_bytes(text.as_bytes())
}

/// An IPv6 address as four words, the first one least significant. A plain IPv4 address is read as `::a.b.c.d`.
///
/// ```
/// use oxidivert::packet::parse_ipv6_address;
/// assert_eq!(parse_ipv6_address("2001:db8::1"), Some([1, 0, 0, 0x2001_0DB8]));
/// assert_eq!(parse_ipv6_address("64:ff9b::1.2.3.4"), None);
/// ```
pub fn parse_ipv6_address(text: &str) -> Option<[u32; 4]> {
    ipv6_from_bytes(text.as_bytes())
}

/// The number as four decimal numbers with dots between.
pub fn format_ipv4_address(address: u32) -> String {
    let mut text = String::with_capacity(15);
    push_ipv4(&mut text, address);
    text
}

/// The words, the first one least significant, as text. A mapped address is written as plain IPv4, and even a single zero
/// group becomes `::`.
///
/// ```
/// use oxidivert::packet::format_ipv6_address;
/// assert_eq!(format_ipv6_address([1, 0, 0, 0x2001_0DB8]), "2001:db8::1");
/// assert_eq!(format_ipv6_address([0x0102_0304, 0xFFFF, 0, 0]), "1.2.3.4");
/// ```
pub fn format_ipv6_address(words: [u32; 4]) -> String {
    let mut text = String::with_capacity(39);
    push_ipv6(&mut text, words);
    text
}

/// [`parse_ipv4_address`] on bytes.
pub(crate) fn ipv4_from_bytes(text: &[u8]) -> Option<u32> {
    let mut parts = text.split(|byte| *byte == b'.');
    let mut address = 0;
    for _ in 0..4 {
        address = address << 8 | octet(parts.next()?)?;
    }
    parts.next().is_none().then_some(address)
}

/// A decimal number below 2^128 whose low 32 bits are an octet.
fn octet(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0_u128;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u128::from(digit - b'0'))?;
    }
    Some(value as u32).filter(|octet| *octet <= 0xFF)
}

/// [`parse_ipv6_address`] on bytes.
pub(crate) fn ipv6_from_bytes(text: &[u8]) -> Option<[u32; 4]> {
    let mut groups = Groups::default();
    let mut rest = text;
    if rest.first() == Some(&b':') {
        rest = rest.strip_prefix(b"::")?;
        groups.gap = true;
        if rest.is_empty() {
            return Some([0; 4]);
        }
    }
    for round in 1..=GROUPS {
        if let Some(behind) = rest.strip_prefix(b":") {
            if groups.gap {
                return None;
            }
            groups.gap = true;
            rest = behind;
            if rest.is_empty() {
                return Some(groups.words());
            }
        }
        if groups.left_len < GROUPS_BEFORE_TAIL
            && let Some(tail) = ipv4_from_bytes(rest)
        {
            return groups.with_tail(tail);
        }
        let len = rest.iter().take(4).take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, behind) = rest.split_at_checked(len)?;
        if digits.is_empty() {
            return None;
        }
        groups.push(digits.iter().fold(0, |group, digit| group << 4 | hex_value(*digit)))?;
        rest = match behind.split_first() {
            None => return (groups.gap || round == GROUPS).then(|| groups.words()),
            Some((b':', behind)) => behind,
            Some(_) => return None,
        };
    }
    Some(groups.words())
}

pub(crate) const fn hex_value(digit: u8) -> u16 {
    (match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }) as u16
}

/// The groups before and behind a `::`, as 16-bit parts of a number, in the order in which they stand.
#[derive(Default)]
struct Groups {
    left: u128,
    left_len: usize,
    right: u128,
    right_len: usize,
    gap: bool,
}

impl Groups {
    fn push(&mut self, group: u16) -> Option<()> {
        let (value, len) =
            if self.gap { (&mut self.right, &mut self.right_len) } else { (&mut self.left, &mut self.left_len) };
        if *len == GROUPS {
            return None;
        }
        *value = *value << 16 | u128::from(group);
        *len += 1;
        Some(())
    }

    const fn value(&self) -> u128 {
        if self.left_len == 0 {
            return self.right;
        }
        self.left << (16 * (GROUPS - self.left_len)) | self.right
    }

    const fn words(&self) -> [u32; 4] {
        let value = self.value();
        [value as u32, (value >> 32) as u32, (value >> 64) as u32, (value >> 96) as u32]
    }

    /// The address with a dotted tail in the place of two more groups on the right.
    fn with_tail(mut self, tail: u32) -> Option<[u32; 4]> {
        if self.right_len + 2 > GROUPS {
            return None;
        }
        self.right <<= 32;
        match self.words() {
            [0, prefix @ (0 | MAPPED_PREFIX), 0, 0] => Some([tail, prefix, 0, 0]),
            _ => None,
        }
    }
}

pub(crate) fn push_ipv4(text: &mut String, address: u32) {
    let [a, b, c, d] = address.to_be_bytes();
    // Writing to a string cannot fail.
    let _ = write!(text, "{a}.{b}.{c}.{d}");
}

pub(crate) fn push_ipv6(text: &mut String, words: [u32; 4]) {
    if let [address, MAPPED_PREFIX, 0, 0] = words {
        return push_ipv4(text, address);
    }
    let groups: [u16; GROUPS] = std::array::from_fn(|index| {
        let word = words.get(3 - index / 2).copied().unwrap_or(0);
        (if index.is_multiple_of(2) { word >> 16 } else { word }) as u16
    });
    let (gap_start, gap_len) = longest_zero_run(&groups);
    let gap = gap_start..gap_start + gap_len;
    for (index, group) in groups.iter().enumerate() {
        if gap.contains(&index) {
            if index == gap_start {
                text.push_str("::");
            }
            continue;
        }
        if index > 0 && index != gap.end {
            text.push(':');
        }
        let _ = write!(text, "{group:x}");
    }
}

/// Start and length of the longest run of zeros, the first one on a tie.
fn longest_zero_run(groups: &[u16; GROUPS]) -> (usize, usize) {
    let (mut best, mut run) = ((GROUPS + 1, 0), 0);
    for (index, group) in groups.iter().enumerate() {
        run = if *group == 0 { run + 1 } else { 0 };
        if run > best.1 {
            best = (index + 1 - run, run);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_count_modulo_two_to_the_32() {
        assert_eq!(parse_ipv4_address("4294967297.0.0.1"), Some(0x0100_0001));
        assert_eq!(parse_ipv4_address("4294967552.0.0.1"), None);
        assert_eq!(parse_ipv4_address("340282366920938463463374607427473244165.1.1.1"), Some(0x0501_0101));
        assert_eq!(parse_ipv4_address("340282366920938463463374607431768211456.1.1.1"), None);
    }

    #[test]
    fn ipv4_is_exactly_four_parts() {
        for text in ["", "1.2.3", "1.2.3.", ".1.2.3", "1.2.3.4.5", "1..2.3", "1.2.3.4 ", "+1.2.3.4", "1.2.3.é"] {
            assert_eq!(parse_ipv4_address(text), None, "{text}");
        }
    }

    #[test]
    fn text_behind_eight_groups_is_ignored() {
        for text in ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:zz", "::1:2:3:4:5:6:7:8:9", "1:2:3:4::5:6:7:8"] {
            assert_eq!(parse_ipv6_address(text), Some([0x0007_0008, 0x0005_0006, 0x0003_0004, 0x0001_0002]), "{text}");
        }
    }

    #[test]
    fn a_dotted_tail_follows_only_nothing_or_the_mapped_prefix() {
        assert_eq!(parse_ipv6_address("::ffff:1.2.3.4"), Some([0x0102_0304, 0xFFFF, 0, 0]));
        assert_eq!(parse_ipv6_address("0:1.2.3.4"), Some([0x0102_0304, 0, 0, 0]));
        for text in ["0:0:0:0:0:ffff:1.2.3.4", "1::1.2.3.4", "::ffff:0:1.2.3.4", "::0:0:0:0:0:0:0:1.2.3.4"] {
            assert_eq!(parse_ipv6_address(text), None, "{text}");
        }
    }

    #[test]
    fn the_first_longest_zero_run_is_compressed_even_if_it_is_one_group() {
        for text in ["::", "::1", "1::", "1::2:0:0:3:4", "1::2:3:4:5:6:7", "::1:0:2:0:3:0:4", "1:1:1:1:1:1:1::"] {
            assert_eq!(format_ipv6_address(parse_ipv6_address(text).unwrap()), text);
        }
        assert_eq!(format_ipv6_address([0x0102_0304, 0, 0, 0]), "::102:304");
    }
}
