//! A pattern: which paths below a base a subscription selects.

use std::fmt;

use crate::log::LogKey;
use crate::path::{PathError, check_segment};

/// A pattern of segments below a base. `*` stands for one segment and `**` for any number of
/// segments, including none. Example: `*/log/**`. A pattern has no `/` at either end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Box<str>);

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The text begins with `/`, as a path does.
    #[error("not a pattern: it goes on below a path, so it has no '/' in front: chat/**")]
    Absolute,
    /// A segment is invalid, or there are too many.
    #[error("not a pattern: {0}")]
    Segments(#[from] PathError),
    /// The text is valid on the wire but surely not what its author meant: see
    /// [`Pattern::written`].
    #[error(
        "not a pattern: '*' stands for a whole segment, and '**' for any number of them, not for a \
         part of one ('{0}')"
    )]
    Within(Box<str>),
}

impl Pattern {
    /// Checks `text` and makes it a pattern, by the rules of the protocol. For a text that a person
    /// wrote use [`Pattern::written`].
    ///
    /// # Errors
    /// If the text begins with `/`, if a segment is invalid (empty, `.`, control characters, too
    /// long), or if there are too many segments or bytes.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        use crate::limits::{PATH_BYTES, PATH_SEGMENTS};
        if text.len() > PATH_BYTES {
            return Err(PathError::TooLong(text.len()).into());
        }
        if text.starts_with('/') {
            return Err(PatternError::Absolute);
        }
        let mut count = 0;
        for segment in text.split('/') {
            count += 1;
            check_segment(segment)?;
        }
        if count > PATH_SEGMENTS {
            return Err(PathError::TooDeep(count).into());
        }
        Ok(Pattern(text.into()))
    }

    /// Does what [`Pattern::parse`] does, for a text that a person wrote: in a program, on the
    /// command line, in a file.
    ///
    /// # Errors
    /// Also if there is a `*` within a segment. On the wire such a `*` is an ordinary character.
    /// But a person who writes `user-*` means every name with that prefix, and the pattern would
    /// match none of them.
    pub fn written(text: &str) -> Result<Pattern, PatternError> {
        let pattern = Pattern::parse(text)?;
        let within = |segment: &&str| segment.contains('*') && !matches!(*segment, "*" | "**");
        match text.split('/').find(within) {
            Some(segment) => Err(PatternError::Within(segment.into())),
            None => Ok(pattern),
        }
    }

    /// Returns the text of the pattern, as it was parsed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the segments of a path below the base match. Cost: segments of the pattern
    /// times segments of the path; no allocation.
    pub fn matches<'a>(&self, below: impl Iterator<Item = &'a str> + Clone) -> bool {
        self.fits(below, |pattern, segment| pattern == segment)
    }

    /// Returns whether any log key can match when it follows these segments below the base. Cost:
    /// as for [`Pattern::matches`].
    pub fn matches_key_behind<'a>(&self, below: impl Iterator<Item = &'a str> + Clone) -> bool {
        let any_key = std::iter::once(None);
        self.fits(below.map(Some).chain(any_key), |pattern, segment| {
            segment.map_or_else(|| LogKey::parse(pattern).is_some(), |segment| pattern == segment)
        })
    }

    fn fits<S: Copy>(
        &self,
        below: impl Iterator<Item = S> + Clone,
        same: impl Fn(&str, S) -> bool,
    ) -> bool {
        // This is the two-pointer match of globs: on a mismatch, go back to the last `**` and let
        // it take one segment more. Only the last `**` can need that.
        let (mut pattern, mut path) = (self.0.split('/'), below);
        let mut retry = None;
        loop {
            let mut ahead = pattern.clone();
            match ahead.next() {
                Some("**") => {
                    retry = Some((ahead.clone(), path.clone()));
                    pattern = ahead;
                    continue;
                }
                expected => match (expected, path.next()) {
                    (None, None) => return true,
                    (Some(p), Some(s)) if p == "*" || same(p, s) => {
                        pattern = ahead;
                        continue;
                    }
                    (_, None) => return false,
                    _ => {}
                },
            }
            let Some((after, mut taken)) = retry.take() else { return false };
            if taken.next().is_none() {
                return false;
            }
            pattern = after.clone();
            path = taken.clone();
            retry = Some((after, taken));
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        let check = |pattern: &str, path: &str| {
            let segments = path.split('/').filter(|s| !s.is_empty());
            Pattern::parse(pattern).unwrap().matches(segments)
        };
        for (pattern, path) in [
            ("*", "a"),
            ("**", ""),
            ("**", "a/b/c"),
            ("*/log/**", "x/log"),
            ("*/log/**", "x/log/1/2"),
            ("**/log", "log"),
            ("**/log", "a/log/log"),
            ("**/a/**/b", "a/a/x/b/b"),
        ] {
            assert!(check(pattern, path), "{pattern} should match {path}");
        }
        for (pattern, path) in [
            ("*", ""),
            ("*", "a/b"),
            ("*/log/**", "log"),
            ("**/log", "log/a"),
            ("**/a/**/b", "b/a"),
            ("a/*", "a"),
        ] {
            assert!(!check(pattern, path), "{pattern} should not match {path}");
        }
        let keys = |pattern: &str, log: &str| {
            let segments = log.split('/').filter(|s| !s.is_empty());
            Pattern::parse(pattern).unwrap().matches_key_behind(segments)
        };
        let named = "log/0000000000008a0003";
        for (pattern, log) in
            [("*", ""), ("**", "a"), ("a/*", "a"), ("**/a/*", "b/a"), (named, "log")]
        {
            assert!(keys(pattern, log), "{pattern} should match an entry of {log}");
        }
        for (pattern, log) in [("a", ""), ("*", "a"), ("a/*", "b"), ("**/a", "a"), (named, "a")] {
            assert!(!keys(pattern, log), "{pattern} should match no entry of {log}");
        }
        assert!(Pattern::parse("").is_err());
        assert!(Pattern::parse("/a").is_err());
        assert!(Pattern::parse(&["x"; 33].join("/")).is_err());
    }

    #[test]
    fn a_star_within_a_segment_is_none_that_somebody_wrote() {
        for (text, segment) in [
            ("user-*", "user-*"),
            ("a/*x/**", "*x"),
            ("***", "***"),
            ("**.txt", "**.txt"),
            ("a/b*c", "b*c"),
        ] {
            assert!(Pattern::parse(text).is_ok());
            let told = format!(
                "not a pattern: '*' stands for a whole segment, and '**' for any number of them, \
                 not for a part of one ('{segment}')"
            );
            assert_eq!(Pattern::written(text).unwrap_err().to_string(), told);
        }
        for text in ["*", "a/**/b", "a"] {
            assert_eq!(Pattern::written(text).as_ref().map(Pattern::as_str), Ok(text));
        }
        assert_eq!(Pattern::written("/a"), Err(PatternError::Absolute));
    }
}
