//! A view: which part of the tree a subscription sees.

use std::fmt;

use blake2::Digest as _;
use blake2::digest::consts::U8;

use crate::hex;
use crate::path::Path;
use crate::pattern::Pattern;

/// What a subscription sees: a base, how deep below it, which of those paths, and how much of their
/// logs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// The topic at the top of the view.
    pub base: Path,
    /// How deep below the base the view reaches.
    pub depth: Depth,
    /// Patterns for the segments below the base. The view sees a path if any pattern matches.
    /// Empty: the view sees all paths.
    pub patterns: Vec<Pattern>,
    /// With `Some(n)`, a mirror begins with only the newest `n` entries of each log, and gets every
    /// later entry. `None`: all entries. So a mirror grows until one of these happens:
    ///
    /// - Old entries are trimmed.
    /// - The mirror starts again from nothing (`resync`).
    /// - The client was away and has missed more than `n` entries of a log: then the mirror has the
    ///   newest `n` again.
    pub tail: Option<u32>,
    /// Whether the mirror gets values. Without them it knows paths and revisions only.
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
    /// Returns the word on the wire.
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

    /// Returns whether this depth reaches these segments below the base.
    fn reaches<'a>(self, mut below: impl Iterator<Item = &'a str>) -> bool {
        match self {
            Depth::Tree => true,
            Depth::Entry => below.next().is_none(),
            Depth::Children => below.nth(1).is_none(),
        }
    }

    /// Returns whether this depth reaches one segment further than these.
    fn reaches_under<'a>(self, below: impl Iterator<Item = &'a str>) -> bool {
        self.reaches(below.chain(std::iter::once("")))
    }
}

impl View {
    /// Returns the view of everything at and under `base`, with values.
    pub fn tree(base: Path) -> View {
        View { base, depth: Depth::Tree, patterns: Vec::new(), tail: None, values: true }
    }

    /// Returns whether `path` lies at or under the base, and no deeper than the view reaches. The
    /// patterns and the tail are not considered.
    pub fn reaches(&self, path: &Path) -> bool {
        self.base.below(path).is_some_and(|below| self.depth.reaches(below))
    }

    /// Returns whether the view sees `path`. The tail is not considered. Cost: the length of the
    /// path, times the number of patterns.
    pub fn sees(&self, path: &Path) -> bool {
        let Some(below) = self.base.below(path) else { return false };
        self.depth.reaches(below.clone())
            && (self.patterns.is_empty() || self.patterns.iter().any(|p| p.matches(below.clone())))
    }

    /// Returns whether the view reaches the children of `path`. Patterns and tail are not
    /// considered.
    pub fn reaches_under(&self, path: &Path) -> bool {
        self.base.below(path).is_some_and(|below| self.depth.reaches_under(below))
    }

    /// Returns whether the view may see entries of a log; `log` is the log's path below the base.
    /// If so, these entries are what the view's tail counts. Cost: as for [`View::sees`].
    pub fn sees_entries_of<'a>(&self, log: impl Iterator<Item = &'a str> + Clone) -> bool {
        let shown = |pattern: &Pattern| pattern.matches_key_behind(log.clone());
        self.depth.reaches_under(log.clone())
            && (self.patterns.is_empty() || self.patterns.iter().any(shown))
    }

    /// Returns the number of segments of all patterns, which [`View::comparisons`] takes. Cost: the
    /// length of the patterns.
    pub fn pattern_segments(&self) -> usize {
        self.patterns.iter().map(|pattern| pattern.as_str().split('/').count()).sum()
    }

    /// Returns how many pairs of segments are compared at most, to match a path that has `below`
    /// segments below the base with patterns that have `segments` segments in all.
    pub fn comparisons(segments: usize, below: usize) -> usize {
        segments * below
    }

    /// Returns whether the view is a whole subtree: every path at and under its base, and every log
    /// entire. The digest of such a view costs O(log n).
    pub fn is_subtree(&self) -> bool {
        self.depth == Depth::Tree && self.patterns.is_empty() && self.tail.is_none()
    }

    /// Returns the fingerprint, which tells whether two views are the same for a cookie. It is
    /// BLAKE2s with an 8-byte result over `base NUL depth NUL tail NUL values NUL` and then each
    /// pattern, sorted and without duplicates, followed by NUL. `tail` is in decimal or empty,
    /// `values` is `1` or `0`.
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

/// The identity of a view; 16 hex digits on the wire.
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
