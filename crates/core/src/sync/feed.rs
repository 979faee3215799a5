//! One connection's subscriptions, and what to send next so that each mirror becomes and stays
//! right.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::sync::Arc;
use core::cell::LazyCell;

use onetree_protocol::frame::{
    Delta, Entries, Fresh, Mode, Reason, Refresh, ServerFrame, Sub, Sync,
};
use onetree_protocol::{Code, Revision, View};

use super::counting::{Counting, Large};
use super::subscription::{Cursor, Interest, Stage, Subscription};
use super::subscriptions::{Subscriptions, view_bytes};
use super::sweep::{Outrun, Piece};
use crate::request::Refusal;
use crate::settings::Time;
use crate::snapshot::Snapshot;

/// All subscriptions of one connection. Each has a cursor into the one tree.
///
/// A feed has no queue of changes. Live deltas come from a bounded outbox that belongs to the
/// caller. Everything else is computed from a snapshot when the socket has room for it.
///
/// No change is lost between the live deltas and the snapshots, because the caller keeps this
/// order:
///
/// 1. A subscription is put into the index ([`Step::Register`]) *before* the caller loads the
///    snapshot that ends its refresh.
/// 2. A snapshot is published *before* the index is searched for the subscriptions that its commit
///    concerns.
///
/// So every commit after the snapshot finds the subscription. A commit that finds the subscription
/// but is not above the mirror's revision is skipped by the mirror.
#[derive(Debug)]
pub struct Feed {
    pub(super) limits: FeedLimits,
    pub(super) subs: Subscriptions,
    /// The revision of the last live delta, or `sync`, that was sent: every live mirror is there or
    /// further.
    pub(super) live: Revision,
    /// The number of the subscription that had the last turn.
    turn: u32,
    /// Steps that the last turn produced and that the caller has not taken yet.
    ready: VecDeque<Step>,
    /// The number of the subscription that the next `sync` begins with.
    pub(super) counts_from: u32,
    /// Whether some subscriptions may hold a snapshot.
    held: bool,
    /// Digests that are being counted, in the turns of [`Feed::poll`].
    pub(super) counting: Option<Box<Counting>>,
    /// A subscription whose view no single `sync` can count.
    pub(super) large: Option<Box<Large>>,
}

/// The limits of a [`Feed`]. By default all are 0: nothing is allowed.
#[derive(Clone, Copy, Debug, Default)]
pub struct FeedLimits {
    /// The most subscriptions.
    pub subscriptions: usize,
    /// The most bytes of base paths and patterns of all subscriptions.
    pub view_bytes: usize,
    /// The most segments of all patterns of all subscriptions.
    pub pattern_segments: usize,
    /// The approximate size of each frame of a refresh, in bytes.
    pub frame_bytes: usize,
    /// The most slots that may be walked for one `sync`, and for the digest of one `fresh`. As many
    /// again are saved up at each heartbeat for a view that has more slots than that.
    pub digest_scan: usize,
    /// The most mirrors that one `sync` may name.
    pub digests: usize,
    /// The most slots that one [`Feed::poll`] may look at before others have their turn; 0 counts
    /// as 1. In a view with patterns a slot counts once more for each 32 comparisons of segments
    /// that its path takes: the segments of all patterns, times those of the path below the base.
    pub turn_slots: usize,
}

/// What the caller has to do next.
#[derive(Debug)]
pub enum Step {
    /// Send this frame.
    Frame(ServerFrame),
    /// The counting that [`Feed::count`] began is done: send this answer to those who asked.
    Counted(Sync),
    /// Put the subscription into the index, then poll again.
    Register(Interest),
    /// Take the subscription out of the index.
    Unregister(Interest),
    /// Send nothing: enough slots were looked at for one turn. Poll again when others had their
    /// turn.
    Pause,
}

impl Step {
    /// Returns whether this is a frame of a refresh, or a folded delta, of `sub`.
    fn is_about(&self, sub: u32) -> bool {
        match self {
            Step::Frame(ServerFrame::Refresh(f)) => f.sub == sub,
            Step::Frame(ServerFrame::Entries(f)) => f.sub == sub,
            Step::Frame(ServerFrame::Fresh(f)) => f.sub == sub,
            Step::Frame(ServerFrame::Delta(f)) => f.sub == Some(sub),
            _ => false,
        }
    }

