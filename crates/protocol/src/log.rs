//! Log keys: the names that the broker gives to appended entries.

use std::fmt;

use crate::hex;
use crate::path::Path;
use crate::revision::Revision;

/// The name of a log entry: the revision of its commit as 14 hex digits, then its place in that
/// commit as 4. The width is fixed, so that text order is revision order. A child whose name has
/// this form *is* a log entry: a view's `tail`, retention and `trim` recognize log entries by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey {
    /// The commit that appended the entry.
    pub rev: Revision,
    /// The entry's place among that commit's changes.
    pub index: u16,
}

impl LogKey {
    /// The length of a key in bytes.
    pub const BYTES: usize = 18;

    /// Reads a key; `None` if `segment` has another form.
    pub fn parse(segment: &str) -> Option<LogKey> {
        if segment.len() != LogKey::BYTES || !segment.bytes().all(hex::is_digit) {
            return None;
        }
        let rev = Revision::new(u64::from_str_radix(&segment[..14], 16).ok()?)?;
        Some(LogKey { rev, index: u16::from_str_radix(&segment[14..], 16).ok()? })
    }

    /// Returns the key of the log entry at `path`, if its last segment is a log key.
    pub fn of(path: &Path) -> Option<LogKey> {
        LogKey::parse(path.name()?)
    }
}

impl fmt::Display for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:014x}{:04x}", self.rev.get(), self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_text() {
        let key = LogKey { rev: Revision::new(0x8a).unwrap(), index: 3 };
        assert_eq!(key.to_string(), "0000000000008a0003");
        assert_eq!(LogKey::parse("0000000000008a0003"), Some(key));
        for other in ["", "0000000000008A0003", "0000000000008a003", "ffffffffffffff0000"] {
            assert_eq!(LogKey::parse(other), None, "{other}");
        }
    }
}
