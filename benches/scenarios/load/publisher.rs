//! One who publishes as fast as it goes, never so far ahead of its subscribers that anything is
//! lost or folded.

use std::ops::Range;

use super::super::dialect::Template;
use super::Generator;

/// What is written at once at most, bytes.
const WRITE_BYTES: usize = 256 << 10;

/// One who publishes as fast as it goes.
pub(crate) struct Publisher {
    pub(crate) connection: usize,
    pub(crate) template: Template,
    /// Those who get what it publishes.
    pub(crate) subscribers: Range<usize>,
    /// How many messages it may be ahead of the slowest of them.
    pub(crate) ahead: u64,
    /// How many may wait for their replies, where there are replies.
    pub(crate) in_flight: Option<u64>,
    pub(crate) sent: u64,
    /// What all publishers to these subscribers have sent is this times as much.
    pub(crate) sharing: u64,
}

impl Publisher {
    /// Sends what may be sent.
    pub(crate) fn pump(&mut self, generator: &mut Generator) {
        let mut room = self.ahead;
        if let Some(in_flight) = self.in_flight {
            let replies = generator.connections[self.connection].received.replies;
            room = room.min((in_flight + replies).saturating_sub(self.sent));
        }
        // Few large writes: it waits until an eighth of its window is free.
        let least = (self.in_flight.unwrap_or(self.ahead).min(self.ahead) / 8).max(1);
        if room < least || !generator.connections[self.connection].is_flushed() {
            return;
        }
        let slowest = generator.connections[self.subscribers.clone()]
            .iter()
            .map(|connection| connection.received.messages)
            .min();
        if let Some(slowest) = slowest {
            room = room.min((self.ahead + slowest / self.sharing).saturating_sub(self.sent));
        }
        let room = room.min((WRITE_BYTES / self.template.len()).max(1) as u64);
        if room < least {
            return;
        }
        let now = generator.tally.now();
        let connection = &mut generator.connections[self.connection];
        for _ in 0..room {
            self.sent += 1;
            self.template.write(self.sent, now, &mut connection.out);
        }
        connection.flush();
    }
}
