//! A publisher that sends as fast as possible, but never so far ahead of its subscribers that
//! anything is lost or folded.

use std::ops::Range;

use super::super::dialect::Template;
use super::Generator;

/// The most that is written at once, bytes.
const WRITE_BYTES: usize = 256 << 10;

/// A publisher that sends as fast as possible.
pub(crate) struct Publisher {
    pub(crate) connection: usize,
    pub(crate) template: Template,
    /// The subscribers that receive what it publishes.
    pub(crate) subscribers: Range<usize>,
    /// How many messages it may be ahead of the slowest of them.
    pub(crate) ahead: u64,
    /// How many messages may wait for their replies, if there are replies.
    pub(crate) in_flight: Option<u64>,
    pub(crate) sent: u64,
    /// The number of publishers to these subscribers: all of them together have sent this many
    /// times as much.
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
        // Make few large writes: wait until an eighth of the window is free.
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
