//! A fast check of JSON in the form that most clients write, in one pass.
//!
//! That form is: strings without escapes, numbers without an exponent, no white space except single
//! spaces, few keys in an object. For anything else, and for anything wrong, the functions here
//! return nothing; the library then reads the text, and says what is wrong.
//!
//! This is written by hand because reading a frame with the library took half of what a signal
//! costs: the library goes through each string twice, and calls back for each member.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::check_long;

/// In objects of up to this many keys duplicates are searched one by one, which is faster than
/// hashing for so few. Larger objects are left to the library here, which uses a set.
pub(super) const FEW_KEYS: usize = 16;

/// Any number with at most this many digits in front of its point, and no exponent, is in the range
/// of a double.
const WHOLE_DIGITS: usize = 308;

/// Returns true if all of `text` is one value, nested at most `depth` deep. If the result is false,
/// `text` may still be a value.
pub(super) fn is_value(text: &str, depth: usize) -> bool {
    let mut scan = Scan { text, at: 0 };
    scan.value(depth).is_some() && scan.is_done()
}

/// A position in a text. After a method has returned `None` the position means nothing.
pub(super) struct Scan<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl<'a> Scan<'a> {
    pub(super) fn is_done(&self) -> bool {
        self.at == self.text.len()
    }

    pub(super) fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Returns whether this byte comes next, and if so steps over it.
    pub(super) fn takes(&mut self, byte: u8) -> bool {
        let there = self.byte() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Steps over a byte that must come next, and over a space behind it if there is one.
    pub(super) fn skip(&mut self, byte: u8) -> Option<()> {
        self.takes(byte).then_some(())?;
        self.takes(b' ');
        Some(())
    }

    /// Steps over the value of a frame's member, with the library if it is not in the simple form.
    /// Values inside that value do not use the library, because that would read the text again at
    /// each depth.
    pub(super) fn member(&mut self, left: usize) -> Option<()> {
        let start = self.at;
        if self.value(left).is_none() {
            // The library skips white space before a value, and does not count it.
            (!self.text.as_bytes().get(start)?.is_ascii_whitespace()).then_some(())?;
            let mut reader = serde_json::Deserializer::from_str(&self.text[start..]);
            let value = <&RawValue>::deserialize(&mut reader).ok()?.get();
            check_long(value, left).ok()?;
            self.at = start + value.len();
        }
        Some(())
    }

    fn value(&mut self, left: usize) -> Option<()> {
        match self.byte()? {
            b'"' => self.string().map(drop),
            b'{' => self.object(left),
            b'[' => self.list(left),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number(),
        }
    }

    fn object(&mut self, left: usize) -> Option<()> {
        let left = left.checked_sub(1)?;
        self.skip(b'{')?;
        if self.takes(b'}') {
            return Some(());
        }
        let mut names = [""; FEW_KEYS];
        for place in 0..FEW_KEYS {
            let name = self.string()?;
            if names[..place].iter().any(|known| is(known, name)) {
                return None;
            }
            names[place] = name;
            self.takes(b' ');
            self.skip(b':')?;
            self.value(left)?;
            self.takes(b' ');
            if self.takes(b'}') {
                return Some(());
            }
            self.skip(b',')?;
        }
        None
    }

    fn list(&mut self, left: usize) -> Option<()> {
        let left = left.checked_sub(1)?;
        self.skip(b'[')?;
        if self.takes(b']') {
            return Some(());
        }
        loop {
            self.value(left)?;
            self.takes(b' ');
            if self.takes(b']') {
                return Some(());
            }
            self.skip(b',')?;
        }
    }

    /// Returns the content of a string that has no escape and nothing that needs one.
    pub(super) fn string(&mut self) -> Option<&'a str> {
        self.takes(b'"').then_some(())?;
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut at = start;
        while let Some(some) = bytes.get(at..at + 16)
            && is_unescaped(some)
        {
            at += 16;
        }
        let at = at + unescaped(&bytes[at..]);
        (*bytes.get(at)? == b'"').then_some(())?;
        self.at = at + 1;
        Some(&self.text[start..at])
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text.as_bytes()[self.at..].starts_with(word.as_bytes()).then_some(())?;
        self.at += word.len();
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        self.takes(b'-');
        let zero = self.byte()? == b'0';
        let whole = self.digits()?;
        if zero && whole > 1 {
            return None;
        }
        if self.takes(b'.') {
            self.digits()?;
        }
        // If an exponent follows, the caller finds it in place of what it expects, and fails.
        (whole <= WHOLE_DIGITS).then_some(())
    }

    /// Returns how many digits there are; at least one.
    fn digits(&mut self) -> Option<usize> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(count)
    }
}

/// Returns whether these bytes need no escape in a JSON string.
pub(super) fn is_unescaped(bytes: &[u8]) -> bool {
    let plain = |byte: &u8| (*byte >= 0x20) & (*byte != b'"') & (*byte != b'\\');
    // Without a branch between bytes: the processor does many at once.
    let all = |bytes: &[u8]| bytes.iter().fold(true, |all, byte| all & plain(byte));
    let (some, rest) = bytes.as_chunks::<16>();
    // The last bytes are checked together with some before them, as one full chunk.
    let rest = if rest.is_empty() { None } else { bytes.last_chunk::<16>() };
    match some {
        [] => all(bytes),
        _ => some.iter().chain(rest).all(|some| all(some)),
    }
}

/// Returns how many bytes at the beginning of a text need no escape in a JSON string. It checks
/// eight bytes at once, and finds the place of the first that does not qualify without looking at
/// each: where a short string ends cannot be predicted.
fn unescaped(bytes: &[u8]) -> usize {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = EACH << 7;
    // The high bit is set for each byte below `n`, for `n` up to 0x80. It may also be set for bytes
    // above such a byte.
    let below = |word: u64, n: u64| word.wrapping_sub(EACH * n) & !word & HIGH;
    let (words, rest) = bytes.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (EACH * u64::from(b'"'));
        let escape = word ^ (EACH * u64::from(b'\\'));
        let found = below(word, 0x20) | below(quote, 1) | below(escape, 1);
        if found != 0 {
            return place * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let end = rest.iter().position(|byte| !is_unescaped(&[*byte]));
    words.len() * 8 + end.unwrap_or(rest.len())
}

/// Returns whether two names are equal. Most names differ in their length or first byte, and
/// comparing these first is many times faster than calling for a full comparison.
pub(crate) fn is(name: &str, other: &str) -> bool {
    name.len() == other.len()
        && name.as_bytes().first() == other.as_bytes().first()
        && name == other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_are_left_to_the_library_when_they_may_be_beyond_a_double() {
        let nines = "9".repeat(WHOLE_DIGITS);
        for sure in [nines.clone(), format!("-{nines}.{nines}"), format!("0.{nines}{nines}")] {
            assert!(is_value(&sure, 0) && check_long(&sure, 0).is_ok(), "{sure}");
        }
        for unsure in [format!("9{nines}"), format!("1{}", "0".repeat(WHOLE_DIGITS))] {
            assert!(!is_value(&unsure, 0), "{unsure}");
        }
        assert!(check_long(&format!("1{}", "0".repeat(WHOLE_DIGITS)), 0).is_ok());
        assert!(check_long(&format!("2{}", "0".repeat(WHOLE_DIGITS)), 0).is_err());
    }
}