    /// Returns whether this puts `sub` into the index.
    fn registers(&self, sub: u32) -> bool {
        matches!(self, Step::Register(interest) if interest.sub == sub)
    }
}

impl Feed {
    /// Returns the feed of a connection without subscriptions.
    pub fn new(limits: FeedLimits) -> Feed {
        Feed {
            limits,
            subs: Subscriptions::default(),
            live: Revision::ZERO,
            turn: 0,
            ready: VecDeque::new(),
            counts_from: 0,
            held: false,
            counting: None,
            large: None,
        }
    }

    /// Returns the number of subscriptions.
    pub fn len(&self) -> usize {
        self.subs.len()
    }

    /// Returns whether there are no subscriptions.
    pub fn is_empty(&self) -> bool {
        self.subs.len() == 0
    }

    /// Adds a subscription; [`Feed::poll`] then refreshes it.
    ///
    /// # Errors
    /// [`Code::SubInUse`] if the number is in use; [`Code::TooManySubscriptions`] if a limit on the
    /// number of subscriptions or on the size of their views would be passed.
    pub fn subscribe(&mut self, sub: &Sub, now: &Snapshot) -> Result<(), Refusal> {
        if self.subs.contains(sub.sub) {
            let message = format!("subscription {} is there already", sub.sub);
            return Err(Refusal::new(Code::SubInUse, message));
        }
        let most = self.limits.subscriptions;
        if self.subs.len() >= most {
            let message = format!("a connection has at most {most} subscriptions");
            return Err(Refusal::new(Code::TooManySubscriptions, message));
        }
        let most = self.limits.view_bytes;
        if self.subs.view_bytes() + view_bytes(&sub.view) > most {
            let message = format!(
                "the paths and patterns of a connection's subscriptions have at most {most} bytes"
            );
            return Err(Refusal::new(Code::TooManySubscriptions, message));
        }
        let most = self.limits.pattern_segments;
        if self.subs.pattern_segments() + sub.view.pattern_segments() > most {
            let message = format!(
                "the patterns of a connection's subscriptions have at most {most} segments"
            );
            return Err(Refusal::new(Code::TooManySubscriptions, message));
        }
        self.subs.insert(sub.sub, Subscription::new(sub, now));
        Ok(())
    }

    /// Ends a subscription. Returns what the caller has to take out of the index, if anything.
    ///
    /// # Errors
    /// [`Code::NoSuchSub`].
    pub fn unsubscribe(&mut self, sub: u32) -> Result<Option<Interest>, Refusal> {
        let gone = self.subs.remove(sub).ok_or_else(|| no_such(sub))?;
        self.leave_out(sub);
        // Make sure that a registration which the caller has not taken yet does not come after the
        // end.
        let registered = gone.registered && !self.ready.iter().any(|step| step.registers(sub));
        self.ready.retain(|step| !step.is_about(sub) && !step.registers(sub));
        Ok(registered.then(|| gone.interest(sub)))
    }

    /// Returns everything of this connection that is in the index.
    pub fn registered(&self) -> impl Iterator<Item = Interest> {
        let there = self.subs.iter().filter(|(id, sub)| {
            sub.registered && !self.ready.iter().any(|step| step.registers(*id))
        });
        let leaving = self.ready.iter().filter_map(|step| match step {
            Step::Unregister(interest) => Some(interest.clone()),
            _ => None,
        });
        there.map(|(id, sub)| sub.interest(id)).chain(leaving)
    }

    /// Replaces the view of `sub` by `view` if they are equal, so that many subscriptions share one
    /// copy of a view.
    pub fn share(&mut self, sub: u32, view: &Arc<View>) {
        self.subs.with(sub, |sub| {
            if sub.view == *view {
                sub.view = view.clone();
            }
        });
    }

