//! What a mirror must be.

use std::collections::BTreeMap;

use onetree_client::protocol::Fingerprint;
use onetree_client::protocol::frame::{Fresh, Mode};
use onetree_client::session::SubOptions;
use onetree_client::{Act, Change, Entry, Event, Path, RefreshKind, Revision, Snapshot, View};

use crate::naive::takes;

pub(super) type Tree = BTreeMap<Path, Entry>;

/// A mirror as the frames make it, and as the session shows it.
pub(super) struct Mirror {
    pub(super) view: View,
    pub(super) options: SubOptions,
    pub(super) tree: Tree,
    pub(super) rev: Revision,
    pub(super) fresh: bool,
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) staged: Option<Tree>,
    /// How many signals it must report.
    pub(super) signals: usize,
    shown: Snapshot,
    shown_fresh: bool,
    /// The result of applying the events.
    told: Tree,
    pub(super) ended: bool,
    signalled: usize,
}

impl Mirror {
    pub(super) fn new(view: View, options: SubOptions, shown: Snapshot) -> Mirror {
        let tree = tree(&shown);
        Mirror {
            view,
            options,
            rev: shown.rev(),
            fresh: false,
            fingerprint: None,
            staged: None,
            signals: 0,
            shown,
            shown_fresh: false,
            told: tree.clone(),
            tree,
            ended: false,
            signalled: 0,
        }
    }

    pub(super) fn refresh(&mut self, kind: RefreshKind) {
        let full = kind == RefreshKind::Full;
        self.staged = Some(if full { Tree::new() } else { self.tree.clone() });
        self.fresh = false;
    }

    pub(super) fn fresh(&mut self, fresh: &Fresh) {
        self.tree = self.staged.take().unwrap();
        (self.rev, self.fresh, self.fingerprint) = (fresh.rev, true, Some(fresh.view));
    }

    pub(super) fn delta(&mut self, rev: Revision, changes: &[Change]) {
        if !self.fresh || self.ended || rev <= self.rev {
            return;
        }
        for change in changes.iter().filter(|change| change.rev > self.rev) {
            apply(&mut self.tree, change, &self.view);
        }
        self.rev = rev;
    }

    pub(super) fn sync(&mut self, rev: Revision) {
        if self.fresh && !self.ended {
            self.rev = self.rev.max(rev);
        }
    }

    /// Nothing is known about it any more.
    pub(super) fn lose(&mut self) {
        if !self.ended {
            (self.fresh, self.staged) = (false, None);
        }
    }

    pub(super) fn told(&mut self, event: Option<Event>, shown: Snapshot, fresh: bool) {
        assert!(!self.ended, "{event:?} behind the last event");
        (self.shown, self.shown_fresh) = (shown, fresh);
        match event {
            Some(Event::Fresh { changes, .. } | Event::Delta { changes, .. }) => {
                changes.iter().for_each(|change| apply(&mut self.told, change, &self.view));
            }
            Some(Event::Signal { .. }) => self.signalled += 1,
            Some(Event::Ended { .. }) => self.ended = true,
            Some(
                event @ (Event::Broken { .. } | Event::Corrupt { .. } | Event::Circling { .. }),
            ) => panic!("{event:?}"),
            _ => {}
        }
    }

    pub(super) fn check(&self, sub: u32) {
        assert_eq!(tree(&self.shown), self.tree, "what mirror {sub} shows");
        assert_eq!(self.told, self.tree, "what the events make of mirror {sub}");
        let shown = (self.shown.rev(), self.shown_fresh, self.signalled);
        assert_eq!(shown, (self.rev, self.fresh, self.signals), "mirror {sub}");
        let once = self.options.mode == Mode::Once && self.fresh;
        assert!(self.ended || !once, "mirror {sub} is fresh, and was to be so once");
    }
}

fn tree(snapshot: &Snapshot) -> Tree {
    snapshot.iter().map(|(path, entry)| (path.clone(), entry.clone())).collect()
}

/// Applies a change to what this view sees.
pub(super) fn apply(tree: &mut Tree, change: &Change, view: &View) {
    tree.retain(|path, _| !takes(change, path));
    if let Act::Put(value) = &change.act
        && view.sees(&change.path)
    {
        let value = value.clone().filter(|_| view.values);
        tree.insert(change.path.clone(), Entry { rev: change.rev, value });
    }
}
