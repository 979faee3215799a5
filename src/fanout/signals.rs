//! The way of signals to those who want them.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;

use onetree_protocol::frame::Signal;

use super::Fanout;
use super::encode::{Frames, Made, signal_size};
use super::group::Group;
use super::run::RUN_BYTES;
use super::subscriber::Subscriber;

impl Fanout {
    /// Hands signals to everyone whose view sees their path and who wants signals, at most once each,
    /// in their order. Cost: a look-up for each segment of each path that is not the one before; what
    /// follows one another and is seen by the same is encoded and handed over together.
    pub fn signal(&self, signals: &[Signal]) {
        let (mut groups, mut found): (Vec<Arc<Group>>, Vec<Arc<Group>>) = Default::default();
        let (mut start, mut size) = (0, 0);
        let mut last = None;
        for (at, signal) in signals.iter().enumerate() {
            let mut same = true;
            if last != Some(&signal.path) {
                last = Some(&signal.path);
                found.clear();
                self.index.each_seeing(&signal.path, |group| {
                    if group.signals {
                        found.push(group.clone());
                    }
                });
                same = Group::are(found.iter(), &groups);
            }
            if !same || size >= RUN_BYTES {
                self.hand_signals(&groups, &signals[start..at]);
                (start, size) = (at, 0);
            }
            if !same {
                mem::swap(&mut groups, &mut found);
            }
            size += signal_size(signal);
        }
        self.hand_signals(&groups, &signals[start..]);
    }

    /// Hands these to everyone who is in any of the groups, once.
    fn hand_signals(&self, groups: &[Arc<Group>], signals: &[Signal]) {
        if signals.is_empty() {
            return;
        }
        let mut made = Made::default();
        // Signals come from many tasks at once, so that no mark at the subscriber would tell.
        let mut told = HashSet::new();
        let first = |subscriber: &Subscriber| told.insert(subscriber.id);
        Group::each_of(groups, first, |subscriber| {
            let codec = subscriber.codec;
            let encode = || Frames::of_signals(signals, codec, self.envelope);
            subscriber.sink.signals(made.frames(codec, encode));
        });
    }
}
