//! JSON as most clients write it, gone through once.
//!
//! Strings without an escape, numbers of few digits without an exponent, no white space but single
//! spaces, few keys in an object. A value that is otherwise is left to the library; what is wrong,
//! or more than that, comes to nothing here, and the library says what it is.
//!
//! By hand, because to read a frame with the library took half of what a signal costs: it goes
//! through each string twice, and comes back to us for each member.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::check_long;

/// Objects up to this many keys look for duplicates one by one: below it that is faster than
/// hashing. Larger ones are the library's here, and have a set there.
pub(super) const FEW_KEYS: usize = 16;

/// Numbers of up to this many bytes are in a double's range, whatever they are.
const NUMBER_BYTES: usize = 16;

/// Whether all of `text` is one value, nested at most `depth` deep; if not it may be one
/// nevertheless.
pub(super) fn is_value(text: &str, depth: usize) -> bool {
    let mut scan = Scan { text, at: 0 };
    scan.value(depth).is_some() && scan.is_done()
}

/// Where in a text it is. Whatever is `None` leaves it anywhere.
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

    /// Whether this byte stands here; then it is behind it.
    pub(super) fn takes(&mut self, byte: u8) -> bool {
        let there = self.byte() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// One byte that must be there, and a space behind it that may be.
    pub(super) fn skip(&mut self, byte: u8) -> Option<()> {
        self.takes(byte).then_some(())?;
        self.takes(b' ');
        Some(())
    }

    /// The value of a frame's member: by the library where it is not plain. Not so for what is in
    /// it: at each depth anew that would be read.
    pub(super) fn member(&mut self, left: usize) -> Option<()> {
        let start = self.at;
        if self.value(left).is_none() {
            // The library passes over white space before a value, and does not count it.
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

    /// What is in a string that has no escape and nothing that needs one.
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
        let start = self.at;
        self.takes(b'-');
        let zero = self.byte()? == b'0';
        let whole = self.digits()?;
        if zero && whole > 1 {
            return None;
        }
        if self.takes(b'.') {
            self.digits()?;
        }
        // Whoever goes on finds an exponent, and not what is to follow.
        (self.at - start <= NUMBER_BYTES).then_some(())
    }

    /// How many digits there are; at least one.
    fn digits(&mut self) -> Option<usize> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(count)
    }
}

/// Whether these bytes of a text stand in a string as they are.
pub(super) fn is_unescaped(bytes: &[u8]) -> bool {
    let plain = |byte: &u8| (*byte >= 0x20) & (*byte != b'"') & (*byte != b'\\');
    // Without a jump between them: many at once.
    let all = |bytes: &[u8]| bytes.iter().fold(true, |all, byte| all & plain(byte));
    let (some, rest) = bytes.as_chunks::<16>();
    // What is left at the end is looked at together with what comes before it.
    let rest = if rest.is_empty() { None } else { bytes.last_chunk::<16>() };
    match some {
        [] => all(bytes),
        _ => some.iter().chain(rest).all(|some| all(some)),
    }
}

/// How many bytes at the front of a text stand in a string as they are. Eight at once, and the
/// place of the first that does not without a look at each: where a short string ends cannot be
/// foretold.
fn unescaped(bytes: &[u8]) -> usize {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = EACH << 7;
    // The high bit of each byte below `n`, for n up to 0x80; of bytes above such a one perhaps too.
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

/// Whether two names are the same. Most differ in their lengths or their first bytes, and to look
/// there first is many times faster than to call for a comparison of all.
pub(crate) fn is(name: &str, other: &str) -> bool {
    name.len() == other.len()
        && name.as_bytes().first() == other.as_bytes().first()
        && name == other
}
