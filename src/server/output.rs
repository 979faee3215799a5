//! What a client is told: replies, live frames, refreshes, heartbeats.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use onetree_core::{Step, Time};
use onetree_protocol::Revision;
use onetree_protocol::frame::{Done, Ok as OkFrame, Reason, ServerFrame, Sync};
use tokio::time::Instant;

use super::connection::{Asked, Connection, Hold, TURN};
use crate::broker::Reply;
use crate::fanout::Item;

/// Live frames that are queued before a refresh has its turn, bytes: half of what is written ahead,
/// so that neither starves the other.
const LIVE_TURN_BYTES: usize = super::writer::WRITE_AHEAD_BYTES / 2;

impl Connection {
    /// Queues what there is to say while there is room, and for no longer than a turn may take.
    /// True when it stopped for either.
    ///
    /// What a slow client may cost is bounded everywhere: replies by the requests in flight (none
    /// are read without room), live frames by the outbox, refreshes because they are made here,
    /// when there is room.
    pub(super) fn fill(&mut self) -> bool {
        self.send_replies();
        let begun = std::time::Instant::now();
        while self.writer.has_room() {
            if self.mailbox.outbox.take_overflow() {
                self.feed.handle_overflow();
                self.catching_up = true;
            }
            self.send_sync();
            let live = self.feed.takes_live() && self.send_live(LIVE_TURN_BYTES, Revision::MAX).1;
            let step = self.step();
            if !live && !step {
                return false;
            }
            // Small pieces of views that have to be walked to be counted take much longer than what
            // they fill.
            if begun.elapsed() >= TURN {
                return true;
            }
        }
        true
    }

    fn send_replies(&mut self) {
        for reply in self.mailbox.take_replies() {
            self.in_flight.end();
            match reply {
                Reply::Written { id, result: Ok(answer), durable } => {
                    let done = Done { id, rev: answer.rev, durable, paths: answer.paths };
                    self.send(&ServerFrame::Done(done));
                }
                Reply::Written { id, result: Err(refusal), .. } => self.refuse(id, refusal),
                Reply::Ended => {
                    if let Some(id) = self.leaving {
                        self.send(&ServerFrame::Ok(OkFrame { id }));
                    }
                }
            }
        }
    }

    /// Queues live frames up to a revision, about so many bytes. First: whether nothing was lost;
    /// then: whether there was something.
    fn send_live(&mut self, bytes: usize, up_to: Revision) -> (bool, bool) {
        let mut items = Vec::new();
        let intact = self.mailbox.outbox.take(&mut items, bytes, up_to);
        let mut delivered = 0;
        for item in &items {
            match item {
                Item::Deltas(frames) => {
                    if let Some(messages) = frames.needed(|rev| self.feed.needs_live(rev)) {
                        self.feed.handle_live(frames.rev());
                        self.writer.messages(&messages);
                        delivered += frames.count();
                    }
                }
                Item::Signals(frames) => {
                    self.writer.messages(frames.bytes());
                    delivered += frames.count();
                }
            }
        }
        if delivered > 0 {
            // Once for all that is written together.
            let all = &self.server.shared.counters.deliveries;
            all.fetch_add(delivered as u64, Ordering::Relaxed);
        }
        (intact, !items.is_empty())
    }

