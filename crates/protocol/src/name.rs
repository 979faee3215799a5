//! Names that clients and brokers choose: of clients and of sessions.

use std::fmt;
use std::sync::Arc;

use crate::limits::NAME_BYTES;

/// The name of a client, which stays the same when it reconnects, or of a session: 1 to
/// [`NAME_BYTES`] of `A-Z a-z 0-9 _ -`. A client chooses its name at random, with at least 128
/// bits; the name of a session is a secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks `text` and makes it a name; `None` if it is not a valid name.
    pub fn parse(text: &str) -> Option<Name> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let valid = !text.is_empty() && text.len() <= NAME_BYTES && text.bytes().all(allowed);
        if valid { Some(Name(text.into())) } else { None }
    }

    /// Returns the text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
