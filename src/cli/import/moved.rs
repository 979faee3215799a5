//! Where entries of logs went: each gets another key than before, and what lies under it follows.

use std::collections::{HashMap, HashSet};

use onetree_protocol::{LogKey, Path};
use tokio::sync::oneshot;

/// What is known of the entries of logs.
#[derive(Default)]
pub(super) struct Moved {
    /// The appended entries that the next line may be under, the top one first. An export has an
    /// entry right before what is under it, so only the entries above a line must be remembered.
    above: Vec<Appended>,
    /// The highest key among the appended entries of each log.
    newest: HashMap<Path, LogKey>,
    /// The entries that do not exist any more.
    gone: HashSet<Path>,
    /// The path that was placed last.
    last: Option<Path>,
}

/// An entry of a log whose append was sent.
struct Appended {
    from: Path,
    to: To,
}

/// Where an entry went.
enum To {
    /// The broker has not answered yet, or nobody has asked for the answer.
    Said(oneshot::Receiver<Path>),
    Known(Path),
}

/// Where the entry of a line goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    At(Path),
    /// Under `entry`, which does not exist any more: no line had it. Another entry has its key by
    /// now, or will have it. Its log is at `log`.
    Gone {
        entry: Path,
        log: Path,
    },
    /// The order of the lines does not show which entry it was under, or what was under it.
    Unordered,
    /// Nobody takes answers any more, because an error is known already.
    Over,
}

impl Moved {
    /// Returns where the entry at `path` goes. Waits for the answer to the append of the entry that
    /// it is under.
    pub(super) async fn place(&mut self, path: &Path) -> Place {
        let is_under = |above: &Path| above != path && above.contains(path);
        while self.above.last().is_some_and(|last| !is_under(&last.from)) {
            self.above.pop();
        }
        let Some(entry) = self.missing(path) else {
            if self.gone.contains(path) {
                return Place::Unordered;
            }
            self.last = Some(path.clone());
            return self.follow(path).await.map_or(Place::Over, Place::At);
        };
        // Otherwise the missing entry may have come, before another one.
        if self.last.as_ref().is_some_and(|last| last >= path) || self.came(&entry) {
            return Place::Unordered;
        }
        match self.follow(&entry).await.and_then(|entry| entry.parent()) {
            Some(log) => Place::Gone { entry, log },
            None => Place::Over,
        }
    }

    /// Returns where `path` goes together with the entry that it is under; `None` when nobody
    /// answers.
    async fn follow(&mut self, path: &Path) -> Option<Path> {
        let Some(last) = self.above.last_mut() else { return Some(path.clone()) };
        let below = &path.as_str()[last.from.as_str().len()..];
        if let To::Said(said) = &mut last.to {
            match said.await {
                Ok(path) => last.to = To::Known(path),
                Err(_) => return None,
            }
        }
        match &last.to {
            // All keys have the same length, so this path is as long as the one before.
            To::Known(to) => Path::parse(&format!("{to}{below}")).ok(),
            To::Said(_) => None,
        }
    }

    /// Returns the first entry of a log above `path` that no line had.
    fn missing(&self, path: &Path) -> Option<Path> {
        let known = self.above.last().map_or(0, |last| last.from.as_str().len());
        // The last segment is a key that the broker assigns anew.
        let (between, _) = path.as_str()[known..].rsplit_once('/')?;
        let mut end = known;
        for segment in between.split('/').skip(1) {
            end += 1 + segment.len();
            if LogKey::parse(segment).is_some() {
                return Path::parse(&path.as_str()[..end]).ok();
            }
        }
        None
    }

    /// Whether an entry may have come: a line had it, or a later entry of its log.
    fn came(&self, entry: &Path) -> bool {
        let newest = entry.parent().and_then(|log| self.newest.get(&log).copied());
        newest >= LogKey::of(entry)
    }

    /// Notes that the append of the entry at `from` was sent. Whoever takes its answer must send
    /// the new path through the returned sender.
    pub(super) fn appended(&mut self, from: Path) -> oneshot::Sender<Path> {
        if let (Some(log), Some(key)) = (from.parent(), LogKey::of(&from)) {
            let newest = self.newest.entry(log).or_insert(key);
            *newest = key.max(*newest);
        }
        let (told, said) = oneshot::channel();
        self.above.push(Appended { from, to: To::Said(said) });
        told
    }

    /// Notes that what was under the entry at `from`, which does not exist any more, goes under
    /// `to`, where no entry is.
    pub(super) fn went(&mut self, from: Path, to: Path) {
        self.gone.insert(from.clone());
        self.above.push(Appended { from, to: To::Known(to) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    #[tokio::test]
    async fn what_is_under_an_entry_goes_where_it_went() {
        let (a, b) = ("/log/00000000000aaa0000", "/log/00000000000bbb0000");
        let mut moved = Moved::default();
        assert_eq!(moved.place(&path("/x")).await, Place::At(path("/x")));
        assert_eq!(moved.place(&path(a)).await, Place::At(path(a)));
        let told = moved.appended(path(a));
        told.send(path("/log/00000000000ccc0000")).unwrap();
        for tail in ["/x", "/x/y", "/x/00000000000aaa0001"] {
            let to = path(&format!("/log/00000000000ccc0000{tail}"));
            assert_eq!(moved.place(&path(&format!("{a}{tail}"))).await, Place::At(to));
        }
        assert_eq!(moved.place(&path(b)).await, Place::At(path(b)));
        let told = moved.appended(path(b));
        // Another entry has come in between, so what is under the one before comes too late.
        assert_eq!(moved.place(&path(&format!("{a}/x"))).await, Place::Unordered);
        drop(told);
        assert_eq!(moved.place(&path("/a")).await, Place::At(path("/a")));
        assert_eq!(moved.place(&path(&format!("{b}/x"))).await, Place::Unordered);
        let told = moved.appended(path(b));
        drop(told);
        assert_eq!(moved.place(&path(&format!("{b}/x"))).await, Place::Over);
    }

    #[tokio::test]
    async fn what_is_under_an_entry_that_is_gone_needs_one() {
        let (a, b) = ("/log/00000000000aaa0000", "/log/00000000000bbb0000");
        let deep = format!("{b}/answers/00000000000ddd0000");
        let gone = |entry: &str, log: &str| Place::Gone { entry: path(entry), log: path(log) };
        let mut moved = Moved::default();
        assert_eq!(moved.place(&path(a)).await, Place::At(path(a)));
        moved.appended(path(a)).send(path("/log/00000000000ccc0000")).unwrap();
        let below = path(&format!("{deep}/ok"));
        assert_eq!(moved.place(&below).await, gone(b, "/log"));
        moved.went(path(b), path("/log/00000000000eee0000"));
        assert_eq!(moved.place(&below).await, gone(&deep, "/log/00000000000eee0000/answers"));
        moved.went(path(&deep), path("/log/00000000000eee0000/answers/00000000000fff0000"));
        let to = path("/log/00000000000eee0000/answers/00000000000fff0000/ok");
        assert_eq!(moved.place(&below).await, Place::At(to));
        // A line under it came before, so the entry itself comes too late.
        assert_eq!(moved.place(&path(b)).await, Place::Unordered);
        assert_eq!(moved.place(&path("/z")).await, Place::At(path("/z")));
        assert_eq!(moved.place(&path(b)).await, Place::Unordered);
        // A second export behind the first.
        assert_eq!(moved.place(&path("/a")).await, Place::At(path("/a")));
        assert_eq!(moved.place(&below).await, gone(b, "/log"));
    }
}
