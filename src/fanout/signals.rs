//! The way of signals to those who want them.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;

use onetree_protocol::frame::Signal;

use super::Fanout;
use super::encode::{Frames, Made, signal_size};
use super::few::Few;
use super::group::Group;
use super::index::Seen;
use super::lookup::{Lookup, Steps};
use super::run::RUN_BYTES;
use super::subscriber::Subscriber;

/// Steps that it may take to find who sees signals that are sent together, of each kind, some two
/// milliseconds: signals may be lost, and nobody else is served by this thread meanwhile.
const STEPS: usize = 200_000;

impl Fanout {
    /// Hands signals to everyone whose view sees their path and who wants signals, at most once
    /// each, in their order. Cost: a look-up for each segment of each path that is not the one
    /// before; what follows one another and is seen by the same is encoded and handed over
    /// together. Where it takes too long to find who sees one, who is not found yet does not get
    /// it.
    pub fn signal(&self, signals: &[Signal]) {
        let (mut groups, mut found): (Vec<Arc<Group>>, Vec<Arc<Group>>) = Default::default();
        let (mut start, mut size) = (0, 0);
        let mut last = None;
        let mut lookup = Lookup::with(Steps::of_each(STEPS));
        let mut few = Few::of(signals.len());
        for (at, signal) in signals.iter().enumerate() {
            let mut same = true;
            if last != Some(&signal.path) {
                last = Some(&signal.path);
                found.clear();
                self.index.each_seeing(&signal.path, &mut lookup, |seen| {
                    if let Seen::Yes(group) = seen
                        && group.signals
                    {
                        found.push(group.clone());
                    }
                });
                same = Group::are(found.iter(), &groups);
            }
            if !same || size >= RUN_BYTES {
                self.hand_signals(&groups, &signals[start..at], &mut few);
                (start, size) = (at, 0);
            }
            if !same {
                mem::swap(&mut groups, &mut found);
            }
            size += signal_size(signal);
        }
        self.hand_signals(&groups, &signals[start..], &mut few);
    }

    /// Hands these to everyone who is in any of the groups, once.
    fn hand_signals(&self, groups: &[Arc<Group>], signals: &[Signal], few: &mut Few) {
        if signals.is_empty() {
            return;
        }
        let mut made = Made::default();
        let at_once = few.are(|| Group::size_of(groups));
        // Signals come from many tasks at once, so that no mark at the subscriber would tell.
        let mut told = HashSet::new();
        let first = |subscriber: &Subscriber| told.insert(subscriber.id);
        Group::each_of(groups, first, |subscriber| {
            let codec = subscriber.codec;
            let encode = || Frames::of_signals(signals, codec, self.envelope);
            subscriber.sink.signals(made.frames(codec, encode), at_once);
        });
    }
}
