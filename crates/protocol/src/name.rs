//! Names that clients and brokers choose: of a client, of a session.

use std::fmt;
use std::sync::Arc;

use crate::limits::NAME_BYTES;

/// 1 to [`NAME_BYTES`] of `A-Z a-z 0-9 _ -`: who a client is over its reconnects, or which session
/// it has. Clients choose theirs at random, at least 128 bits; a session's is a secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks `text` and makes it a name; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Name> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let valid = !text.is_empty() && text.len() <= NAME_BYTES && text.bytes().all(allowed);
        if valid { Some(Name(text.into())) } else { None }
    }

    /// The text of the name.
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