    /// Starts the refresh of a subscription again, from nothing.
    ///
    /// # Errors
    /// [`Code::NoSuchSub`].
    pub fn resync(&mut self, sub: u32) -> Result<(), Refusal> {
        let ready = &mut self.ready;
        let restarted = self.subs.with(sub, |subscription| {
            subscription.restart(Reason::Resync);
            ready.retain(|step| !step.is_about(sub));
            subscription.open(sub, ready);
        });
        self.leave_out(sub);
        restarted.ok_or_else(|| no_such(sub))
    }

    /// Returns whether live deltas may be sent now; otherwise they wait in the outbox.
    ///
    /// They wait while some mirror is being brought to a revision from which on it takes live
    /// deltas. That lasts until the caller has taken the mirror's `fresh`, which may be some steps
    /// after it was made. They also wait while digests are being counted.
    pub fn takes_live(&self) -> bool {
        self.ready.is_empty() && !self.subs.any_holds_live() && self.counting.is_none()
    }

    /// Returns whether any mirror needs the live delta of `rev`. If so, some mirror also needs all
    /// later live deltas.
    pub fn needs_live(&self, rev: Revision) -> bool {
        let behind = |sub: &Subscription| match sub.cursor {
            Cursor::Live { rev: at } => at.max(self.live) < rev,
            _ => false,
        };
        self.subs.iter().any(|(_, sub)| behind(sub))
    }

    /// Returns the revision above which some mirror needs every live delta (see
    /// [`Feed::needs_live`]); `None` while no mirror takes live deltas. O(subscriptions), but
    /// usually the first live mirror already gives the answer.
    pub fn live_above(&self) -> Option<Revision> {
        let mut least = None;
        for (_, sub) in self.subs.iter() {
            let Cursor::Live { rev } = sub.cursor else { continue };
            if rev <= self.live {
                return Some(self.live);
            }
            least = Some(least.map_or(rev, |least: Revision| least.min(rev)));
        }
        least
    }

    /// Call this before sending the live delta of `rev`. False: no mirror needs it, do not send it.
    pub fn handle_live(&mut self, rev: Revision) -> bool {
        let needed = self.needs_live(rev);
        if needed {
            self.live = rev;
        }
        needed
    }

    /// Call this when the outbox has overflowed: live deltas above those already sent are lost, and
    /// are replaced by folded deltas. A mirror that was about to continue with live deltas also
    /// needs what was committed after the snapshot of its present round.
    pub fn handle_overflow(&mut self) {
        let live = self.live;
        self.subs.each(|_, sub| match &mut sub.cursor {
            Cursor::Live { rev } => {
                let at = live.max(*rev);
                sub.cursor = Cursor::behind(at, at);
            }
            Cursor::Refreshing { stage: Stage::Closing, sweep } | Cursor::Behind { sweep, .. } => {
                sweep.overtaken();
            }
            Cursor::Refreshing { .. } | Cursor::Paced { .. } => {}
        });
    }

    /// Returns when the next interval of an `every_ms` subscription is over.
    pub fn next_due(&self) -> Option<Time> {
        if !self.subs.any_paced() {
            return None;
        }
        let due = self.subs.iter().filter_map(|(_, sub)| match sub.cursor {
            Cursor::Paced { due, .. } => Some(due),
            _ => None,
        });
        due.min()
    }

    /// Returns whether [`Feed::poll`] has work to do now, rather than at the next interval.
    pub fn is_catching_up(&self) -> bool {
        !self.ready.is_empty() || self.subs.any_moving() || self.counting.is_some()
    }

    /// Returns whether some mirror may never come to the present unless [`Feed::poll`] may hold
    /// snapshots: more is written during each round of its sweep than one poll looks at.
    pub fn needs_hold(&self) -> bool {
        self.subs.any_needs_hold()
    }

