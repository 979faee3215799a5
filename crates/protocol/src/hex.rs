//! Fixed-width lower-case hex, the text form of every identity on the wire.

/// Reads exactly 32 lower-case hex digits.
pub(crate) fn parse_u128(text: &str) -> Option<u128> {
    let valid = text.len() == 32 && text.bytes().all(is_digit);
    if valid { u128::from_str_radix(text, 16).ok() } else { None }
}

/// Reads exactly 16 lower-case hex digits.
pub(crate) fn parse_u64(text: &str) -> Option<u64> {
    let valid = text.len() == 16 && text.bytes().all(is_digit);
    if valid { u64::from_str_radix(text, 16).ok() } else { None }
}

/// Returns whether `byte` is `0`-`9` or `a`-`f`.
pub(crate) fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}
