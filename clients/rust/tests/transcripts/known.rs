//! Saved copies.

use std::collections::BTreeMap;

use onetree_client::mirror::State;
use onetree_client::protocol::Fingerprint;
use onetree_client::protocol::frame::{Fresh, Refresh};
use onetree_client::{
    Act, Change, Cookie, Entry, Path, Reason, RefreshKind, Revision, Snapshot, View,
};

use crate::mirror::{Mirror, Tree};

/// What mirrors showed, for cookies that come back.
#[derive(Default)]
pub(super) struct Known(BTreeMap<(u64, Revision), (View, Tree)>);

impl Known {
    pub(super) fn learn(&mut self, mirror: &Mirror) {
        if let (true, Some(Fingerprint(view))) = (mirror.fresh, mirror.fingerprint) {
            self.0.insert((view, mirror.rev), (mirror.view.clone(), mirror.tree.clone()));
        }
    }

    /// Returns a copy of that time, with `cookie`; an empty one if the cookie is of an unknown
    /// history.
    pub(super) fn snapshot(&self, cookie: Cookie) -> Snapshot {
        let nothing = (View::tree(Path::root()), Tree::new());
        let (view, tree) = self.0.get(&(cookie.view.0, cookie.rev)).unwrap_or(&nothing);
        let put = |(path, entry): (&Path, &Entry)| {
            let (path, act) = (path.clone(), Act::Put(entry.value.clone()));
            Change { path, rev: entry.rev, act }
        };
        let mut state = State::new(view.clone(), None);
        let (kind, why) = (RefreshKind::Full, Reason::NoCookie);
        state.handle_refresh(&Refresh { sub: 0, kind, why, from: None });
        state.handle_entries(tree.iter().map(put).collect());
        let Cookie { epoch, rev, view } = cookie;
        state.handle_fresh(&Fresh { sub: 0, rev, view, digest: None }, epoch);
        let snapshot = state.snapshot().clone();
        assert_eq!((snapshot.cookie(), snapshot.len()), (Some(cookie), tree.len()));
        snapshot
    }
}