    /// Returns the next step for the mirrors that are being brought to the present; the mirrors
    /// take turns. `None`: there is nothing to do.
    ///
    /// - `latest` is called at most once. It must return a snapshot that is the newest published
    ///   one at the time of that call.
    /// - `hold` says whether snapshots may be kept until the next call. If they may, a sweep needs
    ///   one round. If not, the feed gives up all snapshots that it holds, the counting of digests
    ///   ends, and a sweep takes more rounds: see [`Feed::needs_hold`].
    ///
    /// A poll looks at no more slots than [`FeedLimits`] allow.
    pub fn poll(
        &mut self,
        now: Time,
        latest: impl FnOnce() -> Snapshot,
        hold: bool,
    ) -> Option<Step> {
        let latest = LazyCell::new(latest);
        self.wake_paced(now, || latest.rev());
        if !hold && core::mem::take(&mut self.held) {
            self.subs.each(|_, sub| sub.let_go());
        }
        if !hold && let Some(counting) = self.counting.take() {
            let ended = self.count_on(counting, hold, &mut 0);
            if ended.is_some() {
                return ended;
            }
        }
        self.held |= hold;
        let mut left = self.limits.turn_slots.max(1);
        loop {
            if let Some(step) = self.next_ready() {
                return Some(step);
            }
            if let Some(counting) = self.counting.take() {
                match self.count_on(counting, hold, &mut left) {
                    Some(step) => return Some(step),
                    None => continue,
                }
            }
            let Some(id) = self.subs.next_moving(self.turn) else {
                // Most connections have nothing to do most of the time: give the memory back.
                self.ready = VecDeque::new();
                return None;
            };
            if left == 0 {
                return Some(Step::Pause);
            }
            self.turn = id;
            let snapshot = Snapshot::clone(&latest);
            let turn = Turn { id, now, hold, bytes: self.limits.frame_bytes };
            let (scan, ready) = (self.limits.digest_scan, &mut self.ready);
            let step = |sub: &mut Subscription| sub.step(turn, snapshot, scan, &mut left, ready);
            let over = self.subs.with(id, step)?;
            // Finding the place to continue from counts as one slot.
            left = left.saturating_sub(1);
            if over {
                self.subs.remove(id);
            }
        }
    }

    /// Returns the next step that [`Feed::poll`] has already made, if there is one: for who may not
    /// look at the tree now. Cost: constant.
    pub fn next_ready(&mut self) -> Option<Step> {
        self.ready.pop_front()
    }

    /// Looks at the mirrors whose interval is over. A mirror becomes `Behind` if there are commits
    /// that it has not seen; otherwise its next interval begins.
    ///
    /// Commits do not wake these mirrors: the mirrors of a thousand connections would all wake up
    /// for the same commit, and its author would wait for the answer meanwhile.
    fn wake_paced(&mut self, now: Time, latest: impl Fn() -> Revision) {
        if !self.subs.any_paced() {
            return;
        }
        self.subs.each(|_, sub| match &mut sub.cursor {
            Cursor::Paced { rev, seen, due } if *due <= now => {
                if *seen < latest() {
                    sub.cursor = Cursor::behind(*rev, *seen);
                } else {
                    *due = now.plus(sub.every_ms.into());
                }
            }
            _ => {}
        });
    }
}

/// One subscription's turn.
#[derive(Clone, Copy)]
struct Turn {
    id: u32,
    now: Time,
    hold: bool,
    bytes: usize,
}

impl Subscription {
    /// Takes the subscription one piece further. Returns true when the subscription is over.
    fn step(
        &mut self,
        turn: Turn,
        latest: Snapshot,
        scan: usize,
        left: &mut usize,
        ready: &mut VecDeque<Step>,
    ) -> bool {
        let Turn { hold, bytes, .. } = turn;
        let piece = match &mut self.cursor {
            Cursor::Refreshing { stage, sweep } => {
                if let Stage::Opening(..) = stage {
                    self.open(turn.id, ready);
                    return false;
                }
                sweep.piece(&self.view, latest, hold, bytes, left)
            }
            Cursor::Behind { sweep, .. } => sweep.piece(&self.view, latest, hold, bytes, left),
            Cursor::Live { .. } | Cursor::Paced { .. } => return false,
        };
        match (piece, &self.cursor) {
            (Err(Outrun), _) => {
                self.restart(Reason::Outrun);
                self.open(turn.id, ready);
                false
            }
            (Ok(piece), Cursor::Refreshing { .. }) => self.refresh(turn, piece, scan, ready),
            (Ok(piece), _) => {
                self.fold(turn, piece, ready);
                false
            }
        }
    }

