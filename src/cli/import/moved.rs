//! Where entries of logs went: each has another key than before, and what hangs under it follows.

use onetree_protocol::{LogKey, Path};
use tokio::sync::oneshot;

/// The entries of logs that were appended and that the next line may hang under, the top first.
/// An export has an entry right before what is under it, so those above a line are all there is to
/// remember.
#[derive(Default)]
pub(super) struct Moved(Vec<Appended>);

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
    /// The entry that it hung under is not there: the key is another entry's by now, or will be.
    NoEntry,
    /// Nobody takes answers any more: an error is known already.
    Over,
}

impl Moved {
    /// Where what was at `path` goes. Waits for the answer to the append of the entry that it is under.
    pub(super) async fn place(&mut self, path: &Path) -> Place {
        let is_under = |above: &Path| above != path && above.contains(path);
        while self.0.last().is_some_and(|last| !is_under(&last.from)) {
            self.0.pop();
        }
        let known = self.0.last().map_or(0, |last| last.from.as_str().len());
        let below = &path.as_str()[known..];
        // The last segment is a key that the broker gives out anew.
        let between = below.rsplit_once('/').map_or("", |(between, _)| between);
        if between.split('/').any(|segment| LogKey::parse(segment).is_some()) {
            return Place::NoEntry;
        }
        let Some(last) = self.0.last_mut() else { return Place::At(path.clone()) };
        if let To::Said(said) = &mut last.to {
            match said.await {
                Ok(path) => last.to = To::Known(path),
                Err(_) => return Place::Over,
            }
        }
        match &last.to {
            // A key is as long as every other, so this is a path as long as the one before.
            To::Known(to) => Path::parse(&format!("{to}{below}")).map_or(Place::Over, Place::At),
            To::Said(_) => Place::Over,
        }
    }

    /// The entry at `from` is on its way; give what is returned to whoever takes its answer.
    pub(super) fn appended(&mut self, from: Path) -> oneshot::Sender<Path> {
        let (told, said) = oneshot::channel();
        self.0.push(Appended { from, to: To::Said(said) });
        told
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
        assert_eq!(moved.place(&path(&format!("{b}/x"))).await, Place::NoEntry);
        // Another has come since: what is under the one before comes too late.
        assert_eq!(moved.place(&path(&format!("{a}/x"))).await, Place::NoEntry);
        let told = moved.appended(path(b));
        drop(told);
        assert_eq!(moved.place(&path(&format!("{b}/x"))).await, Place::Over);
    }
}