    /// The heartbeat, and the answers to `sync` that may be given. The revision is loaded first:
    /// its deltas are written or in the outbox then, and those are sent before it is said that a
    /// mirror is there.
    fn send_sync(&mut self) {
        if !self.timers.heartbeat_due && self.asked.is_empty() {
            return;
        }
        let settled = self.server.shared.settled();
        let unsettled = |asked: &VecDeque<Asked>| {
            asked.front().map(|asked| asked.at).filter(|at| *at > settled.rev())
        };
        self.unsettled = unsettled(&self.asked);
        if !self.timers.heartbeat_due && self.unsettled.is_some() {
            return;
        }
        let there = self.feed.takes_live() && self.send_live(usize::MAX, settled.rev()).0;
        // What is counted is said: a mirror is taken to be there only when it is told so.
        if there && (self.timers.heartbeat_due || self.writer.has_room()) {
            let sync = match self.timers.heartbeat_due {
                true => self.feed.heartbeat(&settled),
                false => self.feed.sync(&settled),
            };
            // Counted once for all who ask at once: what takes long, in turns, and who wants that
            // waits.
            let ask = self.asked.iter().any(|asked| asked.all && asked.at <= sync.rev);
            let counting = ask && self.feed.count(&settled, &sync);
            if self.timers.heartbeat_due || counting {
                self.send(&ServerFrame::Sync(sync.clone()));
            }
            self.answer_asked(&sync, !counting);
            self.catching_up |= self.feed.is_catching_up();
            self.unsettled = unsettled(&self.asked);
        } else if self.timers.heartbeat_due {
            // A sign of life that says nothing of any mirror: they are on their way.
            let sync = Sync { id: None, rev: settled.rev(), digests: Vec::new() };
            self.send(&ServerFrame::Sync(sync));
        }
        self.timers.heartbeat_due = false;
    }

    /// Answers those who have asked for the digests by the revision that these are of; `all`: also
    /// who wants those that take long.
    fn answer_asked(&mut self, sync: &Sync, all: bool) {
        let mut next = 0;
        while self.writer.has_room()
            && let Some(asked) = self.asked.get(next)
            && asked.at <= sync.rev
        {
            if asked.all && !all {
                next += 1;
                continue;
            }
            let id = Some(asked.id);
            self.asked.remove(next);
            self.send(&ServerFrame::Sync(Sync { id, ..sync.clone() }));
        }
    }

    /// One step for the mirrors that are brought to the present. False: there was none.
    pub(super) fn step(&mut self) -> bool {
        let interval_over = self.timers.feed_at.is_some_and(|at| at <= Instant::now());
        if !self.catching_up && !interval_over {
            return false;
        }
        let hold = self.may_hold();
        let shared = &self.server.shared;
        // An interval is of time that passes, whatever the clocks say.
        let started = self.server.started;
        let now = Time(started.elapsed().as_millis() as u64);
        match self.feed.poll(now, || shared.latest(), hold) {
            Some(Step::Frame(frame)) => {
                self.catching_up = true;
                if matches!(&frame, ServerFrame::Refresh(refresh) if refresh.why == Reason::Future)
                {
                    self.log_once(
                        "future",
                        "a cookie is of a revision that the tree has not reached",
                    );
                }
                self.send(&frame);
            }
            Some(Step::Counted(sync)) => {
                self.catching_up = true;
                self.answer_asked(&sync, true);
            }
            Some(Step::Register(interest)) => {
                let view = shared.fanout.register(&self.subscriber, &interest);
                self.feed.share(interest.sub, &view);
            }
            Some(Step::Unregister(interest)) => {
                shared.fanout.unregister(&self.subscriber, &interest);
            }
            Some(Step::Pause) => self.catching_up = true,
            None => {
                self.catching_up = false;
                self.hold = Hold::No;
                let due = self.feed.next_due();
                self.timers.feed_at =
                    due.map(|due| (started + Duration::from_millis(due.0)).into());
                return false;
            }
        }
        true
    }

    /// Whether a refresh may keep its snapshot: the broker has so many permits, each for so long.
    fn may_hold(&mut self) -> bool {
        match self.hold {
            Hold::Until { .. } => true,
            Hold::Spent => false,
            Hold::No => match self.server.holds.clone().try_acquire_owned() {
                Ok(_permit) => {
                    let time = Duration::from_millis(self.server.config.hold_ms);
                    self.hold = Hold::Until { at: Instant::now() + time, _permit };
                    true
                }
                Err(_) => false,
            },
        }
    }
}
