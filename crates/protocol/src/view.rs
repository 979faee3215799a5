//! A view: what part of the tree a subscription sees.

use std::fmt;

use blake2::Digest as _;
use blake2::digest::consts::U8;

use crate::hex;
use crate::path::Path;
use crate::pattern::Pattern;

/// What a subscription sees: a base, how deep below it, which paths of these, and how much of
/// their logs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// The topic at the top.
    pub base: Path,
    /// How deep below the base.
    pub depth: Depth,
    /// Patterns for the segments below the base; a path is seen when any matches. None: all.
    pub patterns: Vec<Pattern>,
    /// Only the newest so many entries of each log where a mirror begins, and whatever comes later;
    /// `None`: all. So a mirror grows, until old entries are trimmed, it starts again from nothing
    /// (`resync`), or it was away and has missed more than so many: then it has the newest again.
    pub tail: Option<u32>,
    /// Whether values come along; without, a mirror knows paths and revisions only.
    pub values: bool,
}

/// How deep below its base a view reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Depth {
    /// The base alone.
    Entry,
    /// The base and its direct children.
    Children,
    /// The base and everything under it.
    #[default]
    Tree,
}

impl Depth {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Depth::Entry => "entry",
            Depth::Children => "children",
            Depth::Tree => "tree",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(text: &str) -> Option<Depth> {
        [Depth::Entry, Depth::Children, Depth::Tree].into_iter().find(|d| d.as_str() == text)
    }

    /// Whether it reaches these segments below the base.
    fn reaches<'a>(self, mut below: impl Iterator<Item = &'a str>) -> bool {
        match self {
            Depth::Tree => true,
            Depth::Entry => below.next().is_none(),
            Depth::Children => below.nth(1).is_none(),
        }
    }

    /// Whether it reaches one segment further.
    fn reaches_under<'a>(self, below: impl Iterator<Item = &'a str>) -> bool {
        self.reaches(below.chain(std::iter::once("")))
    }
}

impl View {
    /// Everything at and under `base`, with values.
    pub fn tree(base: Path) -> View {
        View { base, depth: Depth::Tree, patterns: Vec::new(), tail: None, values: true }
    }

    /// Whether `path` lies at or under the base, and no deeper than the view reaches: it sees it,
    /// its patterns and its tail aside.
    pub fn reaches(&self, path: &Path) -> bool {
        self.base.below(path).is_some_and(|below| self.depth.reaches(below))
    }

    /// Whether the view sees `path` (its tail aside). Cost: the length of the path, times the
    /// number of patterns.
    pub fn sees(&self, path: &Path) -> bool {
        let Some(below) = self.base.below(path) else { return false };
        self.depth.reaches(below.clone())
            && (self.patterns.is_empty() || self.patterns.iter().any(|p| p.matches(below.clone())))
    }

    /// Whether the view reaches what lies right under `path`, its patterns and its tail aside.
    pub fn reaches_under(&self, path: &Path) -> bool {
        self.base.below(path).is_some_and(|below| self.depth.reaches_under(below))
    }

    /// Whether the view may see entries of a log, of which these are the segments below the base:
    /// then these entries are what its tail counts. Cost: as [`View::sees`].
    pub fn sees_entries_of<'a>(&self, log: impl Iterator<Item = &'a str> + Clone) -> bool {
        let shown = |pattern: &Pattern| pattern.matches_key_behind(log.clone());
        self.depth.reaches_under(log.clone())
            && (self.patterns.is_empty() || self.patterns.iter().any(shown))
    }

    /// The segments of all patterns: what it costs to match a path with them is this times the
    /// segments of the path, at most. Cost: their length.
    pub fn pattern_segments(&self) -> usize {
        self.patterns.iter().map(|pattern| pattern.as_str().split('/').count()).sum()
    }

    /// Whether the view is a whole subtree: every path at and under its base, every log entire.
    /// Its digest costs O(log n).
    pub fn is_subtree(&self) -> bool {
        self.depth == Depth::Tree && self.patterns.is_empty() && self.tail.is_none()
    }

    /// What makes two views the same for a cookie: BLAKE2s with an 8-byte result over
    /// `base NUL depth NUL tail NUL values NUL` and each pattern, sorted, followed by NUL; `tail`
    /// in decimal or empty, `values` as `1` or `0`.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = blake2::Blake2s::<U8>::new();
        let tail = self.tail.map(|n| n.to_string()).unwrap_or_default();
        let values = if self.values { "1" } else { "0" };
        let mut patterns: Vec<&str> = self.patterns.iter().map(Pattern::as_str).collect();
        patterns.sort_unstable();
        patterns.dedup();
        for part in [self.base.as_str(), self.depth.as_str(), &tail, values].iter().chain(&patterns)
        {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        Fingerprint(u64::from_be_bytes(hash.finalize().into()))
    }
}

/// The identity of a view: 16 hex digits on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// Reads 16 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Fingerprint> {
        hex::parse_u64(text).map(Fingerprint)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
