//! A subscriber.

use std::time::Instant;

use onetree_client::{Change, Event, Mirror};
use onetree_protocol::Act;
use tokio::sync::watch;

use super::super::connect::{self, Link};
use super::super::exit::Failure;
use super::payload::Payload;
use super::tally::Tally;

/// How many writes each publisher made, and until when to wait for them.
pub(super) type Written = Option<(Vec<u64>, Instant)>;

/// A subscriber: a connection that follows all publishers.
pub(super) struct Subscriber {
    pub(super) link: Link,
    pub(super) mirror: Mirror,
    /// The moment from which payloads count their time.
    pub(super) start: Instant,
    pub(super) tally: Tally,
}

impl Subscriber {
    /// Takes everything that arrives, until it has the last write of each publisher.
    pub(super) async fn run(
        mut self,
        mut written: watch::Receiver<Written>,
    ) -> Result<Tally, Failure> {
        let mut changes = self.mirror.changes();
        loop {
            let deadline = written.borrow_and_update().as_ref().map(|(_, deadline)| *deadline);
            if self.is_done(&written.borrow()) {
                break;
            }
            tokio::select! {
                event = changes.next() => match event {
                    Some(event) => self.take(event)?,
                    None => break,
                },
                Ok(()) = written.changed() => {}
                () = sleep_until(deadline) => break,
            }
        }
        if let Some((counts, _)) = &*written.borrow() {
            self.tally.end(counts.iter().copied().enumerate());
        }
        self.link.close().await;
        Ok(self.tally)
    }

    fn is_done(&self, written: &Written) -> bool {
        written.as_ref().is_some_and(|(counts, _)| {
            counts.iter().enumerate().all(|(publisher, n)| self.tally.has(publisher, *n))
        })
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        let now = self.start.elapsed();
        match event {
            Event::Fresh { changes, .. } | Event::Delta { changes, .. } => {
                let values = changes.iter().filter_map(value);
                values.for_each(|payload| self.tally.take(payload, now));
            }
            Event::Signal { value, .. } => {
                if let Some(payload) = Payload::parse(&value.bytes) {
                    self.tally.take(payload, now);
                }
            }
            Event::Ended { error: Some(error) } => return Err(connect::failed(error)),
            _ => {}
        }
        Ok(())
    }
}

fn value(change: &Change) -> Option<Payload> {
    match &change.act {
        Act::Put(Some(value)) => Payload::parse(&value.bytes),
        _ => None,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
