//! The events of a connection that the owner of the tree has not answered.

use std::collections::VecDeque;

use crate::broker::TURN_EVENTS;

/// The unanswered events of a connection, in order. For each: the bytes of its request, and its
/// weight for the owner.
#[derive(Default)]
pub(super) struct InFlight {
    sizes: VecDeque<(usize, usize)>,
    bytes: usize,
    weight: usize,
}

impl InFlight {
    pub(super) fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether the owner already has this many bytes of this connection, or as many changes as it
    /// applies in one turn.
    pub(super) fn is_full(&self, bytes: usize) -> bool {
        self.bytes >= bytes || self.weight >= TURN_EVENTS
    }

    pub(super) fn begin(&mut self, bytes: usize, weight: usize) {
        self.sizes.push_back((bytes, weight));
        self.bytes += bytes;
        self.weight += weight;
    }

    pub(super) fn end(&mut self) {
        let (bytes, weight) = self.sizes.pop_front().unwrap_or_default();
        self.bytes -= bytes;
        self.weight -= weight;
        if self.sizes.is_empty() {
            self.sizes = VecDeque::new();
        }
    }
}
