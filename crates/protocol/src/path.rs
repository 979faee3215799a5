//! A path: the name of a topic, absolute and checked.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::limits::{PATH_BYTES, PATH_SEGMENTS, SEGMENT_BYTES};

/// The absolute name of a topic: `/a/b/c`, or `/` for the root.
///
/// A `Path` cannot hold an invalid value: only [`Path::parse`] makes one from a text. Cloning costs
/// one reference count.
///
/// Paths are ordered so that **a subtree is one contiguous range**, whatever bytes its segments
/// hold: `/a/b` < `/a/b/c` < `/a/b-c`. The tree, a refresh and `onetree export` all have this
/// order. It is the order of the bytes if `/` sorts below every other byte.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Path(Arc<str>);

/// Why a text is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The text does not begin with `/`.
    #[error("a path begins with '/'")]
    NotAbsolute,
    /// Two `/` in a row, or one at the end.
    #[error("a path has no empty segment")]
    EmptySegment,
    /// A segment is `.` or `..`.
    #[error("a path has no segment '.' or '..'")]
    DotSegment,
    /// A control character (Unicode category Cc, which includes NUL).
    #[error("a path has no control character")]
    Control,
    /// More than [`PATH_BYTES`] in all.
    #[error("a path has at most {PATH_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// More than [`PATH_SEGMENTS`] segments.
    #[error("a path has at most {PATH_SEGMENTS} segments, this one has {0}")]
    TooDeep(usize),
    /// A segment has more than [`SEGMENT_BYTES`].
    #[error("a segment has at most {SEGMENT_BYTES} bytes, this one has {0}")]
    SegmentTooLong(usize),
}

impl Path {
    /// Checks `text` and makes it a path.
    ///
    /// # Errors
    /// The first rule that `text` breaks, see [`PathError`].
    pub fn parse(text: &str) -> Result<Path, PathError> {
        check(text)?;
        Ok(Path(Arc::from(text)))
    }

    /// Returns the path `/`.
    pub fn root() -> Path {
        Path(Arc::from("/"))
    }

    /// Returns the text of the path, as it was parsed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether this is `/`.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Returns the segments from the root down; none for `/`.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.0[1..].split('/').filter(|segment| !segment.is_empty())
    }

    /// Returns the number of segments; 0 for `/`.
    pub fn depth(&self) -> usize {
        if self.is_root() { 0 } else { self.0.bytes().filter(|&b| b == b'/').count() }
    }

    /// Returns the last segment; `None` for `/`.
    pub fn name(&self) -> Option<&str> {
        if self.is_root() { None } else { self.0.rsplit('/').next() }
    }

    /// Returns the text of the path one segment up; `None` for `/`.
    pub fn parent_str(&self) -> Option<&str> {
        match self.0.rfind('/')? {
            _ if self.is_root() => None,
            0 => Some("/"),
            at => Some(&self.0[..at]),
        }
    }

    /// Returns the path one segment up; `None` for `/`.
    pub fn parent(&self) -> Option<Path> {
        self.parent_str().map(|text| Path(Arc::from(text)))
    }

    /// Returns the text of every path on the way from the root to this one: the root first, this
    /// one last.
    pub fn prefixes(&self) -> impl Iterator<Item = &str> {
        let inner = self.0.char_indices().skip(1).filter(|(_, c)| *c == '/').map(|(at, _)| at);
        let whole = if self.is_root() { None } else { Some(self.as_str()) };
        std::iter::once("/").chain(inner.map(|at| &self.0[..at])).chain(whole)
    }

    /// Returns the path of the child named `segment`.
    ///
    /// # Errors
    /// If `segment` is not a valid segment, or if the whole path passes a limit.
    pub fn child(&self, segment: &str) -> Result<Path, PathError> {
        if segment.is_empty() || segment.contains('/') {
            return Err(PathError::EmptySegment);
        }
        let mut text = String::with_capacity(self.0.len() + 1 + segment.len());
        text.push_str(if self.is_root() { "" } else { &self.0 });
        text.push('/');
        text.push_str(segment);
        Path::parse(&text)
    }

    /// Returns whether `other` is this path or lies under it.
    pub fn contains(&self, other: &Path) -> bool {
        self.place(other) == Ordering::Equal
    }

    /// Returns where `other` lies relative to the range "at and under this path": before it, in it
    /// or behind it. The result is monotone in the order of paths; the tree uses it to descend.
    pub fn place(&self, other: &Path) -> Ordering {
        self.place_str(&other.0)
    }

    /// Does what [`Path::place`] does, for the text of a path.
    pub fn place_str(&self, other: &str) -> Ordering {
        if self.is_root() {
            return Ordering::Equal;
        }
        let (base, other) = (self.0.as_bytes(), other.as_bytes());
        if other.starts_with(base) && matches!(other.get(base.len()), None | Some(b'/')) {
            return Ordering::Equal;
        }
        compare(other, base)
    }

    /// Returns the segments of `other` below this path; `None` if `other` is not at or under it.
    pub fn below<'a>(&self, other: &'a Path) -> Option<impl Iterator<Item = &'a str> + Clone> {
        if !self.contains(other) {
            return None;
        }
        let rest = if self.is_root() { &other.0[1..] } else { &other.0[self.0.len()..] };
        Some(rest.split('/').filter(|segment| !segment.is_empty()))
    }
}

