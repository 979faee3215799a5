//! A run: commits that follow one another and go to the same subscribers.

use std::sync::Arc;

use super::encode::{Draft, Envelope, Made};
use super::few::Few;
use super::group::Group;
use super::subscriber::Subscriber;

/// A run ends when its frames take about so many bytes: much larger ones would wait for one
/// another, and a slow connection keeps the whole of one that it has begun to write.
pub(super) const RUN_BYTES: usize = 16 * 1024;

/// What follows one another and goes to the same groups is encoded together and handed over once:
/// one place in an outbox, one wake, one slice of a system call for many frames.
pub(super) struct Run {
    envelope: Envelope,
    groups: Vec<Arc<Group>>,
    pub(super) draft: Draft,
}

impl Run {
    pub(super) fn new(envelope: Envelope) -> Run {
        Run { envelope, groups: Vec::new(), draft: Draft::default() }
    }

    /// Whether what these groups see may be added: it goes to the same, and there is room.
    pub(super) fn goes_to<'a>(
        &self,
        groups: impl ExactSizeIterator<Item = &'a Arc<Group>>,
    ) -> bool {
        self.draft.size < RUN_BYTES && Group::are(groups, &self.groups)
    }

    /// Begins anew, for these groups.
    pub(super) fn begin(&mut self, groups: impl Iterator<Item = Arc<Group>>) {
        self.groups.clear();
        self.groups.extend(groups);
        self.draft = Draft::default();
    }

    /// Hands the frames to everyone who is in any of the groups, once; gives how many that were.
    pub(super) fn end(&mut self, few: &mut Few) -> usize {
        let draft = std::mem::take(&mut self.draft);
        let Some(rev) = draft.rev() else { return 0 };
        let (mut made, mut handed) = (Made::default(), 0);
        let at_once = few.are(|| Group::size_of(&self.groups));
        // Commits come from one task, so that a mark at the subscriber tells.
        let first = |subscriber: &Subscriber| subscriber.claim(rev);
        Group::each_of(&self.groups, first, |subscriber| {
            let codec = subscriber.codec;
            let frames = made.frames(codec, || draft.encode(codec, self.envelope));
            subscriber.sink.deltas(frames, at_once);
            handed += 1;
        });
        handed
    }
}
