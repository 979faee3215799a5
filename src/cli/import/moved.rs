//! Where entries of logs went: each has another key than before, and what hangs under it follows.

use std::collections::{HashMap, HashSet};

use onetree_protocol::{LogKey, Path};
use tokio::sync::oneshot;

/// What is known of the entries of logs.
#[derive(Default)]
pub(super) struct Moved {
    /// Those that were appended and that the next line may hang under, the top first. An export has
    /// an entry right before what is under it, so those above a line are all there is to remember.
    above: Vec<Appended>,
    /// Of each log, the highest key of those.
    newest: HashMap<Path, LogKey>,
    /// Those that are there no more.
    gone: HashSet<Path>,
    /// What was placed last.
    last: Option<Path>,
}

/// An entry of a log, on its way.
struct Appended {
    from: Path,
    to: To,
}

/// Where it went.
enum To {
    /// The broker has not said yet, or nobody asked.
    Said(oneshot::Receiver<Path>),
    Known(Path),
}

/// Where what was at a path goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    At(Path),
    /// Under this entry, which is there no more: it is not where an export has it. Its key is
    /// another entry's by now, or will be; its log is at `log`.
    Gone {
        entry: Path,
        log: Path,
    },
    /// The lines are in no order that tells what it hung under, or what hung under it.
    Unordered,
    /// Nobody takes answers any more: an error is known already.
    Over,
}

impl Moved {
    /// Where what was at `path` goes. Waits for the answer to the append of the entry that it is
    /// under.
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
        // Otherwise it may have been there, before another.
        if self.last.as_ref().is_some_and(|last| last >= path) || self.came(&entry) {
            return Place::Unordered;
        }
        match self.follow(&entry).await.and_then(|entry| entry.parent()) {
            Some(log) => Place::Gone { entry, log },
            None => Place::Over,
        }
    }

    /// Where `path` goes with the entry that it is under; `None` when nobody says.
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
            // A key is as long as every other, so this is a path as long as the one before.
            To::Known(to) => Path::parse(&format!("{to}{below}")).ok(),
            To::Said(_) => None,
        }
    }

    /// The first entry of a log above `path` that no line had.
    fn missing(&self, path: &Path) -> Option<Path> {
        let known = self.above.last().map_or(0, |last| last.from.as_str().len());
        // The last segment is a key that the broker gives out anew.
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

    /// Whether an entry may have come: it or a later one of its log has.
    fn came(&self, entry: &Path) -> bool {
        let newest = entry.parent().and_then(|log| self.newest.get(&log).copied());
        newest >= LogKey::of(entry)
    }

    /// The entry at `from` is on its way; give what is returned to whoever takes its answer.
    pub(super) fn appended(&mut self, from: Path) -> oneshot::Sender<Path> {
        if let (Some(log), Some(key)) = (from.parent(), LogKey::of(&from)) {
            let newest = self.newest.entry(log).or_insert(key);
            *newest = key.max(*newest);
        }
        let (told, said) = oneshot::channel();
        self.above.push(Appended { from, to: To::Said(said) });
        told
    }

    /// What was under the entry at `from`, which is there no more, goes under `to`, where is none.
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
        // Another has come since, or something else: what is under the one before comes too late.
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
        // It was there, and comes too late.
        assert_eq!(moved.place(&path(b)).await, Place::Unordered);
        assert_eq!(moved.place(&path("/z")).await, Place::At(path("/z")));
        assert_eq!(moved.place(&path(b)).await, Place::Unordered);
        // One export behind another.
        assert_eq!(moved.place(&path("/a")).await, Place::At(path("/a")));
        assert_eq!(moved.place(&below).await, gone(b, "/log"));
    }
}