    /// Sends `refresh`, which says that a refresh begins. A mirror that was whole before must get
    /// it at once: until then the client applies live deltas to it, and those may start above the
    /// mirror's revision.
    fn open(&mut self, id: u32, ready: &mut VecDeque<Step>) {
        let Cursor::Refreshing { sweep, stage } = &mut self.cursor else { return };
        let Stage::Opening(kind, why) = *stage else { return };
        *stage = Stage::Reading;
        let refresh = Refresh { sub: id, kind, why, from: sweep.since() };
        ready.push_back(Step::Frame(ServerFrame::Refresh(refresh)));
    }

    /// Sends a piece of a refresh, and `fresh` when the mirror is whole. Returns true when the
    /// subscription is over.
    fn refresh(
        &mut self,
        turn: Turn,
        piece: Piece,
        scan: usize,
        ready: &mut VecDeque<Step>,
    ) -> bool {
        let Turn { id, now, .. } = turn;
        let Piece { changes, snapshot, last } = piece;
        if !changes.is_empty() {
            let entries = Entries { sub: id, changes };
            ready.push_back(Step::Frame(ServerFrame::Entries(entries)));
        }
        let live = self.mode == Mode::Stay && self.every_ms == 0;
        let Cursor::Refreshing { sweep, stage } = &mut self.cursor else { return false };
        if !last {
            return false;
        }
        let settled = sweep.settled();
        if live && *stage == Stage::Reading {
            *stage = Stage::Closing;
            sweep.again();
            self.register(id, ready);
            return false;
        }
        let Some(rev) = settled else {
            sweep.again();
            return false;
        };
        let view = self.view.fingerprint();
        let digest = snapshot.digest(&self.view, &mut { scan });
        let fresh = Fresh { sub: id, rev, view, digest };
        ready.push_back(Step::Frame(ServerFrame::Fresh(fresh)));
        if self.mode == Mode::Once {
            if self.registered {
                ready.push_back(Step::Unregister(self.interest(id)));
            }
            return true;
        }
        self.rest(rev, rev, now);
        if self.signals {
            self.register(id, ready);
        }
        false
    }

    /// Sends a piece of a folded delta.
    fn fold(&mut self, turn: Turn, piece: Piece, ready: &mut VecDeque<Step>) {
        let Piece { changes, snapshot, last } = piece;
        let paced = self.every_ms > 0;
        let Cursor::Behind { from, sweep, sent } = &mut self.cursor else { return };
        let from = *from;
        let settled = sweep.settled().filter(|_| last);
        if let Some(seen) = settled
            && changes.is_empty()
            && paced
            && !*sent
            && from >= snapshot.horizon()
        {
            // Nothing changed in the view, so the next interval begins and the mirror stays at its
            // revision. It is sent an empty delta only if its cookie has fallen below the horizon.
            return self.rest(from, seen, turn.now);
        }
        if settled.is_some() || !changes.is_empty() {
            *sent = true;
            let rev = settled.unwrap_or(snapshot.rev());
            let part = settled.is_none();
            let delta = Delta { rev, since: Some(from), sub: Some(turn.id), part, changes };
            ready.push_back(Step::Frame(ServerFrame::Delta(delta)));
        }
        match settled {
            Some(rev) => self.rest(rev, rev, turn.now),
            None if last => sweep.again(),
            None => {}
        }
    }

    /// The mirror is whole at `rev`, and nothing in its view has changed from `rev` to `seen`.
    fn rest(&mut self, rev: Revision, seen: Revision, now: Time) {
        self.cursor = match u64::from(self.every_ms) {
            0 => Cursor::Live { rev },
            ms => Cursor::Paced { rev, seen, due: now.plus(ms) },
        };
    }

    fn register(&mut self, id: u32, ready: &mut VecDeque<Step>) {
        if !self.registered {
            self.registered = true;
            ready.push_back(Step::Register(self.interest(id)));
        }
    }
}

fn no_such(sub: u32) -> Refusal {
    Refusal::new(Code::NoSuchSub, format!("there is no subscription {sub}"))
}
