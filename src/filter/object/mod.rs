//! Compiled object strings: WinDivert's serialised programs, of printable ASCII.
//!
//! ```text
//! object = "@WinDiv_" version count { "_" field operator sign argument extra target target }
//! target = "A" (accept) | "X" (reject) | "L" index
//! ```
//!
//! Numbers are in base 32, most significant digit first; the last digit is taken from a second alphabet, which ends the
//! number without a separator.
mod decode;
mod encode;

pub(super) use decode::decode;
pub(super) use encode::encode;

/// What every object begins with.
pub(super) const MAGIC: &[u8] = b"@WinDiv_";

/// Digits that others follow.
const CONTINUE: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
/// Digits that end a number.
const FINAL: &[u8; 32] = b"WXYZabcdefghijklmnopqrstuvwxyz+=";

/// What the byte index of an array field is moved by, so that it is not negative.
const INDEX_BIAS: u32 = 65535;

/// The second word of an IPv4 address, which objects leave out.
const MAPPED_WORD: u32 = 0xFFFF;

#[cfg(test)]
mod tests {
    use super::super::error::ObjectFault;
    use super::super::field::Field;
    use super::super::types::Target;
    use super::*;

    fn fault(text: &str) -> ObjectFault {
        decode(text.as_bytes()).unwrap_err().0
    }

    #[test]
    fn objects_read_and_write_the_same() {
        for text in [
            "@WinDiv_WX_eXWWAX",
            "@WinDiv_WY_1dWW2mLXX_oaWZAX",
            "@WinDiv_WX_2fWWX200fAX",
            "@WinDiv_WX_2bZXT9mAX",
            "@WinDiv_WX_yWWG40Oa1VV=WWAX",
            "@WinDiv_WX_rWWG40OaAX",
            "@WinDiv_WX_2YWW2DBPNNm938LJuAX",
        ] {
            assert_eq!(encode(&decode(text.as_bytes()).unwrap()), text);
        }
    }

    #[test]
    fn leading_zeros_are_dropped_on_the_way() {
        assert_eq!(encode(&decode(b"@WinDiv_000W0X_0e0XW00WAX").unwrap()), "@WinDiv_WX_eXWWAX");
    }

    #[test]
    fn what_is_read_is_what_was_meant() {
        let tests = decode(b"@WinDiv_WX_2fWWX200fAX").unwrap();
        assert_eq!((tests[0].field, tests[0].index(), tests[0].words[0]), (Field::Packet32, 10, 1));
        assert_eq!((tests[0].success, tests[0].failure), (Target::Accept, Target::Reject));
        assert_eq!(decode(b"@WinDiv_WX_rWWG40OaAX").unwrap()[0].words, [0x0102_0304, 0xFFFF, 0, 0]);
    }

    #[test]
    fn every_fault_has_its_name() {
        for (text, expected) in [
            ("@", ObjectFault::Magic),
            ("@WinDiv_WW", ObjectFault::Count),
            ("@WinDiv_XX_eXWWAX", ObjectFault::Version),
            ("@WinDiv_00000WX_eXWWAX", ObjectFault::Number),
            ("@WinDiv_WX-eXWWAX", ObjectFault::Separator),
            ("@WinDiv_WX_2sXWWAX", ObjectFault::Field),
            ("@WinDiv_WX_ecWWAX", ObjectFault::Operator),
            ("@WinDiv_WX_eXYWAX", ObjectFault::Sign),
            ("@WinDiv_WX_eXWWBX", ObjectFault::Target),
            ("@WinDiv_WX_eXWWLWX", ObjectFault::Jump),
            ("@WinDiv_WX_eXWWLXX", ObjectFault::Jump),
            ("@WinDiv_WX_eXWWAX ", ObjectFault::Trailing),
            ("@WinDiv_WX_eXW4000000WAX", ObjectFault::Number),
            ("@WinDiv_WX_eXWW", ObjectFault::Target),
        ] {
            assert_eq!(fault(text), expected, "{text}");
        }
    }
}
