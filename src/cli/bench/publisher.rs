//! A publisher.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use onetree_client::{Append, Done, Path, Pending, Put, Value};

use super::super::connect::{self, Link};
use super::super::exit::Failure;
use super::With;
use super::payload::Payload;

/// A publisher: a connection that writes.
pub(super) struct Publisher {
    pub(super) link: Link,
    pub(super) path: Path,
    pub(super) number: u32,
    /// The moment from which payloads count their time.
    pub(super) start: Instant,
    /// When writes begin to count.
    pub(super) begin: Instant,
    pub(super) end: Instant,
    /// Set when the publisher must end earlier.
    pub(super) ending: Arc<AtomicBool>,
    /// The time from one write to the next; `None`: as fast as they are acknowledged.
    pub(super) interval: Option<Duration>,
    pub(super) in_flight: usize,
    pub(super) size: usize,
    pub(super) with: With,
}

/// How many writes were acknowledged.
pub(super) struct Written {
    pub(super) all: u64,
    /// Writes after the warm-up.
    pub(super) counted: u64,
    /// Writes that were due after the warm-up and were not made by the end.
    pub(super) missed: u64,
}

impl Publisher {
    /// Writes until the end, and waits until all writes are acknowledged.
    pub(super) async fn run(self) -> Result<Written, Failure> {
        let mut waiting: VecDeque<Pending<Done>> = VecDeque::new();
        let (mut written, mut counted) = (0, 0);
        let mut due = Instant::now();
        // A publisher that begins late, because many connections take their time, has missed the
        // writes before.
        let mut missed = self.due_between(self.begin, due);
        loop {
            let now = Instant::now();
            match self.interval {
                // The latency of a late write counts from when it was due: a broker that is behind
                // must not get less load because of that. But writes that the warm-up left undone
                // do not count.
                Some(_) => {
                    if now >= self.begin {
                        due = due.max(self.begin);
                    }
                    tokio::time::sleep_until(due.min(self.end).into()).await;
                }
                None => due = now,
            }
            // The end is a moment of the clock: writes that are due and not made by then are
            // missed.
            if now.max(due) >= self.end || self.ending.load(Ordering::Relaxed) {
                missed += self.due_between(due.max(self.begin), self.end.min(Instant::now()));
                break;
            }
            written += 1;
            counted += u64::from(due >= self.begin);
            let payload =
                Payload { due: due - self.start, publisher: self.number, number: written };
            let value = Value::octets(&payload.to_bytes(self.size));
            let path = self.path.clone();
            let pending = match self.with {
                With::Append => self.link.client.enqueue(Append::new(path, value)).await,
                With::Put => self.link.client.enqueue(Put::new(path, value)).await,
                With::Signal => {
                    self.link.signal(&path, value).await?;
                    due += self.interval.unwrap_or_default();
                    continue;
                }
            };
            waiting.push_back(pending.map_err(connect::failed)?);
            if waiting.len() >= self.in_flight
                && let Some(first) = waiting.pop_front()
            {
                first.await.map_err(connect::unwritten)?;
            }
            due += self.interval.unwrap_or_default();
        }
        for pending in waiting {
            pending.await.map_err(connect::unwritten)?;
        }
        self.link.close().await;
        Ok(Written { all: written, counted, missed })
    }

    /// Returns how many writes are due between two moments.
    fn due_between(&self, from: Instant, to: Instant) -> u64 {
        let time = to.saturating_duration_since(from).as_nanos();
        let every = self.interval.map_or(u128::MAX, |interval| interval.as_nanos().max(1));
        u64::try_from(time / every).unwrap_or(u64::MAX)
    }
}
