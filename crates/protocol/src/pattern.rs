//! A pattern: which paths below a base a subscription wants.

use std::fmt;

use crate::log::LogKey;
use crate::path::{PathError, check_segment};

/// Segments below a base, where `*` stands for one segment and `**` for any number (also none):
/// `*/log/**`. It has no `/` at either end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Box<str>);

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It begins as a path does.
    #[error("not a pattern: it goes on below a path, so it has no '/' in front: chat/**")]
    Absolute,
    /// What is wrong with its segments.
    #[error("not a pattern: {0}")]
    Segments(#[from] PathError),
    /// It is none that somebody would mean: see [`Pattern::written`].
    #[error(
        "not a pattern: '*' stands for a whole segment, and '**' for any number of them, not for a \
         part of one ('{0}')"
    )]
    Within(Box<str>),
}

impl Pattern {
    /// Checks `text` and makes it a pattern, as the protocol has them. What somebody wrote is read
    /// by [`Pattern::written`].
    ///
    /// # Errors
    /// When it begins with `/`, a segment is not one (empty, `.`, control characters, too long), or
    /// there are too many.
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

    /// As [`Pattern::parse`], of a text that somebody wrote: in a program, on the command line, in
    /// a file.
    ///
    /// # Errors
    /// Also where there is a `*` within a segment: on the wire it is a character like others, but
    /// who writes `user-*` means what begins so, of which it would match nothing.
    pub fn written(text: &str) -> Result<Pattern, PatternError> {
        let pattern = Pattern::parse(text)?;
        let within = |segment: &&str| segment.contains('*') && !matches!(*segment, "*" | "**");
        match text.split('/').find(within) {
            Some(segment) => Err(PatternError::Within(segment.into())),
            None => Ok(pattern),
        }
    }

    /// The text of the pattern, as it was parsed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the segments of a path below the base match. Cost: segments of the pattern times
    /// segments of the path, no allocation.
    pub fn matches<'a>(&self, below: impl Iterator<Item = &'a str> + Clone) -> bool {
        self.fits(below, |pattern, segment| pattern == segment)
    }

    /// Whether a log key, whichever, can match behind these segments below the base. Cost: as
    /// [`Pattern::matches`].
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
        // The two-pointer match of globs: on a mismatch go back to the last `**` and let it take
        // one segment more. Only the last `**` can need it.
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
