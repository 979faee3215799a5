//! A run: commits or signals that follow one another and go to the same subscribers.

use std::collections::HashSet;
use std::sync::Arc;

use onetree_protocol::Codec;

use super::encode::{Draft, Envelop, Frames};
use super::group::Group;
use super::subscriber::Subscriber;

/// A run ends when its frames take about so many bytes: much larger ones would wait for one
/// another, and a slow connection keeps the whole of one that it has begun to write.
const RUN_BYTES: usize = 16 * 1024;

/// What follows one another and goes to the same groups is encoded together and handed over once:
/// one place in an outbox, one wake, one slice of a system call for many frames.
pub(super) struct Run {
    envelop: Envelop,
    groups: Vec<Arc<Group>>,
    pub(super) draft: Draft,
}

impl Run {
    pub(super) fn new(envelop: Envelop) -> Run {
        Run { envelop, groups: Vec::new(), draft: Draft::default() }
    }

    /// Whether what these groups see may be added: it goes to the same, and there is room.
    pub(super) fn goes_to<'a>(
        &self,
        groups: impl ExactSizeIterator<Item = &'a Arc<Group>>,
    ) -> bool {
        self.draft.size < RUN_BYTES
            && groups.len() == self.groups.len()
            && groups.zip(&self.groups).all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// Begins anew, for these groups.
    pub(super) fn begin(&mut self, groups: impl Iterator<Item = Arc<Group>>) {
        self.groups.clear();
        self.groups.extend(groups);
        self.draft = Draft::default();
    }

    /// Calls `hand` with everyone who is in any of the groups, once, and the frames; gives how many that were.
    pub(super) fn end(&mut self, hand: impl Fn(&Subscriber, &Arc<Frames>)) -> usize {
        let mut handed = 0;
        if self.draft.size == 0 {
            return handed;
        }
        let mut made = Made::new(std::mem::take(&mut self.draft), self.envelop);
        let rev = made.draft.rev();
        let mut told = HashSet::new();
        let alone = self.groups.len() == 1;
        for group in &self.groups {
            group.each_member(|subscriber| {
                // Commits come from one task, so that a mark at the subscriber tells.
                let mut first = || match rev {
                    Some(rev) => subscriber.claim(rev),
                    None => told.insert(subscriber.id),
                };
                if alone || first() {
                    hand(subscriber, made.frames(subscriber.codec));
                    handed += 1;
                }
            });
        }
        handed
    }
}

/// Frames, encoded when somebody wants them in a codec.
pub(super) struct Made {
    draft: Draft,
    envelop: Envelop,
    made: [Option<Arc<Frames>>; 2],
}

impl Made {
    pub(super) fn new(draft: Draft, envelop: Envelop) -> Made {
        Made { draft, envelop, made: [None, None] }
    }

    pub(super) fn frames(&mut self, codec: Codec) -> &Arc<Frames> {
        let place = match codec {
            Codec::Json => 0,
            Codec::MsgPack => 1,
        };
        let Made { draft, envelop, made } = self;
        made[place].get_or_insert_with(|| Arc::new(draft.encode(codec, *envelop)))
    }
}
