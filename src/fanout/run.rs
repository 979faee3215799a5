//! A run: consecutive commits that go to the same subscribers.

use std::sync::Arc;

use super::encode::{Draft, Envelope, Made};
use super::few::Few;
use super::group::Group;
use super::subscriber::Subscriber;

/// A run ends when its frames take about this many bytes. In a larger run the first frames would
/// wait for the last, and a slow connection keeps the whole of a run that it has begun to write.
pub(super) const RUN_BYTES: usize = 16 * 1024;

/// Consecutive commits that go to the same groups. They are encoded together and handed over once:
/// one place in an outbox, one wake-up and one slice of a system call for many frames.
pub(super) struct Run {
    envelope: Envelope,
    groups: Vec<Arc<Group>>,
    pub(super) draft: Draft,
}

impl Run {
    pub(super) fn new(envelope: Envelope) -> Run {
        Run { envelope, groups: Vec::new(), draft: Draft::default() }
    }

    /// Whether a commit that these groups see may be added: they are the groups of the run, and
    /// there is room.
    pub(super) fn goes_to<'a>(
        &self,
        groups: impl ExactSizeIterator<Item = &'a Arc<Group>>,
    ) -> bool {
        self.draft.size < RUN_BYTES && Group::are(groups, &self.groups)
    }

    /// Begins a new run for these groups.
    pub(super) fn begin(&mut self, groups: impl Iterator<Item = Arc<Group>>) {
        self.groups.clear();
        self.groups.extend(groups);
        self.draft = Draft::default();
    }

    /// Hands the frames once to every subscriber that is in any of the groups. Returns how many
    /// subscribers that were.
    pub(super) fn end(&mut self, few: &mut Few) -> usize {
        let draft = std::mem::take(&mut self.draft);
        let Some(rev) = draft.rev() else { return 0 };
        let (mut made, mut handed) = (Made::default(), 0);
        let at_once = few.are(|| Group::size_of(&self.groups));
        // Commits come from one task, so a mark at the subscriber suffices to recognize it.
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
