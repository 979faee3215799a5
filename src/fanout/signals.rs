//! Hands signals to the subscribers that want them.

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

/// The steps of each kind that may be taken to find the subscribers of signals that are sent
/// together, about two milliseconds. Signals may be lost, and this thread serves nobody else
/// meanwhile.
const STEPS: usize = 200_000;

impl Fanout {
    /// Hands signals, in order, to every subscriber whose view sees their path and that wants
    /// signals, at most once each.
    ///
    /// Cost: one lookup for each segment of each path that differs from the path before.
    /// Consecutive signals that the same subscribers see are encoded and handed over together. When
    /// it takes too long to find out who sees a signal, the subscribers that are not found by then
    /// do not receive it.
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

    /// Hands these signals once to every subscriber that is in any of the groups.
    fn hand_signals(&self, groups: &[Arc<Group>], signals: &[Signal], few: &mut Few) {
        if signals.is_empty() {
            return;
        }
        let mut made = Made::default();
        let at_once = few.are(|| Group::size_of(groups));
        // Signals come from many tasks at once, so a mark at the subscriber would not work.
        let mut told = HashSet::new();
        let first = |subscriber: &Subscriber| told.insert(subscriber.id);
        Group::each_of(groups, first, |subscriber| {
            let codec = subscriber.codec;
            let encode = || Frames::of_signals(signals, codec, self.envelope);
            subscriber.sink.signals(made.frames(codec, encode), at_once);
        });
    }
}
