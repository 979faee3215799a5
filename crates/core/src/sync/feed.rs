//! One connection's subscriptions: what to send next so that each mirror is right.

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

/// One connection's subscriptions, each a cursor into the one tree. It has no queue: live deltas
/// come from a bounded outbox that belongs to the caller, and everything else is computed from a
/// snapshot when the socket has room for it.
///
/// Nothing is lost between the two because of an order that the caller keeps: a subscription is
/// put into the index ([`Step::Register`]) *before* the snapshot is loaded that its refresh ends
/// with, and a snapshot is published *before* its commit looks into the index. What is committed
/// after the snapshot finds the subscription; what is found and is not above a mirror's revision,
/// the mirror skips.
#[derive(Debug)]
pub struct Feed {
    pub(super) limits: FeedLimits,
    pub(super) subs: Subscriptions,
    /// The last live delta that was sent, or `sync`: every live mirror is there or further.
    pub(super) live: Revision,
    /// The subscription that had the last turn.
    turn: u32,
    /// What its turn came to, as far as it was not taken yet.
    ready: VecDeque<Step>,
    /// The subscription with whose digest the next `sync` begins.
    pub(super) counts_from: u32,
    /// Whether some of them may hold a snapshot.
    held: bool,
    /// Digests that are being counted, in the turns of [`Feed::poll`].
    pub(super) counting: Option<Box<Counting>>,
    /// One that no single `sync` can count.
    pub(super) large: Option<Box<Large>>,
}

/// What a [`Feed`] may do; by default nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct FeedLimits {
    /// Subscriptions.
    pub subscriptions: usize,
    /// Base paths and patterns of all subscriptions, bytes.
    pub view_bytes: usize,
    /// Segments of all patterns of all subscriptions.
    pub pattern_segments: usize,
    /// About so many bytes for each frame of a refresh.
    pub frame_bytes: usize,
    /// Slots that may be walked through for one `sync`, and for the digest of one `fresh`; and as
    /// many again for each heartbeat, saved up for a view that has more.
    pub digest_scan: usize,
    /// Mirrors that one `sync` may name.
    pub digests: usize,
    /// Slots that one [`Feed::poll`] may look at: then others have their turn. At least one. In a
    /// view with patterns a slot counts once more for each 16 segments of all of these.
    pub turn_slots: usize,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Send this.
    Frame(ServerFrame),
    /// What [`Feed::count`] has begun is done: the answer to those who asked.
    Counted(Sync),
    /// Put the subscription into the index, then poll again.
    Register(Interest),
    /// Take the subscription out of the index.
    Unregister(Interest),
    /// Nothing: enough was looked at for one turn. Poll again, when others had theirs.
    Pause,
}

impl Step {
    /// Whether this is a frame of a refresh or a folded delta of `sub`.
    fn is_about(&self, sub: u32) -> bool {
        match self {
            Step::Frame(ServerFrame::Refresh(f)) => f.sub == sub,
            Step::Frame(ServerFrame::Entries(f)) => f.sub == sub,
            Step::Frame(ServerFrame::Fresh(f)) => f.sub == sub,
            Step::Frame(ServerFrame::Delta(f)) => f.sub == Some(sub),
            _ => false,
        }
    }

    /// Whether this puts `sub` into the index.
    fn registers(&self, sub: u32) -> bool {
        matches!(self, Step::Register(interest) if interest.sub == sub)
    }
}

impl Feed {
    /// A connection without subscriptions.
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

    /// The number of subscriptions.
    pub fn len(&self) -> usize {
        self.subs.len()
    }

    /// Whether there are no subscriptions.
    pub fn is_empty(&self) -> bool {
        self.subs.len() == 0
    }

    /// Adds a subscription; [`Feed::poll`] then refreshes it.
    ///
    /// # Errors
    /// [`Code::SubInUse`], [`Code::TooManySubscriptions`].
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

    /// Ends a subscription; what has to be taken out of the index.
    ///
    /// # Errors
    /// [`Code::NoSuchSub`].
    pub fn unsubscribe(&mut self, sub: u32) -> Result<Option<Interest>, Refusal> {
        let gone = self.subs.remove(sub).ok_or_else(|| no_such(sub))?;
        self.leave_out(sub);
        // A registration that was not taken yet must not come after the end.
        let registered = gone.registered && !self.ready.iter().any(|step| step.registers(sub));
        self.ready.retain(|step| !step.is_about(sub) && !step.registers(sub));
        Ok(registered.then(|| gone.interest(sub)))
    }

