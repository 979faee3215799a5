//! Everything that is sent to a client: replies, live frames, refreshes, heartbeats.

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

/// How many bytes of live frames are queued before a refresh gets its turn: half of what is written
/// ahead, so that neither starves the other.
const LIVE_TURN_BYTES: usize = super::writer::WRITE_AHEAD_BYTES / 2;

impl Connection {
    /// Queues what there is to send while there is room, for at most one turn. Returns true when it
    /// stopped because the room or the time ran out.
    ///
    /// The cost of a slow client is bounded everywhere. Replies are bounded by the requests in
    /// flight, because no requests are read without room. Live frames are bounded by the outbox.
    /// Refreshes are made here, only when there is room.
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
            let step = match self.next_turn {
                None => self.step(),
                // What the feed has made already goes on: live frames wait for it.
                Some(_) => self.feed.next_ready().map(|step| self.carry_out(step)).is_some(),
            };
            if !live && !step {
                return false;
            }
            // When views must be walked to be counted, a step may take much longer than the few
            // bytes that it queues suggest.
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

    /// Queues about this many bytes of live frames, up to a revision. Returns whether nothing was
    /// lost, and whether there was anything.
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
            // One addition for everything that is written together.
            let all = &self.server.shared.counters.deliveries;
            all.fetch_add(delivered as u64, Ordering::Relaxed);
        }
        (intact, !items.is_empty())
    }

    /// Sends the heartbeat, and the answers to `sync` requests that are due. The settled revision
    /// is loaded first: its deltas are then written or in the outbox, and they are sent before the
    /// frame says that a mirror is at that revision.
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
        // The frame must then really be sent: the feed assumes that a mirror named in it has been
        // told so.
        if there && (self.timers.heartbeat_due || self.writer.has_room()) {
            let sync = match self.timers.heartbeat_due {
                true => self.feed.heartbeat(&settled),
                false => self.feed.sync(&settled),
            };
            // One count serves all requests that wait at this moment. Digests that take long are
            // counted in turns, and requests for them wait.
            let ask = self.asked.iter().any(|asked| asked.all && asked.at <= sync.rev);
            let counting = ask && self.feed.count(&settled, &sync);
            if self.timers.heartbeat_due || counting {
                self.send(&ServerFrame::Sync(sync.clone()));
            }
            self.answer_asked(&sync, !counting);
            self.catching_up |= self.feed.is_catching_up();
            self.unsettled = unsettled(&self.asked);
        } else if self.timers.heartbeat_due {
            // A sign of life that names no mirror, because deltas are still missing.
            let sync = Sync { id: None, rev: settled.rev(), digests: Vec::new() };
            self.send(&ServerFrame::Sync(sync));
        }
        self.timers.heartbeat_due = false;
    }

    /// Answers the `sync` requests that this revision satisfies. `all`: includes the requests for
    /// digests that take long.
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

    /// Takes one step for the mirrors that are being brought to the present. Returns false when
    /// there was nothing to do.
    pub(super) fn step(&mut self) -> bool {
        let interval_over = self.timers.feed_at.is_some_and(|at| at <= Instant::now());
        if !self.catching_up && !interval_over {
            return false;
        }
        let hold = self.may_hold();
        let shared = &self.server.shared;
        // Intervals are measured in time that passes, whatever the system's clock says.
        let started = self.server.started;
        let now = Time(started.elapsed().as_millis() as u64);
        match self.feed.poll(now, || shared.latest(), hold) {
            Some(step) => {
                self.catching_up = true;
                self.carry_out(step);
                true
            }
            None => {
                self.catching_up = false;
                self.hold = Hold::No;
                let due = self.feed.next_due();
                self.timers.feed_at =
                    due.map(|due| (started + Duration::from_millis(due.0)).into());
                false
            }
        }
    }

    /// Does what a step of the feed says.
    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Frame(frame) => {
                if matches!(&frame, ServerFrame::Refresh(refresh) if refresh.why == Reason::Future)
                {
                    self.log_once(
                        "future",
                        "a cookie is of a revision that the tree has not reached",
                    );
                }
                self.send(&frame);
            }
            Step::Counted(sync) => self.answer_asked(&sync, true),
            Step::Register(interest) => {
                let view = self.server.shared.fanout.register(&self.subscriber, &interest);
                self.feed.share(interest.sub, &view);
            }
            Step::Unregister(interest) => {
                self.server.shared.fanout.unregister(&self.subscriber, &interest);
            }
            Step::Pause => {}
        }
    }

    /// Whether a refresh may hold its snapshot. The broker has a limited number of permits for
    /// this, each valid for a limited time.
    ///
    /// There is one more permit, for a refresh that may never end without it. A connection that
    /// has it takes it again when its time is over, unless it is the client that is slow.
    fn may_hold(&mut self) -> bool {
        let holds = match self.hold {
            Hold::Until { .. } => return true,
            Hold::No => Some(&self.server.holds),
            Hold::Spent => None,
        };
        let needs = self.feed.needs_hold() && self.writer.has_room();
        let last_hold = Some(&self.server.last_hold).filter(|_| needs);
        let mut permits = holds.into_iter().chain(last_hold);
        let Some(_permit) = permits.find_map(|holds| holds.clone().try_acquire_owned().ok()) else {
            return false;
        };
        let time = Duration::from_millis(self.server.config.hold_ms);
        self.hold = Hold::Until { at: Instant::now() + time, _permit };
        true
    }
}
