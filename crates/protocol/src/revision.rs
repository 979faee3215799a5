//! Positions in history: revision and epoch.

use std::fmt;

use crate::hex;

/// The number of a commit. Commits have one total order, and revisions strictly increase. They stay
/// below 2^53, so that every JSON reader keeps them exact. 0 is before the first commit, and means
/// "absent" in a precondition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// The revision before the first commit.
    pub const ZERO: Revision = Revision(0);
    /// The last possible revision: 2^53 - 1.
    pub const MAX: Revision = Revision((1 << 53) - 1);

    /// Returns the revision numbered `n`; `None` above [`Revision::MAX`].
    pub const fn new(n: u64) -> Option<Revision> {
        if n <= Revision::MAX.0 { Some(Revision(n)) } else { None }
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the next revision; `None` after [`Revision::MAX`].
    pub const fn next(self) -> Option<Revision> {
        Revision::new(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of a history: 128 random bits, 32 hex digits on the wire. Revisions of two epochs
/// are not compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u128);

impl Epoch {
    /// Reads 32 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Epoch> {
        hex::parse_u128(text).map(Epoch)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