    /// Everything of this connection that stands in the index.
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

    /// The same view as that of `sub`, which others have too: it is kept instead of its own.
    pub fn share(&mut self, sub: u32, view: &Arc<View>) {
        self.subs.with(sub, |sub| {
            if sub.view == *view {
                sub.view = view.clone();
            }
        });
    }

    /// Starts a subscription again, from nothing.
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

    /// Whether live deltas may be sent now; otherwise they wait in the outbox. Not while a mirror
    /// is being brought to a revision behind which it then takes them: until its `fresh` is taken,
    /// which may come some steps after it was made. And not while digests are counted.
    pub fn takes_live(&self) -> bool {
        self.ready.is_empty() && !self.subs.any_holds_live() && self.counting.is_none()
    }

    /// Whether any mirror needs a live delta of `rev`; then also those of all later ones.
    pub fn needs_live(&self, rev: Revision) -> bool {
        let behind = |sub: &Subscription| match sub.cursor {
            Cursor::Live { rev: at } => at.max(self.live) < rev,
            _ => false,
        };
        self.subs.iter().any(|(_, sub)| behind(sub))
    }

    /// The revision above which some mirror needs every live delta, see [`Feed::needs_live`];
    /// `None` while none takes any. O(subscriptions), but as a rule the first that takes them is at
    /// that revision.
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

    /// A live delta of `rev` is about to be sent. False: no mirror needs it, leave it out.
    pub fn handle_live(&mut self, rev: Revision) -> bool {
        let needed = self.needs_live(rev);
        if needed {
            self.live = rev;
        }
        needed
    }

    /// The outbox has overflowed: live deltas above those sent are lost, and will be folded. Who
    /// was about to go on with them needs what is behind the snapshot that it has begun with, too.
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

    /// When the next interval of an `every_ms` subscription is over.
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

    /// Whether [`Feed::poll`] has something to do apart from intervals.
    pub fn is_catching_up(&self) -> bool {
        !self.ready.is_empty() || self.subs.any_moving() || self.counting.is_some()
    }

    /// The next step for the mirrors that are being brought to the present; they take turns.
    /// `None`: there is nothing to do. `latest` is called at most once, and must give a snapshot
    /// that was published when it was called. `hold` says whether a snapshot may be kept until the
    /// next call: then a sweep needs one round; if not, all that were kept go, and what is being
    /// counted ends. It looks at no more than [`FeedLimits`] say.
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
            if let Some(step) = self.ready.pop_front() {
                return Some(step);
            }
            if let Some(counting) = self.counting.take() {
                match self.count_on(counting, hold, &mut left) {
                    Some(step) => return Some(step),
                    None => continue,
                }
            }
            let Some(id) = self.subs.next_moving(self.turn) else {
                // Most connections have nothing to do most of the time.
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
            // The way to where it goes on.
            left = left.saturating_sub(1);
            if over {
                self.subs.remove(id);
            }
        }
    }

    /// Those whose interval is over are behind, where there is something that they have not seen;
    /// otherwise their next one begins. They are not woken by the commit instead: those of a
    /// thousand connections would all be awake at once for it, and whoever wrote would wait for its
    /// answer meanwhile.
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
    /// Goes one piece further; true when the subscription is over.
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

    /// Says that a refresh begins. Where the mirror was whole before, this is said at once: until
    /// it is, the client takes live deltas for it, and they may start above its revision.
    fn open(&mut self, id: u32, ready: &mut VecDeque<Step>) {
        let Cursor::Refreshing { sweep, stage } = &mut self.cursor else { return };
        let Stage::Opening(kind, why) = *stage else { return };
        *stage = Stage::Reading;
        let refresh = Refresh { sub: id, kind, why, from: sweep.since() };
        ready.push_back(Step::Frame(ServerFrame::Refresh(refresh)));
    }

    /// Sends a piece of a refresh, and `fresh` when it is whole.
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
            // Nothing of it changed: its next interval begins, from where it is. It is told once
            // its cookie would not be good any more.
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

    /// The mirror is whole, at `rev`; nothing of it has changed up to `seen`.
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