/// Compares two paths in the order of the tree: by bytes, with `/` below all others.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    // Compare eight bytes at a time: the paths of one subtree share a long prefix.
    let mut at = 0;
    let shorter = a.len().min(b.len());
    while at + 8 <= shorter && a[at..at + 8] == b[at..at + 8] {
        at += 8;
    }
    while at < shorter && a[at] == b[at] {
        at += 1;
    }
    let rank = |byte: Option<&u8>| match byte {
        None => 0,
        Some(b'/') => 1,
        Some(&other) => u16::from(other) + 2,
    };
    rank(a.get(at)).cmp(&rank(b.get(at)))
}

fn check(text: &str) -> Result<(), PathError> {
    if text.len() > PATH_BYTES {
        return Err(PathError::TooLong(text.len()));
    }
    let Some(rest) = text.strip_prefix('/') else {
        return Err(PathError::NotAbsolute);
    };
    if rest.is_empty() || is_plain(text.as_bytes()) {
        return Ok(());
    }
    let mut depth = 0;
    for segment in rest.split('/') {
        depth += 1;
        check_segment(segment)?;
    }
    if depth > PATH_SEGMENTS {
        return Err(PathError::TooDeep(depth));
    }
    Ok(())
}

/// Returns true if the path is certainly valid, found in one pass: only ASCII without control
/// characters, no dot and no `/` behind a `/`, and too short to reach a limit. Most paths are like
/// that.
fn is_plain(path: &[u8]) -> bool {
    let mut depth = 0;
    let mut before = b' ';
    for &byte in path {
        let begins = before == b'/';
        if !matches!(byte, b' '..=b'~') || (begins && matches!(byte, b'/' | b'.')) {
            return false;
        }
        depth += usize::from(byte == b'/');
        before = byte;
    }
    before != b'/' && depth <= PATH_SEGMENTS && path.len() <= SEGMENT_BYTES
}

pub(crate) fn check_segment(segment: &str) -> Result<(), PathError> {
    match segment {
        "" => Err(PathError::EmptySegment),
        "." | ".." => Err(PathError::DotSegment),
        _ if segment.len() > SEGMENT_BYTES => Err(PathError::SegmentTooLong(segment.len())),
        _ if segment.chars().any(char::is_control) => Err(PathError::Control),
        _ => Ok(()),
    }
}

impl Ord for Path {
    fn cmp(&self, other: &Path) -> Ordering {
        compare(self.0.as_bytes(), other.0.as_bytes())
    }
}

impl PartialOrd for Path {
    fn partial_cmp(&self, other: &Path) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::str::FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Path, PathError> {
        Path::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    #[test]
    fn a_subtree_is_one_range() {
        let order = ["/", "/a", "/a/b", "/a/b/c", "/a/b c", "/a/b-c", "/a/bb", "/b"];
        for pair in order.windows(2) {
            assert!(path(pair[0]) < path(pair[1]), "{pair:?}");
        }
        let base = path("/a/b");
        let places: Vec<_> = order.iter().map(|p| base.place(&path(p))).collect();
        use Ordering::{Equal, Greater, Less};
        assert_eq!(places, [Less, Less, Equal, Equal, Greater, Greater, Greater, Greater]);
    }

    #[test]
    fn limits_hold_at_their_edge() {
        let deep = |n: usize| "/x".repeat(n);
        assert!(Path::parse(&deep(PATH_SEGMENTS)).is_ok());
        assert_eq!(Path::parse(&deep(33)), Err(PathError::TooDeep(33)));
        let long = |n: usize| format!("/{}", "y".repeat(n));
        assert!(Path::parse(&long(SEGMENT_BYTES)).is_ok());
        assert_eq!(Path::parse(&long(256)), Err(PathError::SegmentTooLong(256)));
        let wide = format!("/{}", vec!["z".repeat(204); 5].join("/"));
        assert_eq!(wide.len(), 1025);
        assert!(Path::parse(&wide[..1024]).is_ok());
        assert_eq!(Path::parse(&wide), Err(PathError::TooLong(1025)));
    }

    #[test]
    fn wrong_texts_are_refused() {
        for (text, error) in [
            ("", PathError::NotAbsolute),
            ("a", PathError::NotAbsolute),
            ("//", PathError::EmptySegment),
            ("/a/", PathError::EmptySegment),
            ("/a//b", PathError::EmptySegment),
            ("/a/../b", PathError::DotSegment),
            ("/.", PathError::DotSegment),
            ("/a\0", PathError::Control),
            ("/a\u{85}", PathError::Control),
        ] {
            assert_eq!(Path::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn parts() {
        let p = path("/a/bc/d");
        assert_eq!(p.prefixes().collect::<Vec<_>>(), ["/", "/a", "/a/bc", "/a/bc/d"]);
        assert_eq!(Path::root().prefixes().collect::<Vec<_>>(), ["/"]);
        assert_eq!((p.depth(), Path::root().depth()), (3, 0));
        assert_eq!(p.name(), Some("d"));
        assert_eq!(p.parent(), Some(path("/a/bc")));
        assert_eq!(path("/a").parent(), Some(Path::root()));
        assert_eq!(Path::root().parent(), None);
        assert_eq!(path("/a").below(&p).unwrap().collect::<Vec<_>>(), ["bc", "d"]);
        assert!(path("/ab").below(&p).is_none());
        assert_eq!(Path::root().child("x").unwrap(), path("/x"));
    }
}
